//! Result lines of several downloads of one batch → each line once.
//!
//! A download that ends early keeps what it returned: another one may end elsewhere, or return the
//! lines in another order. A line that arrived twice, byte for byte, is one line; lines of the same
//! id that differ are all kept, and counted as repeated later. Half a line, at the end of a
//! download, is left out.
//!
//! **Memory**: 16 bytes a line, and one line.

use std::collections::HashSet;
use std::io::{BufRead, Read as _};

use crate::join::MAX_LINE_BYTES;

/// Passes on the lines of all inputs with their line feeds, each once, in the order they arrive, at
/// most `most` of them; an input that cannot be read to its end counts as far as it can. `is_whole`
/// says whether a last line without a line feed still counts as a line. Returns the number of lines
/// that each input adds.
pub(crate) fn merge<R: BufRead, E>(
    inputs: Vec<R>,
    most: usize,
    is_whole: impl Fn(&[u8]) -> bool,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Vec<u64>, E> {
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let mut line = Vec::new();
    let mut added = Vec::with_capacity(inputs.len());
    for mut input in inputs {
        let mut new = 0;
        while seen.len() < most && next_line(&mut input, &mut line) {
            let text = line.trim_ascii();
            let is_half = !line.ends_with(b"\n") && !is_whole(text);
            if text.is_empty() || is_half || !seen.insert(hash(text)) {
                continue;
            }
            write(text)?;
            write(b"\n")?;
            new += 1;
        }
        added.push(new);
    }
    Ok(added)
}

/// Reads the next line that a result can have; `false` at the end, or where nothing more can be
/// read.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    loop {
        line.clear();
        match input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line) {
            Err(_) | Ok(0) => return false,
            Ok(read) if read as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") => {
                // No result is so long: passed over, up to its end.
                if input.skip_until(b'\n').is_err() {
                    return false;
                }
            }
            Ok(_) => return true,
        }
    }
}

fn hash(text: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::hash(text).as_bytes()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;

    fn is_json(line: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
    }

    fn merged(inputs: &[&str], most: usize) -> (String, Vec<u64>) {
        let mut out = Vec::new();
        let inputs = inputs.iter().map(|input| input.as_bytes()).collect();
        let added = merge(inputs, most, is_json, |bytes| {
            out.extend_from_slice(bytes);
            Ok::<(), Infallible>(())
        })
        .unwrap();
        (String::from_utf8(out).unwrap(), added)
    }

    #[test]
    fn keeps_each_line_of_all_inputs_once_and_no_half_line() {
        let inputs = [
            "{\"a\":1}\n{\"b\":2}\r\n\n{\"c\":",
            "{\"b\":2}\n{\"a\":9}\n",
            "{\"a\":1}\n{\"c\":3}",
        ];
        let (text, added) = merged(&inputs, 100);
        assert_eq!(text, "{\"a\":1}\n{\"b\":2}\n{\"a\":9}\n{\"c\":3}\n");
        assert_eq!(added, [2, 1, 1]);
    }

    #[test]
    fn keeps_no_more_lines_than_it_may() {
        let (text, added) = merged(&["1\n2\n3\n", "4\n"], 2);
        assert_eq!((text.as_str(), added), ("1\n2\n", vec![2, 0]));
    }

    #[test]
    fn an_input_that_breaks_off_counts_as_far_as_it_goes() {
        struct Broken(&'static [u8]);
        impl io::Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    Err(io::ErrorKind::InvalidData.into())
                } else {
                    self.0.read(buffer)
                }
            }
        }
        let mut out = Vec::new();
        let inputs = vec![
            io::BufReader::new(Broken(b"1\n2\n")),
            io::BufReader::new(Broken(b"2\n3\n")),
        ];
        let added = merge(inputs, 100, is_json, |bytes| {
            out.extend_from_slice(bytes);
            Ok::<(), Infallible>(())
        });
        assert_eq!(added.unwrap(), [2, 1]);
        assert_eq!(out, b"1\n2\n3\n");
    }
}

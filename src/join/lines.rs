//! The bytes of a results file → its lines, in chunks as they arrive.

use super::Error;

/// What is kept of a line that is too long.
const HEAD_BYTES: usize = 4 << 10;

/// A line of a results file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResultLine<'l> {
    /// The line without its line feed; of one that is too long the beginning, closed by a brace, so
    /// that a reader that finds the id at the head of a line finds it there too.
    pub(super) text: &'l [u8],
    /// Whether it had a line feed.
    pub(super) is_ended: bool,
    /// How many bytes it has, if they are too many.
    pub(super) too_long: Option<u64>,
}

/// Splits bytes into lines. A line that comes in one chunk is passed on without a copy.
#[derive(Debug)]
pub(super) struct LineSplitter {
    /// Longest line that is kept whole, without its line feed.
    most: u64,
    /// The current line, as far as it is kept.
    line: Vec<u8>,
    /// Bytes of the current line.
    bytes: u64,
    /// Lines passed on.
    pub(super) lines: u64,
}

impl LineSplitter {
    pub(super) fn new(most: u64) -> LineSplitter {
        LineSplitter {
            most,
            line: Vec::new(),
            bytes: 0,
            lines: 0,
        }
    }

    /// Takes the next bytes, and passes on each line that ends in them.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(ResultLine<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            self.lines += 1;
            if self.bytes == 0 && line.len() as u64 <= self.most {
                each(ResultLine {
                    text: line,
                    is_ended: true,
                    too_long: None,
                })?;
                continue;
            }
            self.keep(line);
            self.hand_on(true, &mut each)?;
        }
        self.keep(bytes);
        Ok(())
    }

    /// Passes on what follows the last line feed, if anything does.
    pub(super) fn finish(
        mut self,
        mut each: impl FnMut(ResultLine<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.lines += 1;
        self.hand_on(false, &mut each)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.bytes <= self.most {
            self.line.extend_from_slice(bytes);
            return;
        }
        // From here on only the length counts, so the memory of the rest is not needed.
        let room = HEAD_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.line.truncate(HEAD_BYTES);
    }

    fn hand_on(
        &mut self,
        is_ended: bool,
        each: &mut impl FnMut(ResultLine<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let too_long = (self.bytes > self.most).then_some(self.bytes);
        if too_long.is_some() {
            self.line.push(b'}');
        }
        let handed = each(ResultLine {
            text: &self.line,
            is_ended,
            too_long,
        });
        self.line.clear();
        self.bytes = 0;
        handed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Vec<u8>, bool, Option<u64>);

    fn split(text: &[u8], chunk: usize, most: u64) -> Vec<Owned> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(most);
        let mut take = |line: ResultLine<'_>| {
            lines.push((line.text.to_vec(), line.is_ended, line.too_long));
            Ok(())
        };
        for chunk in text.chunks(chunk) {
            splitter.push(chunk, &mut take).unwrap();
        }
        splitter.finish(&mut take).unwrap();
        lines
    }

    #[test]
    fn passes_over_what_is_too_long_and_reads_the_next_line() {
        let text = format!(
            "{{\"id\":\"a\",\"x\":\"{}\"}}\nshort\n\n12345678\n123456789",
            "y".repeat(9_000)
        );
        let mut head = text.as_bytes()[..HEAD_BYTES].to_vec();
        head.push(b'}');
        let expected: Vec<Owned> = vec![
            (head, true, Some(9_000 + 17)),
            (b"short".to_vec(), true, None),
            (Vec::new(), true, None),
            (b"12345678".to_vec(), true, None),
            (b"123456789}".to_vec(), false, Some(9)),
        ];
        for chunk in [1, 7, 4_096, 1 << 18] {
            assert_eq!(split(text.as_bytes(), chunk, 8), expected, "{chunk}");
        }
    }

    #[test]
    fn gives_the_same_lines_wherever_the_chunks_end() {
        let text = b"one\n\ntwo\r\nthree";
        let expected: Vec<Owned> = vec![
            (b"one".to_vec(), true, None),
            (Vec::new(), true, None),
            (b"two\r".to_vec(), true, None),
            (b"three".to_vec(), false, None),
        ];
        for chunk in 1..=text.len() {
            assert_eq!(split(text, chunk, 100), expected);
        }
        assert!(split(b"", 1, 100).is_empty());
        assert_eq!(split(b"a\n", 1, 100).len(), 1);
    }
}

//! The results file as it is sent: unchanged, or with the faults that were asked for.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::io::ReaderStream;

use super::faults::{CallFault, FaultAction};

/// Bytes that are read, and sent, at once.
const PIECE: usize = 1 << 18;

/// Streams a results file.
pub(super) async fn stream(path: PathBuf, faults: Vec<CallFault>) -> io::Result<Body> {
    if faults.is_empty() {
        let file = tokio::fs::File::open(&path).await?;
        return Ok(Body::from_stream(ReaderStream::with_capacity(file, PIECE)));
    }
    let file = File::open(&path)?;
    let (sender, mut receiver) = channel(4);
    tokio::task::spawn_blocking(move || {
        let mut out = FaultyWriter::new(faults, sender);
        match out.copy(BufReader::with_capacity(PIECE, file)) {
            Ok(()) | Err(Stop::Gone) => {}
            Err(Stop::Cut) => out.end(),
            Err(Stop::Io(cause)) => out.send_error(cause),
        }
    });
    Ok(Body::from_stream(futures_util::stream::poll_fn(
        move |context| receiver.poll_recv(context),
    )))
}

enum Stop {
    /// The reader on the other side went away.
    Gone,
    /// Everything up to the cut has been sent.
    Cut,
    Io(io::Error),
}

/// Sends lines on, spoiling some.
struct FaultyWriter {
    faults: Vec<CallFault>,
    sender: Sender<io::Result<Bytes>>,
    held: Vec<u8>,
    sent: u64,
    cut_at: Option<u64>,
}

impl FaultyWriter {
    fn new(faults: Vec<CallFault>, sender: Sender<io::Result<Bytes>>) -> FaultyWriter {
        let cut_at = faults
            .iter()
            .filter(|f| f.act == FaultAction::Cut)
            .filter_map(|f| f.at_byte)
            .min();
        FaultyWriter {
            faults,
            sender,
            held: Vec::new(),
            sent: 0,
            cut_at,
        }
    }

    fn has(&self, act: FaultAction) -> bool {
        self.faults.iter().any(|fault| fault.act == act)
    }

    /// Whether a fault of one line meets this one, counted from 1.
    fn meets(&self, act: FaultAction, line: u64) -> Option<&CallFault> {
        self.faults
            .iter()
            .find(|fault| fault.act == act && fault.at_line.unwrap_or(1) == line)
    }

    fn copy(&mut self, mut file: impl BufRead) -> Result<(), Stop> {
        let mut again = Vec::new();
        let mut line = Vec::new();
        for n in 1.. {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(Stop::Io)? == 0 {
                break;
            }
            if line.ends_with(b"\n") {
                line.pop();
            }
            if self
                .faults
                .iter()
                .any(|f| f.act == FaultAction::Cut && f.at_line == Some(n - 1))
            {
                self.flush()?;
                return Err(Stop::Cut);
            }
            self.copy_line(n, &line, &mut again)?;
        }
        for line in again {
            self.write_line(&line)?;
        }
        self.flush()
    }

    fn copy_line(&mut self, n: u64, line: &[u8], again: &mut Vec<Vec<u8>>) -> Result<(), Stop> {
        if self.meets(FaultAction::DuplicateLine, n).is_some() {
            again.push(line.to_vec());
        }
        if self.meets(FaultAction::ForeignLine, n).is_some() {
            self.write_line(br#"{"custom_id":"foreign-0001","result":{"type":"canceled"}}"#)?;
        }
        if self.meets(FaultAction::GarbageLine, n).is_some() {
            self.write_line(b"<html>upstream timed out</html>")?;
        }
        if self.meets(FaultAction::MissingLine, n).is_some() {
            return Ok(());
        }
        let Some(fault) = self.meets(FaultAction::HugeLine, n) else {
            return self.write_line(line);
        };
        let length = usize::try_from(fault.bytes.unwrap_or(1 << 20))
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        if fault.value.as_deref() == Some("last") {
            let mut huge = line.strip_suffix(b"}").unwrap_or(line).to_vec();
            huge.extend_from_slice(br#","padding":""#);
            huge.resize(huge.len() + length, b'x');
            huge.extend_from_slice(b"\"}");
            return self.write_line(&huge);
        }
        let mut huge = br#"{"padding":""#.to_vec();
        huge.resize(huge.len() + length, b'x');
        huge.extend_from_slice(b"\",");
        huge.extend_from_slice(line.get(1..).unwrap_or_default());
        self.write_line(&huge)
    }

    fn write_line(&mut self, line: &[u8]) -> Result<(), Stop> {
        self.write(line)?;
        let (crlf, blank) = (
            self.has(FaultAction::Crlf),
            self.has(FaultAction::BlankLines),
        );
        self.write(if crlf { b"\r\n" } else { b"\n" })?;
        if blank {
            self.write(if crlf { b"\r\n" } else { b"\n" })
        } else {
            Ok(())
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let left = self.cut_at.map(|at| {
            usize::try_from(at - self.sent - self.held.len() as u64).unwrap_or(usize::MAX)
        });
        if let Some(left) = left.filter(|left| *left < bytes.len()) {
            self.held.extend_from_slice(&bytes[..left]);
            self.flush()?;
            return Err(Stop::Cut);
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let piece = std::mem::take(&mut self.held);
        self.sent += piece.len() as u64;
        self.sender
            .blocking_send(Ok(Bytes::from(piece)))
            .map_err(|_| Stop::Gone)
    }

    /// Ends a cut stream as if it were whole, or with a broken connection.
    fn end(&self) {
        if self
            .faults
            .iter()
            .any(|f| f.act == FaultAction::Cut && f.abrupt)
        {
            self.send_error(io::Error::from(io::ErrorKind::ConnectionReset));
        }
    }

    fn send_error(&self, cause: io::Error) {
        // Real time, whatever the clock: what was sent before has to leave the socket before the
        // connection breaks, or the reset overtakes it.
        std::thread::sleep(Duration::from_millis(50));
        // The other side may have closed the connection already.
        let _ = self.sender.blocking_send(Err(cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::SimFaults;

    /// What a fault makes of three lines: the bytes, and whether they ended in an error.
    fn spoil(fault: &str) -> (String, bool) {
        let faults = SimFaults::from_toml(&format!("[[calls]]\non = 'results'\n{fault}"))
            .unwrap()
            .calls;
        let (sender, mut receiver) = channel(100);
        let mut out = FaultyWriter::new(faults, sender);
        match out.copy(&b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n"[..]) {
            Err(Stop::Cut) => out.end(),
            Err(_) => panic!("no other end"),
            Ok(()) => {}
        }
        drop(out);
        let (mut text, mut broken) = (String::new(), false);
        while let Some(piece) = receiver.blocking_recv() {
            match piece {
                Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Err(_) => broken = true,
            }
        }
        (text, broken)
    }

    #[test]
    fn spoils_lines_as_asked() {
        let (a, b, c) = ("{\"a\":1}", "{\"b\":2}", "{\"c\":3}");
        let cases = [
            ("do = 'cut'\nat_byte = 11", format!("{a}\n{{\"b"), false),
            ("do = 'cut'\nat_byte = 8", format!("{a}\n"), false),
            (
                "do = 'cut'\nat_byte = 8\nabrupt = true",
                format!("{a}\n"),
                true,
            ),
            ("do = 'cut'\nat_line = 2", format!("{a}\n{b}\n"), false),
            (
                "do = 'cut'\nat_byte = 999",
                format!("{a}\n{b}\n{c}\n"),
                false,
            ),
            (
                "do = 'duplicate_line'\nat_line = 2",
                format!("{a}\n{b}\n{c}\n{b}\n"),
                false,
            ),
            (
                "do = 'missing_line'\nat_line = 3",
                format!("{a}\n{b}\n"),
                false,
            ),
            ("do = 'crlf'", format!("{a}\r\n{b}\r\n{c}\r\n"), false),
            (
                "do = 'blank_lines'",
                format!("{a}\n\n{b}\n\n{c}\n\n"),
                false,
            ),
            (
                "do = 'huge_line'\nbytes = 3",
                format!("{{\"padding\":\"xxx\",\"a\":1}}\n{b}\n{c}\n"),
                false,
            ),
            (
                "do = 'huge_line'\nvalue = 'last'\nbytes = 3",
                format!("{{\"a\":1,\"padding\":\"xxx\"}}\n{b}\n{c}\n"),
                false,
            ),
            (
                "do = 'garbage_line'\nat_line = 2",
                format!("{a}\n<html>upstream timed out</html>\n{b}\n{c}\n"),
                false,
            ),
        ];
        for (fault, text, broken) in cases {
            assert_eq!(spoil(fault), (text, broken), "{fault}");
        }
        assert!(spoil("do = 'foreign_line'").0.contains("foreign-0001"));
    }
}

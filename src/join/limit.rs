//! How much a provider may send as the results of a batch.
//!
//! A stream of results has no length in front, so one that never ends would fill the disk. What was
//! sent says how much can come back: one line for each request. Repeated, foreign and blank lines
//! are accepted, and a line that is too long is passed over by its reader
//! ([`super::MAX_LINE_BYTES`]); what is beyond that is no stream of results.

use super::MAX_LINE_BYTES;

/// Lines that may come for each request, blank ones included.
const LINES_A_REQUEST: u64 = 4;
/// Lines that may come beside these.
const MORE_LINES: u64 = 1_000;
/// Longest line that is passed over.
const LONGEST_LINE: u64 = 1 << 30;

/// Why a stream is no stream of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResultsExcess {
    /// Too many lines.
    #[error("more than {lines} lines were returned for {requests} requests")]
    Lines {
        /// As many as may come.
        lines: u64,
        /// What was sent.
        requests: u64,
    },
    /// Too many bytes.
    #[error("more than {bytes} bytes were returned for {requests} requests")]
    Bytes {
        /// As many as may come.
        bytes: u64,
        /// What was sent.
        requests: u64,
    },
    /// A line without an end.
    #[error("a line is longer than {bytes} bytes")]
    Line {
        /// As many as a line may have.
        bytes: u64,
    },
}

/// Checks a stream of results while it is read.
#[derive(Debug, Clone)]
pub struct ResultsLimit {
    requests: u64,
    lines: u64,
    bytes: u64,
    line: u64,
}

impl ResultsLimit {
    /// The limit for the results of a batch of `requests` requests.
    #[must_use]
    pub fn of(requests: u64) -> ResultsLimit {
        ResultsLimit {
            requests,
            lines: 0,
            bytes: 0,
            line: 0,
        }
    }

    /// Counts bytes received.
    ///
    /// # Errors
    /// [`ResultsExcess`], when they are more than results can be.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), ResultsExcess> {
        let requests = self.requests;
        self.bytes += bytes.len() as u64;
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.line = match memchr::memrchr(b'\n', bytes) {
            Some(at) => (bytes.len() - at - 1) as u64,
            None => self.line + bytes.len() as u64,
        };
        let most_lines = requests
            .saturating_mul(LINES_A_REQUEST)
            .saturating_add(MORE_LINES);
        // One line that is too long and passed over is accepted, however few the requests are.
        let most_bytes = requests
            .saturating_mul(MAX_LINE_BYTES)
            .saturating_add(LONGEST_LINE);
        if self.lines > most_lines {
            return Err(ResultsExcess::Lines {
                lines: most_lines,
                requests,
            });
        }
        if self.line > LONGEST_LINE {
            return Err(ResultsExcess::Line {
                bytes: LONGEST_LINE,
            });
        }
        if self.bytes > most_bytes {
            return Err(ResultsExcess::Bytes {
                bytes: most_bytes,
                requests,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_up_with_blank_and_repeated_lines_and_not_with_lines_without_end() {
        let mut ceiling = ResultsLimit::of(100);
        for _ in 0..400 {
            ceiling.take(b"{}\n").unwrap();
        }
        let mut blank = ResultsLimit::of(100);
        let excess = (0..).find_map(|_| blank.take(&[b'\n'; 100]).err());
        assert_eq!(
            excess,
            Some(ResultsExcess::Lines {
                lines: 1_400,
                requests: 100
            })
        );
    }

    #[test]
    fn a_line_without_an_end_and_bytes_without_an_end_are_too_much() {
        let endless = ResultsLimit {
            line: LONGEST_LINE,
            bytes: LONGEST_LINE,
            ..ResultsLimit::of(1_000)
        };
        assert_eq!(
            endless.clone().take(b"x"),
            Err(ResultsExcess::Line {
                bytes: LONGEST_LINE
            })
        );
        assert_eq!(endless.clone().take(b"\n"), Ok(()));
        let most = 3 * MAX_LINE_BYTES + LONGEST_LINE;
        let many = ResultsLimit {
            bytes: most,
            ..ResultsLimit::of(3)
        };
        assert_eq!(
            many.clone().take(b"\n"),
            Err(ResultsExcess::Bytes {
                bytes: most,
                requests: 3
            })
        );
    }
}

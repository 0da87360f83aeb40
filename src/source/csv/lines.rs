//! The line numbers of messages: those that a text editor shows. Lines end with line feeds, or with
//! carriage returns in a file whose first line ends with one.

/// Counts the lines of a file.
#[derive(Debug, Default)]
pub(super) struct LineCounter {
    /// Bytes read so far.
    pub(super) read: u64,
    /// Bytes before the line that is being read.
    before_line: u64,
    breaks: LineBreak,
    line_feeds: u64,
    /// Carriage returns without a line feed after them; counted only while they may be the file's
    /// line breaks.
    returns: u64,
    /// The end of the last byte counted, if that was a carriage return.
    return_at: Option<u64>,
}

/// The line break of a file, by the end of its first line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum LineBreak {
    #[default]
    Unknown,
    LineFeed,
    Return,
}

impl LineCounter {
    /// Counts a line break just read.
    pub(super) fn broke(&mut self, byte: u8) {
        let here = self.read;
        self.count(byte, here);
    }

    /// Counts the line breaks of text that is about to be read.
    pub(super) fn passed(&mut self, text: &[u8]) {
        if self.breaks == LineBreak::LineFeed {
            let mut last = None;
            for at in memchr::memchr_iter(b'\n', text) {
                self.line_feeds += 1;
                last = Some(at);
            }
            if let Some(at) = last {
                self.before_line = self.read + at as u64 + 1;
            }
            return;
        }
        for at in memchr::memchr2_iter(b'\n', b'\r', text) {
            self.count(text[at], self.read + at as u64 + 1);
        }
    }

    /// Counts a line break that ends at this place of the file.
    fn count(&mut self, byte: u8, end: u64) {
        let follows_return = self.return_at == Some(end - 1) && self.return_at.is_some();
        if byte == b'\r' {
            // A second return with no line feed between: returns are the line breaks.
            if self.breaks == LineBreak::Unknown && self.return_at.is_some() {
                self.breaks = LineBreak::Return;
            }
            if self.breaks != LineBreak::LineFeed {
                self.returns += 1;
                self.return_at = Some(end);
                self.before_line = end;
            }
            return;
        }
        self.line_feeds += 1;
        self.before_line = end;
        if follows_return {
            self.returns -= 1;
        }
        if self.breaks == LineBreak::Unknown {
            // Any return that is still counted had no line feed after it, so it ended an earlier
            // line.
            self.breaks = if self.returns > 0 {
                LineBreak::Return
            } else {
                LineBreak::LineFeed
            };
        }
        self.return_at = None;
    }

    /// The line that is being read, from 1.
    pub(super) fn line(&self) -> u64 {
        1 + self.line_feeds
            + if self.breaks == LineBreak::LineFeed {
                0
            } else {
                self.returns
            }
    }

    /// The byte of the line that is next, from 1.
    pub(super) fn byte(&self) -> u64 {
        self.read - self.before_line + 1
    }
}

//! The bytes of one file: opened, decompressed and, where it is text, converted to UTF-8.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use encoding_rs::{DecoderResult, Encoding};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use super::Error;
use super::pages::Int96Unit;
use super::spec::Compression;
use crate::durable::{self, Unreadable};

const BUFFER_BYTES: usize = 1 << 17;

/// A file of the source, as it was when the source was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it is; `-` for standard input.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written; unknown for standard input.
    pub modified: Option<jiff::Timestamp>,
}

/// A file that can be opened again and again.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) file: SourceFile,
    /// A private copy to read instead: of standard input, or of a compressed file that must be read
    /// from its end.
    copy: Option<TempPath>,
    compression: Compression,
    /// The units of the 96-bit timestamps of a Parquet file, by column; found once.
    pub(super) int96_units: OnceLock<Vec<Int96Unit>>,
}

impl Input {
    /// Finds length, time and compression of a file.
    ///
    /// # Errors
    /// [`Error::NotAFile`] for a pipe, a socket or a device: a source is read more than once, and
    /// ends.
    pub(super) fn of_file(path: &Path, compression: Option<Compression>) -> Result<Input, Error> {
        let failed = |source| unopened(path, source);
        let mut file = durable::open_file(path).map_err(failed)?;
        let (bytes, modified) = length_and_time(&file).map_err(failed)?;
        let compression = compression
            .map_or_else(|| guess_compression(path, &mut file), Ok)
            .map_err(failed)?;
        Ok(Input {
            file: SourceFile {
                path: path.to_path_buf(),
                bytes,
                modified,
            },
            copy: None,
            compression,
            int96_units: OnceLock::new(),
        })
    }

    /// Copies what can be read only once to a private temporary file, since a source is read more
    /// than once.
    pub(super) fn of_stream(
        path: &Path,
        stream: &mut dyn Read,
        compression: Option<Compression>,
    ) -> Result<Input, Error> {
        let failed = |source| Error::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut copy = NamedTempFile::new().map_err(failed)?;
        let bytes = io::copy(stream, &mut copy).map_err(failed)?;
        copy.flush().map_err(failed)?;
        let compression = compression
            .map_or_else(|| guess_compression(path, copy.as_file_mut()), Ok)
            .map_err(failed)?;
        let file = SourceFile {
            path: path.to_path_buf(),
            bytes,
            modified: None,
        };
        Ok(Input {
            file,
            copy: Some(copy.into_temp_path()),
            compression,
            int96_units: OnceLock::new(),
        })
    }

    /// Makes a file seekable: a compressed one is decompressed to a private temporary file.
    pub(super) fn into_seekable(self) -> Result<Input, Error> {
        if self.compression == Compression::None {
            return Ok(self);
        }
        let mut copy = NamedTempFile::new().map_err(|source| self.failed(source))?;
        let mut bytes = self.bytes()?;
        io::copy(&mut bytes, &mut copy).map_err(|source| self.failed(source))?;
        copy.flush().map_err(|source| self.failed(source))?;
        let (file, copy, compression) = (self.file, Some(copy.into_temp_path()), Compression::None);
        Ok(Input {
            file,
            copy,
            compression,
            int96_units: OnceLock::new(),
        })
    }

    /// The name for messages.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Opens the file as it is on disk.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is not the file that the source was opened on.
    pub(super) fn open(&self) -> Result<File, Error> {
        if let Some(copy) = &self.copy {
            return File::open(copy).map_err(|source| self.failed(source));
        }
        let file = durable::open_file(&self.file.path)
            .map_err(|source| unopened(&self.file.path, source))?;
        let (bytes, modified) = length_and_time(&file).map_err(|source| self.failed(source))?;
        if bytes != self.file.bytes || modified != self.file.modified {
            return Err(Error::Changed {
                path: self.file.path.clone(),
            });
        }
        Ok(file)
    }

    /// The bytes of the file, decompressed.
    pub(super) fn bytes(&self) -> Result<Box<dyn Read + Send>, Error> {
        let file = self.open()?;
        Ok(match self.compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(
                BufReader::with_capacity(BUFFER_BYTES, file),
            )),
            Compression::Zstd => Box::new(
                zstd::stream::read::Decoder::new(file).map_err(|source| self.failed(source))?,
            ),
        })
    }

    /// The first bytes of the file, decompressed; none where it is empty.
    pub(super) fn head(&self) -> Result<Vec<u8>, Error> {
        let mut head = Vec::with_capacity(16);
        if self.file.bytes > 0 {
            self.bytes()?
                .take(16)
                .read_to_end(&mut head)
                .map_err(|source| self.failed(source))?;
        }
        Ok(head)
    }

    /// The text of the file: decompressed, without a byte order mark, as UTF-8 where the file has
    /// another encoding.
    ///
    /// A file that is said to be UTF-8 passes as it is; the formats check it and know the line.
    pub(super) fn text(
        &self,
        encoding: Option<&'static Encoding>,
    ) -> Result<Box<dyn Read + Send>, Error> {
        let mut bytes = self.bytes()?;
        let mut head = Vec::with_capacity(3);
        bytes
            .by_ref()
            .take(3)
            .read_to_end(&mut head)
            .map_err(|source| self.failed(source))?;
        let mark = Encoding::for_bom(&head);
        // A byte order mark has precedence: a label such as `utf-16` leaves the byte order open.
        let (encoding, mark_bytes) = mark.unwrap_or((encoding.unwrap_or(encoding_rs::UTF_8), 0));
        let rest = Cursor::new(head.split_off(mark_bytes)).chain(bytes);
        if encoding == encoding_rs::UTF_8 {
            return Ok(Box::new(rest));
        }
        Ok(Box::new(Transcoder::new(rest, encoding, mark_bytes as u64)))
    }

    /// The error of this file for a failure while it was read.
    pub(super) fn failed(&self, source: io::Error) -> Error {
        let path = self.file.path.clone();
        if let Some(bad) = source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<NotEncoded>())
        {
            return Error::NotEncoded {
                path,
                encoding: bad.encoding,
                byte: bad.byte,
            };
        }
        // Errors of the system have a number; those of the decompressor have none.
        if self.compression != Compression::None && source.raw_os_error().is_none() {
            return Error::Compressed { path, source };
        }
        Error::Io { path, source }
    }
}

/// The error of a file that could not be opened.
fn unopened(path: &Path, source: io::Error) -> Error {
    match Unreadable::of(&source) {
        Some(Unreadable::NotAFile(kind)) => Error::NotAFile {
            path: path.to_path_buf(),
            kind,
        },
        _ => Error::Io {
            path: path.to_path_buf(),
            source,
        },
    }
}

fn length_and_time(file: &File) -> io::Result<(u64, Option<jiff::Timestamp>)> {
    let meta = file.metadata()?;
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Ok((meta.len(), jiff::Timestamp::try_from(modified).ok()))
}

/// The compression by the extension of the name, else by the first bytes: no text, Parquet or Arrow
/// file begins like these.
fn guess_compression(path: &Path, file: &mut File) -> io::Result<Compression> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => return Ok(Compression::Gzip),
        Some("zst") => return Ok(Compression::Zstd),
        _ => {}
    }
    let mut head = Vec::with_capacity(4);
    file.seek(SeekFrom::Start(0))?;
    file.take(4).read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    })
}

/// Converts another encoding to UTF-8. Bytes that the encoding does not have are an error, not
/// replaced.
struct Transcoder<R> {
    inner: R,
    encoding: &'static Encoding,
    decoder: encoding_rs::Decoder,
    raw: Box<[u8]>,
    raw_pending: std::ops::Range<usize>,
    /// Bytes of the file before `raw_pending`.
    passed: u64,
    text: Box<[u8]>,
    text_pending: std::ops::Range<usize>,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("byte {byte} is not the start of a character of {encoding}")]
struct NotEncoded {
    encoding: &'static str,
    byte: u64,
}

impl<R: Read> Transcoder<R> {
    fn new(inner: R, encoding: &'static Encoding, passed: u64) -> Self {
        Transcoder {
            inner,
            encoding,
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; 1 << 16].into(),
            raw_pending: 0..0,
            passed,
            text: vec![0; 1 << 17].into(),
            text_pending: 0..0,
            ended: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.raw_pending.is_empty() {
            let length = self.inner.read(&mut self.raw)?;
            self.raw_pending = 0..length;
            self.ended = length == 0;
        }
        let raw = &self.raw[self.raw_pending.clone()];
        let (result, read, written) =
            self.decoder
                .decode_to_utf8_without_replacement(raw, &mut self.text, self.ended);
        self.raw_pending.start += read;
        self.passed += read as u64;
        self.text_pending = 0..written;
        if let DecoderResult::Malformed(length, after) = result {
            let byte = self
                .passed
                .saturating_sub(u64::from(length) + u64::from(after));
            let bad = NotEncoded {
                encoding: self.encoding.name(),
                byte,
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, bad));
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.text_pending.is_empty() && !self.ended {
            self.refill()?;
        }
        let length = buf.len().min(self.text_pending.len());
        buf[..length].copy_from_slice(&self.text[self.text_pending.start..][..length]);
        self.text_pending.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8], name: &str, encoding: Option<&str>) -> Result<String, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let input = Input::of_file(&path, None)?;
        let encoding = encoding.map(|label| Encoding::for_label(label.as_bytes()).unwrap());
        let mut text = String::new();
        input
            .text(encoding)?
            .read_to_string(&mut text)
            .map_err(|e| input.failed(e))?;
        Ok(text)
    }

    fn utf16(text: &str) -> Vec<u8> {
        [0xfeff]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect()
    }

    #[test]
    fn turns_every_encoding_to_utf8() {
        assert_eq!(text_of("ä".as_bytes(), "a", None).unwrap(), "ä");
        assert_eq!(text_of(b"", "a", None).unwrap(), "");
        assert_eq!(text_of(b"a", "a", None).unwrap(), "a");
        assert_eq!(text_of(b"\xef\xbb\xbfa", "a", None).unwrap(), "a");
        assert_eq!(text_of(b"\xef\xbb\xbfa", "a", Some("utf-8")).unwrap(), "a");
        assert_eq!(text_of(b"\xe4\x80", "a", Some("latin1")).unwrap(), "ä€");
        assert_eq!(
            text_of(b"\x93\xfa\x96\x7b", "a", Some("shift_jis")).unwrap(),
            "日本"
        );
        assert_eq!(text_of(&utf16("a😀ä"), "a", None).unwrap(), "a😀ä");
        assert_eq!(
            text_of(&utf16("a😀ä"), "a", Some("utf-16le")).unwrap(),
            "a😀ä"
        );
        assert_eq!(
            text_of(&utf16("a😀ä")[2..], "a", Some("utf-16")).unwrap(),
            "a😀ä"
        );
        assert_eq!(text_of(b"\xfe\xff\x00a", "a", Some("utf-16")).unwrap(), "a");
        let long = "ü😀".repeat(100_000);
        assert_eq!(text_of(&utf16(&long), "a", None).unwrap(), long);
    }

    #[test]
    fn refuses_bytes_that_the_encoding_does_not_have() {
        let mut half = utf16("abc");
        half.pop();
        assert!(matches!(
            text_of(&half, "a", None),
            Err(Error::NotEncoded {
                encoding: "UTF-16LE",
                ..
            })
        ));
        assert!(matches!(
            text_of(b"ab\xff\xff", "a", Some("shift_jis")),
            Err(Error::NotEncoded { byte: 2, .. })
        ));
    }

    #[test]
    fn decompresses_by_name_and_by_first_bytes() {
        let text = "a,b\n".repeat(1000);
        let gzip = |text: &str| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for name in ["a.csv.gz", "a.csv"] {
            let members = [gzip(&text), gzip("end")].concat();
            assert_eq!(text_of(&members, name, None).unwrap(), format!("{text}end"));
        }
        for name in ["a.csv.zst", "a.csv"] {
            let frames = [zstd.clone(), zstd::encode_all(&b"end"[..], 1).unwrap()].concat();
            assert_eq!(text_of(&frames, name, None).unwrap(), format!("{text}end"));
        }
        for (name, bytes) in [("a.gz", gzip(&text)), ("a.zst", zstd)] {
            let cut = &bytes[..bytes.len() - 5];
            assert!(
                matches!(text_of(cut, name, None), Err(Error::Compressed { .. })),
                "{name}"
            );
        }
        assert!(matches!(
            text_of(b"plain", "a.gz", None),
            Err(Error::Compressed { .. })
        ));
    }

    #[test]
    fn notices_a_file_that_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "a\n").unwrap();
        let input = Input::of_file(&path, None).unwrap();
        assert!(input.open().is_ok());
        std::fs::write(&path, "a\nb\n").unwrap();
        assert!(matches!(input.open(), Err(Error::Changed { .. })));
    }
}

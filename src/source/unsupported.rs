//! Files that rowmill neither reads nor writes, recognised by their names or first bytes, so that a
//! message can say more than "unknown".

use std::fmt;
use std::path::Path;

/// A place or a kind of file that is not supported, as a source or as an output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsupported {
    /// An address with a scheme, such as `s3`, `gs`, `az` or `https`: only files of this machine
    /// are read and written.
    Address {
        /// The scheme.
        scheme: String,
    },
    /// A spreadsheet: `.xlsx`, `.xls`, `.ods` and their like.
    Spreadsheet,
    /// An archive of files: `.zip`, `.tar`, `.7z`.
    Archive,
    /// A compression other than gzip and Zstandard.
    Compression,
    /// Another kind of file with tables in it, by its name.
    Other(&'static str),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::Address { scheme } => write!(f, "an address (`{scheme}://`)"),
            Unsupported::Spreadsheet => f.write_str("a spreadsheet"),
            Unsupported::Archive => f.write_str("an archive"),
            Unsupported::Compression => {
                f.write_str("compressed with another format than gzip or Zstandard")
            }
            Unsupported::Other(kind) => f.write_str(kind),
        }
    }
}

impl Unsupported {
    /// What a path of the job file is, if it is an address.
    #[must_use]
    pub fn of_address(path: &str) -> Option<Unsupported> {
        let (scheme, _) = path.split_once("://")?;
        let is_scheme = scheme.len() > 1
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        is_scheme.then(|| Unsupported::Address {
            scheme: scheme.to_ascii_lowercase(),
        })
    }

    /// What a file is by the ending of its name.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Unsupported> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"))
            .unwrap_or(&name);
        Some(match name.rsplit_once('.')?.1 {
            "xlsx" | "xlsm" | "xlsb" | "xls" | "xltx" | "ods" | "numbers" => {
                Unsupported::Spreadsheet
            }
            "zip" | "tar" | "tgz" | "tzst" | "7z" | "rar" => Unsupported::Archive,
            "bz2" | "xz" | "lz4" | "lzma" | "br" | "sz" | "snappy" | "z" => {
                Unsupported::Compression
            }
            "avro" => Unsupported::Other("an Avro file"),
            "orc" => Unsupported::Other("an ORC file"),
            "sqlite" | "sqlite3" | "db" | "duckdb" => Unsupported::Other("a database"),
            "xml" => Unsupported::Other("an XML file"),
            "sas7bdat" | "sav" | "dta" | "rds" | "rdata" | "pkl" | "pickle" => {
                Unsupported::Other("a file of a statistics program")
            }
            _ => return None,
        })
    }

    /// What a file that should be text is by its first bytes. No text begins like these.
    pub(super) fn of_head(head: &[u8]) -> Option<Unsupported> {
        Some(match head {
            // Spreadsheets are ZIP archives, too.
            [b'P', b'K', 3, 4, ..] => Unsupported::Other("a ZIP archive or a spreadsheet"),
            [0xd0, 0xcf, 0x11, 0xe0, ..] => Unsupported::Spreadsheet,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
                Unsupported::Compression
            }
            [b'7', b'z', 0xbc, 0xaf, ..] => Unsupported::Archive,
            [b'O', b'b', b'j', 1, ..] => Unsupported::Other("an Avro file"),
            head if head.starts_with(b"SQLite format 3\0") => Unsupported::Other("a database"),
            _ => return None,
        })
    }
}

/// An address as it may be shown: without user, password and query, which may be credentials.
#[must_use]
pub fn without_credentials(path: &str) -> String {
    let Some((scheme, rest)) = path.split_once("://") else {
        return path.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_addresses_and_kinds_of_files() {
        for (path, scheme) in [
            ("s3://b/k.csv", "s3"),
            ("GS://b/*.csv", "gs"),
            ("az://c/x", "az"),
            ("https://h/a.csv", "https"),
            ("file:///a", "file"),
        ] {
            assert_eq!(
                Unsupported::of_address(path),
                Some(Unsupported::Address {
                    scheme: scheme.to_owned()
                })
            );
        }
        for path in ["a.csv", "c://windows", "a b://c", "://x", "data/s3:/x"] {
            assert_eq!(Unsupported::of_address(path), None, "{path}");
        }
        for (name, kind) in [
            ("A.XLSX", Unsupported::Spreadsheet),
            ("a.ods", Unsupported::Spreadsheet),
            ("a.csv.zip", Unsupported::Archive),
            ("a.tar.gz", Unsupported::Archive),
            ("a.csv.bz2", Unsupported::Compression),
            ("a.orc", Unsupported::Other("an ORC file")),
        ] {
            assert_eq!(Unsupported::of_name(Path::new(name)), Some(kind), "{name}");
        }
        assert_eq!(Unsupported::of_name(Path::new("a.csv.gz")), None);
    }

    #[test]
    fn shows_no_credentials_of_an_address() {
        assert_eq!(
            without_credentials("https://me:secret@h.org/a/b.csv?X-Sig=secret#x"),
            "https://h.org/a/b.csv"
        );
        assert_eq!(without_credentials("s3://bucket/key"), "s3://bucket/key");
        assert_eq!(without_credentials("a?b.csv"), "a?b.csv");
    }
}

//! The files of a source: paths, globs, folders, and the partition values in folder names.
//!
//! ```text
//!  sales/                      path = "sales"
//!    _SUCCESS                  skipped, as are names that begin with a dot
//!    country=DE/day=1/a.csv    country = "DE", day = "1"
//!    country=FR/day=2/a.csv    files in the order of their names
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::spec::{Format, OnMissing, Paths};
use super::unsupported::{Unsupported, without_credentials};

/// The name of standard input.
pub(super) const STDIN: &str = "-";

/// The name of a folder whose partition value is null.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// Folders nested deeper than this count as a loop of links.
const MAX_DEPTH: usize = 32;

/// A file that was found.
#[derive(Debug, PartialEq)]
pub(super) struct FoundFile {
    /// Where it is; [`STDIN`] for standard input.
    pub(super) path: PathBuf,
    /// The partition columns and values by the names of its folders.
    pub(super) partitions: Vec<(String, Option<String>)>,
}

impl FoundFile {
    pub(super) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == STDIN
    }
}

/// Finds the files in the order in which they are read: lists as written, globs and folders by
/// name.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::NoFiles`] for a path without a file; where that is allowed,
/// [`Error::NoFiles`] only if no path has one.
pub(super) fn find(
    paths: &Paths,
    base: &Path,
    on_missing: OnMissing,
) -> Result<Vec<FoundFile>, Error> {
    let mut found: Vec<FoundFile> = Vec::new();
    for path in paths.as_slice() {
        if path.is_empty() {
            return Err(Error::NoPath);
        }
        match find_one(path, base) {
            Err(Error::NotFound { .. } | Error::NoFiles { .. })
                if on_missing == OnMissing::Empty => {}
            files => found.extend(files?),
        }
    }
    match paths.as_slice() {
        [] => return Err(Error::NoPath),
        paths if found.is_empty() => {
            return Err(Error::NoFiles {
                pattern: paths.join("`, `"),
            });
        }
        _ => {}
    }
    reject_repeats(&found)?;
    Ok(found)
}

/// The folder that the paths of a source have in common; paths in its cells are relative to it. It
/// depends on the job alone, not on the files that exist: the folder of a file, a folder itself, of
/// a glob the part before its first pattern, of a list the common part of all.
pub(super) fn folder_of(paths: &Paths, base: &Path) -> PathBuf {
    let of_one = |path: &String| -> PathBuf {
        let whole = base.join(path);
        match fs::metadata(&whole) {
            _ if path == STDIN => base.to_path_buf(),
            Ok(meta) if meta.is_dir() => whole,
            Err(_) if path.contains(['*', '?', '[']) => literal_part(path, base),
            _ => whole.parent().unwrap_or(Path::new("")).to_path_buf(),
        }
    };
    let mut folders = paths.as_slice().iter().map(of_one);
    let first = folders.next().unwrap_or_else(|| base.to_path_buf());
    folders.fold(first, |common, folder| {
        common
            .components()
            .zip(folder.components())
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a)
            .collect()
    })
}

fn find_one(path: &str, base: &Path) -> Result<Vec<FoundFile>, Error> {
    if path == STDIN {
        return Ok(vec![FoundFile {
            path: PathBuf::from(STDIN),
            partitions: Vec::new(),
        }]);
    }
    if let Some(what) = Unsupported::of_address(path) {
        return Err(Error::Unsupported {
            path: without_credentials(path),
            what,
        });
    }
    let whole = base.join(path);
    // A name that exists is that name, even where its brackets would make it a glob.
    match fs::metadata(&whole) {
        Ok(meta) if meta.is_dir() => in_folder(&whole, path),
        Ok(_) => Ok(vec![FoundFile {
            path: whole,
            partitions: Vec::new(),
        }]),
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            path: whole,
            source,
        }),
        Err(_) if path.contains(['*', '?', '[']) => matching(path, base),
        Err(_) => Err(Error::NotFound { path: whole }),
    }
}

fn in_folder(folder: &Path, pattern: &str) -> Result<Vec<FoundFile>, Error> {
    let mut files = Vec::new();
    walk(folder, folder, 0, &mut files)?;
    if files.is_empty() {
        return Err(Error::NoFiles {
            pattern: pattern.to_owned(),
        });
    }
    files.sort();
    Ok(files
        .into_iter()
        .map(|path| with_partitions(path, folder))
        .collect())
}

fn walk(root: &Path, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep {
            path: root.to_path_buf(),
            limit: MAX_DEPTH,
        });
    }
    if folder.join("_delta_log").is_dir() {
        return Err(Error::DeltaTable {
            path: folder.to_path_buf(),
        });
    }
    let failed = |source| Error::Io {
        path: folder.to_path_buf(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        let path = entry.path();
        let meta = fs::metadata(&path).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        if meta.is_dir() {
            walk(root, &path, depth + 1, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The files that match a glob; where only folders match, the files in them.
fn matching(pattern: &str, base: &Path) -> Result<Vec<FoundFile>, Error> {
    let whole = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        let base = glob::Pattern::escape(&base.to_string_lossy());
        if base.is_empty() {
            pattern.to_owned()
        } else {
            format!("{base}/{pattern}")
        }
    };
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob::glob_with(&whole, options).map_err(|source| Error::BadGlob {
        pattern: pattern.to_owned(),
        source,
    })?;
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for path in matches {
        let path = path.map_err(|e| Error::Io {
            path: e.path().to_path_buf(),
            source: e.into(),
        })?;
        if path.is_dir() {
            folders.push(path)
        } else {
            files.push(path)
        }
    }
    if files.is_empty() {
        for folder in &folders {
            walk(folder, folder, 0, &mut files)?;
        }
    }
    if files.is_empty() {
        return Err(Error::NoFiles {
            pattern: pattern.to_owned(),
        });
    }
    files.sort();
    let root = literal_part(pattern, base);
    Ok(files
        .into_iter()
        .map(|path| with_partitions(path, &root))
        .collect())
}

/// The folder of a glob before its first component that is a pattern: folders below it can name
/// partitions.
fn literal_part(pattern: &str, base: &Path) -> PathBuf {
    let literal = Path::new(pattern).components().take_while(|component| {
        !component
            .as_os_str()
            .to_string_lossy()
            .contains(['*', '?', '['])
    });
    base.join(literal.collect::<PathBuf>())
}

fn with_partitions(path: PathBuf, root: &Path) -> FoundFile {
    let below = path.strip_prefix(root).unwrap_or(Path::new(""));
    let folders = below.parent().into_iter().flat_map(Path::components);
    let partitions = folders
        .filter_map(|component| match component {
            Component::Normal(name) => partition_of(&name.to_string_lossy()),
            _ => None,
        })
        .collect();
    FoundFile { path, partitions }
}

fn partition_of(folder: &str) -> Option<(String, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    if key.is_empty() {
        return None;
    }
    let value = (value != NULL_FOLDER).then(|| percent_decoded(value));
    Some((percent_decoded(key), value))
}

/// The text with `%41` decoded to `A`; unchanged where the result is not UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let [b'%', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (
                char::from(*high).to_digit(16),
                char::from(*low).to_digit(16),
            )
        {
            bytes.push((high * 16 + low) as u8);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Every file counts once: rows of a file named twice would be sent, and paid for, twice.
fn reject_repeats(found: &[FoundFile]) -> Result<(), Error> {
    let mut seen = std::collections::HashSet::new();
    match found.iter().find(|file| !seen.insert(file.path.as_path())) {
        Some(file) => Err(Error::FileTwice {
            path: file.path.clone(),
        }),
        None => Ok(()),
    }
}

/// The format of a set of files: the one that the job sets, else the one of their names, which must
/// agree.
///
/// `None` where standard input is the only source.
pub(super) fn format_of(
    asked: Option<Format>,
    found: &[FoundFile],
) -> Result<Option<Format>, Error> {
    if asked.is_some() {
        return Ok(asked);
    }
    let mut first: Option<(&Path, Format)> = None;
    for file in found.iter().filter(|file| !file.is_stdin()) {
        let format = format_by_name(&file.path).ok_or_else(|| unknown_format(&file.path))?;
        match first {
            None => first = Some((&file.path, format)),
            Some((path, first_format)) if first_format != format => {
                return Err(Error::MixedFormats {
                    first: path.to_path_buf(),
                    first_format,
                    second: file.path.clone(),
                    second_format: format,
                });
            }
            Some(_) => {}
        }
    }
    Ok(first.map(|(_, format)| format))
}

fn unknown_format(path: &Path) -> Error {
    match Unsupported::of_name(path) {
        Some(what) => Error::Unsupported {
            path: path.display().to_string(),
            what,
        },
        None => Error::UnknownFormat {
            path: path.to_path_buf(),
        },
    }
}

fn format_by_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(&name);
    Format::of_extension(name.rsplit_once('.')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "a\n1\n").unwrap();
        }
        folder
    }

    fn names(paths: impl Into<Paths>, base: &Path) -> Vec<String> {
        let found = find(&paths.into(), base, OnMissing::Error).unwrap();
        found
            .iter()
            .map(|file| {
                file.path
                    .strip_prefix(base)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn reads_folders_and_globs_by_name_and_lists_as_written() {
        let folder = folder_with(&[
            "b.csv",
            "a.csv",
            "sub/c.csv",
            ".hidden.csv",
            "_SUCCESS",
            "_temporary/d.csv",
        ]);
        let base = folder.path();
        assert_eq!(names(".", base), ["a.csv", "b.csv", "sub/c.csv"]);
        assert_eq!(names("*.csv", base), ["a.csv", "b.csv"]);
        assert_eq!(
            names("**/*.csv", base),
            ["_temporary/d.csv", "a.csv", "b.csv", "sub/c.csv"]
        );
        assert_eq!(
            names(Paths::Many(vec!["b.csv".into(), "a.csv".into()]), base),
            ["b.csv", "a.csv"]
        );
    }

    #[test]
    fn the_folder_of_a_table_depends_on_the_job_alone() {
        let folder = folder_with(&["t/a.csv", "t/k=1/b.csv", "u/c.csv"]);
        let base = folder.path();
        let of = |paths: Paths| {
            folder_of(&paths, base)
                .strip_prefix(base)
                .unwrap()
                .to_string_lossy()
                .into_owned()
        };
        assert_eq!(of("t/a.csv".into()), "t");
        assert_eq!(of("t".into()), "t");
        assert_eq!(of("t/*/*.csv".into()), "t");
        assert_eq!(of("t/k=1/*.csv".into()), "t/k=1");
        assert_eq!(
            of(Paths::Many(vec!["t/a.csv".into(), "t/k=1/b.csv".into()])),
            "t"
        );
        assert_eq!(
            of(Paths::Many(vec!["t/a.csv".into(), "u/c.csv".into()])),
            ""
        );
        assert_eq!(of("-".into()), "");
    }

    #[test]
    fn takes_an_existing_name_with_brackets_as_that_name() {
        let folder = folder_with(&["a[1].csv", "a1.csv"]);
        assert_eq!(names("a[1].csv", folder.path()), ["a[1].csv"]);
    }

    #[test]
    fn takes_brackets_in_the_base_folder_as_its_name() {
        let folder = folder_with(&["x[1]/a.csv"]);
        assert_eq!(names("*.csv", &folder.path().join("x[1]")), ["a.csv"]);
    }

    #[test]
    fn reads_keys_from_folders_below_the_path() {
        let folder = folder_with(&[
            "t=0/k=a%2Fb/day=1/x.csv",
            "t=0/k=__HIVE_DEFAULT_PARTITION__/day=%zz/x.csv",
        ]);
        let keys = |path: &str| {
            find(&path.into(), folder.path(), OnMissing::Error)
                .unwrap()
                .into_iter()
                .map(|f| f.partitions)
                .collect::<Vec<_>>()
        };
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let expected = vec![
            vec![pair("k", None), pair("day", Some("%zz"))],
            vec![pair("k", Some("a/b")), pair("day", Some("1"))],
        ];
        assert_eq!(keys("t=0"), expected);
        assert_eq!(keys("t=0/*/*/x.csv"), expected);
        assert_eq!(keys("t=0/k=*"), expected);
        assert_eq!(keys("t=0/k=a%2Fb/day=1/x.csv"), vec![vec![]]);
    }

    #[test]
    fn refuses_what_cannot_be_a_source() {
        let folder = folder_with(&[
            "a.csv",
            "b.parquet",
            "delta/_delta_log/0.json",
            "empty/_x",
            "c.csv.gz",
            "d.txt",
        ]);
        let base = folder.path();
        let fails = |paths: Paths| {
            find(&paths, base, OnMissing::Error)
                .map(|found| format_of(None, &found))
                .and_then(|r| r)
                .unwrap_err()
        };
        assert!(matches!(fails("no.csv".into()), Error::NotFound { .. }));
        assert!(matches!(fails("no*.csv".into()), Error::NoFiles { .. }));
        assert!(matches!(fails("empty".into()), Error::NoFiles { .. }));
        assert!(matches!(fails("a**b".into()), Error::BadGlob { .. }));
        assert!(matches!(fails("delta".into()), Error::DeltaTable { .. }));
        assert!(matches!(fails("".into()), Error::NoPath));
        assert!(matches!(fails(Paths::default()), Error::NoPath));
        assert!(matches!(
            fails(Paths::Many(vec!["a.csv".into(), "*.csv".into()])),
            Error::FileTwice { .. }
        ));
        assert!(matches!(
            fails(Paths::Many(vec!["a.csv".into(), "b.parquet".into()])),
            Error::MixedFormats { .. }
        ));
        assert!(matches!(fails("d.txt".into()), Error::UnknownFormat { .. }));
        let allowed = |paths: Paths| find(&paths, base, OnMissing::Empty);
        for paths in ["no.csv", "no*.csv", "empty"] {
            let missing = allowed(paths.into());
            assert!(matches!(missing, Err(Error::NoFiles { .. })), "{paths}");
            let rest = allowed(Paths::Many(vec![paths.into(), "a.csv".into()]));
            assert_eq!(rest.unwrap().len(), 1, "{paths}");
        }
        let found = find(
            &Paths::Many(vec!["a.csv".into(), "c.csv.gz".into()]),
            base,
            OnMissing::Error,
        )
        .unwrap();
        assert_eq!(format_of(None, &found).unwrap(), Some(Format::Csv));
    }
}

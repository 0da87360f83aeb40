//! What a plan keeps of earlier outputs: copies of the files that it takes rows from.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::classes::{NotReused, RowClasses};
use super::earlier::EarlierOutput;
use super::{AnswerPlace, Reuse};
use crate::durable::{self, Pending};
use crate::engine::Error;
use crate::journal::RunDir;
use crate::output::{Format, OutputMode};

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// How a plan takes answers from each file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileUses(Vec<FileUse>);

#[derive(Debug, Clone, Copy)]
struct FileUse {
    rows: u64,
    last: u32,
    in_order: bool,
}

impl FileUses {
    /// Notes that the next row of the plan takes an answer.
    pub(crate) fn note(&mut self, place: AnswerPlace) {
        if self.0.len() <= place.file {
            let none = FileUse {
                rows: 0,
                last: 0,
                in_order: true,
            };
            self.0.resize(place.file + 1, none);
        }
        let uses = &mut self.0[place.file];
        uses.in_order &= uses.rows == 0 || place.row > uses.last;
        uses.last = place.row;
        uses.rows += 1;
    }

    fn of(&self, file: usize) -> Option<FileUse> {
        self.0.get(file).copied().filter(|uses| uses.rows > 0)
    }
}

/// What a plan keeps of earlier outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReusePlan {
    /// How the output is written.
    pub(crate) mode: OutputMode,
    /// The output that is continued: what it was when the run was planned. `None` where there was
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<BaseOutput>,
    /// The rows of it that stay beside the run's.
    #[serde(default, skip_serializing_if = "KeptRows::is_none")]
    pub(crate) kept: KeptRows,
    /// The copies, in the order in which rows name them; `None` where no row does.
    pub(crate) files: Vec<Option<CopiedFile>>,
    /// Rows by class.
    pub(crate) classes: RowClasses,
}

/// The output that a run continues, as it was when the run was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaseOutput {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) hash: String,
}

/// Rows of an earlier output that stay in the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum KeptRows {
    /// None.
    #[default]
    None,
    /// All of them, before the run's.
    All,
    /// Some of them, behind the run's: their numbers are in a file, four bytes each.
    Listed {
        /// How many.
        rows: u64,
        /// The file, relative to the run's folder.
        file: String,
        /// blake3 of it, in hex.
        hash: String,
    },
}

impl KeptRows {
    fn is_none(&self) -> bool {
        *self == KeptRows::None
    }
}

/// A copy of an earlier output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopiedFile {
    /// Where it was.
    pub(crate) from: PathBuf,
    /// The copy, relative to the run's folder.
    pub(crate) file: String,
    /// Its format.
    pub(crate) format: Format,
    /// Its size.
    pub(crate) bytes: u64,
    /// blake3 of it, in hex.
    pub(crate) hash: String,
    /// Rows of the plan that take an answer from it.
    pub(crate) rows: u64,
    /// Whether they take them in the order in which the file has them.
    pub(crate) in_order: bool,
}

/// Copies what a plan takes from earlier outputs into the run's folder; `None` where it takes
/// nothing.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn keep(
    reuse: &Reuse,
    uses: &FileUses,
    classes: &RowClasses,
    run: &RunDir,
) -> Result<Option<ReusePlan>, Error> {
    let removed = if reuse.keeps_removed {
        reuse.removed()
    } else {
        Vec::new()
    };
    let continues = reuse.mode.continues();
    let keeps_base = reuse.skips_known_keys() || !removed.is_empty();
    let is_used = |file: usize| uses.of(file).is_some() || (file == 0 && keeps_base);
    if !continues && !(0..reuse.files.len()).any(is_used) {
        return Ok(None);
    }
    let folder = run.earlier();
    durable::create_private_dir(&folder).map_err(cannot("create", &folder))?;
    let mut files = Vec::new();
    for (number, file) in reuse.files.iter().enumerate() {
        if !is_used(number) {
            files.push(None);
            continue;
        }
        let uses = uses.of(number);
        let copy = folder.join(format!("{:05}.{}", number + 1, file.format.word()));
        let (bytes, hash) = copy_hashed(&file.path, &copy)?;
        check_unchanged(file)?;
        files.push(Some(CopiedFile {
            from: file.path.clone(),
            file: run.relative(&copy),
            format: file.format,
            bytes,
            hash,
            rows: uses.map_or(0, |uses| uses.rows),
            in_order: uses.is_none_or(|uses| uses.in_order),
        }));
    }
    let kept = if reuse.skips_known_keys() {
        KeptRows::All
    } else if removed.is_empty() {
        KeptRows::None
    } else {
        list(&removed, &folder.join("kept.u32"), run)?
    };
    let base = (continues && reuse.has_base)
        .then(|| base_of(reuse, &files))
        .transpose()?;
    durable::sync_dir(&folder).map_err(cannot("write", &folder))?;
    Ok(Some(ReusePlan {
        mode: reuse.mode,
        base,
        kept,
        files,
        classes: classes.clone(),
    }))
}

/// Checks that what was compared with the rows is still there, so that it is what was copied.
fn check_unchanged(file: &EarlierOutput) -> Result<(), Error> {
    if !file.has_changed() {
        return Ok(());
    }
    Err(Error::Reuse {
        path: file.path.clone(),
        why: NotReused::Unreadable {
            reason: "it was written while the job was planned; run the command again".to_owned(),
        },
    })
}

fn base_of(reuse: &Reuse, files: &[Option<CopiedFile>]) -> Result<BaseOutput, Error> {
    let path =
        std::path::absolute(&reuse.files[0].path).unwrap_or_else(|_| reuse.files[0].path.clone());
    let (bytes, hash) = match files.first() {
        Some(Some(copy)) => (copy.bytes, copy.hash.clone()),
        _ => {
            let found = hash_of(&path)?;
            check_unchanged(&reuse.files[0])?;
            found
        }
    };
    Ok(BaseOutput { path, bytes, hash })
}

fn list(rows: &[u32], path: &Path, run: &RunDir) -> Result<KeptRows, Error> {
    let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
    durable::write_file(path, &bytes).map_err(cannot("write", path))?;
    Ok(KeptRows::Listed {
        rows: rows.len() as u64,
        file: run.relative(path),
        hash: blake3::hash(&bytes).to_hex().to_string(),
    })
}

/// Size and blake3 of a file.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn hash_of(path: &Path) -> Result<(u64, String), Error> {
    each_block(path, |_| Ok(()))
}

/// Copies a file, and gives its size and blake3.
pub(super) fn copy_hashed(from: &Path, to: &Path) -> Result<(u64, String), Error> {
    let mut copy = Pending::create(to).map_err(cannot("create", to))?;
    let copied = each_block(from, |block| {
        copy.write_all(block).map_err(cannot("write", to))
    })?;
    copy.commit().map_err(cannot("write", to))?;
    Ok(copied)
}

fn each_block(
    path: &Path,
    mut call: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(u64, String), Error> {
    let mut file = File::open(path).map_err(cannot("read", path))?;
    let mut hasher = blake3::Hasher::new();
    let (mut block, mut bytes) = (vec![0; COPY_BYTES], 0);
    loop {
        match file.read(&mut block).map_err(cannot("read", path))? {
            0 => return Ok((bytes, hasher.finalize().to_hex().to_string())),
            read => {
                hasher.update(&block[..read]);
                call(&block[..read])?;
                bytes += read as u64;
            }
        }
    }
}

pub(super) fn cannot(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File {
        doing,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_whether_answers_are_taken_in_order() {
        let mut uses = FileUses::default();
        for (file, row) in [(1, 3), (2, 9), (1, 4), (2, 9), (1, 7)] {
            uses.note(AnswerPlace { file, row });
        }
        assert!(uses.of(0).is_none());
        assert!(
            uses.of(1)
                .is_some_and(|uses| uses.in_order && uses.rows == 3)
        );
        assert!(
            uses.of(2)
                .is_some_and(|uses| !uses.in_order && uses.rows == 2)
        );
    }
}

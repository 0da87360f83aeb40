//! The border around calls into crates that may panic: on a damaged file, or on a type that they do
//! not know.
//!
//! What is called through `guard` ends in a value or in `Panicked`, which says what the crate said.
//! Nothing is printed meanwhile: a hook that is silent inside the border (and only there, by
//! thread) stands before the one that was there. Memory that cannot be had ends the process all the
//! same, so what a file makes of itself in memory is looked at before (see `source`).

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many borders this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// A call that panicked, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Panicked {
    said: String,
}

/// Makes a call that may panic.
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    install();
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or(panic.downcast_ref::<String>().map(String::as_str));
        Panicked {
            said: without_paths(said.unwrap_or("the reader or writer gave up")),
        }
    })
}

/// Makes a call that may fail or panic; both become an error of the kind that the call has.
pub(crate) fn guarded<T, E: From<Panicked>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    guard(call).unwrap_or_else(|panicked| Err(panicked.into()))
}

impl From<Panicked> for arrow::error::ArrowError {
    fn from(panicked: Panicked) -> Self {
        arrow::error::ArrowError::ExternalError(Box::new(panicked))
    }
}

impl From<Panicked> for parquet::errors::ParquetError {
    fn from(panicked: Panicked) -> Self {
        parquet::errors::ParquetError::External(Box::new(panicked))
    }
}

/// Puts the hook before the one that is there, once in the life of the process.
///
/// Outside of a border it says where the program is wrong, but no path of the machine on which it
/// was built.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                if cfg!(debug_assertions) {
                    before(panic)
                } else {
                    print_panic(panic)
                }
            }
        }));
    });
}

#[expect(
    clippy::print_stderr,
    reason = "a panic outside the border is a bug, and is printed as one"
)]
fn print_panic(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(|at| format!(" at {}:{}", short(at.file()), at.line()))
        .unwrap_or_default();
    let said = panic
        .payload_as_str()
        .map(|said| format!(": {}", without_paths(said)))
        .unwrap_or_default();
    eprintln!("error: this is a bug in rowmill{place}{said}");
}

/// A path as it stands in its package: what comes before it belongs to the machine of the build.
fn short(path: &str) -> &str {
    let path = path
        .split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(path, |(_, rest)| rest);
    let path = path.split_once("/library/").map_or(path, |(_, rest)| rest);
    if path.starts_with('/') {
        path.rsplit_once("/src/").map_or("?", |(_, rest)| rest)
    } else {
        path
    }
}

/// The text without the paths of the build that may stand in it.
fn without_paths(said: &str) -> String {
    let shown = |word: &'_ str| {
        if word.contains("/registry/src/") {
            short(word).to_owned()
        } else {
            word.to_owned()
        }
    };
    said.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_panic_an_error_that_says_what_was_said() {
        assert_eq!(guard(|| 7), Ok(7));
        let said = guard(|| -> u8 { panic!("no such page: {}", 3) }).unwrap_err();
        assert_eq!(said.to_string(), "no such page: 3");
        let within: Result<Result<u8, Panicked>, Panicked> = guard(|| guard(|| panic!("inner")));
        assert_eq!(within.unwrap().unwrap_err().to_string(), "inner");
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn shows_no_path_of_the_machine_of_the_build() {
        for (path, shown) in [
            (
                "/home/ci/.cargo/registry/src/registry-1949/parquet-60.1.0/src/a.rs",
                "parquet-60.1.0/src/a.rs",
            ),
            ("/rustc/abc/library/core/src/slice.rs", "core/src/slice.rs"),
            ("src/source/mod.rs", "src/source/mod.rs"),
            ("/build/rowmill/src/source/mod.rs", "source/mod.rs"),
        ] {
            assert_eq!(short(path), shown);
        }
        assert_eq!(
            without_paths("failed at /x/registry/src/i/arrow-60/src/a.rs now"),
            "failed at arrow-60/src/a.rs now"
        );
    }
}

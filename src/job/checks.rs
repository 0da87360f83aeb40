//! What the reader of job files promises for any input, for the fuzz target and the property test.

use std::path::Path;

use super::{Error, JobFile};

/// Reads bytes as a job file and panics where a promise is broken.
///
/// Promised for any input: the reader does not panic; an error names its place; a job that is
/// accepted survives a round trip through JSON, by which a run compares it with the job it was
/// planned from.
///
/// # Panics
/// Where one of these does not hold.
pub fn check_job_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let lines = text.lines().count();
    match JobFile::parse(Path::new("folder/job.toml"), text) {
        Ok(file) => {
            let json = serde_json::to_string(&file.job).expect("a job can be stored");
            let kept: super::Job = serde_json::from_str(&json).expect("a stored job can be read");
            let again = serde_json::to_string(&kept).expect("a job can be stored");
            assert_eq!(json, again, "a stored job stays the same job");
            assert_eq!(file.folder, Path::new("folder"));
        }
        Err(Error::Parse { line, message, .. }) => {
            // The end of the text is a place too: a missing section is reported there.
            assert!((1..=lines + 1).contains(&line), "line {line} of {lines}");
            assert!(!message.is_empty());
        }
        Err(Error::Value { key, problem, .. }) => {
            assert!(key.contains('.'), "`{key}` has no section");
            assert!(!problem.is_empty());
        }
        Err(error @ Error::Read { .. }) => panic!("nothing is read from disk: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check_job_file;
    use crate::job::tests::SMALLEST;

    /// A small valid job with every section, as the start of what is cut and changed.
    fn job() -> String {
        format!(
            "{SMALLEST}[batch]\nmax_requests = 50\n[cache]\nprime_wait = \"90s\"\n[canary]\nrows \
             = 5\nmax_error = 0.25\n[budget]\nrun_usd = 1.50\n[retry]\n"
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_bytes_are_read_or_refused_with_a_place(bytes: Vec<u8>) {
            check_job_file(&bytes);
        }

        #[test]
        fn a_changed_job_is_read_or_refused_with_a_place(
            at in 0..400_usize,
            removed in 0..40_usize,
            put in prop_oneof![
                "[a-z_=\\[\\]{}\",.0-9\n -]{0,12}",
                Just("-1".to_owned()),
                Just("nan".to_owned()),
                Just("1979-05-27".to_owned()),
                Just("99999999999999999999".to_owned()),
                Just("ü\r\n".to_owned()),
            ],
        ) {
            let mut bytes = job().into_bytes();
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, put.into_bytes());
            check_job_file(&bytes);
        }
    }

    #[test]
    fn the_job_that_is_changed_is_a_job() {
        let parsed = crate::job::JobFile::parse(std::path::Path::new("a.toml"), job());
        assert!(parsed.is_ok(), "{parsed:?}");
    }
}

//! The beta features that exist, so that a name with a typing mistake is found before the whole
//! batch is refused for it.
//!
//! **Source**: the list in the provider's Python SDK 2.14.0 (November 2026), read 2026-11-30; which
//! of them have no effect any more is in the changelog of its TypeScript SDK 1.9.0 and in the
//! release notes, read 2026-11-22.

use crate::template::nearest;

use super::{Error, RequestWarning};

/// Names that the header takes.
const KNOWN: &[&str] = &[
    "advisor-tool-2026-03-01",
    "agent-memory-2026-07-22",
    "cache-diagnosis-2026-04-07",
    "ce-plugins-2026-09-01",
    "code-execution-2025-05-22",
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    LONG_CONTEXT,
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    "fast-mode-2026-02-01",
    "inline-tools-2026-09-15",
    INTERLEAVED_THINKING,
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-client-2026-09-15",
    "mcp-tunnels-2026-06-22",
    "message-threads-2026-08-12",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-clear-at-2026-08-21",
    "mid-conversation-tool-changes-2026-07-01",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    LONG_OUTPUT,
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-07-01",
    "skills-2025-10-02",
    "structured-outputs-2025-11-13",
    "task-budgets-2026-03-13",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-efficient-tools-2025-02-19",
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    "user-profiles-2026-09-04",
    "user-profiles-billing-2026-10-01",
];

/// Names that are accepted and have no effect: their features work without them.
const OBSOLETE: &[&str] = &[
    "extended-cache-ttl-2025-04-11",
    "files-api-2025-04-14",
    "message-batches-2024-09-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "token-counting-2024-11-01",
];

/// Answers of up to 300,000 tokens, in batches only.
pub(crate) const LONG_OUTPUT: &str = "output-300k-2026-03-24";

/// With tools, the budget for thinking may pass `max_tokens`: it is for all turns between them.
pub(crate) const INTERLEAVED_THINKING: &str = "interleaved-thinking-2025-05-14";

/// A context of a million tokens, for models that had one only with it; the last of them lost it on
/// 2026-04-30.
pub(super) const LONG_CONTEXT: &str = "context-1m-2025-08-07";

/// The names that do something, the older version of a feature before the newer one.
pub(super) fn known() -> impl DoubleEndedIterator<Item = &'static str> {
    KNOWN.iter().copied()
}

/// Checks the names of a job; returns the warnings about them.
///
/// # Errors
/// A name that cannot stand in the header, stands there twice, or, unless `accept_unknown`, is not
/// known.
pub(super) fn check(betas: &[String], accept_unknown: bool) -> Result<Vec<RequestWarning>, Error> {
    let wrong = |problem: String| {
        Err(Error::Value {
            key: "betas",
            problem,
        })
    };
    let mut warnings = Vec::new();
    for (i, name) in betas.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
            return wrong(format!(
                "must be names such as `{LONG_OUTPUT}`, one in each text"
            ));
        }
        if betas[..i].contains(name) {
            return wrong(format!("has `{name}` twice"));
        }
        let name = name.as_str();
        if OBSOLETE.contains(&name) {
            warnings.push(RequestWarning::ObsoleteBeta {
                beta: name.to_owned(),
            });
        } else if !KNOWN.contains(&name) && !accept_unknown {
            const NEWER: &str = "`request.unknown_betas = true` takes names that are newer than \
                this version of rowmill";
            let fix = match nearest(name, KNOWN.iter().chain(OBSOLETE).copied()) {
                Some(near) => format!("did you mean `{near}`? ({NEWER})"),
                None => NEWER.to_owned(),
            };
            return wrong(format!("has the unknown beta `{name}`; {fix}"));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str], accept_unknown: bool) -> Result<Vec<RequestWarning>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        check(&names, accept_unknown).map_err(|e| e.to_string())
    }

    #[test]
    fn knows_names_and_points_out_those_that_do_nothing() {
        assert_eq!(
            checked(&[LONG_OUTPUT, "mcp-client-2025-11-20"], false),
            Ok(vec![])
        );
        let obsolete = RequestWarning::ObsoleteBeta {
            beta: "prompt-caching-2024-07-31".to_owned(),
        };
        assert_eq!(
            checked(&["prompt-caching-2024-07-31"], false),
            Ok(vec![obsolete])
        );
        assert!(KNOWN.is_sorted() && OBSOLETE.is_sorted());
    }

    #[test]
    fn refuses_names_that_would_fail_the_batch() {
        for (names, words) in [
            (
                &["output-300k-2026-03-25"][..],
                "unknown beta `output-300k-2026-03-25`; did you mean `output-300k-2026-03-24`?",
            ),
            (
                &["qqqqqqqqqqqqqqqqqqqq"],
                "unknown beta `qqqqqqqqqqqqqqqqqqqq`",
            ),
            (&["a,b"], "one in each text"),
            (&[""], "one in each text"),
            (&[LONG_OUTPUT, LONG_OUTPUT], "twice"),
        ] {
            assert!(
                checked(names, false).unwrap_err().contains(words),
                "{names:?}"
            );
        }
        assert_eq!(checked(&["brand-new-2027-01-01"], true), Ok(vec![]));
    }
}

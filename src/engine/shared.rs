//! What all requests of a job share, part by part, and whether it can be read from the prompt
//! cache.
//!
//! The API does not report marks that have no effect, nor a cache that is split, so this report
//! does: how long the shared part is against the shortest prefix that the model caches, and
//! which choices of rows give them caches of their own. Tokens are estimated, so between "can hit"
//! and "cannot" there is a "perhaps".
//!
//! What it costs, and whether it pays, is in the plan.

use serde::Serialize;

use crate::catalog::Catalog;
use crate::estimate::CacheSplit;
use crate::estimate::media::Media;
use crate::estimate::shared::{Shared, SharedPart};
use crate::request::{PerRowParams, RequestSpec, Requests};

use super::Warning;

/// The shared part of a job's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedReport {
    /// The model, as the job names it.
    pub model: String,
    /// Its parts, in the order in which the model reads them.
    pub parts: Vec<SharedPart>,
    /// Tokens of all of them, about.
    pub tokens: u64,
    /// Tokens up to the last cache mark; 0 where there is none.
    pub marked_tokens: u64,
    /// The shortest prefix that the model caches, in tokens.
    pub min_cache_tokens: u64,
    /// Whether requests can read it from the cache.
    pub verdict: CacheVerdict,
    /// What gives rows caches of their own.
    pub splits: Vec<CacheSplit>,
}

/// Whether requests can read the shared part from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheVerdict {
    /// Up to the last mark, once one of them has written it.
    CanHit,
    /// Its length is so near the shortest prefix that the estimate is not exact enough to decide.
    Perhaps,
    /// What is marked is shorter than anything the model caches.
    TooShort,
    /// Nothing is marked.
    NoMark,
}

impl SharedReport {
    /// Inspects the requests of a job.
    #[must_use]
    pub fn new(catalog: &Catalog, requests: &Requests, job: &RequestSpec) -> SharedReport {
        let Some((_, model)) = catalog.model(&job.model) else {
            return SharedReport::unknown(&job.model);
        };
        let shared = Shared::of(
            requests.head(),
            Media::of(requests.shared_media(), model),
            model,
        );
        let last_mark = shared.parts.iter().rposition(|part| part.cache.is_some());
        let marked = last_mark.map_or(&[][..], |last| &shared.parts[..=last]);
        let marked_tokens = marked.last().map_or(0, |part| part.up_to_here);
        let least = model.min_cache_tokens;
        let verdict = match marked_tokens {
            0 => CacheVerdict::NoMark,
            _ if marked.iter().any(|part| part.has_media) && marked_tokens < least => {
                CacheVerdict::Perhaps
            }
            // The estimate is good to a fifth or so.
            tokens if tokens * 5 < least * 4 => CacheVerdict::TooShort,
            tokens if tokens * 4 < least * 5 => CacheVerdict::Perhaps,
            _ => CacheVerdict::CanHit,
        };
        SharedReport {
            model: job.model.clone(),
            tokens: shared.tokens,
            parts: shared.parts,
            marked_tokens,
            min_cache_tokens: least,
            verdict,
            splits: splits(requests.per_row()),
        }
    }

    fn unknown(model: &str) -> SharedReport {
        SharedReport {
            model: model.to_owned(),
            parts: Vec::new(),
            tokens: 0,
            marked_tokens: 0,
            min_cache_tokens: 0,
            verdict: CacheVerdict::NoMark,
            splits: Vec::new(),
        }
    }

    /// Whether the catalog does not have the model, so that nothing is known of its cache.
    #[must_use]
    pub fn model_is_unknown(&self) -> bool {
        self.min_cache_tokens == 0
    }

    /// What the user should know though the job runs: a mark without effect, a cache that is split.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let (marked_tokens, min_cache_tokens) = (self.marked_tokens, self.min_cache_tokens);
        let is_certain = match self.verdict {
            CacheVerdict::TooShort => true,
            CacheVerdict::Perhaps
                if marked_tokens < min_cache_tokens
                    && !self.parts.iter().any(|part| part.has_media) =>
            {
                false
            }
            CacheVerdict::CanHit | CacheVerdict::Perhaps => {
                let by = *self.splits.first()?;
                return Some(Warning::CacheSplit { by });
            }
            CacheVerdict::NoMark => return None,
        };
        Some(Warning::CacheMarkTooShort {
            marked_tokens,
            min_cache_tokens,
            is_certain,
        })
    }
}

/// What splits the cache: the provider keeps what it cached by model, and by what precedes the
/// text.
///
/// **Source**: prompt caching documentation, read 2026-08-22.
fn splits(choices: PerRowParams) -> Vec<CacheSplit> {
    let table = [
        (choices.model, CacheSplit::Model),
        (choices.effort, CacheSplit::Effort),
    ];
    let splits = table.into_iter().filter(|(is_so, _)| *is_so);
    splits.map(|(_, split)| split).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::estimate::shared::PartKind;

    fn report(model: &str, words: usize, rest: &str) -> SharedReport {
        let text = "policy ".repeat(words);
        let job = format!(
            "model = \"{model}\"\nmax_tokens = 2000\nmessages = \
             [{{ role = \"user\", text = \"{{{{ body }}}}\" }}]\nsystem = \
             [{{ text = \"{text}\", cache = \"1h\" }}, {{ text = \"Be brief.\" }}]\n{rest}"
        );
        let columns = Schema::new(vec![Field::new("body", DataType::Utf8, true)]);
        let spec: RequestSpec = toml::from_str(&job).unwrap();
        let requests =
            Requests::compile(&spec, Path::new("."), &columns, Catalog::builtin()).unwrap();
        SharedReport::new(Catalog::builtin(), &requests, &spec)
    }

    #[test]
    fn decides_whether_a_mark_can_hit() {
        for (model, words, verdict) in [
            ("claude-haiku-4-5", 100, CacheVerdict::TooShort),
            ("claude-haiku-4-5", 2_000, CacheVerdict::Perhaps),
            ("claude-haiku-4-5", 4_000, CacheVerdict::CanHit),
            ("claude-opus-5-5", 300, CacheVerdict::CanHit),
        ] {
            let found = report(model, words, "");
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert_eq!(
                found.warning().is_some(),
                verdict != CacheVerdict::CanHit && found.marked_tokens < found.min_cache_tokens
            );
        }
    }

    #[test]
    fn shows_the_parts_in_the_order_in_which_the_model_reads_them() {
        let tools = "tools = [{ name = \"f\", input_schema = { type = \"object\" } }]";
        let found = report("claude-opus-5", 300, tools);
        let parts: Vec<_> = found
            .parts
            .iter()
            .map(|part| (part.what.clone(), part.cache.is_some()))
            .collect();
        let expected = [
            (PartKind::ToolPrompt, false),
            (
                PartKind::Tool {
                    name: "f".to_owned(),
                },
                false,
            ),
            (PartKind::SystemBlock { number: 1 }, true),
            (PartKind::SystemBlock { number: 2 }, false),
        ];
        assert_eq!(parts, expected);
        assert_eq!(
            found.parts[0].tokens,
            286 + crate::estimate::shared::PER_REQUEST
        );
        assert_eq!(
            found.parts.iter().map(|part| part.tokens).sum::<u64>(),
            found.tokens
        );
        assert_eq!(found.marked_tokens, found.parts[2].up_to_here);
        let forced = report(
            "claude-opus-5",
            300,
            &format!("{tools}\ntool_choice = \"any\""),
        );
        assert_eq!(
            forced.parts[0].tokens,
            406 + crate::estimate::shared::PER_REQUEST
        );
    }

    #[test]
    fn points_out_what_splits_the_cache() {
        assert!(report("claude-opus-5", 300, "").splits.is_empty());
        let split = report(
            "claude-opus-5",
            300,
            "per_row = { model = \"body\", effort = \"body\", max_tokens = \"length(body)\" }",
        );
        assert_eq!(split.splits, [CacheSplit::Model, CacheSplit::Effort]);
        let by = CacheSplit::Model;
        assert_eq!(split.warning(), Some(Warning::CacheSplit { by }));
        assert!(
            report(
                "claude-opus-5",
                300,
                "per_row = { max_tokens = \"length(body)\", tag = \"body\" }"
            )
            .splits
            .is_empty()
        );
    }
}

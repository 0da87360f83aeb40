//! Sentences about requests and their options.

use rowmill::request::RequestWarning;

/// A warning about the requests of a job.
pub(crate) fn warning(warning: &RequestWarning) -> String {
    match warning {
        RequestWarning::ObsoleteBeta { beta } => {
            format!("the beta `{beta}` has no effect: its feature works without it")
        }
        RequestWarning::UnknownParameter { name } => format!(
            "`request.params.{name}` is not known to this version and is passed on; the API \
             refuses what it does not know"
        ),
        RequestWarning::CacheMarkOnRows => {
            "`request.params.cache_control` marks the end of each row's own text: every row pays \
             for writing a cache entry that no other row reads; `cache` on the last shared system \
             block is read by all rows"
                .to_owned()
        }
        RequestWarning::ToolNeedsBeta { tool, beta } => format!(
            "the tool `{tool}` belongs to a beta: without \"{beta}\" in `request.betas` every row \
             may fail"
        ),
        RequestWarning::LargeSharedMedia { part, bytes } => format!(
            "{part} has {bytes} bytes and is part of every request; `upload = true` sends it once"
        ),
        RequestWarning::LittleRoomToThink {
            model,
            max_tokens,
            enough_tokens,
            can_be_off,
        } => {
            let off = if *can_be_off {
                ", or set `request.thinking = \"off\"`"
            } else {
                ""
            };
            format!(
                "`{model}` thinks before it answers, and thinking counts against `max_tokens`: \
                 {max_tokens} may be used up before the answer begins; set {enough_tokens} or \
                 more{off}"
            )
        }
        RequestWarning::LongOutputWithoutEffect {
            beta,
            model,
            max_output_tokens,
        } => format!(
            "the beta `{beta}` has no effect: `{model}` writes at most {max_output_tokens} tokens"
        ),
        RequestWarning::LongContextWithoutEffect {
            beta,
            model,
            context_tokens,
        } => match context_tokens {
            1_000_000.. => format!(
                "the beta `{beta}` has no effect: `{model}` accepts prompts of {context_tokens} \
                 tokens without it"
            ),
            _ => format!(
                "the beta `{beta}` has no effect: it ended on 2026-04-30, and `{model}` accepts \
                 prompts of {context_tokens} tokens"
            ),
        },
        _ => format!("{warning:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn names_the_setting_that_helps() {
        let tight = |can_be_off| RequestWarning::LittleRoomToThink {
            model: owned("m"),
            max_tokens: 50,
            enough_tokens: 1_024,
            can_be_off,
        };
        assert!(
            warning(&tight(true))
                .ends_with("set 1024 or more, or set `request.thinking = \"off\"`")
        );
        assert!(warning(&tight(false)).ends_with("set 1024 or more"));
        let long = |context_tokens| RequestWarning::LongContextWithoutEffect {
            beta: owned("b"),
            model: owned("m"),
            context_tokens,
        };
        assert!(
            warning(&long(1_000_000)).ends_with("accepts prompts of 1000000 tokens without it")
        );
        assert!(warning(&long(200_000)).contains("it ended on 2026-04-30"));
    }
}

//! Which batches of a run go first, and how many requests they have.
//!
//! A cache warm-up has one request, the run's first, so that no request is sent for its own sake; a
//! canary has as many as the job says. Row order is unchanged: the batches that go first hold the
//! first rows.

use crate::estimate::warm_up::WarmUpDecision;
use crate::job::{CanarySpec, JobFile};
use crate::journal::{Checkpoint, CheckpointKind};

/// The batches of a run that go first.
#[derive(Debug)]
pub(crate) struct WarmUpBatches {
    /// Requests that the run must have for one to go first.
    prime_from: u64,
    canary: Option<CanarySpec>,
    /// Whether one goes first; `None` until that is settled.
    primes: Option<bool>,
}

impl WarmUpBatches {
    pub(crate) fn of(file: &JobFile, priming: &WarmUpDecision) -> WarmUpBatches {
        let prime_from = priming.pays_from_requests().unwrap_or(u64::MAX);
        let primes = (prime_from == u64::MAX).then_some(false);
        WarmUpBatches {
            prime_from,
            canary: file.job.canary.clone(),
            primes,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.primes.is_some()
    }

    /// Whether it takes more requests than these to settle it.
    pub(crate) fn wants_more_than(&self, requests: u64) -> bool {
        requests < self.prime_from
    }

    /// Settles it for a run of this many requests.
    pub(crate) fn settle(&mut self, requests: u64) {
        self.primes = Some(requests >= self.prime_from);
    }

    /// The sizes of the batches that go first.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u32> {
        let prime = (self.primes == Some(true)).then_some(1);
        prime
            .into_iter()
            .chain(self.canary.as_ref().map(|canary| canary.rows))
    }

    /// The checkpoints of a run with batches of these sizes: none that nothing follows, and none
    /// for a cache that turned out not to be worth the wait.
    pub(crate) fn checkpoints(&self, sizes: &[u32]) -> Vec<Checkpoint> {
        let requests: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
        let primes = self.primes == Some(true);
        let prime = primes.then_some(CheckpointKind::Prime);
        let canary = self.canary.as_ref().map(|canary| CheckpointKind::Canary {
            limits: canary.limits(),
        });
        let kinds = prime
            .into_iter()
            .chain(canary)
            .zip(1..)
            .map(|(kind, batch)| Checkpoint { batch, kind });
        let follows = |checkpoint: &Checkpoint| {
            sizes
                .iter()
                .skip(checkpoint.batch as usize)
                .any(|&size| size > 0)
        };
        let pays = |checkpoint: &Checkpoint| {
            checkpoint.kind != CheckpointKind::Prime || requests >= self.prime_from
        };
        kinds.filter(follows).filter(pays).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::catalog::Catalog;
    use crate::estimate::{Estimator, RequestPrefix, RunHistory};

    fn compile(sections: &str) -> WarmUpBatches {
        let text = format!(
            "[job]\nname = 'a'\n[source]\npath = 'a.csv'\n[request]\nmodel = 'm'\nmax_tokens = 1\n\
             messages = [{{ role = 'user', text = 'a' }}]\n[output]\npath = 'b.csv'\n{sections}"
        );
        let file = JobFile::parse(Path::new("a.toml"), text).unwrap();
        let head = br#"{"model":"m","messages":["#;
        let estimator = Estimator::new(
            Catalog::builtin(),
            &RequestPrefix::text("claude-haiku-4-5", head),
            RunHistory::default(),
        )
        .unwrap();
        WarmUpBatches::of(
            &file,
            &WarmUpDecision::new(file.job.cache.prime, &estimator, &estimator.fit()).unwrap(),
        )
    }

    fn checkpoints(
        mut warm_up: WarmUpBatches,
        requests: u64,
        sizes: &[u32],
    ) -> Vec<(u32, &'static str)> {
        warm_up.settle(requests);
        warm_up
            .checkpoints(sizes)
            .iter()
            .map(|checkpoint| (checkpoint.batch, checkpoint.kind.as_str()))
            .collect()
    }

    #[test]
    fn lets_one_request_and_a_canary_go_first() {
        let both = "[cache]\nprime = 'always'\n[canary]\nrows = 20\n";
        let mut settled = compile(both);
        assert!(!settled.is_settled() && settled.wants_more_than(1) && !settled.wants_more_than(2));
        settled.settle(100);
        assert_eq!(settled.sizes().collect::<Vec<_>>(), [1, 20]);
        assert_eq!(
            checkpoints(compile(both), 100, &[1, 20, 79]),
            [(1, "prime"), (2, "canary")]
        );
        let canary = compile("[canary]\nrows = 20\n[cache]\nprime = 'off'\n");
        assert!(canary.is_settled());
        assert_eq!(canary.sizes().collect::<Vec<_>>(), [20]);
        assert_eq!(checkpoints(canary, 100, &[20, 80]), [(1, "canary")]);
    }

    #[test]
    fn has_no_checkpoint_behind_which_nothing_follows() {
        let both = "[cache]\nprime = 'always'\n[canary]\nrows = 20\n";
        assert_eq!(checkpoints(compile(both), 15, &[1, 14]), [(1, "prime")]);
        assert_eq!(
            checkpoints(compile(both), 21, &[1, 20, 0]),
            [(1, "prime")],
            "the last batch has rows, and no request"
        );
        assert_eq!(checkpoints(compile(both), 1, &[1]), []);
        assert_eq!(
            checkpoints(compile("[cache]\nprime = 'off'\n"), 100, &[60, 40]),
            []
        );
    }
}

//! Time and chance.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// Time and chance, handed down so that tests have them in hand.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
    /// The time since a fixed instant, for how long something has lasted: it only moves forward,
    /// whatever is done to the clock.
    fn elapsed(&self) -> Duration {
        self.now()
            .duration_since(Timestamp::UNIX_EPOCH)
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
    /// Waits because there is nothing else to do until then.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
    /// Waits beside something else that may be done earlier: a limit on how long a call may take.
    ///
    /// A clock that a test moves skips a sleep at once; an alarm must ring only when the time has
    /// come by other sleeps, or a call of a millisecond would seem to take hours.
    fn alarm(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.sleep(duration)
    }
    /// A random number from 0 to 1.
    fn jitter(&self) -> f64;
    /// Whether time passes by sleeps alone, as in a test that moves the clock. The simulator of
    /// this process then follows it, and waits for no real time.
    fn is_manual(&self) -> bool {
        false
    }
}

/// The machine's clock and a random generator seeded by the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn elapsed(&self) -> Duration {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGUN.elapsed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        tokio::time::sleep(duration).boxed()
    }
    fn jitter(&self) -> f64 {
        fastrand::f64()
    }
}

//! The same loop on every core, with the results in order.
//!
//! Each thread takes the next item under a lock, works on it alone, waits for its turn, and hands
//! its product on. There is no queue and no pool: memory is one item and one product a thread, and
//! the work balances itself whatever an item costs.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

struct ItemQueue<I> {
    items: I,
    next: u64,
    over: bool,
}

struct OrderedSink<S, E> {
    next: u64,
    sink: S,
    failed: Option<E>,
    /// A thread has panicked: the others stop waiting.
    broken: bool,
}

/// Takes every item through `work` on `threads` threads, and hands the products to `sink` in the
/// order of the items.
///
/// **Order:** `sink` sees product 0, 1, 2 …, one at a time. **Memory:** `threads` items and
/// products at a time.
///
/// # Errors
/// The first error, in item order, of `items`, `work` or `sink`; what came before it has been
/// passed on.
pub(crate) fn in_order<T, P, E>(
    threads: usize,
    items: impl Iterator<Item = Result<T, E>> + Send,
    work: impl Fn(T) -> Result<P, E> + Sync,
    sink: impl FnMut(P) -> Result<(), E> + Send,
) -> Result<(), E>
where
    T: Send,
    P: Send,
    E: Send,
{
    let queue = Mutex::new(ItemQueue {
        items,
        next: 0,
        over: false,
    });
    let sink_in_turn = Mutex::new(OrderedSink {
        next: 0,
        sink,
        failed: None,
        broken: false,
    });
    let turned = Condvar::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1))
            .map(|_| scope.spawn(|| one_thread(&queue, &work, &sink_in_turn, &turned)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
    let sink_in_turn = sink_in_turn
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    sink_in_turn.failed.map_or(Ok(()), Err)
}

fn one_thread<T, P, E>(
    queue: &Mutex<ItemQueue<impl Iterator<Item = Result<T, E>>>>,
    work: &impl Fn(T) -> Result<P, E>,
    sink_in_turn: &Mutex<OrderedSink<impl FnMut(P) -> Result<(), E>, E>>,
    turned: &Condvar,
) {
    let on_panic = WakeOnPanic {
        mark: || lock(sink_in_turn).broken = true,
        turned,
    };
    while let Some((number, item)) = take(queue) {
        let product = item.and_then(work);
        let mut now = lock(sink_in_turn);
        while now.next != number && now.failed.is_none() && !now.broken {
            now = turned.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        if now.failed.is_some() || now.broken {
            break;
        }
        if let Err(error) = product.and_then(|product| (now.sink)(product)) {
            now.failed = Some(error);
        }
        now.next += 1;
        drop(now);
        turned.notify_all();
    }
    turned.notify_all();
    std::mem::forget(on_panic);
}

fn take<T, E>(
    queue: &Mutex<ItemQueue<impl Iterator<Item = Result<T, E>>>>,
) -> Option<(u64, Result<T, E>)> {
    let mut queue = lock(queue);
    if queue.over {
        return None;
    }
    let Some(item) = queue.items.next() else {
        queue.over = true;
        return None;
    };
    queue.over = item.is_err();
    let number = queue.next;
    queue.next += 1;
    Some((number, item))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the others when a thread unwinds; they would wait for its turn for ever.
struct WakeOnPanic<'a, F: Fn()> {
    mark: F,
    turned: &'a Condvar,
}

impl<F: Fn()> Drop for WakeOnPanic<'_, F> {
    fn drop(&mut self) {
        (self.mark)();
        self.turned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        threads: usize,
        items: Vec<Result<u64, String>>,
        bad: u64,
    ) -> (Result<(), String>, Vec<u64>) {
        let mut seen = Vec::new();
        let work = |n: u64| {
            // Later items are quicker, so that order is not kept by chance.
            std::thread::sleep(std::time::Duration::from_micros(
                200u64.saturating_sub(n * 3),
            ));
            if n == bad {
                Err(format!("bad {n}"))
            } else {
                Ok(n * 10)
            }
        };
        let result = in_order(threads, items.into_iter(), work, |product| {
            seen.push(product);
            Ok(())
        });
        (result, seen)
    }

    #[test]
    fn keeps_the_order_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let (result, seen) = run(threads, (0..100).map(Ok).collect(), u64::MAX);
            assert_eq!(result, Ok(()));
            assert_eq!(seen, (0..100).map(|n| n * 10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn stops_at_the_first_error_in_order() {
        let mut items: Vec<_> = (0..50).map(Ok).collect();
        items.insert(30, Err("worse".to_owned()));
        let (result, seen) = run(3, items.clone(), 20);
        assert_eq!((result, seen.len()), (Err("bad 20".to_owned()), 20));
        let (result, seen) = run(3, items, u64::MAX);
        assert_eq!((result, seen.len()), (Err("worse".to_owned()), 30));
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn passes_a_panic_on_instead_of_waiting_for_ever() {
        let work = |n: u64| {
            if n == 3 {
                panic!("on purpose")
            } else {
                Ok::<_, ()>(n)
            }
        };
        let _ = in_order(4, (0..100).map(Ok), work, |_| Ok(()));
    }
}

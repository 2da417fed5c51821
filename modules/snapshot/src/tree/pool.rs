//! Several threads over one list, and a watch over them.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::provider::Watch;
use crate::{SnapshotError, error};

/// How often the watch is asked; callers are promised every two seconds.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Tells the threads to leave their work.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error when the work is to be left. Its text is never seen: the reason is already on its way.
    pub(crate) fn check(&self) -> Result<(), SnapshotError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(error::stopped("another part of the work failed".to_owned()));
        }
        Ok(())
    }
}

/// Asks the watch during work on the main thread, but not more often than is useful.
pub(crate) struct Pace<'a> {
    watch: Watch<'a>,
    last: Instant,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(watch: Watch<'a>) -> Self {
        Self { watch, last: Instant::now() }
    }

    pub(crate) fn check(&mut self) -> Result<(), SnapshotError> {
        if self.last.elapsed() < WATCH_INTERVAL {
            return Ok(());
        }
        self.last = Instant::now();
        (self.watch)().map_err(error::stopped)
    }
}

/// What is done with one item of the list.
pub(crate) type Work<'a, T, R> = &'a (dyn Fn(&T, &Stop) -> Result<R, SnapshotError> + Sync);

/// Does `work` with every item, by `jobs` threads, and returns the results in no particular order. The first error,
/// of the work or of the watch, ends it all.
pub(crate) fn run<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    watch: Watch<'_>,
    work: Work<'_, T, R>,
) -> Result<Vec<R>, SnapshotError> {
    let stop = Stop::default();
    let next = AtomicUsize::new(0);
    let (sender, results) = channel();
    let jobs = NonZeroUsize::new(jobs).map_or(1, NonZeroUsize::get).min(items.len());
    thread::scope(|scope| {
        for _ in 0..jobs {
            let sender = sender.clone();
            let (stop, next) = (&stop, &next);
            scope.spawn(move || each(items, next, stop, work, &sender));
        }
        // Only the threads hold senders now, so the channel ends with the last of them.
        drop(sender);
        collect(&results, &stop, watch)
    })
}

fn each<T, R>(
    items: &[T],
    next: &AtomicUsize,
    stop: &Stop,
    work: Work<'_, T, R>,
    results: &Sender<Result<R, SnapshotError>>,
) {
    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
        let result = stop.check().and_then(|()| work(item, stop));
        let failed = result.is_err();
        if results.send(result).is_err() || failed {
            return;
        }
    }
}

fn collect<R>(
    results: &Receiver<Result<R, SnapshotError>>,
    stop: &Stop,
    watch: Watch<'_>,
) -> Result<Vec<R>, SnapshotError> {
    let mut done = Vec::new();
    let mut first_error = None;
    let mut next_watch = Instant::now() + WATCH_INTERVAL;
    let mut fail = |error: SnapshotError| {
        stop.set();
        first_error.get_or_insert(error);
    };
    loop {
        match results.recv_timeout(next_watch.saturating_duration_since(Instant::now())) {
            Ok(Ok(result)) => done.push(result),
            Ok(Err(error)) => fail(error),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Not only after a timeout: results may come in faster than that for hours.
        if Instant::now() >= next_watch {
            if let Err(reason) = watch() {
                fail(error::stopped(reason));
            }
            next_watch = Instant::now() + WATCH_INTERVAL;
        }
    }
    first_error.map_or(Ok(done), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_item_is_done_once() {
        let items: Vec<u32> = (0..1000).collect();
        let mut done = run(&items, 4, &|| Ok(()), &|item, _| Ok(*item)).unwrap();
        done.sort_unstable();
        assert_eq!(done, items);
        assert!(run(&[] as &[u32], 0, &|| Ok(()), &|item, _| Ok(*item)).unwrap().is_empty());
    }

    #[test]
    fn the_first_error_ends_it() {
        let items: Vec<u32> = (0..100_000).collect();
        let count = AtomicUsize::new(0);
        let error = run(&items, 2, &|| Ok(()), &|item, stop| {
            count.fetch_add(1, Ordering::Relaxed);
            stop.check()?;
            if *item == 10 { Err(error::stopped("ten".to_owned())) } else { Ok(()) }
        });
        assert_eq!(error.unwrap_err().to_string(), "the copying was stopped: ten");
        assert!(count.load(Ordering::Relaxed) < 100_000);
    }

    #[test]
    fn the_watch_ends_it_even_inside_one_item() {
        let asked = Cell::new(0);
        let started = Instant::now();
        let watch = || {
            asked.set(asked.get() + 1);
            if asked.get() < 2 { Ok(()) } else { Err("backup mode was lost".to_owned()) }
        };
        let error = run(&[1, 2], 2, &watch, &|_, stop| {
            loop {
                stop.check()?;
                thread::sleep(Duration::from_millis(1));
            }
            #[expect(unreachable_code, reason = "gives the closure its type")]
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "the copying was stopped: backup mode was lost");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn fast_results_do_not_keep_the_watch_from_being_asked() {
        let items: Vec<u32> = (0..1500).collect();
        let asked = Cell::new(0);
        let watch = || {
            asked.set(asked.get() + 1);
            Ok(())
        };
        run(&items, 1, &watch, &|_, _| {
            thread::sleep(Duration::from_millis(1));
            Ok(())
        })
        .unwrap();
        assert!(asked.get() >= 2, "asked {} times", asked.get());
    }
}

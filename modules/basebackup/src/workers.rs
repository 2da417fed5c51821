//! Several threads over one list, while the caller is asked whether to go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::BasebackupError;

/// How often the caller is asked.
const ASKED: Duration = Duration::from_millis(200);

/// What is done with one item of the list; it leaves off when the flag is set.
pub(crate) type Work<'a, T, R> = &'a (dyn Fn(&T, &AtomicBool) -> Result<R, BasebackupError> + Sync);

/// Does `work` with every item, by at most `jobs` threads, and returns the results in no particular order. The first
/// error ends it all, and so does `stop` when it answers with `true`.
pub(crate) fn run<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    stop: &dyn Fn() -> bool,
    work: Work<'_, T, R>,
) -> Result<Vec<R>, BasebackupError> {
    let flag = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let (sender, results) = channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            let (sender, flag, next) = (sender.clone(), &flag, &next);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if flag.load(Ordering::Relaxed) || sender.send(work(item, flag)).is_err() {
                        return;
                    }
                }
            });
        }
        // Only the threads hold senders now, so the channel ends with the last of them.
        drop(sender);
        collect(&results, &flag, stop)
    })
}

fn collect<R>(
    results: &Receiver<Result<R, BasebackupError>>,
    flag: &AtomicBool,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<R>, BasebackupError> {
    let mut done = Vec::new();
    let mut failed = None;
    loop {
        match results.recv_timeout(ASKED) {
            Ok(Ok(result)) => done.push(result),
            Ok(Err(error)) => {
                flag.store(true, Ordering::Relaxed);
                failed.get_or_insert(error);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Not only after a timeout: results may come in faster than that for hours.
        if failed.is_none() && stop() {
            flag.store(true, Ordering::Relaxed);
            failed = Some(BasebackupError::Stopped);
        }
    }
    failed.map_or(Ok(done), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_once() {
        let items: Vec<u32> = (0..1000).collect();
        let mut done = run(&items, 4, &|| false, &|item, _| Ok(*item)).unwrap();
        done.sort_unstable();
        assert_eq!(done, items);
        assert!(run(&[] as &[u32], 0, &|| false, &|item, _| Ok(*item)).unwrap().is_empty());
    }

    #[test]
    fn stopped_by_the_caller() {
        let waits = |_: &u32, flag: &AtomicBool| {
            while !flag.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Err::<(), _>(BasebackupError::Stopped)
        };
        let error = run(&[1, 2, 3], 2, &|| true, &waits).unwrap_err();
        assert_eq!(error.to_string(), "the work on the base backup was stopped");
    }
}

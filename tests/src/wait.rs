//! Waiting for what must happen.

use std::time::{Duration, Instant};

/// Asks every 20 ms until `done` says yes.
///
/// # Panics
///
/// When `limit` passes first, naming `what`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

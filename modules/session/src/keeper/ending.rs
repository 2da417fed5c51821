//! How a keeper ends other than by its loop.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::{SessionRecord, SessionState, Store};

/// How long after its deadline a keeper that hangs in the server is ended.
const GRACE: Duration = Duration::from_secs(20);

/// How long a look at the server may take. It needs no disk and no lock, and takes less than a millisecond; a machine
/// that swaps may need seconds. Less than the 30 s that a task waits for an answer, so that it hears of it.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// Since when the keeper has been waiting for the answer to a look.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Instant>>>);

impl Watch {
    /// A look begins; it ends when what this returns is dropped.
    pub(super) fn begin(&self) -> Looking {
        self.set(Some(Instant::now()));
        Looking(self.clone())
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Looking(Watch);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Removes the socket and its folder, which was made for it alone.
pub(super) fn leave(socket: &Path) {
    let _ = std::fs::remove_file(socket);
    if let Some(folder) = socket.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// A server that hangs (stopped, paused, out of reach) blocks the loop. A backup of such a server is lost, and backup
/// mode must not outlive the deadline for it either.
pub(super) fn end_when_hanging(
    store: &Store,
    record: &SessionRecord,
    deadline: Instant,
    watch: Watch,
) {
    let (store, name) = (store.clone(), record.session.clone());
    let socket = record.socket.clone();
    std::thread::spawn(move || {
        let (kind, reason) = wait_for_hanging(deadline + GRACE, &watch);
        if let Ok(record) = store.read(&name)
            && record.state == SessionState::InProgress
        {
            let _ = store.write(&record.aborted(kind, reason));
        }
        end(&socket);
    });
}

/// Returns when the server hangs: the kind of it, and what happened.
fn wait_for_hanging(end: Instant, watch: &Watch) -> (&'static str, String) {
    loop {
        let now = Instant::now();
        if now >= end {
            let reason =
                "the server did not answer past the deadline; the keeper has closed its connection";
            return ("backup_aborted", reason.to_owned());
        }
        if watch.since().is_some_and(|since| now.saturating_duration_since(since) >= LOOK_LIMIT) {
            let reason = format!(
                "the server did not answer within {} s (is it stopped or paused?); the keeper has closed its \
                 connection, so backup mode is left as soon as the server goes on",
                LOOK_LIMIT.as_secs()
            );
            return ("connection_lost", reason);
        }
        std::thread::sleep(Duration::from_secs(1).min(end - now));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loop hangs in a system call, so only the process can end"
)]
fn end(socket: &Path) {
    leave(socket);
    std::process::exit(1);
}

/// Signals that ask the keeper to end, blocked since its start and read from here.
pub(super) fn termination_signals() -> Option<SignalFd> {
    let mut signals = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .for_each(|signal| signals.add(signal));
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .ok()
        .filter(|fd| fd.as_raw_fd() >= 0)
}

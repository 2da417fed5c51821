//! How a keeper ends other than by its loop.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::{SessionRecord, SessionState, Store};

/// How long after its deadline a keeper that hangs in the server is ended.
const GRACE: Duration = Duration::from_secs(20);

/// Removes the socket and its folder, which was made for it alone.
pub(super) fn leave(socket: &Path) {
    let _ = std::fs::remove_file(socket);
    if let Some(folder) = socket.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// A server that hangs (stopped, out of reach) blocks the loop; backup mode
/// must not outlive the deadline for that.
#[expect(
    clippy::disallowed_methods,
    reason = "the loop hangs in a system call, so only the process can end"
)]
pub(super) fn end_when_hanging(store: &Store, record: &SessionRecord, deadline: Instant) {
    let (store, name) = (store.clone(), record.session.clone());
    let socket = record.socket.clone();
    let at = deadline + GRACE;
    std::thread::spawn(move || {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if let Ok(record) = store.read(&name)
            && record.state == SessionState::InProgress
        {
            let reason =
                "the server did not answer past the deadline; the keeper has closed its connection";
            let _ = store.write(&record.aborted("backup_aborted", reason));
        }
        leave(&socket);
        std::process::exit(1);
    });
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

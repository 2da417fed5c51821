//! Ends the sandbox when the drill must not go on, also while an answer of its server is waited for.

use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Watch;

/// How often it is asked whether to go on.
const TICK: Duration = Duration::from_millis(250);

/// Does it. When `watch` says meanwhile not to go on, the reason is noted in `stopped` and the sandbox's first process,
/// a child of ours, is killed: the sandbox ends with it, and so does every wait for it.
pub(super) fn guarded<T>(
    sandbox: u32,
    watch: &Watch<'_>,
    stopped: &OnceLock<String>,
    act: impl FnOnce() -> T,
) -> T {
    std::thread::scope(|scope| {
        let (done, hear) = mpsc::channel::<()>();
        scope.spawn(move || {
            while hear.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if let Err(reason) = watch() {
                    let _ = stopped.set(reason);
                    let pid = i32::try_from(sandbox).unwrap_or(0);
                    if pid > 1 {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                    return;
                }
            }
        });
        let result = act();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_left_alone_and_what_must_not_is_killed() {
        let stopped = OnceLock::new();
        assert_eq!(guarded(0, &|| Ok(()), &stopped, || 7), 7);
        assert_eq!(stopped.get(), None);
        #[expect(clippy::disallowed_methods, reason = "a process to be killed")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let late = || Err("too late".to_owned());
        let status = guarded(child.id(), &late, &stopped, || child.wait()).unwrap();
        assert_eq!((status.code(), stopped.get().map(String::as_str)), (None, Some("too late")));
    }
}

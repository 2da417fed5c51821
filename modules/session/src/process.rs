//! Telling a living keeper from a dead one, and from a stranger that got its
//! process id.

use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process, named so that no other can be taken for it: ids are reused, but
/// not with the same start time in the same boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperProcess {
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The user it runs as.
    pub uid: u32,
}

impl KeeperProcess {
    /// This very process.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current() -> std::io::Result<KeeperProcess> {
        let pid = std::process::id();
        let start_ticks = start_ticks(pid)
            .ok_or_else(|| std::io::Error::other("/proc/<pid>/stat cannot be read"))?;
        Ok(KeeperProcess {
            pid,
            start_ticks,
            boot_id: boot_id()?,
            uid: nix::unistd::geteuid().as_raw(),
        })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|id| id == self.boot_id)
            && start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Ends it at once, if it still runs and belongs to this user. The
    /// connection it held closes, and with that the server leaves backup mode.
    pub(crate) fn kill(&self, owner: u32) {
        let runs_as = std::fs::metadata(format!("/proc/{}", self.pid)).map(|found| found.uid());
        if self.is_alive()
            && runs_as.is_ok_and(|uid| uid == owner)
            && let Ok(pid) = i32::try_from(self.pid)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Whether the machine was restarted since.
    #[must_use]
    pub fn is_of_another_boot(&self) -> bool {
        boot_id().is_ok_and(|id| id != self.boot_id)
    }
}

fn boot_id() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// The start time, unless the process is gone or a zombie.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_double_is_not() {
        let this = KeeperProcess::current().unwrap();
        assert!(this.is_alive());
        assert!(!KeeperProcess { start_ticks: this.start_ticks + 1, ..this.clone() }.is_alive());
        let old = KeeperProcess { boot_id: "another".into(), ..this };
        assert!(!old.is_alive() && old.is_of_another_boot());
    }
}

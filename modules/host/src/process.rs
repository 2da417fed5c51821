//! Processes, named so that no other can be taken for them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{HostError, Mounts};

/// A process of this host. Ids are reused, but not with the same start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id as this host numbers it.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
    pub start_ticks: u64,
}

impl Process {
    /// The process that now has the id `pid`.
    ///
    /// # Errors
    /// [`HostError::NoProcess`] when there is none, or only what is left of one that has ended.
    pub fn find(pid: i32) -> Result<Self, HostError> {
        let start_ticks = start_ticks(pid).ok_or(HostError::NoProcess { pid })?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Its root directory as we reach it: `/proc/<pid>/root`. The kernel follows this link into the process's own
    /// mounts; a program that reads the link and goes where it points does not.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.proc("root")
    }

    /// Whether its control group is frozen, as that of a paused container is. `false` also when that cannot be found
    /// out.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let Ok(groups) = fs::read_to_string(self.proc("cgroup")) else { return false };
        let Ok(mounts) = Mounts::read() else { return false };
        groups.lines().any(|line| is_frozen(line, &mounts) == Some(true))
    }

    /// `/proc/<pid>/<name>`.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(name)
    }

    pub(crate) fn check_alive(&self) -> Result<(), HostError> {
        if self.is_alive() { Ok(()) } else { Err(HostError::NoProcess { pid: self.pid }) }
    }
}

/// The start time, unless the process is gone or a zombie.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What a line of `/proc/<pid>/cgroup` (`<number>:<controllers>:<path>`, see cgroups(7)) leads to: version 2 has
/// number 0 and no controllers. Both versions tell of a group as frozen, too, when one above it is.
fn is_frozen(line: &str, mounts: &Mounts) -> Option<bool> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    if number == "0" && controllers.is_empty() {
        let events = read_in_group("cgroup2", None, path, mounts, "cgroup.events")?;
        return Some(events.lines().any(|line| line == "frozen 1"));
    }
    if controllers.split(',').any(|word| word == "freezer") {
        let state = read_in_group("cgroup", Some("freezer"), path, mounts, "freezer.state")?;
        return Some(state.trim() != "THAWED");
    }
    None
}

fn read_in_group(
    fstype: &str,
    controller: Option<&str>,
    path: &str,
    mounts: &Mounts,
    file: &str,
) -> Option<String> {
    mounts
        .iter()
        .filter(|mount| mount.fstype == fstype)
        .filter(|mount| controller.is_none_or(|word| mount.options.iter().any(|has| has == word)))
        .filter_map(|mount| mount.path_seen(Path::new(path)))
        .find_map(|group| fs::read_to_string(group.join(file)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Process {
        Process::find(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn this_process_is_alive_and_its_double_is_not() {
        let this = own();
        assert!(this.is_alive());
        assert!(!this.is_frozen());
        let double = Process { start_ticks: this.start_ticks + 1, ..this.clone() };
        assert!(!double.is_alive());
        assert_eq!(
            double.check_alive().unwrap_err().to_string(),
            format!("process {} does not run", this.pid)
        );
        let json = format!(r#"{{"pid":{},"start_ticks":{}}}"#, this.pid, this.start_ticks);
        assert_eq!(serde_json::to_string(&this).unwrap(), json);
        assert_eq!(serde_json::from_str::<Process>(&json).unwrap(), this);
    }

    #[test]
    fn there_is_no_process_with_a_nonsensical_id() {
        assert!(matches!(Process::find(-1), Err(HostError::NoProcess { pid: -1 })));
        assert!(Process::find(0).is_err());
    }

    #[test]
    fn frozen_groups_of_both_versions_are_seen() {
        let temporary = tempfile::tempdir().unwrap();
        let at = temporary.path().display();
        let text = format!(
            "31 1 0:28 / {at}/two rw - cgroup2 cgroup2 rw\n32 1 0:29 /outer {at}/freezer rw - cgroup cgroup rw,freezer\n"
        );
        let mounts = Mounts::parse(text.as_bytes());
        let write = |group: &str, file: &str, content: &str| {
            let group = temporary.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), content).unwrap();
        };
        write("two/a", "cgroup.events", "populated 1\nfrozen 1\n");
        write("two/b", "cgroup.events", "populated 1\nfrozen 0\n");
        write("freezer/a", "freezer.state", "FROZEN\n");
        write("freezer/b", "freezer.state", "THAWED\n");
        assert_eq!(is_frozen("0::/a", &mounts), Some(true));
        assert_eq!(is_frozen("0::/b", &mounts), Some(false));
        assert_eq!(is_frozen("0::/c", &mounts), None);
        assert_eq!(is_frozen("7:freezer:/outer/a", &mounts), Some(true));
        assert_eq!(is_frozen("7:cpu,freezer:/outer/b", &mounts), Some(false));
        assert_eq!(is_frozen("7:freezer:/other", &mounts), None);
        assert_eq!(is_frozen("6:memory:/a", &mounts), None);
        assert_eq!(is_frozen("nonsense", &mounts), None);
    }
}

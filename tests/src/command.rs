//! Starting programs from tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::place::User;

/// Looks a program up in `PATH` and where daemons lie.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(daemons).map(|d| d.join(name)).find(|p| p.is_file())
}

/// A program as `user`, in `/`, that is killed when this test process dies.
#[must_use]
pub fn tied(program: impl AsRef<OsStr>, user: &User) -> Command {
    let mut command = Command::new("setpriv");
    if user.is_other() {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
        command.arg("--clear-groups").env("HOME", &user.home).env("USER", &user.name);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir("/");
    command.env("LC_ALL", "C").stdin(Stdio::null());
    // a developer's own settings are not the test's
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end.
///
/// # Panics
///
/// When the program cannot be started or ends other than with 0; with all it
/// printed.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("could not start {:?}: {e}", command.get_program()));
    assert!(
        output.status.success(),
        "{:?} {:?} ended with {}:\n{}{}",
        command.get_program(),
        command.get_args().collect::<Vec<_>>(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The process ids below `pid`, children before their own children.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let tasks = Path::new("/proc").join(parent.to_string()).join("task");
        for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
        at += 1;
    }
    found.split_off(1)
}

/// Sends a signal; a process that is gone already is fine.
pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(0));
    if pid.as_raw() > 0 {
        let _ = nix::sys::signal::kill(pid, signal);
    }
}

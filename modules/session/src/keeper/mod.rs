//! The keeper: the process that owns a session's connection.
//!
//! It starts (`start`), then answers tasks, looks at the server every few
//! seconds and watches its deadline (`serve`). Which state it is in, and hence
//! what it can do, is a type (`phase`).

mod ending;
mod phase;
mod serve;
mod start;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::launch::{Order, Progress};
use crate::{KEEPER_COMMAND, SessionError};

/// The order is small; a limit keeps a broken sender from filling memory.
const ORDER_LIMIT: u64 = 8 << 20;

/// Runs the hidden commands. With `detach`, starts the keeper from a session
/// of its own and returns, so that the keeper is no session leader and has no
/// living parent of the caller's.
///
/// # Errors
/// When the order cannot be read. What goes wrong later is in the record.
pub fn run(detach: bool) -> Result<(), SessionError> {
    let failed = |error: std::io::Error| SessionError::Launch { reason: error.to_string() };
    // A pipe kept by the keeper would hold its reader until the session ends.
    program::close_inherited();
    // Fails only for the leader of a process group, which is then already on
    // its own (systemd-run's case).
    let _ = nix::unistd::setsid();
    if detach {
        return become_keeper().map_err(failed);
    }
    let mut text = vec![];
    std::io::stdin().take(ORDER_LIMIT).read_to_end(&mut text).map_err(failed)?;
    let order: Order = serde_json::from_slice(&text).map_err(SessionError::Record)?;
    say(&Progress::Hello { pid: std::process::id() }).map_err(failed)?;
    start::run(order)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the second half of detaching is this program re-executed"
)]
fn become_keeper() -> std::io::Result<()> {
    Command::new("/proc/self/exe")
        .arg(KEEPER_COMMAND)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
}

/// One line to the task that waits for us.
fn say(progress: &Progress) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut line = serde_json::to_vec(progress)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

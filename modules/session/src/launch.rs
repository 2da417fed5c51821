//! Starting the keeper so that it outlives the task, the ssh connection and
//! the login session.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use pg::{Login, Password, SlotName};
use serde::{Deserialize, Serialize};

use crate::protocol::PROTOCOL;
use crate::{DETACH_COMMAND, KEEPER_COMMAND, KeeperFailure, SessionError, SessionRecord};

/// What a session's slot is named after.
pub const WAL_SLOT_PREFIX: &str = "backstay_";

/// Everything a keeper needs; goes through its standard input, so that neither
/// its arguments nor its environment show a secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Of the protocol; the keeper is the same executable, but its file may
    /// have been replaced.
    pub protocol: u32,
    /// The record as far as it is known.
    pub record: SessionRecord,
    /// The state directory.
    pub state_directory: std::path::PathBuf,
    /// How to connect.
    pub login: Login,
    /// The password, apart because [`Login`] never serializes it.
    password: Option<String>,
    /// Whether the starting checkpoint is immediate.
    pub fast: bool,
    /// The slot to make.
    pub slot: Option<SlotName>,
    /// Seconds until the keeper gives up.
    pub max_duration: u64,
    /// The user and group to become.
    pub run_as: Option<(u32, u32)>,
}

impl Order {
    /// An order for this session.
    #[must_use]
    pub fn new(record: SessionRecord, state_directory: &Path, mut login: Login) -> Order {
        let password = login.password.take().map(|password| password.expose().to_owned());
        Order {
            protocol: PROTOCOL,
            record,
            state_directory: state_directory.to_owned(),
            login,
            password,
            fast: true,
            slot: None,
            max_duration: 3600,
            run_as: None,
        }
    }

    /// The login with its password put back.
    pub(crate) fn login(&mut self) -> Login {
        let mut login = self.login.clone();
        login.password = self.password.take().map(Password::from);
        login
    }
}

/// What a keeper prints while it starts: first who it is, then how it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// It runs and is connecting.
    Hello {
        /// Its process id.
        pid: u32,
    },
    /// It is in backup mode.
    Ready(Box<SessionRecord>),
    /// It is not, and ends.
    Failed(KeeperFailure),
}

/// The keeper is in backup mode.
#[derive(Debug)]
pub struct Ready {
    /// The record with the start's answer.
    pub record: SessionRecord,
    /// What a person should know.
    pub warnings: Vec<LaunchWarning>,
}

/// What may end a keeper early although it runs now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchWarning {
    /// logind ends everything of a user that logs out.
    #[error(
        "logind has KillUserProcesses=yes, which ends the keeper at logout: run backup_start as root (become: true, \
         with os_user), which puts it into a scope of its own"
    )]
    LogindKills,
    /// The scope could not be made.
    #[error(
        "systemd-run could not make a scope for the keeper ({0}): it lives in the login session"
    )]
    NoScope(String),
}

/// Starts the keeper and returns when it is in backup mode. `gone` says
/// whether the caller of this task has gone away.
///
/// # Errors
/// With the keeper's own error when it could not enter backup mode, or when
/// that took longer than `patience`. The keeper is gone then.
pub fn launch(
    order: &Order,
    patience: Duration,
    gone: &dyn Fn() -> bool,
) -> Result<Ready, SessionError> {
    let mut warnings = vec![];
    let order_text = serde_json::to_vec(order).map_err(SessionError::Record)?;
    if geteuid().is_root() && Path::new("/run/systemd/system").exists() {
        match start(scope(order.record.session.as_str()), &order_text, patience, gone)? {
            Started::Ready(record) => return Ok(Ready { record: *record, warnings }),
            Started::Silent(why) => warnings.push(LaunchWarning::NoScope(why)),
        }
    }
    if logind_kills() {
        warnings.push(LaunchWarning::LogindKills);
    }
    match start(detached(), &order_text, patience, gone)? {
        Started::Ready(record) => Ok(Ready { record: *record, warnings }),
        Started::Silent(reason) => Err(SessionError::Launch { reason }),
    }
}

/// This very program as a keeper in a scope of its own, outside of any login
/// session. A scope (not a service) keeps the caller's SELinux domain.
#[expect(clippy::disallowed_methods, reason = "the keeper is started here and nowhere else")]
fn scope(session: &str) -> Command {
    let name: String = session.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    // Two state directories may hold sessions of one name, and of "a-b.c" and
    // "a.b-c" the same remains: the process id tells their units apart.
    let us = std::process::id();
    let mut command = Command::new("systemd-run");
    command
        .args(["--scope", "--quiet", "--collect"])
        .arg(format!("--unit=backstay-{name}-{us}"))
        .arg("--")
        // Our file may vanish under us, /proc/<pid>/exe does not.
        .arg(format!("/proc/{us}/exe"))
        .arg(KEEPER_COMMAND);
    command
}

#[expect(clippy::disallowed_methods, reason = "the keeper is started here and nowhere else")]
fn detached() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(DETACH_COMMAND);
    command
}

/// How a start ended.
enum Started {
    /// In backup mode.
    Ready(Box<SessionRecord>),
    /// The process ended without a word, so there was no keeper.
    Silent(String),
}

fn start(
    mut command: Command,
    order: &[u8],
    patience: Duration,
    gone: &dyn Fn() -> bool,
) -> Result<Started, SessionError> {
    let failed = |what: &str, error: std::io::Error| SessionError::Launch {
        reason: format!("{what}: {error}"),
    };
    // Nothing of the caller's environment goes along: it may hold a password.
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Started::Silent(error.to_string())),
    };
    if let Some(mut input) = child.stdin.take()
        && let Err(error) = input.write_all(order)
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(failed("the order could not be handed over", error));
    }
    let heard = listen(&mut child, patience, gone);
    // The detaching stage or systemd-run's own process: reaped, never waited
    // for, since as a scope it is the keeper itself.
    let status = child.try_wait().ok().flatten();
    match heard {
        Ok(Heard::End) => {
            let status = status.or_else(|| child.wait().ok()).map(|status| status.to_string());
            Ok(Started::Silent(status.unwrap_or_else(|| "no exit status".into())))
        }
        Ok(Heard::Ready(record)) => Ok(Started::Ready(record)),
        Err(error) => Err(error),
    }
}

/// What a starting keeper said last.
enum Heard {
    /// Nothing more: it is gone.
    End,
    /// It is in backup mode.
    Ready(Box<SessionRecord>),
}

fn listen(
    child: &mut Child,
    patience: Duration,
    gone: &dyn Fn() -> bool,
) -> Result<Heard, SessionError> {
    let Some(output) = child.stdout.take() else { return Ok(Heard::End) };
    let mut reader = BufReader::new(output);
    let (started, mut keeper) = (Instant::now(), None);
    loop {
        if reader.buffer().is_empty()
            && !wait_readable(reader.get_ref(), Duration::from_millis(500))
        {
            let error = if gone() {
                SessionError::Launch { reason: "the task that asked for it went away".to_owned() }
            } else if started.elapsed() > patience {
                SessionError::NotStarted { seconds: patience.as_secs() }
            } else {
                continue;
            };
            // Closing its connection is what ends a backup that is starting.
            if let Some(pid) = keeper {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            return Err(error);
        }
        let mut line = String::new();
        let read = reader.read_line(&mut line).unwrap_or(0);
        if read == 0 {
            return Ok(Heard::End);
        }
        match serde_json::from_str(&line) {
            Ok(Progress::Hello { pid }) => keeper = i32::try_from(pid).ok(),
            Ok(Progress::Ready(record)) => return Ok(Heard::Ready(record)),
            Ok(Progress::Failed(failure)) => return Err(failure.into()),
            Err(error) => return Err(SessionError::Record(error)),
        }
    }
}

fn wait_readable(pipe: &impl AsFd, time: Duration) -> bool {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let mut watched = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, timeout).is_ok_and(|ready| ready > 0)
}

/// Whether logind ends a user's processes at logout, which no process can
/// escape from within its login session. Those of a service or of cron are in
/// no login session.
fn logind_kills() -> bool {
    let ours = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !Path::new("/run/systemd/system").exists() || !ours.contains("/user.slice/") {
        return false;
    }
    let asked = program::Program::new("busctl")
        .args(["get-property", "org.freedesktop.login1", "/org/freedesktop/login1"])
        .args(["org.freedesktop.login1.Manager", "KillUserProcesses"])
        .deadline(Duration::from_secs(5))
        .output();
    asked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == "b true")
}

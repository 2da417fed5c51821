//! Starting the restored server and waiting until recovery has done what was asked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use program::Program;

use crate::RecoveryError;
use crate::apply::Restored;
use crate::wait::{self, Recovered, RecoveryProbe};

/// The server's log during recovery, in the data directory.
pub(crate) const LOG: &str = "backstay_recovery.log";

/// The server's second PID file, in the data directory.
const PID_FILE: &str = "backstay_postmaster.pid";

/// How long `pg_ctl` itself may wait. It returns when the server answers, ends or this passes; which of the three is
/// then read from `postmaster.pid`, because `pg_ctl`'s exit status means nothing during a recovery: it depends on
/// whether read-only connections were possible for a moment.
const PG_CTL_SECONDS: u64 = 10;

/// How to start the server.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// The port for this start, instead of the configured one.
    pub port: Option<u16>,
    /// The socket directory for this start, instead of the configured ones.
    pub socket_directory: Option<PathBuf>,
    /// Variables for the server's environment, besides `PATH` and `LC_ALL=C`.
    pub environment: Vec<(String, String)>,
}

/// Starts the restored server as its owner, and waits until recovery has come to the end that was asked for.
///
/// - promote: the server answers that it is not in recovery any more;
/// - pause: it answers that replay is paused, and keeps running in recovery;
/// - shutdown: the postmaster has ended and the control file says `shut down in recovery`.
///
/// `patience` is how long nothing may move: neither the replay LSN nor the server's log nor the control file. The clock
/// begins again with every movement, so a long recovery needs no long patience. The log is `backstay_recovery.log` in
/// the data directory.
///
/// # Errors
/// [`RecoveryError::RecoveryTargetNotReached`] and [`RecoveryError::ServerStopped`] when the server ended early, with its
/// last words; [`RecoveryError::RecoveryStalled`] when nothing moved, and then the server is still running;
/// [`RecoveryError::ReplayedTooLittle`] when it replayed less than the backup needs to be consistent;
/// [`RecoveryError::ProgramMissing`] and [`RecoveryError::Program`] when it could not be started.
pub fn start_and_wait(
    restored: &Restored,
    options: &StartOptions,
    probe: &mut dyn RecoveryProbe,
    patience: Duration,
) -> Result<Recovered, RecoveryError> {
    let began = Instant::now();
    start(restored, options)?;
    let recovered = wait::until_recovered(restored, probe, patience, began)?;
    wait::enough_replayed(restored, &recovered)?;
    Ok(recovered)
}

fn start(restored: &Restored, options: &StartOptions) -> Result<(), RecoveryError> {
    let data = &restored.data_directory;
    let pg_ctl = find_pg_ctl(restored)?;
    let mut program = Program::new(pg_ctl)
        .args(["start", "-w", "-s", "-t"])
        .arg(PG_CTL_SECONDS.to_string())
        .arg("-D")
        .arg(data)
        .arg("-l")
        .arg(data.join(LOG))
        .arg("-o")
        .arg(server_options(data, restored.major.into(), restored.config_file.as_deref(), options))
        .deadline(Duration::from_secs(PG_CTL_SECONDS + 60));
    for (name, value) in &options.environment {
        program = program.env(name, value);
    }
    if nix::unistd::geteuid().is_root() {
        // The server refuses to run as root.
        program = program.as_user(restored.ownership.uid, restored.ownership.gid);
    }
    program
        .output()
        .map(drop)
        .map_err(|source| RecoveryError::Program { what: "pg_ctl to start the server", source })
}

/// The one the plan found, when the plan knew of the start.
fn find_pg_ctl(restored: &Restored) -> Result<PathBuf, RecoveryError> {
    let major = restored.major;
    restored
        .pg_ctl
        .clone()
        .or_else(|| pg::bin::find_server_program("pg_ctl", major, None, None))
        .ok_or_else(|| RecoveryError::ProgramMissing { name: "pg_ctl", major: major.to_string() })
}

/// The server's command line, which `pg_ctl` gives to a shell.
///
/// `data_directory` is named because a restored `postgresql.conf` may name the source's, which would win over `-D` and
/// start the server on the source's files. So is `external_pid_file`, as Debian sets it: a server beside the source would
/// write over the source's file and remove it in the end, and Debian's tools then take the source for one that is down.
/// And so is `stats_temp_directory`, which Debian sets too: 14 and older keep their statistics there, of whichever server.
fn server_options(
    data_directory: &Path,
    major: u32,
    config_file: Option<&Path>,
    options: &StartOptions,
) -> String {
    let mut settings = vec![
        ("data_directory", data_directory.display().to_string()),
        ("external_pid_file", data_directory.join(PID_FILE).display().to_string()),
    ];
    if major <= 14 {
        settings.push(("stats_temp_directory", "pg_stat_tmp".to_owned()));
    }
    if let Some(path) = config_file {
        settings.push(("config_file", path.display().to_string()));
    }
    if let Some(port) = options.port {
        settings.push(("port", port.to_string()));
    }
    if let Some(path) = &options.socket_directory {
        settings.push(("unix_socket_directories", path.display().to_string()));
    }
    settings
        .iter()
        .map(|(name, value)| format!("-c {}", shell_quote(&format!("{name}={value}"))))
        .collect::<Vec<_>>()
        .join(" ")
}

fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_survives_a_shell() {
        let options = StartOptions {
            port: Some(5433),
            socket_directory: Some(PathBuf::from("/tmp/$x")),
            ..StartOptions::default()
        };
        let config_file = Path::new("/etc/it's/postgresql.conf");
        assert_eq!(
            server_options(Path::new("/srv/a b"), 15, Some(config_file), &options),
            "-c 'data_directory=/srv/a b' -c 'external_pid_file=/srv/a b/backstay_postmaster.pid' -c 'config_file=/etc/it'\\''s/postgresql.conf' -c 'port=5433' -c 'unix_socket_directories=/tmp/$x'"
        );
        assert_eq!(
            server_options(Path::new("/d"), 14, None, &StartOptions::default()),
            "-c 'data_directory=/d' -c 'external_pid_file=/d/backstay_postmaster.pid' -c 'stats_temp_directory=pg_stat_tmp'"
        );
    }
}

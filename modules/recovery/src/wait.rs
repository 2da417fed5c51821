//! Waiting for recovery by its progress.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pg::{ControlFile, DbState, Lsn, PostmasterPid, TargetAction, TimelineId};

use crate::RecoveryError;
use crate::apply::Restored;
use crate::server_log::ServerLog;
use crate::start::LOG;

/// What a recovering server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// Whether replay is paused (from 14 on: state `paused`, not merely `pause requested`).
    pub paused: bool,
    /// `pg_last_wal_replay_lsn()`; it keeps its last value after promotion.
    pub replay_lsn: Option<Lsn>,
    /// The timeline of the control file (`pg_control_checkpoint()`) or, after promotion, of the WAL being written.
    pub timeline: Option<TimelineId>,
}

/// Asks a server how far recovery is. The SQL is the caller's.
pub trait RecoveryProbe {
    /// Connects through the socket in this directory (or over TCP on loopback when the path is empty) to this port, and
    /// asks. An answer that takes longer than a few seconds should be given up.
    ///
    /// # Errors
    /// Why it could not be asked, as a phrase. That is normal while the server is not consistent yet.
    fn look(&mut self, socket_directory: &Path, port: u16) -> Result<Progress, String>;
}

/// A recovery that ended as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the server runs (not after the action `shutdown`).
    pub started: bool,
    /// Whether it is still in recovery: `true` when paused or shut down at the target.
    pub in_recovery: bool,
    /// How far it replayed, when it could be asked.
    pub replay_lsn: Option<Lsn>,
    /// The timeline it is on; after promotion a new one.
    pub timeline: Option<TimelineId>,
    /// Where its socket is; `None` when it does not run or listens on TCP only.
    pub socket_directory: Option<PathBuf>,
    /// Its port, when it runs.
    pub port: Option<u16>,
    /// The server's log during recovery.
    pub log: PathBuf,
    /// How long the recovery took from the start of the server, as seen from outside.
    pub took: Duration,
}

/// Often enough to notice the end soon, seldom enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(100);

/// Whatever changes while recovery moves: the last answer, the size of the logs in bytes, and the checkpoint and minimum
/// recovery point of the control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sign {
    answer: Option<Progress>,
    log: u64,
    control: Option<(Lsn, Option<Lsn>)>,
}

/// What has been seen of the server so far.
struct Watch {
    log: ServerLog,
    began: Instant,
    moved: Instant,
    last: Option<Progress>,
    sign: Sign,
    refusal: String,
}

pub(crate) fn until_recovered(
    restored: &Restored,
    probe: &mut dyn RecoveryProbe,
    patience: Duration,
    began: Instant,
) -> Result<Recovered, RecoveryError> {
    let data = &restored.data_directory;
    let mut watch = Watch {
        log: ServerLog::new(data, restored.ownership.uid, data.join(LOG)),
        began,
        moved: Instant::now(),
        last: None,
        sign: Sign { answer: None, log: 0, control: None },
        refusal: "it could not be asked yet".to_owned(),
    };
    loop {
        let Some(server) = running_server(data) else {
            return watch.ended(restored);
        };
        watch.ask(probe, &server);
        if let Some(progress) = watch.last
            && is_done(restored.target.action, progress)
        {
            return Ok(watch.running(restored, &server, progress));
        }
        watch.notice_movement(data);
        if watch.moved.elapsed() >= patience {
            return Err(watch.stalled(restored, patience));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The server of this directory. Its file may be read in the moment of being written, so a strange one is read again.
fn running_server(data_directory: &Path) -> Option<PostmasterPid> {
    for _ in 0..10 {
        match PostmasterPid::read(data_directory) {
            Ok(found) => return found.filter(PostmasterPid::is_running),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
    None
}

/// Whether this is the end that was asked for. A server that promoted although it was to pause is done too: there is
/// nothing left to wait for, and the caller sees `in_recovery`.
fn is_done(action: TargetAction, progress: Progress) -> bool {
    !progress.in_recovery || (progress.paused && action == TargetAction::Pause)
}

impl Watch {
    fn ask(&mut self, probe: &mut dyn RecoveryProbe, server: &PostmasterPid) {
        let socket = server.socket_directory.clone().unwrap_or_default();
        let Some(port) = server.port else { return };
        match probe.look(&socket, port) {
            Ok(progress) => self.last = Some(progress),
            Err(reason) => self.refusal = reason,
        }
    }

    fn notice_movement(&mut self, data: &Path) {
        let control = ControlFile::read(&data.join(crate::control::CONTROL)).ok();
        let control = control.map(|file| (file.checkpoint, file.min_recovery_point));
        let sign = Sign { answer: self.last, log: self.log.look(), control };
        if sign != self.sign {
            self.sign = sign;
            self.moved = Instant::now();
        }
    }

    fn running(
        &self,
        restored: &Restored,
        server: &PostmasterPid,
        progress: Progress,
    ) -> Recovered {
        Recovered {
            started: true,
            in_recovery: progress.in_recovery,
            replay_lsn: progress.replay_lsn,
            timeline: progress.timeline,
            socket_directory: server.socket_directory.clone(),
            port: server.port,
            log: restored.data_directory.join(LOG),
            took: self.began.elapsed(),
        }
    }

    /// The postmaster has ended: as asked, or before.
    fn ended(mut self, restored: &Restored) -> Result<Recovered, RecoveryError> {
        let data = &restored.data_directory;
        let path = data.join(crate::control::CONTROL);
        let control = ControlFile::read(&path);
        if let Ok(control) = &control
            && restored.target.action == TargetAction::Shutdown
            && control.state == DbState::ShutDownInRecovery
        {
            return Ok(Recovered {
                started: false,
                in_recovery: true,
                // The control file may be ahead of the last answer, or there was none.
                replay_lsn: self
                    .last
                    .and_then(|last| last.replay_lsn)
                    .max(control.min_recovery_point),
                timeline: Some(control.timeline),
                socket_directory: None,
                port: None,
                log: data.join(LOG),
                took: self.began.elapsed(),
            });
        }
        let log = self.log.last_words();
        if ServerLog::target_not_reached(&log) {
            let target = restored.target.target.to_string();
            return Err(RecoveryError::RecoveryTargetNotReached { target, log });
        }
        Err(RecoveryError::ServerStopped { path: data.clone(), log })
    }

    fn stalled(&self, restored: &Restored, waited: Duration) -> RecoveryError {
        let state = match self.last {
            Some(progress) => format!(
                "its replay LSN is {}",
                progress.replay_lsn.map_or_else(|| "unknown".to_owned(), |lsn| lsn.to_string())
            ),
            None => format!("and could not be asked: {}", self.refusal),
        };
        RecoveryError::RecoveryStalled { path: restored.data_directory.clone(), waited, state }
    }
}

/// A server that says it is done must have replayed at least up to the stop LSN. For a backup from a primary the server
/// checks that itself, for one from a standby it cannot.
///
/// After a shutdown at the target the last answer may be older than the end, so it proves nothing against the server.
pub(crate) fn enough_replayed(
    restored: &Restored,
    recovered: &Recovered,
) -> Result<(), RecoveryError> {
    match recovered.replay_lsn {
        Some(replayed) if recovered.started && replayed < restored.stop_lsn => {
            Err(RecoveryError::ReplayedTooLittle { replayed, stop: restored.stop_lsn })
        }
        _ => Ok(()),
    }
}

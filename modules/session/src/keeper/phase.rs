//! Which state a keeper is in. A transition consumes the state it leaves, and
//! only a state that has a connection can use it.

use std::time::{Duration, Instant};

use pg::{BackupStop, Identity, Lsn, Server, ServerError, Tablespace};

use super::ending::Watch;
use crate::{Inside, KeeperFailure, SessionError};

/// In backup mode.
pub(super) struct InProgress {
    server: Server,
    expected: Expected,
    /// Ends this process when a look does not end.
    pub(super) watch: Watch,
}

/// What must not change while a backup is in progress.
pub(super) struct Expected {
    /// What the server was right after the start.
    pub(super) identity: Identity,
    /// The tablespaces that the copies are made of.
    pub(super) tablespaces: Vec<Tablespace>,
    /// The container it is in.
    pub(super) inside: Option<Inside>,
}

/// The backup mode is over and its answer is known.
pub(super) struct Stopped {
    /// What `pg_backup_stop` answered.
    pub(super) stop: BackupStop,
    /// The connection that still holds the WAL, by its temporary slot.
    server: Option<Server>,
}

/// Why there is no backup: a stable word and what happened.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) hints: Vec<String>,
}

impl Loss {
    fn new(kind: &'static str, reason: String, hint: &str) -> Loss {
        Loss { kind, reason, hints: vec![hint.to_owned()] }
    }

    fn from_server(doing: &'static str, source: ServerError) -> Loss {
        let lost = source.is_connection_lost();
        let error = SessionError::Server { doing, source };
        let mut hints = error.hints();
        if lost {
            hints.push(
                "The server ended the session (restart, pg_terminate_backend, crash or network). Start a new backup; \
                 snapshots taken in this session cannot be restored."
                    .into(),
            );
        }
        Loss {
            kind: if lost { "connection_lost" } else { kind_of(&error) },
            reason: chain(&error),
            hints,
        }
    }

    /// The failure as the task hears it. A lost backup is never backup mode.
    pub(super) fn failure(&self) -> KeeperFailure {
        KeeperFailure {
            kind: self.kind.to_owned(),
            message: self.reason.clone(),
            hints: self.hints.clone(),
            retryable: false,
            backup_mode: "off".into(),
        }
    }
}

fn kind_of(error: &SessionError) -> &'static str {
    match error {
        SessionError::Server { source, .. } => source.kind(),
        _ => "internal",
    }
}

/// An error and its causes as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// How long a server that has ended our session may take to end its container's first process, which is then the
/// reason to tell. With more to write in its last checkpoint it takes longer, and the container is only named.
const ENDING: Duration = Duration::from_secs(2);

const PROMOTED: &str =
    "A backup cannot span a promotion or a change of timeline. Start a new backup.";
const PAUSED: &str = "The keeper has closed its connection, so the server leaves backup mode as soon as it goes on. \
                      Start a new backup then.";
const REPLACED: &str = "Backup mode ended with the server's old life. Start a new backup.";

/// Why a server answers nothing for as long as it pleases somebody.
pub(super) fn paused(inside: Option<&Inside>) -> Option<String> {
    let inside = inside.filter(|inside| inside.process.is_frozen())?;
    Some(format!("the {} is paused, so its server answers nothing", inside.describe()))
}

/// A client that closes its connection waits until the server has closed it, too. A paused one does that some day;
/// the keeper ends now, and that closes the connection as well.
fn close(server: Server, paused: bool) {
    if paused {
        std::mem::forget(server);
    }
}

impl InProgress {
    pub(super) fn new(mut server: Server, expected: Expected) -> InProgress {
        // As after each look; a session that is lost already is found by the next.
        let _ = server.hear();
        InProgress { server, expected, watch: Watch::default() }
    }

    /// Asks the server whether it is still what it was. An idle client does
    /// not notice a dead backend, nor a promotion, by itself.
    pub(super) fn look(&mut self) -> Result<(), Loss> {
        self.container_is_as_it_was()?;
        let looking = self.watch.begin();
        let heard = self.server.hear().and_then(|()| self.server.identity());
        // What the client says after a statement goes out now, not before the
        // next look hears why the server has ended the session.
        let heard = heard.and_then(|now| self.server.hear().map(|()| now));
        drop(looking);
        let now = match heard {
            Ok(now) => now,
            Err(error) => return Err(self.loss_of_connection(error)),
        };
        let was = &self.expected.identity;
        if now.postmaster_start_time != was.postmaster_start_time
            || now.backend_pid != was.backend_pid
        {
            let reason = format!(
                "the session is not the one that started the backup: backend {} of the server started {}, it was \
                 backend {} of the one started {}",
                now.backend_pid,
                now.postmaster_start_time,
                was.backend_pid,
                was.postmaster_start_time
            );
            return Err(Loss::new("session_mismatch", reason, REPLACED));
        }
        if now.in_recovery != was.in_recovery {
            let reason = "the standby was promoted during the backup".to_owned();
            return Err(Loss::new("timeline_mismatch", reason, PROMOTED));
        }
        if now.timeline != was.timeline {
            let reason = format!(
                "the server is on timeline {}, the backup started on timeline {}",
                now.timeline, was.timeline
            );
            return Err(Loss::new("timeline_mismatch", reason, PROMOTED));
        }
        Ok(())
    }

    /// A container that has gone says more than the connection that went with it.
    fn loss_of_connection(&self, error: ServerError) -> Loss {
        let begun = Instant::now();
        loop {
            if let Err(told) = self.container_is_as_it_was() {
                return told;
            }
            let may_end = self.expected.inside.is_some() && error.is_connection_lost();
            if !may_end || begun.elapsed() >= ENDING {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut loss = Loss::from_server("reach the server", error);
        if let Some(inside) = &self.expected.inside {
            loss.reason = format!("{} (the server in {})", loss.reason, inside.describe());
        }
        loss
    }

    /// A paused container answers nothing, for as long as it pleases; one that was restarted has a new server.
    fn container_is_as_it_was(&self) -> Result<(), Loss> {
        let Some(inside) = &self.expected.inside else { return Ok(()) };
        if !inside.process.is_alive() {
            let reason = format!(
                "the {} was stopped, restarted or made again: its process {} has ended",
                inside.describe(),
                inside.process.pid
            );
            return Err(Loss::new("connection_lost", reason, REPLACED));
        }
        match paused(Some(inside)) {
            Some(reason) => Err(Loss::new("connection_lost", reason, PAUSED)),
            None => Ok(()),
        }
    }

    /// Leaves backup mode. `holds_wal` keeps the connection for its slot.
    pub(super) fn stop(mut self, holds_wal: bool) -> Result<Stopped, Loss> {
        match self.answer_of_stop() {
            Ok(stop) => Ok(Stopped { stop, server: holds_wal.then_some(self.server) }),
            Err(loss) => {
                self.leave();
                Err(loss)
            }
        }
    }

    fn answer_of_stop(&mut self) -> Result<BackupStop, Loss> {
        self.look()?;
        let stop = self
            .server
            .backup_stop()
            .map_err(|error| Loss::from_server("stop the backup", error))?;
        self.expect_no_new_tablespace()?;
        Ok(stop)
    }

    /// Closes the connection.
    pub(super) fn leave(self) {
        close(self.server, paused(self.expected.inside.as_ref()).is_some());
    }

    /// Rule R24: no copy has the directory of a tablespace made meanwhile, and
    /// recovery ends where it finds the record of its creation.
    fn expect_no_new_tablespace(&mut self) -> Result<(), Loss> {
        let now = self
            .server
            .tablespaces()
            .map_err(|error| Loss::from_server("list the tablespaces", error))?;
        let known = |oid| self.expected.tablespaces.iter().any(|space| space.oid == oid);
        let Some(new) = now.into_iter().find(|space| !known(space.oid)) else { return Ok(()) };
        let reason = format!(
            "tablespace \"{}\" in \"{}\" was created during the backup, so no snapshot has it and recovery would stop \
             at its creation",
            new.name,
            new.location.display()
        );
        Err(Loss::new(
            "verification_failed",
            reason,
            "Start a new backup, and create no tablespace while it runs.",
        ))
    }

    /// How far WAL is on disk.
    pub(super) fn wal_on_disk(&mut self) -> Result<Lsn, ServerError> {
        self.server.wal_on_disk()
    }
}

impl Stopped {
    /// Whether the connection that held the WAL is gone.
    pub(super) fn is_lost(&mut self) -> bool {
        let answer =
            self.server.as_mut().map(|server| server.hear().and_then(|()| server.wal_on_disk()));
        matches!(answer, Some(Err(error)) if error.is_connection_lost())
    }

    /// Closes the connection of a server that may be paused.
    pub(super) fn leave(self, paused: bool) {
        if let Some(server) = self.server {
            close(server, paused);
        }
    }

    /// Whether the WAL is still held.
    pub(super) fn holds_wal(&self) -> bool {
        self.server.is_some()
    }

    /// How far WAL is on disk, while the connection is held.
    pub(super) fn wal_on_disk(&mut self) -> Option<Result<Lsn, ServerError>> {
        self.server.as_mut().map(Server::wal_on_disk)
    }
}

//! What a task says to the keeper.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use pg::Lsn;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{LINE_LIMIT, Outcome, PROTOCOL, Request, Response, Verb};
use crate::{BackupState, SessionError, SessionId, SessionRecord, Store};

/// How long a killed process may take to vanish after its sockets are closed.
const DYING: Duration = Duration::from_secs(1);

/// An error as the keeper tells it.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct KeeperFailure {
    /// A stable word.
    pub kind: String,
    /// What happened, the whole chain of causes.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// Whether the same may succeed when tried again.
    pub retryable: bool,
    /// `on`, `off` or `unknown`.
    pub backup_mode: String,
}

impl KeeperFailure {
    /// Whether the server is still in backup mode.
    #[must_use]
    pub fn backup_state(&self) -> BackupState {
        match self.backup_mode.as_str() {
            "on" => BackupState::On,
            "off" => BackupState::Off,
            _ => BackupState::Unknown,
        }
    }
}

/// A way to the keeper of one session, which runs and holds the backup or its
/// WAL.
#[derive(Debug)]
pub struct Client {
    store: Store,
    record: SessionRecord,
    patience: Duration,
}

impl Client {
    /// Finds the keeper of a session. `patience` is how long an answer may take.
    ///
    /// # Errors
    /// When there is no such session, or it ended without a backup: the error
    /// says what happened and when.
    pub fn find(
        store: &Store,
        session: &SessionId,
        patience: Duration,
    ) -> Result<Client, SessionError> {
        let record = store.read(session)?;
        if let Some(reason) = record.reason() {
            return Err(SessionError::Ended { session: session.clone(), reason });
        }
        Ok(Client { store: store.clone(), record, patience })
    }

    /// The record as found on disk.
    #[must_use]
    pub fn record(&self) -> &SessionRecord {
        &self.record
    }

    /// The record after the keeper has looked at the server.
    ///
    /// # Errors
    /// When the backup is lost, or the keeper does not answer.
    pub fn status(&self) -> Result<SessionRecord, SessionError> {
        self.ask_for_record(Verb::Status)
    }

    /// Notes snapshots with the session. The keeper looks at the server once
    /// more first: what was taken while backup mode was lost is refused.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn add_snapshots(&self, snapshots: Vec<Value>) -> Result<SessionRecord, SessionError> {
        self.ask_for_record(Verb::AddSnapshots { snapshots })
    }

    /// Leaves backup mode. Asked again, gives the same answer.
    ///
    /// # Errors
    /// When the backup is lost, or its label cannot be stored.
    pub fn stop(&self) -> Result<SessionRecord, SessionError> {
        self.ask_for_record(Verb::Stop)
    }

    /// Leaves backup mode without a backup.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub fn abort(&self, reason: &str) -> Result<SessionRecord, SessionError> {
        self.ask_for_record(Verb::Abort { reason: reason.to_owned() })
    }

    /// Lets go of the WAL that the keeper holds.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub fn release(&self) -> Result<SessionRecord, SessionError> {
        self.ask_for_record(Verb::Release)
    }

    /// How far WAL is on the server's disk.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn wal_on_disk(&self) -> Result<Lsn, SessionError> {
        match self.ask(Verb::WalOnDisk)? {
            Outcome::Lsn(lsn) => Ok(lsn),
            Outcome::Failed(failure) => Err(failure.into()),
            Outcome::Record(_) => Err(self.nonsense()),
        }
    }

    fn ask_for_record(&self, verb: Verb) -> Result<SessionRecord, SessionError> {
        match self.ask(verb)? {
            Outcome::Record(record) => Ok(*record),
            Outcome::Failed(failure) => Err(failure.into()),
            Outcome::Lsn(_) => Err(self.nonsense()),
        }
    }

    fn nonsense(&self) -> SessionError {
        self.unreachable(std::io::Error::other("the answer is to another question"))
    }

    fn unreachable(&self, source: std::io::Error) -> SessionError {
        SessionError::Unreachable {
            session: self.record.session.clone(),
            socket: self.record.socket.clone(),
            source,
        }
    }

    fn ask(&self, verb: Verb) -> Result<Outcome, SessionError> {
        let stream =
            UnixStream::connect(&self.record.socket).map_err(|error| self.explain(error))?;
        self.check_peer(&stream)?;
        let line = self.exchange(&stream, verb).map_err(|error| self.explain(error))?;
        let response: Response = serde_json::from_str(&line).map_err(|error| {
            self.explain(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, error))
        })?;
        if response.protocol != PROTOCOL {
            return Err(SessionError::Protocol { expected: PROTOCOL, found: response.protocol });
        }
        Ok(response.outcome)
    }

    /// The keeper of a session started by root for another user runs as that
    /// user, which its record names.
    fn check_peer(&self, stream: &UnixStream) -> Result<(), SessionError> {
        let found = getsockopt(stream, PeerCredentials)
            .map_err(|errno| self.unreachable(errno.into()))?
            .uid();
        let expected =
            self.record.keeper.as_ref().map_or_else(|| geteuid().as_raw(), |keeper| keeper.uid);
        if found != expected && found != 0 {
            return Err(SessionError::Impostor {
                socket: self.record.socket.clone(),
                expected,
                found,
            });
        }
        Ok(())
    }

    fn exchange(&self, stream: &UnixStream, verb: Verb) -> std::io::Result<String> {
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let mut request = serde_json::to_vec(&Request { protocol: PROTOCOL, verb })?;
        request.push(b'\n');
        (&*stream).write_all(&request)?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line)?;
        Ok(line)
    }

    /// A keeper that died meanwhile has left its reason on disk, or none if it
    /// was killed; both say more than "connection refused".
    fn explain(&self, source: std::io::Error) -> SessionError {
        let waited =
            matches!(source.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        let session = self.record.session.clone();
        if waited {
            let said = format!("no answer within {} s", self.patience.as_secs());
            return self.unreachable(std::io::Error::new(std::io::ErrorKind::TimedOut, said));
        }
        // Read again: what was found before is from when the keeper lived. One
        // that is being ended closes its socket a moment before it is gone.
        let until = Instant::now() + DYING;
        loop {
            let now = self.store.read(&session).ok();
            if let Some(reason) = now.and_then(|record| record.reason()) {
                return SessionError::Ended { session, reason };
            }
            if Instant::now() >= until || !self.record.keeper_is_alive() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.unreachable(source)
    }
}

#[cfg(test)]
mod tests;

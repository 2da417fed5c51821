//! The session record: what is known of a session, on disk before it is said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use host::Process;
use pg::{Lsn, ServerVersion, SystemIdentifier, Tablespace, TimelineId, WalSegmentSize};
use serde::{Deserialize, Serialize};

use crate::{KeeperProcess, SessionId};

/// Where a session stands, as its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The keeper has been started and is not in backup mode yet.
    Starting,
    /// The server is in backup mode.
    InProgress,
    /// The backup was stopped; its label is on disk.
    Stopped,
    /// Stopped, and all its WAL is in the repository.
    Complete,
    /// Ended without a backup.
    Aborted,
    /// Never written: the record says starting or in progress, but the keeper
    /// is gone.
    Lost,
}

impl SessionState {
    /// The state as a reply writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SessionState::Starting => "starting",
            SessionState::InProgress => "in_progress",
            SessionState::Stopped => "stopped",
            SessionState::Complete => "complete",
            SessionState::Aborted => "aborted",
            SessionState::Lost => "lost",
        }
    }
}

/// The server a session is with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// As a person would name it: socket path or `host:port`.
    pub address: String,
    /// Of the database cluster.
    pub system_identifier: SystemIdentifier,
    /// The release.
    pub version: ServerVersion,
    /// Where the database cluster is.
    pub data_directory: PathBuf,
    /// Where its `pg_wal` really is.
    pub wal_directory: PathBuf,
    /// Bytes in a WAL segment.
    pub wal_segment_size: WalSegmentSize,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The container or process that the server is in, if it is not on the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// A server that has a root directory of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// A process of it, which sees what the server sees.
    pub process: Process,
    /// The container's name and id, unless the process was named itself.
    pub container: Option<ContainerName>,
    /// Where its directories are on the host; `None` when they are mounted nowhere there.
    pub on_host: Option<HostDirectories>,
}

/// A container as its engine calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    /// The whole id, which a container that was made again does not have.
    pub id: String,
    /// The name.
    pub name: String,
}

/// The directories of a database cluster as the host reaches them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostDirectories {
    /// The data directory.
    pub data_directory: PathBuf,
    /// What `pg_wal` is or points to.
    pub wal_directory: PathBuf,
    /// The tablespaces by their oids.
    pub tablespaces: BTreeMap<u32, PathBuf>,
}

impl Inside {
    /// As a person would name it: `container "db"`, `process 4711`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.container {
            Some(container) => format!("container \"{}\"", container.name),
            None => format!("process {}", self.process.pid),
        }
    }
}

impl ServerRecord {
    /// The directories as the host reaches them; `None` for a server in a container whose directories are mounted
    /// nowhere on the host.
    #[must_use]
    pub fn on_host(&self) -> Option<HostDirectories> {
        match &self.inside {
            Some(inside) => inside.on_host.clone(),
            None => Some(HostDirectories {
                data_directory: self.data_directory.clone(),
                wal_directory: self.wal_directory.clone(),
                tablespaces: self
                    .tablespaces
                    .iter()
                    .map(|space| (space.oid, space.location.clone()))
                    .collect(),
            }),
        }
    }
}

/// What `pg_backup_start` answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Where the backup starts.
    pub lsn: Lsn,
    /// The timeline it starts on.
    pub timeline: TimelineId,
    /// The server's clock right after the start, RFC 3339.
    pub time: String,
    /// When the server itself started, in its own words.
    pub postmaster_start_time: String,
    /// The slot that holds the WAL, if asked for.
    pub slot: Option<String>,
}

/// A file beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Bytes in it.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// What `pg_backup_stop` answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopRecord {
    /// Where the backup ends.
    pub lsn: Lsn,
    /// The server's clock at the stop, RFC 3339.
    pub time: String,
    /// The file `backup_label` beside the record.
    pub label: Saved,
    /// The file `tablespace_map` beside the record, if there must be one.
    pub tablespace_map: Option<Saved>,
}

/// Why and when a session ended other than by a whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// RFC 3339.
    pub at: String,
    /// A stable word, as in `error_kind`.
    pub kind: String,
    /// What happened.
    pub reason: String,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Version of this record: 1.
    pub schema: u32,
    /// The handle.
    pub session: SessionId,
    /// The backup's id in the repository.
    pub backup_id: String,
    /// The cluster's name in the repository.
    pub cluster: String,
    /// The repository's URL.
    pub repository: String,
    /// The label given to PostgreSQL.
    pub label: String,
    /// Where it stands.
    pub state: SessionState,
    /// The process that holds it.
    pub keeper: Option<KeeperProcess>,
    /// Its socket.
    pub socket: PathBuf,
    /// The server.
    pub server: ServerRecord,
    /// When `backup_start` ran, RFC 3339.
    pub created_at: String,
    /// When the keeper gives up, RFC 3339.
    pub deadline: String,
    /// What the start answered.
    pub start: Option<StartRecord>,
    /// What the stop answered.
    pub stop: Option<StopRecord>,
    /// Snapshots taken in this session, opaque to the keeper.
    pub snapshots: Vec<serde_json::Value>,
    /// Why it ended without a backup.
    pub ended: Option<Ended>,
}

impl SessionRecord {
    /// The state, with a keeper that is gone taken into account.
    #[must_use]
    pub fn state_now(&self) -> SessionState {
        match self.state {
            SessionState::Starting | SessionState::InProgress if !self.keeper_is_alive() => {
                SessionState::Lost
            }
            state => state,
        }
    }

    /// Notes snapshots. One that a task made or told of again takes the place of what was noted before.
    pub(crate) fn note(&mut self, snapshots: Vec<serde_json::Value>) {
        let same = |left: &serde_json::Value, right: &serde_json::Value| {
            ["provider", "id", "mount_point"].iter().all(|name| left.get(name) == right.get(name))
        };
        self.snapshots.retain(|old| !snapshots.iter().any(|new| same(old, new)));
        self.snapshots.extend(snapshots);
    }

    /// Whether the keeper still runs. Just after its start, before it has
    /// written its process id, it counts as running.
    #[must_use]
    pub fn keeper_is_alive(&self) -> bool {
        match &self.keeper {
            Some(keeper) => keeper.is_alive(),
            None => self.state == SessionState::Starting && !self.is_past_deadline(),
        }
    }

    /// Why the session holds no backup, if it does not.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if let Some(ended) = &self.ended {
            return Some(format!("{} (at {})", ended.reason, ended.at));
        }
        if self.state_now() != SessionState::Lost {
            return None;
        }
        let keeper = self.keeper.as_ref();
        Some(match keeper {
            Some(keeper) if keeper.is_of_another_boot() => {
                format!(
                    "the machine was restarted after the session started at {}",
                    self.created_at
                )
            }
            Some(keeper) => {
                format!(
                    "the keeper (process {}) was killed after the session started at {}",
                    keeper.pid, self.created_at
                )
            }
            None => format!("the keeper never came up after {}", self.created_at),
        })
    }

    /// Seconds until the deadline; 0 when it has passed.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let left = parse_time(&self.deadline).map(|deadline| (deadline - Utc::now()).num_seconds());
        u64::try_from(left.unwrap_or(0)).unwrap_or(0)
    }

    /// Seconds since the session was made.
    #[must_use]
    pub fn age(&self) -> u64 {
        let age = parse_time(&self.created_at).map(|made| (Utc::now() - made).num_seconds());
        u64::try_from(age.unwrap_or(0)).unwrap_or(0)
    }

    fn is_past_deadline(&self) -> bool {
        parse_time(&self.deadline).is_none_or(|deadline| deadline < Utc::now())
    }

    /// The same session, ended.
    #[must_use]
    pub fn aborted(mut self, kind: &str, reason: impl Into<String>) -> SessionRecord {
        self.state = SessionState::Aborted;
        self.ended = Some(Ended { at: now(), kind: kind.to_owned(), reason: reason.into() });
        self
    }
}

/// The current time, RFC 3339 in UTC with milliseconds.
#[must_use]
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A session just begun, for the tests of this crate.
    pub(crate) fn sample() -> SessionRecord {
        SessionRecord {
            schema: 1,
            session: SessionId::new("main", "b1").unwrap(),
            backup_id: "b1".into(),
            cluster: "main".into(),
            repository: "file:///b".into(),
            label: "b1".into(),
            state: SessionState::InProgress,
            keeper: Some(KeeperProcess::current().unwrap()),
            socket: "/run/x".into(),
            server: ServerRecord {
                address: "/tmp/.s.PGSQL.5432".into(),
                system_identifier: SystemIdentifier::from(7_u64),
                version: ServerVersion::from_num(150_018),
                data_directory: "/d".into(),
                wal_directory: "/d/pg_wal".into(),
                wal_segment_size: WalSegmentSize::from_bytes(16 << 20).unwrap(),
                tablespaces: vec![],
                in_recovery: false,
                inside: None,
            },
            created_at: now(),
            deadline: "2999-01-01T00:00:00Z".into(),
            start: None,
            stop: None,
            snapshots: vec![],
            ended: None,
        }
    }

    #[test]
    fn a_session_whose_keeper_is_gone_is_lost() {
        let alive = sample();
        assert_eq!(alive.state_now(), SessionState::InProgress);
        assert_eq!(alive.reason(), None);
        let mut killed = sample();
        killed.keeper.as_mut().unwrap().start_ticks += 1;
        assert_eq!(killed.state_now(), SessionState::Lost);
        assert!(killed.reason().unwrap().contains("was killed after"));
        let mut rebooted = sample();
        rebooted.keeper.as_mut().unwrap().boot_id = "other".into();
        assert!(rebooted.reason().unwrap().starts_with("the machine was restarted"));
    }

    #[test]
    fn an_aborted_session_says_why_and_when() {
        let aborted = sample().aborted("backup_aborted", "the deadline passed");
        assert!(aborted.reason().unwrap().starts_with("the deadline passed (at 2"));
        let text = serde_json::to_string(&aborted).unwrap();
        assert_eq!(serde_json::from_str::<SessionRecord>(&text).unwrap(), aborted);
    }
}

//! The backup manifest, `backup.json`: our record of one backup. (PostgreSQL's own file of a similar name,
//! `backup_manifest`, lists the files of a `pg_basebackup`.)
//!
//! A JSON object with the fields of [`BackupManifest`], in `snake_case`. Of the types in it:
//!
//! | type | in JSON |
//! |---|---|
//! | LSN | string, `"0/3000028"` |
//! | system identifier | string of decimal digits, as it does not fit into every reader's numbers |
//! | server version | string, `"15.18"` |
//! | timeline, catalogue version | number |
//! | sizes | number of bytes |
//! | times | RFC 3339 in UTC, `"2026-11-21T03:15:00.123456Z"` |
//! | paths | string, absolute |
//! | SHA-256 | string of 64 lower-case hexadecimal digits |
//!
//! A field that is absent and marked optional is null. Readers pass over fields they do not know, so that a
//! newer release may add some; a change that an older reader would misunderstand gets a new `schema`, which
//! older readers refuse.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use pg::{
    Lsn, ServerVersion, SystemIdentifier, Tablespace, TimelineId, WalSegmentName, WalSegmentSize,
};
use serde::{Deserialize, Serialize};
use snapshot::SnapshotRecord;

use crate::{BackupId, ClusterName, EntryName, Sha256Sum};

/// The record of one backup; see the module for how it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// The layout of this record: [`BackupManifest::SCHEMA`].
    pub schema: u64,
    /// The backup's name, which is also its folder's.
    pub backup_id: BackupId,
    /// The name of the cluster's folder.
    pub cluster: ClusterName,
    /// The label given to the server at the start.
    pub label: String,
    /// How far the backup has got.
    pub state: BackupState,
    /// Why it failed, as a sentence; optional.
    pub reason: Option<String>,
    /// The session that took it.
    pub session: String,
    /// The database cluster.
    pub system_identifier: SystemIdentifier,
    /// The server's version.
    pub server_version: ServerVersion,
    /// The layout of its system catalogues (`pg_control_system()`).
    pub catalog_version: u32,
    /// The timeline on which the backup was taken, from start to stop.
    pub timeline: TimelineId,
    /// The size of its WAL segments in bytes.
    pub wal_segment_size: WalSegmentSize,
    /// Whether it was taken from a standby.
    pub in_recovery: bool,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
    /// The size of a data page in bytes.
    pub block_size: u32,
    /// Where and when it started: replay begins there.
    pub start: BackupPoint,
    /// Where and when it stopped: replay must go at least there; optional until then.
    pub stop: Option<BackupPoint>,
    /// The data directory on the host it was taken on.
    pub data_directory: PathBuf,
    /// The directory that `pg_wal` is or points to.
    pub wal_directory: PathBuf,
    /// The tablespaces outside the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Settings below whose values a standby or a recovery does not start: `max_connections`,
    /// `max_worker_processes`, `max_wal_senders`, `max_prepared_transactions`, `max_locks_per_transaction`, as
    /// `SHOW` gives them.
    pub settings: BTreeMap<String, String>,
    /// `postgresql.conf`, which need not be in the data directory; optional.
    pub config_file: Option<PathBuf>,
    /// `pg_hba.conf`; optional.
    pub hba_file: Option<PathBuf>,
    /// `pg_ident.conf`; optional.
    pub ident_file: Option<PathBuf>,
    /// What was copied and where the copies are.
    pub snapshots: Vec<SnapshotRecord>,
    /// The files in the backup's folder that are not part of a snapshot: `backup_label`, `tablespace_map` if there
    /// are tablespaces, `wal/<segment>`, `files.json` if files were copied, `row_counts.json` if rows were counted.
    pub files: Vec<FileEntry>,
    /// The release that wrote this record.
    pub backstay_version: String,
}

impl BackupManifest {
    /// The layout this release writes, and the only one it reads.
    pub const SCHEMA: u64 = 1;

    /// The entry of the file of this name in the backup's folder.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|entry| entry.name == name)
    }
}

/// One end of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPoint {
    /// The place in WAL.
    pub lsn: Lsn,
    /// The time, by the database host's clock.
    pub time: DateTime<Utc>,
    /// The WAL segment: at the start the one that holds `lsn`, at the stop the one that ends at or after it.
    pub wal_segment: WalSegmentName,
}

/// How far a backup has got. In JSON `started`, `stopped`, `uploading`, `complete`, `failed`, `expired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// The server is, or was, in backup mode.
    Started,
    /// Backup mode was left in order; the WAL is not all here yet.
    Stopped,
    /// Its WAL is all here; a snapshot is not readable yet, since its blocks are still being uploaded.
    Uploading,
    /// All that a restore needs is here.
    Complete,
    /// It never can be restored.
    Failed,
    /// It was whole, and its snapshots are deleted, or about to be.
    Expired,
}

impl BackupState {
    /// Whether a backup of this state may get the next one. What is complete can only expire, what is failed or
    /// expired stays so; writing the same state again is allowed, as the answer to a first writing may have been
    /// lost.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Started => true,
            Self::Stopped => next != Self::Started,
            Self::Uploading => !matches!(next, Self::Started | Self::Stopped),
            Self::Complete => matches!(next, Self::Complete | Self::Expired),
            Self::Failed | Self::Expired => next == self,
        }
    }
}

impl fmt::Display for BackupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Uploading => "uploading",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Expired => "expired",
        })
    }
}

/// One file in a backup's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name relative to the folder.
    pub name: EntryName,
    /// Its size in bytes.
    pub size: u64,
    /// The checksum of its content.
    pub sha256: Sha256Sum,
}

impl FileEntry {
    /// The entry of a file of this name and content.
    #[must_use]
    pub fn new(name: EntryName, content: &[u8]) -> Self {
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        Self { name, size, sha256: Sha256Sum::of(content) }
    }
}

#[cfg(test)]
pub(crate) mod tests;

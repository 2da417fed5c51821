//! The control file, `global/pg_control`: what a cluster knows of itself without a running server.
//!
//! The offsets are those of `ControlFileData` in PostgreSQL's `catalog/pg_control.h` with 8-byte
//! alignment. They are the same from 13 to 18 but for the checksum, which 18 moved by four bytes; the
//! samples of the tests were taken from servers of each major and compared with `pg_controldata`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::bytes::Bytes;
use crate::crc32c::crc32c;
use crate::server_file::{self, ServerFileError};
use crate::{Lsn, PgTypeError, SystemIdentifier, TimelineId, WalSegmentSize};

/// The server writes the file in place, so a reader may see half of two versions. PostgreSQL's own
/// `get_controlfile` tries ten times with this pause between, and so do we.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// What a database cluster is doing or was doing when its server last wrote its control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbState {
    /// Starting up.
    Startup,
    /// Shut down cleanly.
    ShutDown,
    /// A standby shut down cleanly.
    ShutDownInRecovery,
    /// Shutting down.
    ShuttingDown,
    /// Replaying WAL after a crash.
    InCrashRecovery,
    /// Replaying WAL as a standby or for a restore.
    InArchiveRecovery,
    /// Running, or crashed while running.
    InProduction,
}

impl DbState {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Startup,
            1 => Self::ShutDown,
            2 => Self::ShutDownInRecovery,
            3 => Self::ShuttingDown,
            4 => Self::InCrashRecovery,
            5 => Self::InArchiveRecovery,
            6 => Self::InProduction,
            _ => return None,
        })
    }

    /// Whether the server that wrote it ended in order, so that no recovery is needed.
    #[must_use]
    pub fn is_shut_down(self) -> bool {
        matches!(self, Self::ShutDown | Self::ShutDownInRecovery)
    }
}

/// The words of `pg_controldata`.
impl fmt::Display for DbState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        })
    }
}

/// What the control file of one database cluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The number `initdb` gave the cluster.
    pub system_identifier: SystemIdentifier,
    /// The layout of the file itself: 1300 for 13 to 16, 1700, 1800.
    pub control_version: u32,
    /// The layout of the system catalogues, one for each major version: 202209061 for 15.
    pub catalog_version: u32,
    /// What the cluster is or was doing.
    pub state: DbState,
    /// Where the latest checkpoint's record is.
    pub checkpoint: Lsn,
    /// Where recovery from that checkpoint begins: a backup's start LSN right after its start.
    pub redo: Lsn,
    /// The timeline of the latest checkpoint.
    pub timeline: TimelineId,
    /// When the latest checkpoint began, by the clock of the server that made it.
    pub checkpoint_time: DateTime<Utc>,
    /// How far recovery must go at least before the data is consistent; `None` on a primary.
    pub min_recovery_point: Option<Lsn>,
    /// The size of a data page in bytes.
    pub block_size: u32,
    /// The size of a WAL segment.
    pub wal_segment_size: WalSegmentSize,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
    /// Whether recovery of a backup has begun and the end of that backup was not replayed yet.
    pub backup_end_awaited: bool,
    /// The settings below whose values recovery may not go on, as the server that wrote this had them.
    pub limits: RecoveryLimits,
}

/// Settings that a recovering server must have at least as high as the server whose WAL it replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryLimits {
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
}

impl ControlFile {
    /// Reads the control file at `path`, usually `global/pg_control` in a data directory. A running
    /// server may write it meanwhile: a torn read is tried again.
    ///
    /// # Errors
    /// [`ServerFileError`]: unreadable, damaged, of an unknown version, or with impossible values.
    pub fn read(path: &Path) -> Result<Self, ServerFileError> {
        let mut tries = 1;
        loop {
            let bytes = server_file::read(path)
                .map_err(|source| ServerFileError::Read { path: path.to_owned(), source })?;
            match Self::parse(path, &bytes) {
                Err(ServerFileError::Checksum { .. }) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Reads the control file's content, at least its first 296 bytes; `path` is for error messages.
    ///
    /// # Errors
    /// [`ServerFileError`]: damaged, of an unknown version, or with impossible values.
    pub fn parse(path: &Path, content: &[u8]) -> Result<Self, ServerFileError> {
        let too_short =
            || ServerFileError::TooShort { path: path.to_owned(), length: content.len() };
        let bytes = Bytes(content);
        let version = bytes.u32(offset::CONTROL_VERSION).ok_or_else(too_short)?;
        let Some(end) = checksum_offset(version) else {
            return Err(ServerFileError::UnknownControlVersion { path: path.to_owned(), version });
        };
        let found = bytes.u32(end).ok_or_else(too_short)?;
        let computed = crc32c(content.get(..end).ok_or_else(too_short)?);
        if found != computed {
            return Err(ServerFileError::Checksum { path: path.to_owned(), found, computed });
        }
        Self::values(bytes)
            .ok_or_else(too_short)?
            .map_err(|source| ServerFileError::Value { path: path.to_owned(), source })
    }

    /// The values; `None` when the file ends before the last of them.
    fn values(bytes: Bytes<'_>) -> Option<Result<Self, PgTypeError>> {
        let state = bytes.u32(offset::STATE)?;
        let state = DbState::from_number(state).ok_or_else(|| {
            let expected = "a number from 0 to 6";
            PgTypeError::invalid("database cluster state", &state.to_string(), expected)
        });
        let timeline = TimelineId::new(bytes.u32(offset::TIMELINE)?);
        let segment_size =
            WalSegmentSize::from_bytes(u64::from(bytes.u32(offset::WAL_SEGMENT_SIZE)?));
        let (state, timeline, wal_segment_size) = match (state, timeline, segment_size) {
            (Ok(state), Ok(timeline), Ok(size)) => (state, timeline, size),
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                return Some(Err(error));
            }
        };
        let min_recovery_point = Lsn::from(bytes.u64(offset::MIN_RECOVERY_POINT)?);
        Some(Ok(Self {
            system_identifier: SystemIdentifier::from(bytes.u64(offset::SYSTEM_IDENTIFIER)?),
            control_version: bytes.u32(offset::CONTROL_VERSION)?,
            catalog_version: bytes.u32(offset::CATALOG_VERSION)?,
            state,
            checkpoint: Lsn::from(bytes.u64(offset::CHECKPOINT)?),
            redo: Lsn::from(bytes.u64(offset::REDO)?),
            checkpoint_time: DateTime::from_timestamp(
                bytes.u64(offset::CHECKPOINT_TIME)?.cast_signed(),
                0,
            )
            .unwrap_or_default(),
            timeline,
            min_recovery_point: (!min_recovery_point.is_invalid()).then_some(min_recovery_point),
            block_size: bytes.u32(offset::BLOCK_SIZE)?,
            wal_segment_size,
            data_checksums: bytes.u32(offset::DATA_CHECKSUM_VERSION)? != 0,
            // On a standby's copy the end is where its own minimum was, else a record in WAL.
            backup_end_awaited: bytes.u64(offset::BACKUP_START)? != 0
                || bytes.u64(offset::BACKUP_END)? != 0,
            limits: limits(bytes)?,
        }))
    }
}

fn limits(bytes: Bytes<'_>) -> Option<RecoveryLimits> {
    Some(RecoveryLimits {
        max_connections: bytes.u32(offset::MAX_CONNECTIONS)?,
        max_worker_processes: bytes.u32(offset::MAX_CONNECTIONS + 4)?,
        max_wal_senders: bytes.u32(offset::MAX_CONNECTIONS + 8)?,
        max_prepared_transactions: bytes.u32(offset::MAX_CONNECTIONS + 12)?,
        max_locks_per_transaction: bytes.u32(offset::MAX_CONNECTIONS + 16)?,
    })
}

/// Where the checksum of the bytes before it stands, by `pg_control_version`.
fn checksum_offset(version: u32) -> Option<usize> {
    match version {
        1300 | 1700 => Some(288),
        // 18 put default_char_signedness before the 32 bytes of the mock authentication nonce.
        1800 => Some(292),
        _ => None,
    }
}

/// Offsets in bytes, the same in all supported versions.
mod offset {
    pub(super) const SYSTEM_IDENTIFIER: usize = 0;
    pub(super) const CONTROL_VERSION: usize = 8;
    pub(super) const CATALOG_VERSION: usize = 12;
    pub(super) const STATE: usize = 16;
    pub(super) const CHECKPOINT: usize = 32;
    pub(super) const REDO: usize = 40;
    pub(super) const TIMELINE: usize = 48;
    pub(super) const CHECKPOINT_TIME: usize = 104;
    pub(super) const MIN_RECOVERY_POINT: usize = 136;
    pub(super) const BACKUP_START: usize = 152;
    pub(super) const BACKUP_END: usize = 160;
    pub(super) const MAX_CONNECTIONS: usize = 180;
    pub(super) const BLOCK_SIZE: usize = 216;
    pub(super) const WAL_SEGMENT_SIZE: usize = 228;
    pub(super) const DATA_CHECKSUM_VERSION: usize = 252;
}

#[cfg(test)]
mod tests;

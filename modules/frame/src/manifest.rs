//! The backup's manifest in its repository, kept in step with the session.

use std::str::FromStr;

use ansible::Failure;
use chrono::{DateTime, Utc};
use pg::{Lsn, WalSegmentName};
use repository::{
    BackupFolder, BackupId, BackupManifest, BackupPoint, BackupState, ClusterName, Repository,
    RepositoryUrl,
};
use session::SessionRecord;

use crate::Explain;

/// Opens the repository of this URL or path.
///
/// # Errors
/// When it is none, or cannot be reached.
pub fn open(url: &str) -> Result<Repository, Failure> {
    let url = RepositoryUrl::from_str(url).map_err(|error| error.explain())?;
    Repository::open(&url).map_err(|error| error.explain())
}

/// The folder of a session's backup.
///
/// # Errors
/// When the repository cannot be opened, or the record names what is no backup.
pub fn folder(record: &SessionRecord) -> Result<BackupFolder, Failure> {
    let cluster = ClusterName::from_str(&record.cluster).map_err(|error| error.explain())?;
    let backup = BackupId::from_str(&record.backup_id).map_err(|error| error.explain())?;
    Ok(open(&record.repository)?.backup(&cluster, &backup))
}

/// Reads the manifest of a session's backup, which must be of the same session
/// and not have failed.
///
/// # Errors
/// When it cannot be read, is of another database cluster, or has failed.
pub fn read(folder: &BackupFolder, record: &SessionRecord) -> Result<BackupManifest, Failure> {
    let manifest = folder.read().map_err(|error| error.explain())?;
    if manifest.system_identifier != record.server.system_identifier {
        return Err(Failure::new(
            "system_identifier_mismatch",
            format!(
                "the manifest of backup \"{}\" is of the database cluster {}, the session of {}",
                record.backup_id, manifest.system_identifier, record.server.system_identifier
            ),
        ));
    }
    if manifest.state == BackupState::Failed {
        let reason = manifest.reason.unwrap_or_else(|| "no reason is recorded".into());
        return Err(Failure::new(
            "backup_aborted",
            format!("backup \"{}\" has failed: {reason}", record.backup_id),
        ));
    }
    Ok(manifest)
}

/// Marks a session's backup as failed, so that nobody restores it. A manifest
/// that is gone or complete stays as it is.
///
/// # Errors
/// When the repository cannot be reached or the manifest not written.
pub fn fail(record: &SessionRecord, reason: &str) -> Result<(), Failure> {
    let folder = folder(record)?;
    let Ok(mut manifest) = folder.read() else { return Ok(()) };
    let settled = [BackupState::Complete, BackupState::Failed, BackupState::Expired];
    if settled.contains(&manifest.state) {
        return Ok(());
    }
    manifest.state = BackupState::Failed;
    manifest.reason = Some(reason.to_owned());
    folder.update(&manifest).map_err(|error| error.explain())
}

/// One end of a backup as a manifest has it; `time` is RFC 3339.
///
/// # Errors
/// When `time` is no time.
pub fn point(lsn: Lsn, time: &str, wal_segment: WalSegmentName) -> Result<BackupPoint, Failure> {
    let time = DateTime::parse_from_rfc3339(time).map_err(|error| {
        Failure::new(
            "internal",
            format!("\"{time}\" is no time as the server should write it: {error}"),
        )
    })?;
    Ok(BackupPoint { lsn, time: time.with_timezone(&Utc), wal_segment })
}

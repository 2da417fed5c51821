//! What the backup itself must prove before anything is written: complete, readable, without a hole.

use chrono::{DateTime, Utc};
use pg::{BackupFrom, BackupLabelFile, Lsn, MajorVersion, TablespaceMapFile, WalSegmentName};
use repository::{BackupManifest, FileEntry};

use crate::RecoveryError;
use crate::request::Restore;

/// The parts of the backup that every restore needs, read and checked against the manifest.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) major: MajorVersion,
    pub(crate) label: BackupLabelFile,
    /// Where the record of the backup's first checkpoint is.
    pub(crate) checkpoint: Lsn,
    pub(crate) from_standby: bool,
    pub(crate) map: Option<TablespaceMapFile>,
    pub(crate) stop_lsn: Lsn,
    pub(crate) stop_time: DateTime<Utc>,
    /// Everything under `wal/`: the segments, and timeline history files if there are any.
    pub(crate) wal: Vec<FileEntry>,
    /// The end of the last segment.
    pub(crate) wal_end: Lsn,
}

/// Reads label and map, and checks them and every WAL segment against their SHA-256. That nothing is missing was checked
/// when the backup was found to be complete.
pub(crate) fn gather(restore: &Restore) -> Result<Evidence, RecoveryError> {
    let manifest = restore.backup.manifest();
    let stop = restore.backup.stop();
    let unusable = |problem: String| RecoveryError::BackupUnusable {
        backup_id: manifest.backup_id.to_string(),
        problem,
    };
    let major = manifest
        .server_version
        .major()
        .map_err(|source| content("backup.json", manifest, source))?;
    let label = BackupLabelFile::new(read(restore, restore.backup.label())?);
    let parsed = label.parse().map_err(|source| content("backup_label", manifest, source))?;
    if parsed.start_lsn != manifest.start.lsn {
        return Err(unusable(format!(
            "its label starts at {}, its manifest at {}",
            parsed.start_lsn, manifest.start.lsn
        )));
    }
    if parsed.start_timeline != manifest.timeline {
        return Err(unusable(format!(
            "its label is of timeline {}, its manifest of timeline {}",
            parsed.start_timeline, manifest.timeline
        )));
    }
    let map = tablespace_map(restore, major, &unusable)?;
    let (wal, wal_end) = wal(restore)?;
    Ok(Evidence {
        major,
        label,
        checkpoint: parsed.checkpoint_lsn,
        from_standby: parsed.backup_from == BackupFrom::Standby,
        map,
        stop_lsn: stop.lsn,
        stop_time: stop.time,
        wal,
        wal_end,
    })
}

/// The map, which has to name exactly the tablespaces of the manifest: one that it lacks would be lost without a word.
fn tablespace_map(
    restore: &Restore,
    major: MajorVersion,
    unusable: &dyn Fn(String) -> RecoveryError,
) -> Result<Option<TablespaceMapFile>, RecoveryError> {
    let manifest = restore.backup.manifest();
    let map = match restore.backup.tablespace_map() {
        Some(entry) => TablespaceMapFile::new(read(restore, entry)?),
        None => TablespaceMapFile::new(Vec::new()),
    };
    let mapped = map.parse(major).map_err(|source| content("tablespace_map", manifest, source))?;
    let with_location = || manifest.tablespaces.iter().filter(|one| one.location.is_absolute());
    for one in with_location() {
        if !mapped.iter().any(|(oid, location)| *oid == one.oid && *location == one.location) {
            return Err(unusable(format!(
                "its tablespace_map does not have tablespace \"{}\" ({}) at \"{}\"",
                one.name,
                one.oid,
                one.location.display()
            )));
        }
    }
    if let Some((oid, location)) =
        mapped.iter().find(|(oid, _)| !with_location().any(|one| one.oid == *oid))
    {
        return Err(unusable(format!(
            "its tablespace_map has tablespace {oid} at \"{}\", which its manifest does not know",
            location.display()
        )));
    }
    Ok(if map.is_empty() { None } else { Some(map) })
}

/// Every file under `wal/`, each as it was recorded, and the end of the last segment.
fn wal(restore: &Restore) -> Result<(Vec<FileEntry>, Lsn), RecoveryError> {
    let manifest = restore.backup.manifest();
    let size = manifest.wal_segment_size;
    let mut wal = Vec::new();
    let mut end = restore.backup.stop().lsn;
    for file in &manifest.files {
        let Some(name) = wal_file_name(file) else { continue };
        restore.folder.verify(file).map_err(|source| repository_error(manifest, source))?;
        if let Ok(segment) = name.parse::<WalSegmentName>()
            && segment.timeline() == manifest.timeline
            && let Ok(last) = segment.next(size).and_then(|next| next.start_lsn(size))
        {
            end = end.max(last);
        }
        wal.push(file.clone());
    }
    Ok((wal, end))
}

/// The name in `pg_wal` of a file under `wal/`.
pub(crate) fn wal_file_name(file: &FileEntry) -> Option<&str> {
    file.name.as_str().strip_prefix("wal/").filter(|name| !name.contains('/'))
}

/// The file's bytes, checked against its entry.
pub(crate) fn read(restore: &Restore, entry: &FileEntry) -> Result<Vec<u8>, RecoveryError> {
    restore.folder.get(entry).map_err(|source| repository_error(restore.backup.manifest(), source))
}

fn repository_error(
    manifest: &BackupManifest,
    source: repository::RepositoryError,
) -> RecoveryError {
    RecoveryError::Repository { backup_id: manifest.backup_id.to_string(), source }
}

fn content(name: &str, manifest: &BackupManifest, source: pg::PgTypeError) -> RecoveryError {
    RecoveryError::Content {
        name: name.to_owned(),
        backup_id: manifest.backup_id.to_string(),
        source,
    }
}

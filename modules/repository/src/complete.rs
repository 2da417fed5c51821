//! Backups that may be restored.

use std::collections::HashSet;

use pg::{LsnRange, WalSegmentName};

use crate::{BackupManifest, BackupPoint, BackupState, FileEntry, RepositoryError};

/// A backup that has all a restore needs: the only way to get one is to check.
#[derive(Debug, Clone, PartialEq)]
pub struct CompleteBackup {
    manifest: BackupManifest,
    stop: BackupPoint,
    label: FileEntry,
    wal: Vec<FileEntry>,
}

impl CompleteBackup {
    /// Checks that the manifest says the backup is complete, and that it names a stop, a snapshot, the label, the
    /// tablespace map if there are tablespaces, and every WAL segment from start to stop. The files themselves
    /// are not looked at; [`BackupFolder::verify`](crate::BackupFolder::verify) does that.
    ///
    /// # Errors
    /// [`RepositoryError::NotComplete`], or [`RepositoryError::Incomplete`] naming what is not there first.
    pub fn check(manifest: BackupManifest) -> Result<Self, RepositoryError> {
        let backup = &manifest.backup_id;
        if manifest.state != BackupState::Complete {
            let (backup, state) = (backup.clone(), manifest.state);
            return Err(RepositoryError::NotComplete { backup, state });
        }
        let lacks =
            |missing: String| RepositoryError::Incomplete { backup: backup.clone(), missing };
        let file = |name: &str| {
            manifest.file(name).cloned().ok_or_else(|| lacks(format!("the file \"{name}\"")))
        };
        let stop = manifest.stop.clone().ok_or_else(|| lacks("its stop".to_owned()))?;
        if manifest.snapshots.is_empty() {
            return Err(lacks("a snapshot".to_owned()));
        }
        if let Some(snapshot) = manifest.snapshots.iter().find(|snapshot| !snapshot.is_uploaded()) {
            return Err(lacks(format!("the blocks of snapshot \"{}\"", snapshot.id)));
        }
        let label = file("backup_label")?;
        if !manifest.tablespaces.is_empty() {
            file("tablespace_map")?;
        }
        let range = LsnRange::new(manifest.start.lsn, stop.lsn)
            .map_err(|_| lacks(format!("WAL: its stop at {} is before its start", stop.lsn)))?;
        let wal =
            wal_of(&manifest, range).map_err(|name| lacks(format!("WAL segment \"{name}\"")))?;
        Ok(Self { stop, label, wal, manifest })
    }

    /// The whole manifest.
    #[must_use]
    pub fn manifest(&self) -> &BackupManifest {
        &self.manifest
    }

    /// Where and when the backup stopped.
    #[must_use]
    pub fn stop(&self) -> &BackupPoint {
        &self.stop
    }

    /// The file `backup_label`.
    #[must_use]
    pub fn label(&self) -> &FileEntry {
        &self.label
    }

    /// The file `tablespace_map`, if the cluster has tablespaces.
    #[must_use]
    pub fn tablespace_map(&self) -> Option<&FileEntry> {
        self.manifest.file("tablespace_map")
    }

    /// The WAL segments from start to stop, in order.
    #[must_use]
    pub fn wal(&self) -> &[FileEntry] {
        &self.wal
    }
}

/// The entries of all segments of the range, or the name of the first that has none. Stops there, so that a
/// manifest with an absurd range costs no more than its own length.
fn wal_of(manifest: &BackupManifest, range: LsnRange) -> Result<Vec<FileEntry>, WalSegmentName> {
    let there: HashSet<&str> = manifest.files.iter().map(|entry| entry.name.as_str()).collect();
    let size = manifest.wal_segment_size;
    WalSegmentName::range(manifest.timeline, range, size)
        .map(|segment| {
            let name = format!("wal/{segment}");
            let entry = there.contains(name.as_str()).then(|| manifest.file(&name)).flatten();
            entry.filter(|entry| entry.size == size.bytes()).cloned().ok_or(segment)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::complete;

    #[test]
    fn a_whole_one_passes() {
        let backup = CompleteBackup::check(complete()).unwrap();
        assert_eq!(backup.stop().lsn.to_string(), "0/3000100");
        assert_eq!(backup.label().name, "backup_label");
        assert_eq!(backup.tablespace_map().unwrap().name, "tablespace_map");
        assert_eq!(backup.wal().len(), 2);
        assert_eq!(backup.manifest(), &complete());
    }

    #[test]
    fn every_other_state_is_refused() {
        for state in [
            BackupState::Started,
            BackupState::Stopped,
            BackupState::Uploading,
            BackupState::Failed,
            BackupState::Expired,
        ] {
            let error = CompleteBackup::check(BackupManifest { state, ..complete() }).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("backup \"20261121T031500Z-3f9c\" is {state}, not complete")
            );
        }
    }

    fn lacks(change: impl FnOnce(&mut BackupManifest)) -> String {
        let mut manifest = complete();
        change(&mut manifest);
        let text = CompleteBackup::check(manifest).unwrap_err().to_string();
        let start =
            "the manifest of backup \"20261121T031500Z-3f9c\" says it is complete, but lacks ";
        text.strip_prefix(start).unwrap().to_owned()
    }

    #[test]
    fn says_what_is_not_there() {
        assert_eq!(lacks(|manifest| manifest.stop = None), "its stop");
        assert_eq!(lacks(|manifest| manifest.snapshots.clear()), "a snapshot");
        let without = |name: &'static str| {
            lacks(move |manifest| manifest.files.retain(|entry| entry.name != name))
        };
        assert_eq!(without("backup_label"), "the file \"backup_label\"");
        assert_eq!(without("tablespace_map"), "the file \"tablespace_map\"");
        assert_eq!(
            without("wal/000000010000000000000003"),
            "WAL segment \"000000010000000000000003\""
        );
        assert_eq!(
            lacks(|manifest| manifest.files[2].size = 1),
            "WAL segment \"000000010000000000000002\""
        );
        assert_eq!(
            lacks(|manifest| manifest.start.lsn = "1/0".parse().unwrap()),
            "WAL: its stop at 0/3000100 is before its start"
        );
    }

    #[test]
    fn an_absurd_range_is_answered_at_once() {
        let missing = lacks(|manifest| {
            manifest.stop.as_mut().unwrap().lsn = "FFFFFFFF/FFFFFFFF".parse().unwrap();
        });
        assert_eq!(missing, "WAL segment \"000000010000000000000004\"");
    }
}

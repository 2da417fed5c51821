//! Does a snapshot prove to be what the manifest says? The manifest is written by whoever may write to the
//! repository; what is made of it costs money and is mounted by root.

use snapshot::{SnapshotRecord, UploadState, VolumeRecord};

use super::RestoreError;
use crate::{Snapshot, tag};

/// What the manifest says of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The cluster's name in the repository.
    pub cluster: String,
    /// The backup's id.
    pub backup_id: String,
    /// PostgreSQL's system identifier, as decimal digits.
    pub system_identifier: String,
}

impl Claim {
    /// Checks the snapshot's tags, owner, size and state. DescribeSnapshots gives only what our own account owns.
    pub(crate) fn prove(
        &self,
        record: &SnapshotRecord,
        found: &Snapshot,
    ) -> Result<(), RestoreError> {
        let differs = |what: String, found_value: String, expected: String| {
            Err(RestoreError::SnapshotMismatch {
                snapshot: found.id.clone(),
                what,
                found: found_value,
                expected,
            })
        };
        for (key, expected) in [
            (tag::CLUSTER, &self.cluster),
            (tag::BACKUP_ID, &self.backup_id),
            (tag::SYSTEM_IDENTIFIER, &self.system_identifier),
        ] {
            let value = found.tags.get(key);
            if value != Some(expected) {
                let is = value.map_or_else(|| "missing".to_owned(), |value| quoted(value));
                return differs(format!("tag {key}"), is, quoted(expected));
            }
        }
        let Some(volume) = &record.volume else {
            return Err(RestoreError::NoSnapshots { backup: self.backup_id.clone() });
        };
        if let Some((what, is, expected)) = facts(record, volume, found) {
            return differs(what.to_owned(), is, expected);
        }
        Ok(())
    }
}

fn facts(
    record: &SnapshotRecord,
    volume: &VolumeRecord,
    found: &Snapshot,
) -> Option<(&'static str, String, String)> {
    if let Some(account) = volume.account.as_ref().filter(|account| **account != found.owner) {
        return Some(("owner", quoted(&found.owner), quoted(account)));
    }
    if found.id == record.id {
        if found.volume_id != volume.volume_id {
            return Some(("volume", quoted(&found.volume_id), quoted(&volume.volume_id)));
        }
    } else if found.tags.get(tag::SOURCE_SNAPSHOT) != Some(&record.id) {
        let is = found.tags.get(tag::SOURCE_SNAPSHOT).map_or("missing".to_owned(), |id| quoted(id));
        return Some(("source snapshot", is, quoted(&record.id)));
    }
    if let Some(size) = volume.gibibytes.filter(|size| *size != found.gibibytes) {
        return Some(("size", format!("{} GiB", found.gibibytes), format!("{size} GiB")));
    }
    if found.state != UploadState::Completed {
        let is = if found.state == UploadState::Pending { "pending" } else { "error" };
        return Some(("state", quoted(is), quoted("completed")));
    }
    None
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Which of the snapshots found stands for `record`: itself, or a copy of it, one that is completed before others.
pub(crate) fn stands_for<'a>(
    record: &SnapshotRecord,
    found: &'a [Snapshot],
) -> Option<&'a Snapshot> {
    let itself = found.iter().find(|one| one.id == record.id);
    itself.or_else(|| {
        let mut copies: Vec<_> = found
            .iter()
            .filter(|one| one.tags.get(tag::SOURCE_SNAPSHOT) == Some(&record.id))
            .collect();
        copies.sort_by_key(|one| (one.state != UploadState::Completed, one.started_at));
        copies.first().copied()
    })
}

#[cfg(test)]
mod tests;

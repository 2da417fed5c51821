//! The backup of EBS snapshots that a task is about.

use ansible::{Failure, Options};
use repository::{BackupManifest, ClusterName, CompleteBackup};
use snapshot_ebs::BackupTags;

use frame::backups;

/// The one that is named, or the newest complete one of EBS snapshots.
pub(super) fn find(options: &Options) -> Result<CompleteBackup, Failure> {
    let of_volumes = |backup: &CompleteBackup| {
        backup.manifest().snapshots.iter().any(|record| record.volume.is_some())
    };
    backups::complete(options, &of_volumes, &none).map(|(_, backup)| backup)
}

fn none(cluster: &ClusterName, _: usize) -> Failure {
    let text = format!("cluster \"{cluster}\" has no complete backup of EBS snapshots");
    Failure::new("backup_not_found", text)
        .hint("Is one still being uploaded? ebs_snapshot_wait tells.")
}

/// The tags by which its snapshots and volumes are known.
pub(super) fn tags_of(manifest: &BackupManifest) -> BackupTags {
    BackupTags {
        cluster: manifest.cluster.to_string(),
        backup_id: manifest.backup_id.to_string(),
        system_identifier: manifest.system_identifier.to_string(),
        start_lsn: manifest.start.lsn.to_string(),
        session: manifest.session.clone(),
    }
}

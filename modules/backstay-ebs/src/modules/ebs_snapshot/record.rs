//! A set of snapshots as the session and the manifest keep it.

use chrono::{DateTime, Utc};
use snapshot::{ClusterVolume, SnapshotRecord, UploadState, VolumeRecord};
use snapshot_ebs::{Order, Snapshot, TakenSet, Volume};

use super::origin::{Origin, earlier};

/// One record for each snapshot. `place` is the region, and when the call was begun.
pub(super) fn records(
    origin: &Origin,
    order: &Order,
    set: &TakenSet,
    place: (&str, DateTime<Utc>),
) -> Vec<SnapshotRecord> {
    let (region, began) = place;
    let one = |(volume, taken): (&ClusterVolume, &Snapshot)| {
        let facts = set.volumes.iter().find(|found| found.id == volume.id);
        let filesystems: Vec<_> = origin
            .volumes
            .filesystems
            .iter()
            .filter(|filesystem| filesystem.volumes.contains(&volume.id))
            .cloned()
            .collect();
        SnapshotRecord {
            id: taken.id.clone(),
            provider: "ebs".to_owned(),
            source: volume.device.clone().into(),
            path: None,
            mount_point: filesystems
                .first()
                .map(|filesystem| filesystem.mount_point.clone())
                .unwrap_or_default(),
            covers: filesystems.iter().flat_map(|found| found.covers.clone()).collect(),
            started_at: earlier(began, taken.started_at),
            finished_at: Utc::now(),
            bytes: None,
            files: None,
            reflinked: None,
            listing: None,
            notes: vec![],
            volume: Some(VolumeRecord { filesystems, ..of(taken, facts, order, region) }),
        }
    };
    origin.volumes.volumes.iter().zip(&set.snapshots).map(one).collect()
}

fn of(taken: &Snapshot, facts: Option<&Volume>, order: &Order, region: &str) -> VolumeRecord {
    VolumeRecord {
        volume_id: taken.volume_id.clone(),
        region: region.to_owned(),
        zone: facts.map(|volume| volume.zone.clone()),
        account: Some(taken.owner.clone()).filter(|owner| !owner.is_empty()),
        instance_id: Some(order.instance_id.clone()),
        gibibytes: Some(taken.gibibytes).filter(|size| *size > 0),
        volume_type: facts.and_then(|volume| volume.volume_type.clone()),
        iops: facts.and_then(|volume| volume.iops),
        throughput: facts.and_then(|volume| volume.throughput),
        encrypted: Some(taken.encrypted),
        kms_key: facts.and_then(|volume| volume.kms_key.clone()),
        // Whatever EC2 says, it is not known to be whole before ebs_snapshot_wait has looked.
        state: UploadState::Pending,
        progress: Some(0),
        filesystems: vec![],
        system_identifier: Some(order.backup.system_identifier.clone()),
        start_lsn: Some(order.backup.start_lsn.clone()),
    }
}

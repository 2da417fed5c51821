//! How records are written, and read again.

use super::*;
use crate::Role;

pub(crate) fn record() -> SnapshotRecord {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    SnapshotRecord {
        id: "snap-0123".into(),
        provider: "ebs".into(),
        source: "/dev/nvme1n1".into(),
        path: None,
        mount_point: "/data".into(),
        covers: vec![Source::new(Role::DataDirectory, "/data/main")],
        started_at: time,
        finished_at: time,
        bytes: None,
        files: None,
        reflinked: None,
        listing: None,
        notes: Vec::new(),
        volume: None,
    }
}

pub(crate) fn volume(state: UploadState) -> VolumeRecord {
    VolumeRecord {
        volume_id: "vol-0123".into(),
        region: "eu-central-1".into(),
        zone: None,
        account: None,
        instance_id: None,
        gibibytes: Some(8),
        volume_type: Some("gp3".into()),
        iops: Some(3000),
        throughput: Some(125),
        encrypted: Some(true),
        kms_key: None,
        state,
        progress: Some(7),
        filesystems: Vec::new(),
        system_identifier: Some("7".into()),
        start_lsn: Some("0/3000028".into()),
    }
}

#[test]
fn records_without_a_volume_are_written_and_read_as_before() {
    let json = serde_json::to_string(&record()).unwrap();
    assert!(!json.contains("volume"), "{json}");
    assert_eq!(serde_json::from_str::<SnapshotRecord>(&json).unwrap(), record());
}

#[test]
fn only_a_completed_volume_is_uploaded() {
    let with = |state| SnapshotRecord { volume: Some(volume(state)), ..record() };
    assert!(record().is_uploaded());
    assert!(with(UploadState::Completed).is_uploaded());
    assert!(!with(UploadState::Pending).is_uploaded());
    assert!(!with(UploadState::Error).is_uploaded());
    let json = serde_json::to_value(with(UploadState::Pending)).unwrap();
    assert_eq!(json["volume"]["state"], "pending");
    let read: SnapshotRecord = serde_json::from_value(json).unwrap();
    assert_eq!(read, with(UploadState::Pending));
}

use super::*;
use crate::tags::tests::backup;
use crate::{Snapshot, Tags};
use chrono::DateTime;
use proof::prove;
use snapshot::UploadState;
use std::collections::BTreeSet;
use wishes::{free_names, like};

pub(super) fn piece(snapshot: &str) -> Piece {
    Piece {
        snapshot_id: snapshot.into(),
        account: Some("123456789012".into()),
        gibibytes: Some(8),
        was: (None, None, None),
        filesystems: vec![],
    }
}

pub(super) fn filesystem(mount_point: &str) -> ClusterFilesystem {
    ClusterFilesystem {
        mount_point: mount_point.into(),
        device: "/dev/nvme1n1p2".into(),
        fstype: "xfs".into(),
        uuid: Some("u1".into()),
        label: None,
        options: ["rw", "noatime", "attr2", "nouuid", "subvol=/@pg"].map(str::to_owned).into(),
        layers: vec!["partition nvme1n1p2".into()],
        volumes: vec!["vol-1".into()],
        covers: vec![],
        directories: vec![],
    }
}

pub(super) fn order() -> RestoreOrder {
    RestoreOrder {
        backup: backup(),
        restore_id: "r1".into(),
        instance_id: "i-1".into(),
        zone: "z".into(),
        pieces: vec![],
        like: NewVolume::default(),
        mount_options: None,
        device_names: vec![],
        patience: Duration::from_secs(1),
        keep_on_failure: false,
    }
}

#[test]
fn free_names_are_those_nobody_has() {
    let used: BTreeSet<String> = ["/dev/sdf", "/dev/xvdg", "/dev/sda1"].map(str::to_owned).into();
    let free = free_names(&[], &used);
    assert_eq!((free[0].as_str(), free.len()), ("/dev/sdh", 9));
    let wanted = ["/dev/sdg".to_owned(), "/dev/sdz".to_owned()];
    assert_eq!(free_names(&wanted, &used), ["/dev/sdz"]);
}

#[test]
fn snapshots_must_prove_that_they_are_the_backups() {
    let piece = piece("snap-1");
    let good = Snapshot {
        id: "snap-1".into(),
        volume_id: "vol-1".into(),
        state: UploadState::Completed,
        progress: 100,
        started_at: DateTime::from_timestamp(0, 0).unwrap(),
        completed_at: None,
        gibibytes: 8,
        encrypted: false,
        kms_key: None,
        owner: "1".into(),
        message: None,
        tags: backup().of_call("r", &Tags::new()),
    };
    let proven = |found: Option<&Snapshot>| prove(&order(), "r", &piece, found);
    assert!(proven(Some(&good)).is_ok());
    let refusal = |snapshot: Option<&Snapshot>| proven(snapshot).unwrap_err();
    let text = |snapshot: &Snapshot| refusal(Some(snapshot)).to_string();
    assert_eq!(
        refusal(None).to_string(),
        "snapshot \"snap-1\" is not in region \"r\" of this account; it was taken in account \"123456789012\""
    );
    let foreign = Snapshot { tags: Tags::new(), ..good.clone() };
    assert_eq!(
        text(&foreign),
        "snapshot \"snap-1\" is not of backup \"b1\" of cluster \"main\": its own tags say otherwise"
    );
    let pending = Snapshot { state: UploadState::Pending, ..good.clone() };
    assert_eq!(text(&pending), "snapshot \"snap-1\" is in state \"pending\", not \"completed\"");
    let broken =
        Snapshot { state: UploadState::Error, message: Some("no key".into()), ..good.clone() };
    assert_eq!(
        text(&broken),
        "snapshot \"snap-1\" is in state \"error\", not \"completed\": no key"
    );
    let other = Snapshot { gibibytes: 9, ..good };
    assert_eq!(text(&other), "snapshot \"snap-1\" has 9 GiB, the manifest says 8 GiB");
    assert_eq!(refusal(None).kind(), "snapshot_not_found");
}

#[test]
fn volumes_are_as_they_were_unless_told_otherwise() {
    let was = (Some("gp3".to_owned()), Some(6000), Some(250));
    let same = like(&NewVolume::default(), &was);
    assert_eq!(
        (same.volume_type.as_deref(), same.iops, same.throughput),
        (Some("gp3"), Some(6000), Some(250))
    );
    let wanted = NewVolume { volume_type: Some("st1".into()), ..NewVolume::default() };
    let other = like(&wanted, &was);
    assert_eq!(
        (other.volume_type.as_deref(), other.iops, other.throughput),
        (Some("st1"), None, None)
    );
    let gp2 = like(&NewVolume::default(), &(Some("gp2".to_owned()), Some(300), None));
    assert_eq!((gp2.volume_type.as_deref(), gp2.iops), (Some("gp2"), None));
}

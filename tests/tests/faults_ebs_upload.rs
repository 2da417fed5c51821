//! What becomes of a set of snapshots after the stop, while it is uploaded: it fails, it takes long, EC2 cannot be asked.

use std::time::Duration;

use backstay_tests::cloud::assert_same;
use backstay_tests::ec2::{ACCOUNT, Lost, OTHER_ACCOUNT, Snapshot};
use backstay_tests::{Cloud, Volumes};
use serde_json::{Value, json};

const SET: &str = "CreateSnapshots";

fn cloud() -> Option<Cloud> {
    Volumes::possible().then(|| Cloud::of(16))
}

/// Failure mode F15: the key is disabled while the upload goes on, long after backup mode has ended.
#[test]
fn a_snapshot_that_fails_after_the_stop_fails_the_backup_and_the_others_stay() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on(SET).pending_for(Duration::from_secs(600));
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("uploading"));
    let Snapshot { id, volume, .. } = cloud.ec2().snapshots().remove(1);
    cloud.ec2().break_snapshot(&id, "Given key ID is not accessible");
    let wait = cloud.of_repository("ebs_snapshot_wait", &json!({"backup_id": "b1", "delay": 1}));
    for _ in 0..2 {
        let reply = cloud.ask(&wait);
        assert_eq!(reply.result["error_kind"], json!("snapshot_failed"), "{:#}", reply.result);
        for text in [&*id, &*volume, "Given key ID is not accessible", "can never be restored"] {
            assert!(reply.message().contains(text), "\"{text}\" is not in: {}", reply.message());
        }
        let kept: Vec<_> = cloud.snapshot_ids().into_iter().filter(|other| *other != id).collect();
        let told = reply.result["kept"].as_array().cloned().unwrap_or_default();
        assert_same(
            &told.iter().filter_map(|k| Some(k.as_str()?.to_owned())).collect::<Vec<_>>(),
            &kept,
        );
    }
    assert_eq!(cloud.snapshot_ids().len(), 3);
    let manifest = cloud.scene.manifest("b1");
    assert_eq!(manifest["state"], json!("failed"));
    assert!(manifest["reason"].to_string().contains("Given key ID"), "{manifest:#}");
    let restore = cloud.ask(&cloud.restore("b1", &json!({})));
    assert_eq!(restore.result["failed"], json!(true));
    assert!(restore.message().contains("failed"), "{}", restore.message());
}

/// Failure mode F16.
#[test]
fn an_upload_that_takes_longer_than_the_wait_is_uploading_and_goes_on_later() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on(SET).pending_for(Duration::from_secs(600));
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    let wait = |more: &Value| {
        let mut options = json!({"backup_id": "b1", "delay": 1, "wait_timeout": 2});
        backstay_tests::scene::merge(&mut options, more);
        cloud.ask(&cloud.of_repository("ebs_snapshot_wait", &options)).ok()
    };
    let reply = wait(&json!({}));
    assert_eq!(reply.word("state"), "uploading");
    assert_eq!(reply.word("manifest_state"), "uploading");
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("uploading"));
    let restore = cloud.ask(&cloud.restore("b1", &json!({})));
    assert!(restore.message().contains("uploading"), "{}", restore.message());
    assert!(
        cloud
            .snapshot_ids()
            .iter()
            .all(|id| cloud.ec2().snapshot(id).tags["backstay:state"] == "taking")
    );

    for id in cloud.snapshot_ids() {
        cloud.ec2().complete(&id);
    }
    let reply = wait(&json!({}));
    assert_eq!((reply.word("state"), reply.word("manifest_state")), ("completed", "complete"));
    assert_eq!(reply.result["changed"], json!(true));
    assert_eq!(reply.result["progress"], json!(100));
    assert!(
        cloud
            .snapshot_ids()
            .iter()
            .all(|id| cloud.ec2().snapshot(id).tags["backstay:state"] == "taken")
    );
    let again = wait(&json!({"wait": false}));
    assert_eq!(again.result["changed"], json!(false));
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("complete"));
}

/// Retention counts only what is complete, so that an upload nobody saw the end of must not stay "uploading" for ever.
#[test]
fn a_later_wait_brings_earlier_backups_up_to_date() {
    let Some(cloud) = cloud() else { return };
    for id in ["long", "broken", "now"] {
        let time = if id == "now" { 0 } else { 600 };
        let _ = cloud.ec2().on(SET).pending_for(Duration::from_secs(time));
        cloud.start(id);
        let _ = cloud.snapshot(id, &json!({})).ok();
        cloud.stop_and_fetch(id);
    }
    let of = |id: &str| backstay_tests::cloud::ids(&cloud.scene.manifest(id));
    of("long").iter().for_each(|id| cloud.ec2().complete(id));
    cloud.ec2().break_snapshot(&of("broken")[0], "the key is disabled");
    let task = cloud.task("ebs_snapshot_wait", "now", &json!({"delay": 1, "earlier": true}));
    let reply = cloud.ask(&task).ok();
    assert_eq!(reply.word("manifest_state"), "complete");
    assert_eq!(
        reply.result["earlier"],
        json!([
            {"backup_id": "long", "manifest_state": "complete"},
            {"backup_id": "broken", "manifest_state": "failed"},
        ])
    );
    assert!(reply.result["warnings"].to_string().contains("the key is disabled"));
    let states = ["long", "broken", "now"].map(|id| cloud.scene.manifest(id)["state"].clone());
    assert_eq!(states, [json!("complete"), json!("failed"), json!("complete")]);
    let again = cloud.ask(&task).ok();
    assert_eq!((&again.result["earlier"], &again.result["changed"]), (&json!([]), &json!(false)));
}

/// One poll that EC2 refuses is no failed backup.
#[test]
fn a_poll_that_fails_does_not_end_the_wait() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on(SET).pending_for(Duration::from_secs(4));
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    let on = cloud.ec2().on("DescribeSnapshots").pass_times(1);
    let _ = on.fail_times(1, "UnauthorizedOperation").drop_requests(1, Lost::Closed);
    let options = json!({"backup_id": "b1", "delay": 1, "wait_timeout": 60});
    let reply = cloud.ask(&cloud.of_repository("ebs_snapshot_wait", &options)).ok();
    assert_eq!(reply.word("state"), "completed");
}

/// The credentials of another account find nothing, which says nothing of the snapshots.
#[test]
fn a_wait_with_another_account_or_region_fails_no_good_backup() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    let path = cloud.scene.backup_folder("b1").join("backup.json");
    let good = std::fs::read_to_string(&path).expect("the manifest");
    let mut manifest = cloud.scene.manifest("b1");
    for snapshot in manifest["snapshots"].as_array_mut().into_iter().flatten() {
        snapshot["started_at"] = json!("2026-01-01T00:00:00Z");
    }
    std::fs::write(&path, manifest.to_string()).expect("the test's own");
    let found = cloud.ec2().snapshots();
    for snapshot in &found {
        cloud.ec2().edit_snapshot(&snapshot.id, |one| one.owner = OTHER_ACCOUNT.to_owned());
    }
    let wait = cloud.of_repository("ebs_snapshot_wait", &json!({"backup_id": "b1", "delay": 1}));
    let reply = cloud.ask(&wait);
    assert_eq!(reply.result["error_kind"], json!("snapshot_not_found"), "{:#}", reply.result);
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("uploading"));
    let mut elsewhere = wait.clone();
    elsewhere["backstay.postgresql.ebs_snapshot_wait"]["region"] = json!("eu-west-1");
    let reply = cloud.ask(&elsewhere);
    assert_eq!(reply.result["error_kind"], json!("invalid_argument"), "{:#}", reply.result);
    std::fs::write(&path, good).expect("the test's own");
    for snapshot in &found {
        cloud.ec2().edit_snapshot(&snapshot.id, |one| one.owner = ACCOUNT.to_owned());
    }
    assert_eq!(cloud.ask(&wait).ok().word("manifest_state"), "complete");
}

//! `ebs_restore` with no more rights than the collection's policy gives, and in another region, on another instance.

use std::fs;

use backstay_tests::collection;
use backstay_tests::command::tied;
use backstay_tests::ec2::Key;
use backstay_tests::place::{User, project};
use backstay_tests::scene::{merged, read_json, request};
use backstay_tests::{Asked, Cloud, Destination, Imds, Reply, Server, Volumes, amcheck, need};
use serde_json::{Value, json};

fn cloud() -> Option<Cloud> {
    (need::can_run(need::root()) && Volumes::possible()).then(|| Cloud::of(17))
}

/// How many volumes were made from snapshots.
fn restored(cloud: &Cloud) -> usize {
    cloud.ec2().volumes().iter().filter(|volume| volume.snapshot.is_some()).count()
}

#[test]
fn the_policy_for_restores_is_enough_and_no_more() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let ec2 = cloud.ec2();
    let policy = read_json(&project().join("aws/iam-restore.json"));
    ec2.add_key(Key::new("RESTORE").policy(&policy));
    let role = json!({"access_key": "RESTORE", "secret_key": "a secret of the test's"});
    let of_role = |more: &Value| cloud.ask(&cloud.restore("b", &merged(&role, more)));

    ec2.on("AttachVolume").pass_times(2).fail_times(1, "AttachmentLimitExceeded");
    let failed = of_role(&json!({}));
    assert_eq!(failed.result["kept"], json!([]), "{:#}", failed.result);
    assert_eq!(restored(&cloud), 0);

    let done = of_role(&json!({})).ok();
    let absent = json!({"restore_id": done.word("restore_id"), "state": "absent"});
    let absent = cloud.of_repository("ebs_restore", &merged(&role, &absent));
    let removed = cloud.ask(&absent).ok();
    assert_eq!(removed.result["changed"], json!(true));
    assert_eq!(restored(&cloud), 0);

    // a volume without the tag is not the restore's, and the role may not touch it
    let done = of_role(&json!({})).ok();
    let made = done.result["volumes"][0]["volume_id"].as_str().unwrap_or_default().to_owned();
    ec2.edit_volume(&made, |volume| drop(volume.tags.remove("backstay:restore")));
    let removed = cloud.ask(&absent).ok();
    assert_eq!(removed.result["volumes"].as_array().map(Vec::len), Some(2));
    assert_eq!(restored(&cloud), 1);
    // a snapshot that is not a backup's
    let others = ec2.snapshots()[0].id.clone();
    ec2.edit_snapshot(&others, |snapshot| snapshot.tags.clear());
    let refused = of_role(&json!({"restore_id": "other"}));
    assert_eq!(refused.result["error_kind"], json!("snapshot_mismatch"), "{:#}", refused.result);
}

/// Asks as the instance that this metadata service describes.
#[track_caller]
fn ask_on(cloud: &Cloud, imds: &Imds, task: &Value) -> Reply {
    let request = request(task);
    let module = request["_ansible_module_name"].as_str().unwrap_or_default();
    let mut command = tied(collection::executable_of(module), &User::current());
    command.arg("run").envs(cloud.volumes.variables());
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint());
    Asked::by(command, &request).reply()
}

#[test]
fn copies_are_restored_in_their_region() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let ec2 = cloud.ec2();
    cloud.scene.server.execute("create table after_the_backup ()");
    let instance = ec2.add_instance("spare", "eu-west-1", "eu-west-1b");
    cloud.volumes.be_also(&instance);
    let imds = Imds::of(&ec2.describe(&instance));
    let restore = cloud.restore("b", &json!({}));
    let none = ask_on(&cloud, &imds, &restore);
    assert_eq!(none.result["error_kind"], json!("snapshot_not_found"), "{:#}", none.result);

    let copy = json!({"backup_id": "b", "destination_region": "eu-west-1", "wait": true});
    let _ = cloud.ask(&cloud.of_repository("ebs_snapshot_copy", &copy)).ok();
    let reply = ask_on(&cloud, &imds, &restore).ok();
    let volumes: Vec<_> =
        ec2.volumes().into_iter().filter(|volume| volume.snapshot.is_some()).collect();
    assert_eq!(volumes.len(), 3, "{:#}", reply.result);
    for volume in &volumes {
        assert_eq!((volume.zone.as_str(), volume.kind.as_str()), ("eu-west-1b", "gp3"));
        let snapshot = ec2.snapshot(volume.snapshot.as_deref().unwrap_or_default());
        assert!(snapshot.copied_from.is_some(), "{snapshot:?}");
        let there = volume.attachment.as_ref().expect("it is attached");
        assert_eq!(there.instance, instance);
    }

    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let mut settings = destination.settings();
    settings["ssl"] = json!("off");
    let mut server = Server::adopt(17, destination);
    server.announce_log("the database system is");
    let options = json!({
        "backup_id": "b",
        "source": "in_place",
        "data_directory": reply.result["data_directory"],
        "wal_directory": reply.result["wal_directory"],
        "tablespace_mapping": reply.result["tablespace_mapping"],
        "settings": settings,
        "bin_dir": cloud.scene.server.bin(),
        "start": true,
    });
    let _ = cloud.ask(&cloud.of_repository("cluster_restore", &options)).ok();
    assert!(server.says_true("select to_regclass('after_the_backup') is null"));
    amcheck(&server);
    assert!(fs::exists(cloud.restored("wal").join("wal/archive_status")).unwrap_or(false));
}

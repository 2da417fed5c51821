//! `ebs_restore` when something is not as it should be: refused before anything is made, or undone, so that nothing
//! stays attached, mounted or paid for.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use backstay_tests::scene::{merged, read_json};
use backstay_tests::{Cloud, Reply, Volumes, need};
use serde_json::{Value, json};

/// A cloud with the complete backup `b`.
fn cloud() -> Option<Cloud> {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return None;
    }
    let cloud = Cloud::of(17);
    cloud.take("b");
    Some(cloud)
}

/// Every volume and where it is attached, and every mount of a restore.
fn traces(cloud: &Cloud) -> (Vec<String>, Vec<String>) {
    let attached = |volume: backstay_tests::ec2::Volume| match volume.attachment {
        Some(there) => format!("{} {} {}", volume.id, there.instance, there.device),
        None => format!("{} {}", volume.id, volume.state()),
    };
    (cloud.ec2().volumes().into_iter().map(attached).collect(), cloud.restored_mounts())
}

/// The task fails with this kind and these texts, and leaves nothing.
#[track_caller]
fn assert_undone(cloud: &Cloud, more: &Value, kind: &str, texts: &[&str]) -> Reply {
    let before = traces(cloud);
    assert!(before.1.is_empty(), "{before:?}");
    let reply = cloud.ask(&cloud.restore("b", more));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert_eq!(reply.result["error_kind"], json!(kind), "{:#}", reply.result);
    let told = format!("{} {}", reply.message(), reply.result["hints"]);
    for text in texts {
        assert!(told.contains(text), "\"{text}\" is not in: {told}");
    }
    assert_eq!(traces(cloud), before, "{:#}", reply.result);
    assert!(!cloud.restored("data").exists(), "a directory was left");
    reply
}

/// The same, and no volume was asked for.
#[track_caller]
fn assert_refused(cloud: &Cloud, more: &Value, kind: &str, texts: &[&str]) {
    let before = cloud.ec2().calls("CreateVolume").len();
    let _ = assert_undone(cloud, more, kind, texts);
    assert_eq!(cloud.ec2().calls("CreateVolume").len(), before);
}

/// The snapshots' ids, that of the data directory's volume first.
fn snapshots(cloud: &Cloud) -> Vec<String> {
    let all = cloud.ec2().snapshots();
    let of = |volume: &String| all.iter().find(|s| s.volume == *volume).map(|s| s.id.clone());
    cloud.ids().iter().map(|volume| of(volume).expect("a snapshot of each volume")).collect()
}

/// Puts `change` of the manifest of the backup in its place until the value is called.
fn with_manifest(cloud: &Cloud, change: impl FnOnce(&mut Value), test: impl FnOnce()) {
    let path = cloud.scene.backup_folder("b").join("backup.json");
    let text = fs::read_to_string(&path).expect("the manifest");
    let mut manifest = read_json(&path);
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).expect("the manifest");
    test();
    fs::write(&path, text).expect("the manifest");
}

#[test]
fn what_cannot_be_restored_is_refused_before_a_volume_is_made() {
    let Some(cloud) = cloud() else { return };
    let at = |point: &std::path::Path| {
        let data = cloud.data.mount_point.display().to_string();
        let mut mapping = cloud.mapping();
        mapping[data] = json!(point);
        json!({"mount_points": mapping})
    };
    assert_refused(
        &cloud,
        &at(&cloud.wal.mount_point),
        "location_not_empty",
        &["is one already, of", "mount_points"],
    );
    let full = cloud.scene.backup.repository();
    assert_refused(&cloud, &at(&full), "location_not_empty", &["is not empty; what is in it"]);
    let wal = cloud.restored("wal");
    assert_refused(&cloud, &at(&wal), "invalid_argument", &["both \"", "would be mounted at"]);
    let here = cloud.volumes.instance().to_owned();
    assert_refused(
        &cloud,
        &json!({"zone": "eu-central-1b"}),
        "invalid_argument",
        &["\"eu-central-1b\"", "\"eu-central-1a\"", &here],
    );
    let other = cloud.ec2().add_instance("other", "eu-central-1", "eu-central-1b");
    let given = json!({"instance_id": other});
    assert_refused(&cloud, &given, "invalid_argument", &[&other, &here, "leave instance_id out"]);
    // nobody says which instance this is; but its volumes tell its zone
    cloud.volumes.imds().be_silent(true);
    let mut given = json!({
        "instance_id": here,
        "zone": "eu-central-1b",
        "region": "eu-central-1",
        "access_key": "AKIATEST",
        "secret_key": "a secret of the test's",
    });
    assert_refused(&cloud, &given, "invalid_argument", &["\"eu-central-1b\"", "\"eu-central-1a\""]);
    given["instance_id"] = Value::Null;
    assert_refused(&cloud, &given, "instance_metadata_unavailable", &[]);
    cloud.volumes.imds().be_silent(false);
}

#[test]
fn snapshots_and_manifests_that_will_not_do_are_refused() {
    let Some(cloud) = cloud() else { return };
    for (state, way) in [
        ("stopped", "wal_fetch"),
        ("uploading", "ebs_snapshot_wait"),
        ("failed", "another backup"),
        ("expired", "another backup"),
    ] {
        let change = |manifest: &mut Value| manifest["state"] = json!(state);
        with_manifest(&cloud, change, || {
            assert_refused(&cloud, &json!({}), "backup_not_complete", &[state, way]);
        });
    }
    let region = json!({"region": "eu-west-1"});
    let texts = ["\"eu-central-1\"", "\"eu-west-1\"", "ebs_snapshot_copy"];
    assert_refused(&cloud, &region, "snapshot_not_found", &texts);
    let ids = snapshots(&cloud);
    let (id, ec2) = (ids[1].as_str(), cloud.ec2());
    let whole = ec2.snapshot(id);
    ec2.edit_snapshot(id, |s| s.owner = "999999999999".to_owned());
    let texts = [id, "\"eu-central-1\"", "taken in account", "credentials of the account"];
    assert_refused(&cloud, &json!({}), "snapshot_not_found", &texts);
    ec2.edit_snapshot(id, |s| *s = whole.clone());
    ec2.edit_snapshot(id, |s| s.gibibytes = 2);
    assert_refused(&cloud, &json!({}), "snapshot_mismatch", &[id, "2 GiB", "1 GiB"]);
    ec2.edit_snapshot(id, |s| *s = whole.clone());
    ec2.edit_snapshot(id, |s| drop(s.tags.remove("backstay:backup-id")));
    assert_refused(&cloud, &json!({}), "snapshot_mismatch", &[id, "its own tags say otherwise"]);
    ec2.edit_snapshot(id, |s| *s = whole.clone());
    ec2.break_snapshot(id, "the key is disabled");
    let texts = [id, "\"error\"", "the key is disabled", "another backup"];
    assert_refused(&cloud, &json!({}), "snapshot_failed", &texts);
}

#[test]
fn a_step_that_fails_is_undone_with_all_before_it() {
    let Some(cloud) = cloud() else { return };
    let ec2 = cloud.ec2();
    let nothing = json!({});
    let done = "What the restore had made has been undone.";

    ec2.on("CreateVolume").pass_times(2).fail_times(1, "VolumeLimitExceeded");
    let texts = ["VolumeLimitExceeded", done];
    let _ = assert_undone(&cloud, &nothing, "api_failed", &texts);
    assert_eq!(ec2.calls("DeleteVolume").len(), 2);
    ec2.on("CreateVolume").reset();

    // a key that may not be used shows only afterwards
    ec2.on("CreateVolume").pending_for(Duration::from_secs(60)).error_after(
        0,
        Duration::from_secs(2),
        "",
    );
    let texts = ["went to state \"error\" while it was made", "key", done];
    let _ = assert_undone(&cloud, &nothing, "restore_failed", &texts);
    ec2.on("CreateVolume").reset();

    ec2.on("AttachVolume").pass_times(1).fail_times(1, "AttachmentLimitExceeded");
    let _ = assert_undone(&cloud, &nothing, "api_failed", &["AttachmentLimitExceeded", done]);
    ec2.on("AttachVolume").reset();

    ec2.on("AttachVolume").device_after(Duration::from_secs(3600));
    let late = json!({"wait_timeout": 3});
    let texts = ["is attached, but no disk with its serial appeared", "within 3 s", done];
    let _ = assert_undone(&cloud, &late, "restore_timeout", &texts);
    ec2.on("AttachVolume").reset();

    // and after all of them it still works
    let _ = cloud.ask(&cloud.restore("b", &nothing)).ok();
    assert_eq!(cloud.restored_mounts().len(), 3);
}

/// Changes the UUID of the last file system in the manifest.
fn other_uuid(manifest: &mut Value) {
    let last = manifest["snapshots"].as_array_mut().and_then(|all| all.last_mut());
    let filesystem = &mut last.expect("a snapshot")["volume"]["filesystems"][0];
    filesystem["uuid"] = json!("00000000-1111-2222-3333-444444444444");
}

#[test]
fn another_file_system_is_found_before_the_first_is_mounted() {
    let Some(cloud) = cloud() else { return };
    let texts = ["has the filesystem UUID", "\"00000000-1111-2222-3333-444444444444\""];
    with_manifest(&cloud, other_uuid, || {
        let _ = assert_undone(&cloud, &json!({}), "snapshot_mismatch", &texts);
        // kept as it was then: all attached, none mounted
        let keep = json!({"keep_on_failure": true});
        let reply = cloud.ask(&cloud.restore("b", &keep));
        assert_eq!(reply.result["error_kind"], json!("snapshot_mismatch"), "{:#}", reply.result);
        let kept = reply.result["kept"].as_array().cloned().unwrap_or_default();
        assert_eq!(kept.len(), 3, "{:#}", reply.result);
        assert_eq!(reply.result["mounted"], json!([]));
        assert_eq!(cloud.restored_mounts(), Vec::<String>::new());
        for id in kept {
            let volume = cloud.ec2().volume(id.as_str().unwrap_or_default());
            let there = volume.attachment.expect("it is attached").instance;
            assert_eq!(there, cloud.volumes.instance());
        }
    });
    // with the true manifest the same task goes on with them
    let made = cloud.ec2().calls("CreateVolume").len();
    let reply = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    assert_eq!(reply.result["changed"], json!(true));
    assert_eq!(cloud.ec2().calls("CreateVolume").len(), made);
    assert_eq!(cloud.restored_mounts().len(), 3);
}

#[test]
fn what_an_undo_cannot_delete_is_listed() {
    let Some(cloud) = cloud() else { return };
    let ec2 = cloud.ec2();
    let before = traces(&cloud);
    ec2.on("AttachVolume").pass_times(2).fail_times(1, "AttachmentLimitExceeded");
    ec2.on("DeleteVolume").pass_times(1).fail_times(1, "UnauthorizedOperation");
    let reply = cloud.ask(&cloud.restore("b", &json!({"restore_id": "drill"})));
    assert!(reply.message().contains("AttachmentLimitExceeded"), "{:#}", reply.result);
    let kept = reply.result["kept"].as_array().cloned().unwrap_or_default();
    assert_eq!(kept.len(), 1, "{:#}", reply.result);
    let kept = kept[0].as_str().unwrap_or_default();
    assert!(reply.message().contains(&format!("to be removed: {kept}")), "{:#}", reply.result);
    let volume = ec2.volume(kept);
    assert!(volume.attachment.is_none(), "{volume:?}");
    assert_eq!(ec2.volumes().len(), before.0.len() + 1);

    // a volume of somebody else, and one of another restore
    let (other, tags) = (cloud.volumes.add_unused(1), volume.tags);
    ec2.edit_volume(&other, |volume| {
        volume.tags.clone_from(&tags);
        volume.tags.insert("backstay:restore".to_owned(), "other".to_owned());
    });
    let absent = json!({"restore_id": "drill", "state": "absent"});
    let absent = cloud.of_repository("ebs_restore", &absent);
    let planned = cloud.ask(&merged(&absent, &json!({"check_mode": true}))).ok();
    assert_eq!(planned.result["volumes"], json!([{"volume_id": kept}]));
    let removed = cloud.ask(&absent).ok();
    assert_eq!(
        (&removed.result["changed"], removed.result["volumes"].as_array().map(Vec::len)),
        (&json!(true), Some(1))
    );
    assert!(ec2.volumes().iter().all(|volume| volume.id != kept));
    assert_eq!(ec2.volumes().len(), before.0.len() + 1);
    let again = cloud.ask(&absent).ok();
    assert_eq!(again.result["changed"], json!(false));
}

/// A process with a mount namespace of its own, as that of a container, in which `point` stays mounted.
fn container_with(point: &std::path::Path) -> std::process::Child {
    let mut container = std::process::Command::new("unshare");
    container.args(["--mount", "--propagation", "private", "sh", "-ec", "echo; exec sleep 60"]);
    let mut container = container.stdout(Stdio::piped()).spawn().expect("unshare");
    let mut line = [0];
    container.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("it has begun");
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", container.id())).expect("mounts");
    assert!(mounts.contains(&point.display().to_string()), "{mounts}");
    container
}

#[test]
fn what_a_container_has_mounted_is_in_use() {
    let Some(cloud) = cloud() else { return };
    let restored = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    let before = traces(&cloud);
    let mut container = container_with(&cloud.restored("wal"));
    let absent = json!({"restore_id": restored.word("restore_id"), "state": "absent"});
    let absent = cloud.of_repository("ebs_restore", &absent);
    let refused = cloud.ask(&absent);
    assert_eq!(refused.result["error_kind"], json!("restore_failed"), "{:#}", refused.result);
    let text = "is in use, though it is not mounted on this host: stop what uses it";
    assert!(refused.message().contains(text), "{}", refused.message());
    assert_eq!(refused.result["kept"].as_array().map(Vec::len), Some(3));
    let after = traces(&cloud);
    assert_eq!((after.0, after.1.len()), (before.0, 3));

    // the undo of a run that had not finished
    for volume in cloud.ec2().volumes() {
        cloud.ec2().edit_volume(&volume.id, |one| drop(one.tags.remove("backstay:restored")));
    }
    let umount = std::process::Command::new("umount").arg(cloud.restored("wal")).status();
    assert!(umount.expect("umount").success());
    with_manifest(&cloud, other_uuid, || {
        let reply = cloud.ask(&cloud.restore("b", &json!({})));
        assert_eq!(reply.result["error_kind"], json!("snapshot_mismatch"), "{:#}", reply.result);
        assert_eq!(reply.result["kept"].as_array().map(Vec::len), Some(3), "{:#}", reply.result);
        assert!(reply.message().contains("Stop what still uses \""), "{}", reply.message());
    });
    assert_eq!(cloud.ec2().calls("DetachVolume").len(), 0);
    container.kill().and_then(|()| container.wait()).expect("our own child");
    let _ = cloud.ask(&absent).ok();
}

#[test]
fn what_is_in_use_is_neither_undone_nor_removed() {
    let Some(cloud) = cloud() else { return };
    let restored = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    // as a run leaves it that is killed at its end
    for volume in cloud.ec2().volumes() {
        cloud.ec2().edit_volume(&volume.id, |one| drop(one.tags.remove("backstay:restored")));
    }
    let before = traces(&cloud);
    let wal = cloud.restored("wal");
    let file = fs::File::create(wal.join("in use")).expect("a file on the volume");
    let absent = json!({"restore_id": restored.word("restore_id"), "state": "absent"});
    let absent = cloud.of_repository("ebs_restore", &absent);
    let refused = cloud.ask(&absent);
    assert_eq!(refused.result["error_kind"], json!("restore_failed"), "{:#}", refused.result);
    let text = format!("could not unmount \"{}\"", wal.display());
    assert!(refused.message().contains(&text), "{}", refused.message());
    assert_eq!(cloud.restored_mounts().len(), 3, "it is half unmounted");
    assert_eq!(refused.result["kept"].as_array().map(Vec::len), Some(3));
    let attached = |all: Vec<String>| all.into_iter().filter(|one| one.contains("/dev/sd")).count();
    assert_eq!(attached(traces(&cloud).0), attached(before.0));

    // a second restore fails; the undo leaves the volume that is in use, and says where
    let space = cloud.restored("space");
    if cloud.restored_mounts().iter().any(|line| line.contains(&space.display().to_string())) {
        let umount = std::process::Command::new("umount").arg(&space).status().expect("umount");
        assert!(umount.success());
    }
    fs::write(space.join("in the way"), "").expect("a file where nothing is mounted");
    let reply = cloud.ask(&cloud.restore("b", &json!({})));
    assert_eq!(reply.result["error_kind"], json!("location_not_empty"), "{:#}", reply.result);
    fs::remove_file(space.join("in the way")).expect("an own file");
    with_manifest(&cloud, other_uuid, || {
        let reply = cloud.ask(&cloud.restore("b", &json!({})));
        assert_eq!(reply.result["error_kind"], json!("snapshot_mismatch"), "{:#}", reply.result);
        assert_eq!(reply.result["mounted"], json!([wal]), "{:#}", reply.result);
        assert_eq!(reply.result["kept"].as_array().map(Vec::len), Some(1));
    });
    drop(file);
    let removed = cloud.ask(&absent).ok();
    assert_eq!(removed.result["mount_points"], json!([wal]));
    assert_eq!(cloud.restored_mounts(), Vec::<String>::new());
}

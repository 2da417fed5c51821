//! `ebs_restore` killed half-way or without an answer: run again it goes on with the volumes that are there, and never
//! makes a second set.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backstay_tests::command::signal;
use backstay_tests::place::User;
use backstay_tests::scene::merged;
use backstay_tests::{
    Asked, Cloud, Destination, Reply, Server, Volumes, Writer, amcheck, need, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn cloud() -> Option<Cloud> {
    (need::can_run(need::root()) && Volumes::possible()).then(|| Cloud::of(17))
}

const LIMIT: Duration = Duration::from_secs(60);

/// Ends the task without a chance to undo anything.
fn kill(mut asked: Asked) {
    assert!(asked.runs(), "it ended before it could be killed");
    signal(asked.pid(), Signal::SIGKILL);
    wait_until("the task is gone", LIMIT, || !asked.runs());
}

/// The volumes that were made from snapshots.
fn restored(cloud: &Cloud) -> BTreeSet<String> {
    let all = cloud.ec2().volumes().into_iter();
    all.filter(|volume| volume.snapshot.is_some()).map(|volume| volume.id).collect()
}

/// Restores, and finds three volumes attached and mounted, those of `before` among them.
#[track_caller]
fn assert_resumed(cloud: &Cloud, before: &BTreeSet<String>) -> Reply {
    let reply = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    let volumes = restored(cloud);
    assert_eq!(volumes.len(), 3, "{:#}", reply.result);
    assert!(volumes.is_superset(before), "{before:?} are not among {volumes:?}");
    assert_eq!(cloud.restored_mounts().len(), 3, "{:#}", reply.result);
    for volume in &volumes {
        let there = cloud.ec2().volume(volume).attachment.expect("it is attached");
        assert_eq!(there.instance, cloud.volumes.instance());
    }
    reply
}

/// `state: absent` takes everything away.
#[track_caller]
fn remove(cloud: &Cloud, restored: &Reply) {
    let id = restored.word("restore_id");
    let absent = json!({"restore_id": id, "state": "absent"});
    let _ = cloud.ask(&cloud.of_repository("ebs_restore", &absent)).ok();
    assert_eq!(self::restored(cloud).len(), 0);
    assert_eq!(cloud.restored_mounts(), Vec::<String>::new());
}

/// Lets `mount` take three seconds more in this test's mount namespace, while the file is there.
fn slow_mount(cloud: &Cloud) -> PathBuf {
    let place = cloud.volumes.mount_point("").with_file_name("slow");
    fs::create_dir(&place).expect("a directory in the test's place");
    let (real, script, slow) = (place.join("mount"), place.join("script"), place.join("now"));
    let program = Path::new("/usr/bin/mount");
    fs::copy(program, &real).expect("a copy of mount");
    let (real, slow_path) = (real.display(), slow.display());
    let text = format!("#!/bin/sh\n{real} \"$@\" && {{ test ! -e {slow_path} || sleep 3; }}\n");
    fs::write(&script, text).expect("a file in the test's place");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an own file");
    fs::write(&slow, "").expect("a file in the test's place");
    let bound = Command::new("mount").arg("--bind").arg(&script).arg(program).status();
    assert!(bound.expect("mount").success());
    slow
}

/// `cluster_restore` of what was mounted, started, and the server that it made.
fn recover(cloud: &Cloud, restored: &Reply, destination: Destination, more: &Value) -> Server {
    let mut settings = destination.settings();
    settings["ssl"] = json!("off");
    let options = json!({
        "backup_id": "b",
        "source": "in_place",
        "data_directory": restored.result["data_directory"],
        "tablespace_mapping": restored.result["tablespace_mapping"],
        "settings": settings,
        "bin_dir": cloud.scene.server.bin(),
        "start": true,
    });
    let mut server = Server::adopt(17, destination);
    server.announce_log("the database system is");
    let task = cloud.of_repository("cluster_restore", &merged(&options, more));
    let _ = cloud.ask(&task).ok();
    server
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let Some(cloud) = cloud() else { return };
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    cloud.start("b");
    let _ = cloud.snapshot("b", &json!({})).ok();
    let stopped = cloud.ask(&cloud.task("backup_stop", "b", &json!({}))).ok();
    let ledger = writer.stop();
    let _ = cloud.ask(&cloud.task("wal_fetch", "b", &json!({}))).ok();
    let _ = cloud.ask(&cloud.task("ebs_snapshot_wait", "b", &json!({"delay": 1}))).ok();
    let task = cloud.restore("b", &json!({}));
    let ec2 = cloud.ec2();

    for (action, count) in [("CreateVolume", 2), ("AttachVolume", 2)] {
        let calls = ec2.calls(action).len();
        ec2.on(action).delay(Duration::from_millis(700));
        let asked = cloud.begin(&task);
        wait_until(action, LIMIT, || ec2.calls(action).len() >= calls + count);
        kill(asked);
        ec2.on(action).reset();
        let made = restored(&cloud);
        assert!(!made.is_empty(), "killed too early in {action}");
        assert_eq!(cloud.restored_mounts(), Vec::<String>::new());
        let resumed = assert_resumed(&cloud, &made);
        assert_eq!(resumed.result["changed"], json!(true));
        remove(&cloud, &resumed);
    }

    let slow = slow_mount(&cloud);
    let asked = cloud.begin(&task);
    wait_until("something is mounted", LIMIT, || !cloud.restored_mounts().is_empty());
    kill(asked);
    fs::remove_file(slow).expect("a file in the test's place");
    assert_eq!(cloud.restored_mounts().len(), 1);
    let made = restored(&cloud);
    assert_eq!(made.len(), 3);
    let resumed = assert_resumed(&cloud, &made);
    assert_eq!(resumed.result["changed"], json!(true));
    let again = assert_resumed(&cloud, &made);
    assert_eq!(again.result["changed"], json!(false));
    assert_eq!(again.result["filesystems"], resumed.result["filesystems"]);

    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let copy = recover(&cloud, &resumed, destination, &json!({}));
    let held = ledger.assert_all_in(&copy, stopped.word("stop_lsn"));
    assert!(held >= 20, "only {held} transactions");
    amcheck(&copy);
    drop(copy);
    remove(&cloud, &resumed);
}

#[test]
fn an_undo_takes_what_a_killed_run_has_mounted() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let ec2 = cloud.ec2();
    let before = ec2.volumes().len();
    let resumed = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    // as a run leaves it that is killed before its last volume
    let all = ec2.volumes().into_iter().filter(|volume| volume.snapshot.is_some());
    for volume in all {
        ec2.edit_volume(&volume.id, |volume| drop(volume.tags.remove("backstay:restored")));
    }
    let wal = cloud.restored("wal");
    let umount = Command::new("umount").arg(&wal).status().expect("umount");
    assert!(umount.success());
    let volume = volume_of(&resumed, &wal);
    let _ = ec2.ask(&format!("Action=DetachVolume&VolumeId={volume}"));
    wait_until("it is detached", LIMIT, || ec2.volume(&volume).attachment.is_none());
    ec2.on("AttachVolume").fail_times(1, "AttachmentLimitExceeded");
    let reply = cloud.ask(&cloud.restore("b", &json!({})));
    assert_eq!(reply.result["error_kind"], json!("api_failed"), "{:#}", reply.result);
    assert_eq!((&reply.result["kept"], &reply.result["mounted"]), (&json!([]), &json!([])));
    assert_eq!(ec2.volumes().len(), before);
    assert_eq!(cloud.restored_mounts(), Vec::<String>::new());
}

#[test]
fn a_restore_that_was_finished_is_never_undone() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let ec2 = cloud.ec2();
    let finished = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    assert_eq!(finished.result["restored_before"], json!(false), "{:#}", finished.result);
    let volumes = restored(&cloud);
    for id in &volumes {
        let tags = ec2.volume(id).tags;
        assert!(tags.contains_key("backstay:restored"), "{tags:?}");
    }
    // as after a reboot, and one volume was detached
    let wal = cloud.restored("wal");
    for name in ["data", "wal", "space"] {
        let umount = Command::new("umount").arg(cloud.restored(name)).status().expect("umount");
        assert!(umount.success());
    }
    let volume = volume_of(&finished, &wal);
    let _ = ec2.ask(&format!("Action=DetachVolume&VolumeId={volume}"));
    wait_until("it is detached", LIMIT, || ec2.volume(&volume).attachment.is_none());
    ec2.on("AttachVolume").fail_times(1, "AttachmentLimitExceeded");
    let reply = cloud.ask(&cloud.restore("b", &json!({})));
    assert_eq!(reply.result["error_kind"], json!("api_failed"), "{:#}", reply.result);
    let kept: BTreeSet<String> =
        serde_json::from_value(reply.result["kept"].clone()).expect("a list of ids");
    assert_eq!((&kept, &restored(&cloud)), (&volumes, &volumes), "{:#}", reply.result);
    let text = "An earlier run had finished this restore, so these volumes were left as they are";
    assert!(reply.message().contains(text), "{}", reply.message());
    assert_eq!(ec2.calls("DeleteVolume").len(), 0);

    let tagged = ec2.calls("CreateTags").len();
    let again = assert_resumed(&cloud, &volumes);
    assert_eq!(again.result["changed"], json!(true));
    assert_eq!(again.result["restored_before"], json!(true));
    assert_eq!(ec2.calls("CreateTags").len(), tagged);
    remove(&cloud, &again);
}

/// The volume that is mounted at `point`.
fn volume_of(restored: &Reply, point: &Path) -> String {
    let all = |key: &str| restored.result[key].as_array().cloned().unwrap_or_default();
    let filesystem = all("filesystems").into_iter().find(|one| one["mount_point"] == json!(point));
    let device = filesystem.expect("a file system there")["device"].clone();
    let volume = all("volumes").into_iter().find(|one| one["device"] == device);
    volume.expect("its volume")["volume_id"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn answers_that_are_lost_and_late_make_no_second_volume() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let ec2 = cloud.ec2();
    let made = restored(&cloud);
    ec2.on("CreateVolume").drop_answer_once().visible_after(Duration::from_secs(2));
    ec2.on("AttachVolume").drop_answer_once().device_after(Duration::from_secs(2));
    let reply = assert_resumed(&cloud, &made);
    assert!(ec2.calls("CreateVolume").len() >= 4);
    ec2.on("CreateVolume").reset();
    ec2.on("AttachVolume").reset();
    remove(&cloud, &reply);

    // one was attached by hand meanwhile, under a name of its own
    ec2.on("AttachVolume").fail_times(1, "AttachmentLimitExceeded");
    let kept = cloud.ask(&cloud.restore("b", &json!({"keep_on_failure": true})));
    let kept = kept.result["kept"].as_array().cloned().unwrap_or_default();
    let by_hand = kept[2].as_str().expect("an id").to_owned();
    let instance = cloud.volumes.instance();
    let form = format!("VolumeId={by_hand}&InstanceId={instance}&Device=/dev/sdz");
    let _ = ec2.ask(&format!("Action=AttachVolume&{form}"));
    let reply = assert_resumed(&cloud, &restored(&cloud));
    let volumes = reply.result["volumes"].as_array().cloned().unwrap_or_default();
    let by_hand = volumes.into_iter().find(|volume| volume["volume_id"] == json!(by_hand));
    assert_eq!(by_hand.expect("the volume")["attached_as"], json!("/dev/sdz"));
    remove(&cloud, &reply);

    // a name that is taken by something that EC2 does not list
    let taken =
        "Invalid value '/dev/sdx' for unixDevice. Attachment point /dev/sdx is already in use";
    ec2.on("AttachVolume").fail_saying("InvalidParameterValue", taken);
    let names = json!({"device_names": ["/dev/sdx", "/dev/sdw", "/dev/sdv", "/dev/sdu"]});
    let reply = cloud.ask(&cloud.restore("b", &names)).ok();
    let volumes = reply.result["volumes"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = volumes.iter().map(|volume| volume["attached_as"].clone()).collect();
    assert_eq!(names, ["/dev/sdw", "/dev/sdv", "/dev/sdu"].map(|name| json!(name)));
}

//! EBS backups end to end: real servers on real block devices, a scripted EC2 that makes real snapshots of them, the
//! collection's playbooks.

use std::fs;
use std::process::Command;
use std::time::Duration;

use backstay_tests::place::User;
use backstay_tests::scene::merge;
use backstay_tests::{
    Ansible, Cloud, Destination, Server, Stop, Volumes, Writer, amcheck, need, wait_until,
};
use serde_json::{Value, json};

/// Variables of `ebs_restore` that start the copy beside the original.
fn beside(cloud: &Cloud, destination: &Destination, more: &Value) -> Value {
    let mut settings = destination.settings();
    settings["ssl"] = json!("off");
    let mut all = json!({
        "backstay_mount_points": cloud.mapping(),
        "backstay_settings": settings,
        "backstay_recovery_options": {"bin_dir": cloud.scene.server.bin()},
    });
    merge(&mut all, more);
    cloud.playbook_variables(&all)
}

#[test]
fn a_backup_of_three_volumes_and_its_restore() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    cloud.ec2().on("CreateSnapshots").pending_for(Duration::from_secs(3));
    let ansible = cloud.ansible();
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    let taken = cloud.playbook_variables(&json!({"backstay_backup_id": "nightly"}));
    let run = ansible.playbook("backstay.postgresql.ebs_snapshot_backup", &taken).ok();
    let ledger = writer.stop();
    assert!(run.output.contains("backup nightly is complete"), "{}", run.output);
    assert_eq!(cloud.ec2().calls("CreateSnapshots").len(), 1);
    assert_eq!(cloud.ec2().calls("CreateSnapshot").len(), 0);
    let manifest = cloud.scene.manifest("nightly");
    assert_eq!(manifest["state"], json!("complete"));
    assert_eq!(manifest["snapshots"].as_array().map(Vec::len), Some(3));
    for snapshot in cloud.ec2().snapshots() {
        assert_eq!(snapshot.tags["backstay:state"], "taken");
        assert_eq!(snapshot.tags["backstay:backup-id"], "nightly");
        assert!(cloud.ids().contains(&snapshot.volume), "{snapshot:?}");
    }

    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let restored = beside(&cloud, &destination, &json!({}));
    let mut copy = Server::adopt(17, destination);
    copy.announce_log("the database system is");
    let _ = ansible.playbook("backstay.postgresql.ebs_restore", &restored).ok();
    let held = ledger.assert_all_in(&copy, run.task("Stop the backup").text("stop_lsn"));
    assert!(held >= 20, "only {held} transactions");
    amcheck(&copy);
    // on its own volume again, without what the snapshot had in it
    let wal = fs::read_link(copy.data_directory().join("pg_wal")).expect("a link");
    assert_eq!(wal, cloud.restored("wal").join("wal"));
}

const RESTORE: &str = "backstay.postgresql.ebs_restore";

/// How many volumes were made from snapshots.
fn restored(cloud: &Cloud) -> usize {
    cloud.ec2().volumes().iter().filter(|volume| volume.snapshot.is_some()).count()
}

#[test]
fn a_play_that_fails_to_recover_takes_its_volumes_away() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    cloud.take("b");
    let ansible = cloud.ansible();
    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let mut variables = beside(&cloud, &destination, &json!({"backstay_backup_id": "b"}));
    let label = cloud.scene.backup_folder("b").join("backup_label");
    let text = fs::read(&label).expect("the label");
    fs::write(&label, "damaged").expect("the label");
    let run = ansible.playbook(RESTORE, &variables);
    assert_eq!(run.status, 2, "{}", run.output);
    let told = run.task("Fail with the first error").text("msg").to_owned();
    assert!(told.starts_with("Recover the database cluster on them: "), "{told}");
    assert!(!told.contains("the volumes are still there"), "{told}");
    assert_eq!((restored(&cloud), cloud.restored_mounts()), (0, vec![]));

    // to look at them
    variables["backstay_keep_on_failure"] = json!(true);
    let run = ansible.playbook(RESTORE, &variables);
    assert_eq!(run.status, 2, "{}", run.output);
    assert_eq!((restored(&cloud), cloud.restored_mounts().len()), (3, 3));

    // and the same play goes on with them
    fs::write(&label, text).expect("the label");
    let made = cloud.ec2().calls("CreateVolume").len();
    let mut copy = Server::adopt(17, destination);
    copy.announce_log("the database system is");
    let run = ansible.playbook(RESTORE, &variables).ok();
    assert_eq!(run.task("Make the volumes and mount them").result["changed"], json!(false));
    assert_eq!(cloud.ec2().calls("CreateVolume").len(), made);
    amcheck(&copy);

    // once more: it is recovered already, and somebody works on it
    variables["backstay_keep_on_failure"] = json!(false);
    let assert_left = || {
        let run = ansible.playbook(RESTORE, &variables);
        assert_eq!(run.status, 2, "{}", run.output);
        let told = run.task("Fail with the first error").text("msg").to_owned();
        assert!(told.starts_with("Recover the database cluster on them: "), "{told}");
        let left = "an earlier run had restored the volumes, which are left as they are";
        assert!(told.contains(left), "{told}");
        assert_eq!((restored(&cloud), cloud.restored_mounts().len()), (3, 3));
        assert_eq!(cloud.ec2().calls("CreateVolume").len(), made);
    };
    assert_left();
    copy.stop(Stop::Fast);
    // as after a reboot
    for name in ["space", "wal", "data"] {
        let umount = Command::new("umount").arg(cloud.restored(name)).status().expect("umount");
        assert!(umount.success());
    }
    assert_left();
}

#[test]
fn a_play_that_was_killed_is_run_again() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    cloud.take("b");
    let ansible = cloud.ansible();
    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let variables = beside(&cloud, &destination, &json!({"backstay_backup_id": "b"}));
    let ec2 = cloud.ec2();
    ec2.on("AttachVolume").delay(Duration::from_secs(1));
    let begun = || !ec2.calls("AttachVolume").is_empty();
    killed_when(&ansible, &variables, &|_| begun());
    ec2.on("AttachVolume").reset();
    assert_eq!(restored(&cloud), 3);
    killed_when(&ansible, &variables, &|output| output.contains("TASK [Recover the database"));
    assert_eq!((restored(&cloud), cloud.restored_mounts().len()), (3, 3));

    let mut copy = Server::adopt(17, destination);
    copy.announce_log("the database system is");
    let _ = ansible.playbook(RESTORE, &variables).ok();
    assert_eq!(restored(&cloud), 3);
    assert_eq!(ec2.calls("CreateVolume").len(), 3);
    amcheck(&copy);
}

/// The play, and all it has started, killed as soon as `is_time` of its output.
fn killed_when(ansible: &Ansible, variables: &Value, is_time: &dyn Fn(&str) -> bool) {
    let play = ansible.start_playbook(RESTORE, variables);
    wait_until("it is time", Duration::from_secs(60), || is_time(&play.output()));
    assert_ne!(play.kill().status, 0);
}

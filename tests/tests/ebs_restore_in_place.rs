//! A database cluster where it was before: on a host whose volumes are gone, data directory, WAL and tablespace come back
//! at their own mount points. And WAL directories that must not be emptied.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::place::User;
use backstay_tests::scene::merged;
use backstay_tests::volumes::Format;
use backstay_tests::{Cloud, Destination, Reply, Server, Stop, Volumes, Writer, amcheck, need};
use serde_json::{Value, json};

fn cloud() -> Option<Cloud> {
    (need::can_run(need::root()) && Volumes::possible()).then(|| Cloud::of(17))
}

/// `cluster_restore` of what was mounted, with all that `ebs_restore` returned for it.
fn recovery(cloud: &Cloud, restored: &Reply, more: &Value) -> Value {
    let options = json!({
        "backup_id": "b",
        "source": "in_place",
        "data_directory": restored.result["data_directory"],
        "wal_directory": restored.result["wal_directory"],
        "tablespace_mapping": restored.result["tablespace_mapping"],
        "bin_dir": cloud.scene.server.bin(),
    });
    cloud.of_repository("cluster_restore", &merged(&options, more))
}

fn umount(path: &Path) {
    let status = Command::new("umount").arg(path).status().expect("umount");
    assert!(status.success(), "{} is in use", path.display());
}

#[test]
fn a_cluster_comes_back_at_its_own_mount_points() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    // the data directory's file system is on a partition
    let add = |volumes: &Volumes| volumes.add_partitioned("data", Format::Xfs);
    let mut cloud = Cloud::with_data(17, add);
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    cloud.start("b");
    let _ = cloud.snapshot("b", &json!({})).ok();
    let stopped = cloud.ask(&cloud.task("backup_stop", "b", &json!({}))).ok();
    let ledger = writer.stop();
    let _ = cloud.ask(&cloud.task("wal_fetch", "b", &json!({}))).ok();
    let _ = cloud.ask(&cloud.task("ebs_snapshot_wait", "b", &json!({"delay": 1}))).ok();
    cloud.scene.server.stop(Stop::Fast);
    let data_directory = cloud.scene.server.data_directory().to_path_buf();
    for mounted in [&cloud.space, &cloud.wal, &cloud.data] {
        umount(&mounted.mount_point);
    }

    let restored =
        cloud.ask(&cloud.restore("b", &json!({"mount_points": {}, "wait_timeout": 30}))).ok();
    assert_eq!(restored.result["data_directory"], json!(data_directory));
    assert_eq!(restored.result["wal_directory"], json!(cloud.wal.mount_point.join("wal")));
    assert_eq!(restored.result["tablespace_mapping"], json!({}));
    // the tablespace's mount point lies in the data volume
    let all = restored.result["filesystems"].as_array().cloned().unwrap_or_default();
    let at = |point: &Path| all.iter().position(|one| one["mount_point"] == json!(point));
    assert!(at(&cloud.data.mount_point) < at(&cloud.space.mount_point), "{all:#?}");
    // the original could be mounted in a container's mounts only
    let has_nouuid = |one: &Value| one["options"].to_string().contains("nouuid");
    assert!(all.iter().all(|one| has_nouuid(one) == (one["fstype"] == json!("xfs"))), "{all:#?}");
    for mounted in [&cloud.space, &cloud.wal, &cloud.data] {
        let now = source_of(&mounted.mount_point);
        assert_ne!(
            now,
            mounted.device,
            "the original is mounted at {}",
            mounted.mount_point.display()
        );
    }

    let partition = source_of(&cloud.data.mount_point).display().to_string();
    assert!(partition.ends_with("p1"), "{partition}");
    let destination = Destination::new(&User::of_servers(), Some(&cloud.data.mount_point));
    assert_eq!(destination.data_directory(), data_directory);
    let mut settings = destination.settings();
    settings["ssl"] = json!("off");
    let mut server = Server::adopt(17, destination);
    server.announce_log("the database system is");
    let task = recovery(&cloud, &restored, &json!({"settings": settings, "start": true}));
    let _ = cloud.ask(&task).ok();
    let held = ledger.assert_all_in(&server, stopped.word("stop_lsn"));
    assert!(held >= 20, "only {held} transactions");
    amcheck(&server);
    let wal = fs::read_link(data_directory.join("pg_wal")).expect("a link");
    assert_eq!(wal, cloud.wal.mount_point.join("wal"));
    drop(server);

    let absent = json!({"restore_id": restored.word("restore_id"), "state": "absent"});
    let removed = cloud.ask(&cloud.of_repository("ebs_restore", &absent)).ok();
    assert_eq!(removed.result["volumes"].as_array().map(Vec::len), Some(3));
    assert!(cloud.ec2().volumes().iter().all(|volume| volume.snapshot.is_none()));
}

/// The device that is mounted at `point`.
fn source_of(point: &Path) -> PathBuf {
    let mut findmnt = Command::new("findmnt");
    findmnt.args(["-n", "-o", "SOURCE", "--mountpoint"]).arg(point);
    let output = findmnt.output().expect("findmnt");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The names in a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn only_the_copy_of_the_clusters_own_wal_is_emptied() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b");
    let restored = cloud.ask(&cloud.restore("b", &json!({}))).ok();
    let copy = PathBuf::from(restored.word("wal_directory"));
    let before = names(&copy);
    let refused = |wal: &Path, texts: &[&str]| {
        let kept = names(wal);
        let reply = cloud.ask(&recovery(&cloud, &restored, &json!({"wal_directory": wal})));
        assert_eq!(reply.result["error_kind"], json!("location_not_empty"), "{:#}", reply.result);
        for text in texts {
            assert!(reply.message().contains(text), "\"{text}\" is not in: {}", reply.message());
        }
        assert_eq!(names(wal), kept);
    };
    // the server runs on it, or did a moment ago
    let live = cloud.wal.mount_point.join("wal");
    let source = cloud.scene.server.data_directory().display().to_string();
    refused(&live, &["it is that of the source", &source]);
    refused(cloud.scene.backup.state_directory().as_path(), &["no directory \"archive_status\""]);
    let mine = copy.join("archive_status/mine");
    fs::write(&mine, "").expect("a file on the copy");
    refused(&copy, &["a server does not keep", &mine.display().to_string()]);
    fs::remove_file(mine).expect("a file on the copy");
    let foreign = copy.join("0000000100000000000000FF");
    fs::write(&foreign, [7; 64]).expect("a file on the copy");
    refused(&copy, &["0000000100000000000000FF", "has system identifier", "the backup has"]);
    fs::remove_file(foreign).expect("a file on the copy");
    assert_eq!(names(&copy), before);

    // whatever data directory a server has
    let elsewhere = cloud.volumes.mount_point("elsewhere");
    fs::create_dir_all(&elsewhere).expect("a directory in the test's place");
    std::os::unix::fs::symlink(&copy, elsewhere.join("pg_wal")).expect("a link");
    let mut server =
        Command::new("sleep").arg("60").current_dir(&elsewhere).spawn().expect("sleep");
    refused(&copy, &[&format!("process {} is of a server", server.id())]);
    server.kill().and_then(|()| server.wait()).expect("our own child");

    let _ = cloud.ask(&recovery(&cloud, &restored, &json!({}))).ok();
    let data = PathBuf::from(restored.word("data_directory"));
    assert_eq!(fs::read_link(data.join("pg_wal")).expect("a link"), copy);
    // nothing but the WAL of the backup
    let expected: BTreeSet<String> = names(&cloud.scene.backup_folder("b").join("wal"));
    let now = names(&copy);
    let segments: BTreeSet<String> = now.iter().filter(|name| name.len() == 24).cloned().collect();
    assert_eq!(segments, expected);
    let others: Vec<&String> = now.difference(&segments).collect();
    assert_eq!(others, ["archive_status", "summaries"]);
}

//! Drills of what `pg_basebackup` wrote: of a standby as tar files, of every major in both formats, with and without a
//! list of files, and the ways to get a writable copy.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_tests::basebackup::at_level;
use backstay_tests::{
    Ansible, BaseBackup, Core, Drilled, Place, Server, SmallMount, Writer, need, wait_until,
};
use serde_json::{Value, json};

/// Every file below a directory: size, time of its last change and, as far as that goes, its content.
fn all_of(directory: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let about = entry.metadata().expect("its metadata");
        if about.is_dir() {
            found.extend(all_of(&entry.path()));
        }
        let bytes =
            if about.is_file() { std::fs::read(entry.path()).expect("a file") } else { vec![] };
        found.insert(entry.path(), (about.size(), about.mtime(), about.mtime_nsec(), bytes));
    }
    found
}

/// A table that the application writes a time into, in UTC and without saying so.
const LOG: &str = "create table activity (id serial primary key, datetime timestamp not null default (now() at time zone 'utc'))";

/// On a standby: `pg_basebackup -Ft -Xs -z`, then one task instead of a container, an installation, `sed` and `grep`.
fn tars_of_a_standby(major: u32) {
    let primary = Server::builder().major(major).start();
    primary.execute(LOG);
    let standby = Server::builder().standby_of(&primary).start();
    let writer = Writer::start(&primary, 1);
    writer.wait_for(20);
    primary.execute("insert into activity default values; checkpoint");
    wait_until("the standby has the newest row", Duration::from_secs(30), || {
        standby.says_true("select count(*) = 1 from activity")
    });
    let backup = BaseBackup::of(&standby, &["-Ft", "-Xs", "-z"]);
    let _ = writer.stop();
    for name in ["base.tar.gz", "pg_wal.tar.gz"] {
        assert!(backup.join(name).is_file(), "{name}");
    }
    let before = all_of(backup.path());
    let task = backup.task(&json!({
        "max_age": "24h",
        "freshness": [{"database": "postgres", "query": "SELECT datetime FROM activity ORDER BY id DESC LIMIT 1"}],
    }));
    let run = Ansible::local(Core::Newest).tasks(&json!([task])).ok();
    let drilled = Drilled { result: run.task("backup_verify").result.clone() };
    drilled.assert_good();
    let checked = ["files", "label", "control_file", "wal", "recovery", "databases", "max_age"];
    for name in checked {
        assert!(drilled.with("ok").contains(&name), "{name}: {:#}", drilled.result);
    }
    assert!(drilled.said("label").ends_with("taken from a standby"), "{}", drilled.said("label"));
    assert!(
        drilled.said("max_age").contains("within the 1 d allowed"),
        "{}",
        drilled.said("max_age")
    );
    let result = &drilled.result;
    assert_eq!(result["changed"], json!(false), "{result:#}");
    assert_eq!(result["materialized"]["way"], json!("unpack"), "{result:#}");
    let size = result["materialized"]["bytes"].as_u64().unwrap_or_default();
    assert!(size > 16 << 20, "{result:#}");
    if need::root().is_ok() {
        assert_eq!(result["sandbox"]["isolation"], json!("namespaces"), "{result:#}");
        assert_eq!(result["sandbox"]["user"], json!(backup.user().name), "{result:#}");
    }
    assert!(result["recovery"]["total"].as_f64().is_some_and(|total| total > 0.0), "{result:#}");
    // what was not looked at is named
    let left = result["not_proved"].to_string();
    for name in ["row_counts", "dump", "page_checksums", "indexes"] {
        assert!(left.contains(name), "{name} is not in {left}");
    }
    assert_eq!(all_of(backup.path()), before, "the backup is as it was");
}

#[test]
fn tars_of_a_standby_are_proved_by_one_task_15() {
    tars_of_a_standby(15);
}

#[test]
fn tars_of_a_standby_are_proved_by_one_task_18() {
    tars_of_a_standby(18);
}

/// Plain and tar, with a tablespace, every row read; without a list of files too.
fn both_formats(major: u32) {
    let server = Server::builder().major(major).tablespaces(1).start();
    server.execute("create table far tablespace ts1 as select generate_series(1, 1000) as a");
    server.execute("create database \"other's \u{e9}\"");
    let rows = json!({"queries": [
        {"name": "far", "database": "postgres", "query": "select count(*), sum(a) from far", "expect": [[1000, 500_500]]},
    ]});
    for arguments in [
        &["-Fp", "-Xs"][..],
        &["-Ft", "-Xs", "-z"],
        &["-Fp", "-Xf", "--no-manifest"],
        &["-Ft", "-Xf", "--no-manifest"],
    ] {
        let backup = BaseBackup::of(&server, arguments);
        let drilled = backup.verify(&at_level("read", &rows));
        drilled.assert_good();
        let listed = !arguments.contains(&"--no-manifest");
        assert_eq!(drilled.with("ok").contains(&"files"), listed, "{:#}", drilled.result);
        for name in ["wal", "recovery", "databases", "queries", "dump", "page_checksums"] {
            assert!(drilled.with("ok").contains(&name), "{arguments:?}: {:#}", drilled.result);
        }
    }
    // the server's own tablespace was nobody's business
    assert_eq!(server.query("select count(*) from far"), "1000");
}

#[test]
fn both_formats_of_13() {
    both_formats(13);
}

#[test]
fn both_formats_of_14() {
    both_formats(14);
}

#[test]
fn both_formats_of_15() {
    both_formats(15);
}

#[test]
fn both_formats_of_16() {
    both_formats(16);
}

#[test]
fn both_formats_of_17() {
    both_formats(17);
}

#[test]
fn both_formats_of_18() {
    both_formats(18);
}

/// WAL in a place of its own, and none at all.
#[test]
fn wal_may_lie_elsewhere() {
    let server = Server::builder().major(17).start();
    let place = Place::new();
    server.user().make_directory(&place.join("wal"));
    let wal = place.join("wal/of the backup");
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs", &format!("--waldir={}", wal.display())]);
    let before = all_of(&wal);
    for way in ["auto", "copy"] {
        backup.verify(&at_level("read", &json!({"materialize": way}))).assert_good();
    }
    assert_eq!(all_of(&wal), before);
}

/// A drill with the work directory on the same file system, and the way that was reported.
#[track_caller]
fn assert_way(backup: &BaseBackup, options: &Value, way: &str) -> u64 {
    let drilled = backup.verify(options);
    drilled.assert_good();
    let made = &drilled.result["materialized"];
    assert_eq!(made["way"], json!(way), "{:#}", drilled.result);
    let taken = made["bytes_taken"].as_u64();
    taken.unwrap_or_else(|| panic!("no bytes_taken: {:#}", drilled.result))
}

#[test]
fn the_way_to_a_copy_is_chosen_and_told() {
    if !need::can_run(need::root()) {
        return;
    }
    let server = Server::builder().major(16).start();
    let original = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let size: u64 = all_of(original.path()).values().map(|(size, ..)| size).sum();
    for kind in ["xfs", "btrfs"] {
        let mount = SmallMount::of_kind(kind, 600);
        let backup = original.copy_to(&mount.path().join("backup"));
        for way in ["auto", "reflink"] {
            let taken =
                assert_way(&backup, &at_level("read", &json!({"materialize": way})), "reflink");
            assert!(taken < size, "{kind}: {taken} of {size}");
        }
        let beside: Vec<_> =
            std::fs::read_dir(mount.path()).expect("the mount").flatten().collect();
        let left = |name: &str| {
            beside.iter().any(|entry| entry.file_name().to_string_lossy().contains(name))
        };
        assert!(!left("bv-") && !left("copy"), "{beside:?}");
    }
    // where blocks cannot be shared: laid over for recovery, copied to be read
    let disk = SmallMount::of_kind("ext4", 300);
    let backup = original.copy_to(&disk.path().join("backup"));
    let on_disk = |more: Value| {
        let mut options = json!({"work_directory": disk.path().join("work")});
        backstay_tests::scene::merge(&mut options, &more);
        options
    };
    let before = all_of(backup.path());
    let taken = assert_way(&backup, &on_disk(json!({})), "overlay");
    assert!(taken > 0);
    assert_way(&backup, &on_disk(json!({"materialize": "overlay", "level": "read"})), "overlay");
    let taken = assert_way(&backup, &on_disk(json!({"level": "read"})), "copy");
    assert!(taken > size / 2, "{taken} of {size}");
    assert_way(&backup, &on_disk(json!({"materialize": "copy"})), "copy");
    assert_eq!(all_of(backup.path()), before, "the backup is as it was");
    let refused = backup.verify(&on_disk(json!({"materialize": "snapshot"})));
    refused.assert_refused(
        "invalid_argument",
        &["invalid materialize: the backup is no btrfs snapshot"],
    );
    let refused = backup.verify(&on_disk(json!({"materialize": "reflink"})));
    refused.assert_found(&[("recovery", "the copy could not be made")]);
}

//! Drills of backups of our own: copied files and btrfs snapshots, with their label and WAL from the repository and the
//! rows that were counted when they were taken.

use std::process::Command;

use backstay_tests::basebackup::at_level;
use backstay_tests::command::run;
use backstay_tests::place::User;
use backstay_tests::scene::{merge, merged, session};
use backstay_tests::{Drilled, Scene, Server, SmallMount, Writer, need};
use serde_json::{Value, json};

/// Takes a backup with row counts while somebody writes.
fn backed_up(scene: &Scene, snapshot: &Value) {
    let writer = Writer::start(&scene.server, 2);
    writer.wait_for(50);
    let _ = scene.start("b", &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&merged(&session("b"), snapshot))).ok();
    writer.wait_for(20);
    let counted = merged(scene.backup.login(), &json!({"row_counts": "exact"}));
    let _ = scene.ask(&scene.backup.stop(&merged(&counted, &session("b")))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b"))).ok();
    let _ = writer.stop();
}

fn verify(scene: &Scene, more: &Value) -> Drilled {
    let mut options = json!({
        "repository": scene.backup.repository(), "bin_dir": scene.server.bin(),
        "state_directory": scene.backup.state_directory(),
    });
    merge(&mut options, more);
    Drilled::by(&json!({"backstay.postgresql.backup_verify": options}))
}

#[test]
fn copied_files_are_proved_with_their_rows() {
    let scene = Scene::around(Server::builder().major(14).tablespaces(1).start());
    backed_up(&scene, &json!({}));
    let drilled = verify(&scene, &at_level("read", &json!({})));
    drilled.assert_good();
    for name in ["files", "label", "wal", "recovery", "row_counts", "dump", "page_checksums"] {
        assert!(drilled.with("ok").contains(&name), "{name}: {:#}", drilled.result);
    }
    assert!(drilled.said("files").contains("(SHA256)"), "{}", drilled.said("files"));
    let fetched = drilled.result["evidence"]["wal_segments"].as_u64();
    assert!(fetched.is_some_and(|number| number > 0), "{:#}", drilled.result);

    // one bit, in the repository
    let ledger = scene.server.query("select pg_relation_filepath('ledger')");
    let file = scene.backup_folder("b").join("files/data").join(&ledger);
    let mut bytes = std::fs::read(&file).expect("the table");
    let at = bytes.len() - 5000;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).expect("the table");
    verify(&scene, &json!({})).assert_found(&[("files", &ledger)]);
}

#[test]
fn wal_of_the_repository_that_is_damaged_or_missing_is_found() {
    let scene = Scene::of(17);
    backed_up(&scene, &json!({}));
    let wal = scene.backup_folder("b").join("wal");
    let mut names: Vec<_> =
        std::fs::read_dir(&wal).expect("WAL").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let segment = wal.join(&names[0]);
    let name = names[0].to_string_lossy().into_owned();
    let whole = std::fs::read(&segment).expect("a segment");
    let mut damaged = whole.clone();
    damaged[0x28..0x1000].fill(0xff);
    std::fs::write(&segment, damaged).expect("a segment");
    verify(&scene, &json!({})).assert_found(&[("wal", &name), ("recovery", &name)]);
    std::fs::remove_file(&segment).expect("a segment");
    verify(&scene, &json!({})).assert_found(&[("wal", &name), ("recovery", &name)]);
    std::fs::write(&segment, whole).expect("a segment");
    verify(&scene, &json!({})).assert_good();
    std::fs::write(scene.backup_folder("b").join("backup_label"), "nonsense\n").expect("a label");
    let told = "file \"backup_label\" of backup \"b\" has 9 bytes, but its manifest says";
    verify(&scene, &json!({})).assert_found(&[("label", told), ("recovery", told)]);
}

#[test]
fn a_btrfs_snapshot_is_proved_on_a_snapshot_of_it() {
    if !need::can_run(need::root()) {
        return;
    }
    let mount = SmallMount::of_kind("btrfs", 1024);
    let subvolume = mount.path().join("cluster");
    run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&subvolume));
    User::of_servers().make_directory(&subvolume);
    let server = Server::builder().major(18).tablespaces(1).data_parent(&subvolume).start();
    let scene = Scene::around(server);
    let snapshots =
        json!({"provider": "btrfs", "snapshot_directory": mount.path().join("snapshots")});
    backed_up(&scene, &snapshots);
    let drilled = verify(&scene, &at_level("read", &json!({})));
    drilled.assert_good();
    assert_eq!(drilled.result["materialized"]["way"], json!("snapshot"), "{:#}", drilled.result);
    assert!(drilled.with("ok").contains(&"row_counts"), "{:#}", drilled.result);
    for way in ["reflink", "copy"] {
        let drilled = verify(&scene, &json!({"materialize": way}));
        drilled.assert_good();
        assert_eq!(drilled.result["materialized"]["way"], json!(way), "{:#}", drilled.result);
    }
    let listed = run(Command::new("btrfs").args(["subvolume", "list"]).arg(mount.path()));
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().count(), 2, "the cluster and its snapshot are left: {listed}");
}

//! Full disks, snapshots outside the window, and where labels are written. The
//! executable is asked directly where Ansible would add nothing.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backstay_tests::place::User;
use backstay_tests::scene::{assert_failed, merge, session};
use backstay_tests::server::Builder;
use backstay_tests::{Ansible, Core, Place, Scene, Server, SmallMount, need, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A file system with room for records, and little else.
fn small_disk() -> SmallMount {
    let disk = SmallMount::tmpfs(20);
    User::current().give(disk.path());
    disk
}

/// A server that archives, and its archive: what it notes of a backup itself,
/// the backup history file, stays in `pg_wal` for a moment only.
fn archiving(builder: Builder) -> (Scene, Place) {
    let place = Place::new();
    User::of_servers().make_directory(&place.join("archive"));
    let command = format!("cp %p '{}'/%f", place.join("archive").display());
    let builder = builder.setting("archive_mode", "on").setting("archive_command", &command);
    (Scene::around(builder.start()), place)
}

/// What the server itself noted of the backup on its stop: the lines of the
/// label as far as the label has them.
fn label_from_history(archive: &Place, start_lsn: &str) -> String {
    let names = || fs::read_dir(archive.join("archive")).expect("the archive").flatten();
    let found = || {
        let paths = names().map(|entry| entry.path());
        let histories = paths.filter(|path| path.extension().is_some_and(|e| e == "backup"));
        let mut texts = histories.map(|path| fs::read_to_string(path).unwrap_or_default());
        texts.find(|text| {
            text.starts_with(&format!("START WAL LOCATION: {start_lsn} "))
                && text.contains("START TIMELINE")
        })
    };
    wait_until("the backup history file is archived", Duration::from_secs(30), || {
        found().is_some()
    });
    let text = found().expect("it was there");
    let lines = text.lines().filter(|line| !line.starts_with("STOP "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_disk_that_is_full_when_the_label_is_stored_is_told_and_the_label_is_kept() {
    if !need::can_run(need::root()) {
        return;
    }
    let (scene, archive) = archiving(Server::builder().major(18).tablespaces(2));
    let disk = small_disk();
    let state = json!({"state_directory": disk.path().join("state")});
    let with_state = |id: &str| {
        let mut options = session(id);
        merge(&mut options, &state);
        options
    };
    let started = scene.start("b1", &state);
    let mut snapshot = with_state("b1");
    merge(&mut snapshot, &json!({"jobs": 1}));
    let _ = scene.ask(&scene.backup.snapshot(&snapshot)).ok();
    disk.fill();
    let ansible = Ansible::local(Core::Newest);
    let run = ansible.tasks(&json!([scene.backup.stop(&with_state("b1"))]));
    assert_eq!(run.status, 2, "{}", run.output);
    let failed = run.task("backup_stop");
    assert_failed(&failed.result, &["disk_full"], "off");
    for text in ["No space left", "kept in the keeper's memory", "run backup_stop again"] {
        assert!(failed.text("msg").contains(text), "\"{text}\": {}", failed.text("msg"));
    }
    // it is true: backup mode is over, and everybody says so
    let info = scene.ask(&scene.backup.info(&with_state("b1"))).ok();
    assert_eq!(info.result["sessions"][0]["in_backup_mode"], json!(false), "{info:?}");
    let late = scene.ask(&scene.backup.snapshot(&snapshot));
    late.assert_failed(&["backup_not_in_progress"], "off");
    disk.make_room();
    let run = ansible.tasks(&json!([scene.backup.stop(&with_state("b1"))])).ok();
    let stopped = run.task("backup_stop");
    let label = label_from_history(&archive, started.word("start_lsn"));
    assert_eq!(stopped.text("backup_label"), label);
    assert_eq!(stopped.text("tablespace_map").lines().count(), 2);
    let saved = disk.path().join("state/sessions/main.b1/backup_label");
    assert_eq!(fs::read_to_string(saved).expect("the label"), label);
    let in_repository = scene.backup_folder("b1").join("backup_label");
    assert_eq!(fs::read_to_string(in_repository).expect("the label"), label);
    let fetched = scene.ask(&scene.backup.fetch(&with_state("b1"))).ok();
    assert_eq!(fetched.word("state"), "complete");

    // no room until the deadline: the label is lost, and that is told
    let _ =
        scene.start("b2", &json!({"max_duration": 5, "state_directory": state["state_directory"]}));
    let _ = scene.ask(&scene.backup.snapshot(&{
        let mut options = with_state("b2");
        merge(&mut options, &json!({"provider": "command", "command": ["/bin/sh", "-c",
            "for m in $BACKSTAY_MOUNT_POINTS; do printf '{\"id\": \"s\", \"mount_point\": \"%s\"}\\n' \"$m\"; done"]}));
        options
    }));
    disk.fill();
    scene.ask(&scene.backup.stop(&with_state("b2"))).assert_failed(&["disk_full"], "off");
    scene.wait_until_left();
    disk.make_room();
    scene.ask(&scene.backup.stop(&with_state("b2"))).assert_failed(&["backup_aborted"], "off");
    scene.ask(&scene.backup.fetch(&with_state("b2"))).assert_failed(&["backup_aborted"], "off");
    assert_ne!(scene.manifest("b2")["state"], json!("complete"));
}

#[test]
fn a_repository_that_is_full_is_told_and_the_same_tasks_go_on_when_there_is_room() {
    if !need::can_run(need::root()) {
        return;
    }
    let (scene, archive) = archiving(Server::builder().major(16).wal_segment_size_mb(1));
    let disk = small_disk();
    let repository = disk.path().join("repository");
    let started = scene.start("b1", &json!({"repository": repository}));
    let manifest = repository.join("main/backups/b1/backup.json");
    let state = || backstay_tests::scene::read_json(&manifest)["state"].clone();
    let _ = scene.ask(&scene.snapshot_by("b1", "true")).ok();
    disk.fill();
    // the copy of the files
    let copy = scene.ask(&scene.backup.snapshot(&session("b1")));
    copy.assert_failed(&["disk_full"], "on");
    // the label: it is safe beside the session record, but not where a restore looks
    let stop = scene.ask(&scene.backup.stop(&session("b1")));
    stop.assert_failed(&["disk_full"], "off");
    assert_eq!(scene.record("b1")["state"], json!("stopped"));
    assert_eq!(state(), json!("started"));
    let early = scene.ask(&scene.backup.fetch(&session("b1")));
    early.assert_tells(&["backup_not_in_progress"], "off", &["label", "repository"]);
    disk.make_room();
    let stopped = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let label = label_from_history(&archive, started.word("start_lsn"));
    assert_eq!(stopped.word("backup_label"), label);
    assert_eq!(state(), json!("stopped"));
    // and a segment
    disk.fill();
    let fetch = scene.ask(&scene.backup.fetch(&session("b1")));
    fetch.assert_failed(&["disk_full"], "off");
    assert_eq!(state(), json!("stopped"));
    disk.make_room();
    let fetched = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    assert_eq!(fetched.word("waldump"), "passed");
    assert_eq!(state(), json!("complete"));
}

#[test]
fn a_snapshot_outside_the_window_is_refused() {
    let scene = Scene::of(17);
    let ansible = Ansible::local(Core::Newest);
    let refused = |id: &str, kinds: &[&str], mode: &str, texts: &[&str]| {
        let run = ansible.tasks(&json!([scene.backup.snapshot(&session(id))]));
        assert_eq!(run.status, 2, "{}", run.output);
        let failed = run.task("snapshot_create");
        assert_failed(&failed.result, kinds, mode);
        for text in texts {
            assert!(failed.text("msg").contains(text), "\"{text}\": {}", failed.text("msg"));
        }
        assert!(!scene.backup_folder(id).join("files").exists(), "it was copied all the same");
    };
    // before any start, and of a session that nobody knows
    refused("b1", &["session_not_found"], "unknown", &["main.b1"]);
    let _ = scene.start("b1", &json!({}));
    refused("b0", &["session_not_found"], "unknown", &["main.b0"]);
    // after the stop
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    refused("b1", &["backup_not_in_progress"], "off", &["main.b1", "stopped"]);
    // after an abort
    let _ = scene.start("b2", &json!({}));
    let abort = scene.backup.abort(&json!({"session": "main.b2", "reason": "we changed our mind"}));
    let _ = scene.ask(&abort).ok();
    refused("b2", &["backup_aborted"], "off", &["we changed our mind", "at 2"]);
    // a backup without a snapshot is not one
    let fetch = scene.ask(&scene.backup.fetch(&session("b1")));
    fetch.assert_tells(&["snapshot_failed"], "off", &["no snapshot"]);
    assert_eq!(scene.manifest("b1")["state"], json!("stopped"));
    // one that began inside the window and ended outside
    let _ = scene.start("b3", &json!({}));
    let begun = scene.backup.place().join("begun");
    let script = format!("touch '{}'; sleep 3", begun.display());
    let asked = scene.begin(&scene.snapshot_by("b3", &script));
    wait_until("the snapshot is under way", Duration::from_secs(20), || begun.exists());
    let _ = scene.ask(&scene.backup.stop(&session("b3"))).ok();
    let late = asked.reply();
    late.assert_failed(&["backup_not_in_progress"], "off");
    assert_eq!(scene.info("b3")["snapshots"], json!([]));
    let fetch = scene.ask(&scene.backup.fetch(&session("b3")));
    fetch.assert_tells(&["snapshot_failed"], "off", &["no snapshot"]);
}

/// Whether a label or map is in any directory of the server.
fn label_in(server: &Server) -> Option<PathBuf> {
    let directories =
        server.tablespaces().iter().map(PathBuf::as_path).chain([server.data_directory()]);
    directories
        .flat_map(|directory| ["backup_label", "tablespace_map"].map(|name| directory.join(name)))
        .find(|path| path.symlink_metadata().is_ok())
}

/// Ends the watching thread, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_written_into_the_live_data_directory_and_the_label_is_the_servers_own() {
    let (scene, archive) = archiving(Server::builder().major(13).tablespaces(1));
    let watched = AtomicBool::new(true);
    let found = std::thread::scope(|scope| {
        let end = End(&watched);
        let watcher = scope.spawn(|| {
            while watched.load(Ordering::Relaxed) {
                if let Some(path) = label_in(&scene.server) {
                    return Some(path);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            None
        });
        let label = "caf\u{e9} 'quoted' \\ \u{1F418}";
        let started = scene.start("b1", &json!({"label": label}));
        let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
        let stopped = scene.ask(&scene.backup.stop(&session("b1"))).ok();
        let own = label_from_history(&archive, started.word("start_lsn"));
        assert_eq!(stopped.word("backup_label"), own);
        assert!(own.contains(&format!("LABEL: {label}\n")), "{own}");
        for folder in [scene.session_folder("b1"), scene.backup_folder("b1")] {
            let bytes = fs::read(folder.join("backup_label")).expect("the label");
            assert_eq!(bytes, own.as_bytes(), "in {}", folder.display());
        }
        let _ = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
        drop(end);
        watcher.join().expect("our own thread")
    });
    assert_eq!(found, None, "a label in the live cluster");
    let inside = scene.backup_folder("b1").join("files/data/backup_label");
    assert!(!inside.exists(), "the copy has a label that is not the backup's");
}

#[test]
fn a_task_that_is_killed_while_it_copies_leaves_a_backup_that_can_go_on() {
    let scene = Scene::of(15);
    let _ = scene.start("b1", &json!({}));
    let begun = scene.backup.place().join("begun");
    let script = format!("touch '{}'; sleep 30", begun.display());
    let asked = scene.begin(&scene.snapshot_by("b1", &script));
    wait_until("the snapshot is under way", Duration::from_secs(20), || begun.exists());
    backstay_tests::command::signal(asked.pid(), Signal::SIGKILL);
    assert_eq!(scene.info("b1")["in_backup_mode"], json!(true));
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let fetched = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    assert_eq!(fetched.word("state"), "complete");
    let recorded: Vec<Value> =
        scene.manifest("b1")["snapshots"].as_array().cloned().unwrap_or_default();
    assert!(recorded.iter().all(|snapshot| snapshot["provider"] == json!("files")), "{recorded:?}");
}

//! What can happen to the keeper, to the play that started it, and to its
//! deadline: the backup fails, says what happened and when, and backup mode
//! ends. The executable is asked directly where Ansible would add nothing.

use std::time::{Duration, Instant};

use backstay_tests::command::{descendants, signal};
use backstay_tests::place::User;
use backstay_tests::scene::{Asked, assert_failed, request, session};
use backstay_tests::{Ansible, Core, Scene, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The kinds of a backup that is over.
const LOST: &[&str] = &["backup_aborted", "connection_lost"];

/// The keeper that a reply or a session record names.
fn keeper_of(found: &Value) -> u32 {
    let pid = found["keeper_pid"].as_u64().or_else(|| found["keeper"]["pid"].as_u64());
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    pid.unwrap_or_else(|| panic!("no keeper in {found:#}"))
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait_until_dead(pid: u32, limit: Duration) {
    wait_until(&format!("the process {pid} is gone"), limit, || !is_alive(pid));
}

/// A slow snapshot of the backup `id`, which has begun; and a file that it would
/// make at its end.
fn slow_snapshot(scene: &Scene, id: &str) -> (Asked, std::path::PathBuf) {
    let (begun, ended) =
        (scene.backup.place().join(&format!("begun-{id}")), scene.backup.place().join("ended"));
    let script = format!("touch '{}'; sleep 40; touch '{}'", begun.display(), ended.display());
    let asked = scene.begin(&scene.snapshot_by(id, &script));
    wait_until("the program of the snapshot runs", Duration::from_secs(20), || begun.exists());
    (asked, ended)
}

#[test]
fn a_killed_keeper_is_told_by_the_next_task_and_by_every_later_one() {
    let scene = Scene::of(16);
    let ansible = Ansible::local(Core::Newest);
    let run = ansible.tasks(&json!([scene.backup.start(&json!({"backup_id": "b1"}))])).ok();
    let started = run.task("backup_start").result.clone();
    let pid = keeper_of(&started);
    signal(pid, Signal::SIGKILL);
    wait_until_dead(pid, Duration::from_secs(5));
    let mut snapshot = scene.backup.snapshot(&session("b1"));
    snapshot["ignore_errors"] = json!(true);
    let run = ansible.tasks(&json!([snapshot, scene.backup.stop(&session("b1"))]));
    assert_eq!(run.status, 2, "{}", run.output);
    let created = scene.record("b1")["created_at"].as_str().expect("a time").to_owned();
    for task in ["snapshot_create", "backup_stop"] {
        let outcome = run.task(task);
        assert_failed(&outcome.result, LOST, "off");
        for text in ["main.b1", &format!("process {pid}) was killed"), &created] {
            assert!(outcome.text("msg").contains(text), "\"{text}\": {}", outcome.text("msg"));
        }
        assert_ne!(outcome.result["hints"], json!([]));
    }
    scene.wait_until_left();
    assert!(!scene.backup_folder("b1").join("files").exists(), "a copy outside backup mode");
    scene.assert_came_to_nothing("b1", "lost", "was killed");
}

#[test]
fn a_keeper_that_is_killed_or_ended_during_a_copy_ends_the_copy() {
    let scene = Scene::of(15);
    for (id, how, state, told) in [
        ("b1", Signal::SIGKILL, "lost", "was killed"),
        ("b2", Signal::SIGTERM, "aborted", "told to end by SIGTERM"),
    ] {
        let pid = keeper_of(&scene.start(id, &json!({})).result);
        let (asked, ended) = slow_snapshot(&scene, id);
        let programs = descendants(asked.pid());
        let begun = Instant::now();
        signal(pid, how);
        let reply = asked.reply();
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        reply.assert_tells(LOST, "off", &[told]);
        programs.iter().for_each(|pid| wait_until_dead(*pid, Duration::from_secs(5)));
        assert!(!ended.exists());
        assert_eq!(scene.info(id)["snapshots"], json!([]));
        scene.wait_until_left();
        scene.assert_came_to_nothing(id, state, told);
    }
}

/// Killed after the stop, it takes nothing along: label and map are on disk, and
/// the WAL is still in `pg_wal` unless the server had to recycle it.
#[test]
fn a_keeper_that_is_killed_after_the_stop_costs_nothing_but_the_hold_on_the_wal() {
    let scene = Scene::of(13);
    let pid = keeper_of(&scene.start("b1", &json!({})).result);
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let stopped = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    signal(pid, Signal::SIGKILL);
    wait_until_dead(pid, Duration::from_secs(5));
    let again = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    for key in ["backup_label_base64", "stop_lsn", "stop_time", "wal_stop_segment"] {
        assert_eq!(again.result[key], stopped.result[key], "{key}");
    }
    assert_eq!(again.result["changed"], json!(false));
    assert_eq!(scene.info("b1")["state"], json!("stopped"));
    let fetched = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    assert_eq!(fetched.word("state"), "complete");
    assert_eq!(scene.manifest("b1")["state"], json!("complete"));
    // an abort after that takes nothing away
    let _ = scene.ask(&scene.backup.abort(&session("b1"))).ok();
    assert_eq!(scene.manifest("b1")["state"], json!("complete"));
}

#[test]
fn a_play_that_is_killed_leaves_backup_mode_by_the_deadline() {
    let scene = Scene::of(17);
    let ansible = Ansible::local(Core::Newest);
    let start = scene.backup.start(&json!({"backup_id": "b1", "max_duration": 6}));
    let running =
        ansible.start(&json!([start, {"name": "a long task", "ansible.builtin.raw": "sleep 300"}]));
    wait_until("the play is in its long task", Duration::from_secs(40), || {
        running.output().contains("TASK [a long task]")
    });
    let keeper = keeper_of(&scene.record("b1"));
    let below = descendants(running.pid());
    assert!(!below.contains(&keeper), "the keeper is a child of the play");
    let _ = running.kill();
    scene.wait_for_record("b1", "aborted", Duration::from_secs(15));
    scene.wait_until_left();
    wait_until_dead(keeper, Duration::from_secs(5));
    let deadline = scene.record("b1")["deadline"].as_str().expect("a time").to_owned();
    scene.assert_came_to_nothing("b1", "aborted", &format!("by its deadline {deadline}"));
    let reason = scene.info("b1")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("max_duration") && reason.contains("(at 2"), "{reason}");
}

#[test]
fn a_deadline_that_passes_before_the_stop_or_during_a_snapshot_ends_the_backup() {
    let scene = Scene::of(18);
    let _ = scene.start("b1", &json!({"max_duration": 3}));
    let (asked, ended) = slow_snapshot(&scene, "b1");
    let reply = asked.reply();
    assert!(reply.took < Duration::from_secs(12), "it took {:?}", reply.took);
    reply.assert_tells(LOST, "off", &["deadline", "max_duration"]);
    assert!(!ended.exists());
    let stop = scene.ask(&scene.backup.stop(&session("b1")));
    stop.assert_tells(&["backup_aborted"], "off", &["deadline", "max_duration", "(at 2"]);
    scene.wait_until_left();
    scene.assert_came_to_nothing("b1", "aborted", "deadline");
}

#[test]
fn after_a_deadline_that_passes_after_the_stop_the_wal_is_held_no_longer() {
    let mut builder = backstay_tests::Server::builder().major(14).wal_segment_size_mb(1);
    for (name, value) in [("min_wal_size", "2MB"), ("max_wal_size", "4MB")] {
        builder = builder.setting(name, value);
    }
    let scene = Scene::around(builder.start());
    for id in ["b1", "b2"] {
        let started = scene.start(id, &json!({"max_duration": 4}));
        let _ = scene.ask(&scene.snapshot_by(id, "true")).ok();
        let stopped = scene.ask(&scene.backup.stop(&session(id))).ok();
        let slots = || scene.server.query("select count(*) from pg_replication_slots");
        assert_eq!(slots(), "1", "the WAL is not held");
        wait_until_dead(keeper_of(&started.result), Duration::from_secs(15));
        assert_eq!(slots(), "0");
        assert_eq!(scene.info(id)["state"], json!("stopped"));
        let segment = stopped.word("wal_start_segment").to_owned();
        let file = scene.server.data_directory().join("pg_wal").join(&segment);
        if id == "b2" {
            recycle(&scene, &file);
            let fetch = scene.backup.fetch(&json!({"session": "main.b2", "wait_timeout": 1}));
            let reply = scene.ask(&fetch);
            reply.assert_tells(&["wal_archive_timeout"], "off", &[&segment, "pg_wal"]);
            assert_eq!(scene.manifest(id)["state"], json!("stopped"));
        } else {
            assert!(file.exists());
            let fetched = scene.ask(&scene.backup.fetch(&session(id))).ok();
            assert_eq!(fetched.word("state"), "complete");
        }
    }
}

/// Writes WAL until the server has removed or renamed `segment`.
fn recycle(scene: &Scene, segment: &std::path::Path) {
    scene.server.execute("create table if not exists filler (t text)");
    wait_until("the server has recycled the segment", Duration::from_secs(30), || {
        for _ in 0..3 {
            scene.server.execute(
                "insert into filler select repeat('x', 2000) from generate_series(1, 400)",
            );
            scene.server.execute("select pg_switch_wal()");
        }
        scene.server.execute("checkpoint");
        !segment.exists()
    });
}

#[test]
fn a_reboot_is_told_as_a_reboot_and_a_stopped_backup_survives_it() {
    let scene = Scene::of(15);
    for id in ["b1", "b2"] {
        let pid = keeper_of(&scene.start(id, &json!({})).result);
        let _ = scene.ask(&scene.snapshot_by(id, "true")).ok();
        let stopped = (id == "b2").then(|| scene.ask(&scene.backup.stop(&session(id))).ok());
        signal(pid, Signal::SIGKILL);
        wait_until_dead(pid, Duration::from_secs(5));
        // what a reboot leaves: the record of another boot, and no sockets
        let file = scene.session_folder(id).join("session.json");
        let mut record = scene.record(id);
        record["keeper"]["boot_id"] = json!("00000000-0000-4000-8000-000000000000");
        std::fs::write(&file, record.to_string()).expect("the record can be written");
        std::fs::remove_dir_all(scene.backup.runtime_directory()).expect("our own directory");
        match stopped {
            None => {
                let stop = scene.ask(&scene.backup.stop(&session(id)));
                stop.assert_tells(&["backup_aborted"], "off", &["the machine was restarted"]);
                scene.assert_came_to_nothing(id, "lost", "the machine was restarted");
            }
            Some(stopped) => {
                let again = scene.ask(&scene.backup.stop(&session(id))).ok();
                assert_eq!(
                    again.result["backup_label_base64"],
                    stopped.result["backup_label_base64"]
                );
                let fetched = scene.ask(&scene.backup.fetch(&session(id))).ok();
                assert_eq!(fetched.word("state"), "complete");
            }
        }
    }
}

#[test]
fn a_server_that_hangs_is_given_up_and_the_keeper_ends_soon_after_its_deadline() {
    let mut scene = Scene::of(17);
    // what its backend finds when it goes on
    scene.server.announce_log("connection to client lost");
    let started = scene.start("b1", &json!({"max_duration": 3}));
    let begun = Instant::now();
    let keeper = keeper_of(&started.result);
    let backends = scene.backends();
    assert!(!backends.is_empty());
    backends.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
    let stop = scene.backup.stop(&json!({"session": "main.b1", "wait_timeout": 2}));
    let reply = scene.ask(&stop);
    assert!(reply.took < Duration::from_secs(10), "it took {:?}", reply.took);
    reply.assert_tells(&["connection_lost"], "unknown", &["main.b1", "no answer within 2 s"]);
    assert_eq!(reply.result["retryable"], json!(true));
    let info = Asked::with(&request(&scene.backup.info(&session("b1"))), &User::current());
    let info = info.reply().ok();
    assert!(info.took < Duration::from_secs(12), "it took {:?}", info.took);
    wait_until_dead(keeper, Duration::from_secs(40));
    // 20 s after the look that hangs
    assert!(begun.elapsed() > Duration::from_secs(15), "after {:?}", begun.elapsed());
    assert_eq!(scene.record("b1")["state"], json!("aborted"));
    backends.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));
    scene.wait_until_left();
    scene.assert_came_to_nothing("b1", "aborted", "did not answer within 20 s");
    // its folder belongs to root, who takes it away with a later backup
    let socket = scene.record("b1")["socket"].as_str().expect("a path").to_owned();
    assert!(!std::path::Path::new(&socket).exists(), "the socket is left behind");
}

#[test]
fn a_postmaster_that_hangs_is_not_waited_for_without_end() {
    let mut scene = Scene::of(15);
    // of the connection that it takes when it goes on
    scene.server.announce_log("connection to client lost");
    let postmaster = scene.server.postmaster_pid().expect("it runs");
    signal(postmaster, Signal::SIGSTOP);
    let start = scene.backup.start(&json!({"connect_params": {"connect_timeout": 2}}));
    let mut asked = scene.begin(&start);
    let begun = Instant::now();
    while asked.runs() && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let hangs = asked.runs();
    if hangs {
        signal(asked.pid(), Signal::SIGKILL);
    }
    signal(postmaster, Signal::SIGCONT);
    assert!(!hangs, "backup_start still waits after {:?}", begun.elapsed());
    asked.reply().assert_failed(&["connection_failed"], "off");
}

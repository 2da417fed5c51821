//! What can happen to the server during a backup, and servers that cannot be
//! backed up at all. The executable is asked directly where Ansible would add
//! nothing.

use std::time::{Duration, Instant};

use backstay_tests::collection::executable;
use backstay_tests::command::tied;
use backstay_tests::place::User;
use backstay_tests::scene::{Asked, assert_failed, request, session};
use backstay_tests::server::Stop;
use backstay_tests::{Ansible, Core, Scene, Server, need, wait_until};
use serde_json::{Value, json};

/// The kinds of a backup that is over.
const LOST: &[&str] = &["backup_aborted", "connection_lost"];
/// The same when the timeline is the reason.
const PROMOTED: &[&str] = &["backup_aborted", "timeline_mismatch"];
/// What PostgreSQL says of `pg_terminate_backend` and of a shutdown.
const TERMINATED: &str = "terminating connection due to administrator command";

/// A snapshot that takes long, and has begun.
fn slow_snapshot(scene: &Scene, id: &str) -> Asked {
    let begun = scene.backup.place().join(&format!("begun-{id}"));
    let asked =
        scene.begin(&scene.snapshot_by(id, &format!("touch '{}'; sleep 40", begun.display())));
    wait_until("the program of the snapshot runs", Duration::from_secs(20), || begun.exists());
    asked
}

#[test]
fn a_terminated_backend_is_told_at_rest_and_during_a_copy() {
    let mut scene = Scene::of(14);
    let ansible = Ansible::local(Core::Newest);
    let _ = scene.start("b1", &json!({}));
    assert_eq!(scene.server.terminate("backstay"), 1);
    let run = ansible.tasks(&json!([scene.backup.stop(&session("b1"))]));
    assert_eq!(run.status, 2, "{}", run.output);
    assert_failed(&run.task("backup_stop").result, LOST, "off");
    let told = run.task("backup_stop").text("msg").to_owned();
    assert!(told.contains(TERMINATED), "{told}");
    scene.assert_came_to_nothing("b1", "aborted", TERMINATED);

    let _ = scene.start("b2", &json!({}));
    let asked = slow_snapshot(&scene, "b2");
    assert_eq!(scene.server.terminate("backstay"), 1);
    let begun = Instant::now();
    asked.reply().assert_tells(LOST, "off", &[TERMINATED]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    scene.assert_came_to_nothing("b2", "aborted", TERMINATED);

    copy_of_files_ends(&mut scene);

    // nobody asks: the keeper finds out by itself
    let _ = scene.start("b4", &json!({}));
    assert_eq!(scene.server.terminate("backstay"), 1);
    scene.wait_for_record("b4", "aborted", Duration::from_secs(25));
    scene.assert_came_to_nothing("b4", "aborted", TERMINATED);
}

/// A copy by the provider `files` ends in the middle of a file, and takes away
/// what it has made.
fn copy_of_files_ends(scene: &mut Scene) {
    let large = scene.server.data_directory().join("base/large");
    let file = std::fs::File::create(&large).expect("a file in the data directory");
    file.set_len(6 << 30).expect("a sparse file");
    let _ = scene.start("b3", &json!({}));
    let asked = scene.begin(
        &scene.backup.snapshot(&json!({"session": "main.b3", "jobs": 1, "reflink": "never"})),
    );
    let copied = scene.backup_folder("b3").join("files/data/base/large");
    wait_until("the copy is at the large file", Duration::from_secs(30), || {
        copied.metadata().is_ok_and(|found| found.len() > 0)
    });
    assert_eq!(scene.server.terminate("backstay"), 1);
    let begun = Instant::now();
    asked.reply().assert_tells(LOST, "off", &[TERMINATED]);
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert!(!copied.exists(), "half a file is left in the repository");
    std::fs::remove_file(large).expect("our own file");
    scene.assert_came_to_nothing("b3", "aborted", TERMINATED);
}

/// The slot that holds the WAL goes with the server, which recycles the WAL as
/// it stops; the keeper has nothing left to hold. Without an archive the backup
/// can then not be completed, and that is said.
#[test]
fn a_server_restarted_after_the_stop_ends_the_keeper_and_its_wal_is_missed_by_name() {
    let mut scene = Scene::of(15);
    let _ = scene.start("b1", &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let stop = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    assert!(scene.info("b1")["keeper_pid"].is_u64(), "the keeper holds the WAL");
    scene.server.restart(Stop::Fast);
    wait_until("the keeper has noticed", Duration::from_secs(20), || {
        scene.info("b1")["keeper_pid"].is_null()
    });
    assert_eq!(scene.info("b1")["state"], "stopped");
    let fetch = scene.backup.fetch(&json!({"session": "main.b1", "wait_timeout": 1}));
    let segment = stop.word("wal_start_segment").to_owned();
    scene.ask(&fetch).assert_tells(&["wal_archive_timeout"], "off", &[&segment, "within 1 s"]);
    assert_eq!(scene.manifest("b1")["state"], "stopped");
}

#[test]
fn a_server_that_is_restarted_or_stopped_is_told() {
    let mut scene = Scene::of(16);
    let ansible = Ansible::local(Core::Newest);
    for (id, how) in [("b1", Stop::Fast), ("b2", Stop::Immediate)] {
        let run = ansible.tasks(&json!([scene.backup.start(&json!({"backup_id": id}))])).ok();
        assert_eq!(run.task("backup_start").text("state"), "in_progress");
        scene.server.restart(how);
        let mut snapshot = scene.backup.snapshot(&session(id));
        snapshot["ignore_errors"] = json!(true);
        let run = ansible.tasks(&json!([snapshot, scene.backup.stop(&session(id))]));
        for task in ["snapshot_create", "backup_stop"] {
            assert_failed(&run.task(task).result, LOST, "off");
            let told = run.task(task).text("msg");
            assert!(told.contains("reach the server") && told.contains("(at 2"), "{told}");
        }
        scene.assert_came_to_nothing(id, "aborted", "reach the server");
    }
    // and one that stays away
    let _ = scene.start("b3", &json!({}));
    scene.server.stop(Stop::Fast);
    scene.ask(&scene.backup.stop(&session("b3"))).assert_failed(LOST, "off");
    scene.server.start();
    scene.assert_came_to_nothing("b3", "aborted", "reach the server");
    // which is no reason that a new backup should not succeed
    let _ = scene.start("b4", &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&session("b4"))).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b4"))).ok();
    let fetched = scene.ask(&scene.backup.fetch(&session("b4"))).ok();
    assert_eq!(fetched.word("state"), "complete");
}

#[test]
fn a_standby_that_is_promoted_is_told() {
    let primary = Server::builder().major(15).start();
    let mut standby = Server::builder().standby_of(&primary).start();
    standby.announce_log("the standby was promoted during online backup");
    let scene = Scene::around(standby);
    let _ = scene.start("b1", &json!({}));
    let _ = scene.start("b2", &json!({"concurrent": true}));
    let asked = slow_snapshot(&scene, "b2");
    scene.server.promote();
    let begun = Instant::now();
    asked.reply().assert_tells(PROMOTED, "off", &["promoted"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let ansible = Ansible::local(Core::Oldest);
    let run = ansible.tasks(&json!([scene.backup.stop(&session("b1"))]));
    assert_eq!(run.status, 2, "{}", run.output);
    assert_failed(&run.task("backup_stop").result, PROMOTED, "off");
    assert!(run.task("backup_stop").text("msg").contains("promoted"));
    scene.wait_until_left();
    for id in ["b1", "b2"] {
        scene.assert_came_to_nothing(id, "aborted", "promoted");
    }
}

#[test]
fn a_timeline_that_changes_upstream_of_a_standby_is_told() {
    let primary = Server::builder().major(18).start();
    let mut upstream = Server::builder().standby_of(&primary).start();
    let mut standby = Server::builder().standby_of(&upstream).start();
    for server in [&mut upstream, &mut standby] {
        server.announce_log("terminating walreceiver process");
        server.announce_log("terminating connection due to");
    }
    let scene = Scene::around(standby);
    let _ = scene.start("b1", &json!({}));
    upstream.promote();
    upstream.execute("create table after_the_promotion (a int)");
    wait_until("the standby follows to the new timeline", Duration::from_secs(60), || {
        scene.server.says_true("select to_regclass('after_the_promotion') is not null")
    });
    let reply = scene.ask(&scene.backup.stop(&session("b1")));
    reply.assert_tells(PROMOTED, "off", &["timeline 2", "timeline 1"]);
    scene.wait_until_left();
    scene.assert_came_to_nothing("b1", "aborted", "timeline 2");
}

/// A backup of `id` through to its end, logged in as `role`.
fn whole_backup(scene: &Scene, id: &str, more: &Value) {
    let _ = scene.start(id, more);
    let _ = scene.ask(&scene.snapshot_by(id, "true")).ok();
    let _ = scene.ask(&scene.backup.stop(&session(id))).ok();
    let fetched = scene.ask(&scene.backup.fetch(&session(id))).ok();
    assert_eq!(fetched.word("state"), "complete");
}

/// Nothing was started: no session, no manifest, no record.
#[track_caller]
fn assert_nothing_began(scene: &Scene, id: &str) {
    scene.wait_until_left();
    assert!(!scene.session_folder(id).exists(), "a record of a backup that was refused");
    assert!(!scene.backup_folder(id).exists(), "a manifest of a backup that was refused");
}

#[track_caller]
fn assert_refused(scene: &Scene, more: &Value, kind: &str, texts: &[&str]) {
    let mut options = json!({"backup_id": "refused"});
    backstay_tests::scene::merge(&mut options, more);
    let reply = scene.ask(&scene.backup.start(&options));
    reply.assert_tells(&[kind], "off", texts);
    assert_ne!(reply.result["hints"], json!([]), "{:#}", reply.result);
    assert_nothing_began(scene, "refused");
}

#[test]
fn a_server_that_cannot_be_backed_up_is_refused_before_anything_is_done() {
    let server = Server::builder()
        .major(17)
        .setting("wal_level", "minimal")
        .setting("max_wal_senders", "0")
        .setting("archive_command", "false")
        .start();
    let mut scene = Scene::around(server);
    assert_refused(
        &scene,
        &json!({}),
        "invalid_argument",
        &["wal_level", "\"minimal\"", "\"replica\""],
    );

    for setting in ["wal_level = replica", "max_replication_slots = 0", "archive_mode = on"] {
        scene.server.execute(&format!("alter system set {setting}"));
    }
    scene.server.restart(Stop::Fast);
    assert_refused(&scene, &json!({}), "invalid_argument", &["max_replication_slots"]);
    // no slot and no archiver that works: each is told, unless it is said that it may be so
    let without_slot = json!({"keep_wal": false});
    scene.server.execute("create table t (a int); select pg_switch_wal()");
    wait_until("archiving has failed", Duration::from_secs(30), || {
        scene.server.says_true("select failed_count > 0 from pg_stat_archiver")
    });
    assert_refused(
        &scene,
        &without_slot,
        "wal_archive_timeout",
        &["archiving fails", "last failure"],
    );
    let warned = scene.start("b1", &json!({"keep_wal": false, "archiver_check": "warn"}));
    assert!(warned.result["warnings"].to_string().contains("archiving fails"), "{warned:?}");
    assert_eq!(warned.result["slot"], Value::Null);
    let _ = scene.ask(&scene.snapshot_by("b1", "true")).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let fetched =
        scene.ask(&scene.backup.fetch(&json!({"session": "main.b1", "source": "pg_wal"})));
    assert_eq!(fetched.ok().word("state"), "complete");
    let ignored = scene.start("b2", &json!({"keep_wal": false, "archiver_check": "ignore"}));
    assert!(!ignored.text.contains("archiving fails"), "{ignored:?}");
    let _ = scene.ask(&scene.backup.abort(&session("b2"))).ok();
}

/// The statements that a role needs, as `backup_start` names them.
fn grants(major: u32, role: &str) -> Vec<String> {
    let functions = if major < 15 {
        ["pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"]
    } else {
        ["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"]
    };
    let mut statements: Vec<String> = functions
        .iter()
        .map(|function| format!("GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {role};"))
        .collect();
    statements.push(format!("GRANT pg_read_all_settings TO {role};"));
    statements.push(format!("ALTER ROLE {role} REPLICATION;"));
    statements
}

fn privileges(major: u32) {
    let mut scene = Scene::of(major);
    // a name that must be quoted
    scene.server.execute("create role \"Saver-1\" login");
    let role = json!({"login_user": "Saver-1"});
    let wanted = grants(major, "\"Saver-1\"");
    let mut options = json!({"backup_id": "refused"});
    backstay_tests::scene::merge(&mut options, &role);
    let reply = scene.ask(&scene.backup.start(&options));
    let texts: Vec<&str> = wanted.iter().map(String::as_str).collect();
    reply.assert_tells(&["insufficient_privilege"], "off", &texts);
    assert_eq!(reply.result["missing_grants"], json!(wanted));
    assert_nothing_began(&scene, "refused");
    // without a slot, REPLICATION is not asked for and not needed
    options["keep_wal"] = json!(false);
    let reply = scene.ask(&scene.backup.start(&options));
    assert_eq!(reply.result["missing_grants"], json!(wanted[..3]));
    wanted[..3].iter().for_each(|statement| scene.server.execute(statement));
    whole_backup(&scene, "b1", &json!({"login_user": "Saver-1", "keep_wal": false}));
    options["keep_wal"] = json!(true);
    let reply = scene.ask(&scene.backup.start(&options));
    assert_eq!(reply.result["missing_grants"], json!(wanted[3..]));
    scene.server.execute(&wanted[3]);
    whole_backup(&scene, "b2", &role);

    // what is taken away in the middle of a backup ends it
    let _ = scene.start("b3", &role);
    let function = wanted[1].replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
    scene.server.announce_log("permission denied for function");
    scene.server.execute(&function);
    let run = Ansible::local(Core::Newest).tasks(&json!([scene.backup.stop(&session("b3"))]));
    assert_eq!(run.status, 2, "{}", run.output);
    let failed = run.task("backup_stop");
    assert_failed(&failed.result, &["insufficient_privilege"], "off");
    assert!(
        failed.text("msg").contains("permission denied for function"),
        "{}",
        failed.text("msg")
    );
    scene.wait_until_left();
    scene.assert_came_to_nothing("b3", "aborted", "permission denied for function");
}

#[test]
fn missing_privileges_are_told_as_statements_that_give_them_on_13() {
    privileges(13);
}

#[test]
fn missing_privileges_are_told_as_statements_that_give_them_on_18() {
    privileges(18);
}

#[test]
fn a_standby_asks_for_one_privilege_more() {
    let primary = Server::builder().major(15).start();
    primary.execute("create role saver login");
    let scene = Scene::around(Server::builder().standby_of(&primary).start());
    wait_until("the standby has the role", Duration::from_secs(30), || {
        scene.server.says_true("select exists (select from pg_roles where rolname = 'saver')")
    });
    let role = json!({"login_user": "saver"});
    let reply = scene.ask(&scene.backup.start(&role));
    reply.assert_failed(&["insufficient_privilege"], "off");
    let mut wanted = grants(15, "saver");
    // without it, which timeline the standby receives is not shown
    wanted.insert(3, "GRANT pg_read_all_stats TO saver;".to_owned());
    assert_eq!(reply.result["missing_grants"], json!(wanted));
    wanted.iter().for_each(|statement| primary.execute(statement));
    let end = primary.query("select pg_current_wal_lsn()");
    wait_until("the standby has the privileges", Duration::from_secs(30), || {
        scene.server.says_true(&format!("select pg_last_wal_replay_lsn() >= '{end}'"))
    });
    whole_backup(&scene, "b1", &role);
}

#[test]
fn a_server_of_another_host_or_a_copy_is_not_taken_for_the_one_that_is_backed_up() {
    let scene = Scene::of(16);
    let other = Server::builder().major(16).start();
    // one repository folder belongs to one database cluster
    let _ = scene.start("b1", &json!({}));
    let _ = scene.ask(&scene.backup.abort(&session("b1"))).ok();
    let login = json!({"login_unix_socket": other.socket_directory(), "login_port": other.port()});
    assert_refused(&scene, &login, "system_identifier_mismatch", &[]);
    // a mount that hides the server's data directory from us
    if !need::can_run(need::root()) {
        return;
    }
    let task = scene.backup.start(&json!({"backup_id": "refused", "cluster": "another"}));
    let mut hidden = tied("unshare", &User::current());
    let script = format!(
        "mount --bind '{}' '{}' && exec '{}' run",
        other.data_directory().display(),
        scene.server.data_directory().display(),
        executable().display()
    );
    hidden.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let reply = Asked::by(hidden, &request(&task)).reply();
    reply.assert_failed(&["system_identifier_mismatch"], "off");
    assert!(!scene.backup.repository().join("another/backups/refused").exists());
}

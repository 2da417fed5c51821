//! What else keeps a backup from being proved: old data, slow recovery, a full disk, WAL that never comes, the wrong
//! programs, answers that nobody expected.

use std::time::Duration;

use backstay_tests::basebackup::at_level;
use backstay_tests::server::bin_directory;
use backstay_tests::{BaseBackup, Place, Server, SmallMount, Writer, need};
use serde_json::json;

/// Background's query for the newest row, of a table whose newest row is of two days ago.
const EVENTS: &str = "create table events (id serial primary key, datetime timestamp);
    insert into events (datetime) select now() at time zone 'utc' - interval '2 days' - g * interval '1 h' from generate_series(9, 0, -1) g";
const NEWEST: &str = "select datetime from events order by id desc limit 1";

fn with_events(major: u32) -> Server {
    let server = Server::builder().major(major).start();
    for sql in EVENTS.split(';') {
        server.execute(sql);
    }
    server
}

#[test]
fn data_that_is_too_old_and_answers_that_nobody_expected_are_found() {
    let server = with_events(15);
    // commits of others are in the WAL of the backup, and they make nothing of this table younger
    let writer = Writer::start(&server, 1);
    writer.wait_for(20);
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let _ = writer.stop();
    let commits = backup.verify(&json!({"max_age": "1d"}));
    commits.assert_good();
    assert!(commits.said("max_age").contains("the last commit is of"), "{commits:?}");
    let stale = json!({
        "max_age": "1d", "freshness": [{"database": "postgres", "query": NEWEST}],
    });
    let drilled = backup.verify(&stale);
    drilled.assert_found(&[
        ("max_age", "the newest data in database \"postgres\" is"),
        ("max_age", "2 d old, more than the 1 d allowed"),
    ]);
    let mut enough = stale;
    enough["max_age"] = json!("3d");
    backup.verify(&enough).assert_good();

    let queries = json!({"queries": [
        {"name": "ten", "database": "postgres", "query": "select count(*) from events", "expect": 10},
        {"name": "eleven", "database": "postgres", "query": "select count(*) from events", "expect": 11},
        {"name": "many", "database": "postgres", "query": "select count(*) from events", "min": 1000},
        {"name": "gone", "database": "postgres", "query": "select * from no_such_table"},
        {"name": "nowhere", "database": "no_such", "query": "select 1"},
        {"name": "writes", "database": "postgres", "query": "delete from events returning 1"},
    ]});
    backup.verify(&queries).assert_found(&[
        ("queries", "5 of 6 queries do not return what is expected"),
        ("queries", "query \"eleven\" in database \"postgres\": it returned 10, expected 11"),
        (
            "queries",
            "query \"many\" in database \"postgres\": it returned 10, less than the minimum 1000",
        ),
        ("queries", "relation \"no_such_table\" does not exist"),
        ("queries", "could not connect to \"the sandbox's server\" as role \"postgres\": FATAL: database \"no_such\" does not exist"),
        ("queries", "query \"writes\" in database \"postgres\": could not run the query: ERROR:"),
    ]);
}

#[test]
fn programs_of_another_major_are_refused() {
    let server = Server::builder().major(16).start();
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let other = bin_directory(15);
    let refused = backup.verify(&json!({"bin_dir": other}));
    refused.assert_refused(
        "invalid_argument",
        &["invalid bin_dir", "(PostgreSQL) 15.", "but the backup is of PostgreSQL 16"],
    );
    let tar = BaseBackup::of(&server, &["-Ft", "-Xs", "-z"]);
    let refused = tar.verify(&json!({"bin_dir": other}));
    refused.assert_refused(
        "invalid_argument",
        &["invalid bin_dir", "(PostgreSQL) 15.", "but the backup is of PostgreSQL 16"],
    );
}

#[test]
fn a_disk_that_is_full_is_named() {
    if !need::can_run(need::root()) {
        return;
    }
    let server = Server::builder().major(17).start();
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let small = SmallMount::tmpfs(8);
    let work = small.path().join("work");
    let disk = format!("the disk of the work directory \"{}", work.display());
    let options = json!({"work_directory": work, "materialize": "copy"});
    backup.verify(&options).assert_found(&[
        ("recovery", "the copy could not be made"),
        ("recovery", "No space left on device"),
        ("recovery", &disk),
    ]);
    // an overlay takes no room, but the server does
    let options = json!({"work_directory": work, "materialize": "overlay"});
    backup
        .verify(&options)
        .assert_found(&[("recovery", "No space left on device"), ("recovery", &disk)]);
    let tar = BaseBackup::of(&server, &["-Ft", "-Xs", "-z"]);
    tar.verify(&json!({"work_directory": work}))
        .assert_found(&[("files", "No space left on device"), ("files", &disk)]);
    let left: Vec<_> = std::fs::read_dir(&work).expect("the mount").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A server that archives to this directory, and a backup of it without WAL.
fn archived(place: &Place) -> (Server, BaseBackup) {
    let archive = place.join("archive");
    backstay_tests::place::User::of_servers().make_directory(&archive);
    let command = format!("cp %p '{}/%f'", archive.display());
    let server = Server::builder()
        .major(18)
        .setting("archive_mode", "on")
        .setting("archive_command", &command)
        .start();
    let backup = BaseBackup::of(&server, &["-Fp", "-Xf", "--no-manifest"]);
    for segment in backup.segments() {
        std::fs::remove_file(segment).expect("a segment can be removed");
    }
    (server, backup)
}

#[test]
fn recovery_that_stands_still_or_takes_too_long_is_found() {
    let place = Place::new();
    let (server, backup) = archived(&place);
    let archive = place.join("archive").display().to_string();
    server.execute("select pg_switch_wal()");
    let fetch = format!("cp '{archive}'/%f %p");
    backup.verify(&json!({"restore_command": fetch})).assert_good();

    let begun = std::time::Instant::now();
    let options = json!({"restore_command": "sleep 1000", "wait_timeout": 2});
    backup.verify(&options).assert_found(&[(
        "recovery",
        "recovery made no progress for 2 s: a WAL file was asked for and restore_command has not answered",
    )]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());

    let options = json!({"restore_command": "echo the archive is on fire >&2; exit 1"});
    backup.verify(&options).assert_found(&[
        ("recovery", "could not locate required checkpoint record"),
        ("recovery", "the first WAL segment that was not to be had"),
    ]);

    let slow = json!({"restore_command": format!("sleep 1; {fetch}"), "max_recovery_time": "1s"});
    let drilled = backup.verify(&slow);
    drilled.assert_found(&[
        ("max_recovery_time", "recovery took"),
        ("max_recovery_time", "1 s are allowed"),
    ]);
    let took = drilled.result["recovery"]["total"].as_f64().unwrap_or_default();
    assert!(took > 1.0, "{drilled:?}");

    let options = json!({"restore_command": "sleep 1000", "timeout": 2});
    backup.verify(&options).assert_found(&[("recovery", "the drill did not end within 2 s")]);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let server = Server::builder().major(14).start();
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let options = json!({"preload_libraries": ["no_such_library"]});
    backup.verify(&options).assert_found(&[(
        "recovery",
        "the server ended: could not access file \"no_such_library\": No such file or directory",
    )]);
    let options = at_level("recover", &json!({"settings": {"work_mem": "plenty"}}));
    backup.verify(&options).assert_found(&[(
        "recovery",
        "the server ended: invalid value for parameter \"work_mem\": \"plenty\"",
    )]);
}

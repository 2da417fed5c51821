//! `make demo`: a real server under write load, a backup of it in four tasks of
//! `ansible-playbook`, a restore of that backup, and the comparison of the two.
//! As whoever runs it, over `connection: local`, in a directory of its own that
//! is gone afterwards. Ends other than with 0 when anything fails.

use std::time::Instant;

use backstay_tests::place::User;
use backstay_tests::{Ansible, Backup, Core, Destination, Login, Outcome, Server, Writer, amcheck};
use serde_json::{Value, json};

/// The major version that is shown.
const MAJOR: u32 = 16;

fn main() {
    let start = Instant::now();
    let say = |line: &str| println!("{:5.1} s  {line}", start.elapsed().as_secs_f64());

    // built first: the server would write all the while
    let _ = backstay_tests::collection::collections_path();
    say("the executable is built and the collection laid out");
    let server = Server::builder().major(MAJOR).tablespaces(1).start();
    say(&format!(
        "PostgreSQL {} runs, without an archive_command, with a tablespace",
        server.query("show server_version")
    ));
    let writer = Writer::start(&server, 4);
    writer.wait_for(200);
    say("4 connections write; each transaction goes into a ledger, with its LSN");

    let ansible = Ansible::local(Core::Newest);
    let backup = Backup::of(&server, Login::Socket, &User::current());
    let tasks = [
        backup.start(&json!({})),
        backup.snapshot(&json!({})),
        backup.stop(&json!({})),
        backup.fetch(&json!({})),
    ];
    let run = ansible.tasks(&json!(tasks)).ok();
    let at = |task: &str, keys: &[&str]| say(&said(run.task(task), keys));
    at("backup_start", &["session", "start_lsn", "timeline", "slot"]);
    at("snapshot_create", &["state"]);
    at("backup_stop", &["stop_lsn", "wal_start_segment", "wal_stop_segment"]);
    at("wal_fetch", &["state", "waldump"]);

    writer.wait_for(200);
    let ledger = writer.stop();
    let destination = Destination::new(&User::of_servers(), None);
    let restore = backup.restore(&server, &destination, &json!({"owner": User::of_servers().name}));
    let mut restored = Server::adopt(MAJOR, destination);
    restored.announce_log("the database system is");
    let run_of_restore = ansible.tasks(&json!([restore])).ok();
    say(&said(
        run_of_restore.task("cluster_restore"),
        &["data_directory", "replay_lsn", "in_recovery"],
    ));

    let stop_lsn = run.task("backup_stop").text("stop_lsn");
    let held = ledger.assert_all_in(&restored, stop_lsn);
    say(&format!(
        "every one of the {held} transactions committed before {stop_lsn} is in the restored server"
    ));
    say(&format!(
        "{} were committed in all, {} rows are there",
        ledger.len(),
        restored.query("select count(*) from ledger")
    ));
    amcheck(&restored);
    say("pg_amcheck --heapallindexed finds nothing wrong");
    say("the backup holds");
}

fn said(outcome: &Outcome, keys: &[&str]) -> String {
    let values = keys.iter().map(|key| match &outcome.result[key] {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    format!("{}: {}", outcome.task, values.collect::<Vec<_>>().join(", "))
}

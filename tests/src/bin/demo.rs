//! `make demo`: a real server under write load, a backup of it in four tasks of
//! `ansible-playbook`, a restore of that backup, the comparison of the two, and a
//! drill of the same backup. As whoever runs it, over `connection: local`, in a
//! directory of its own that is gone afterwards; only the drill's report stays.
//! Ends other than with 0 when anything fails.

use std::path::PathBuf;
use std::time::Instant;

use backstay_tests::backup::task;
use backstay_tests::place::{User, cache, project};
use backstay_tests::scene::merged;
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
        // to count rows it needs a connection of its own
        backup.stop(&merged(backup.login(), &json!({"row_counts": "exact"}))),
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

    say("now the same proof as one task, in a sandbox");
    let drill = drill(&ansible, &backup, &server, held);
    tell(&drill, &say);
    println!("the report, to read, mail or print:\n{}", drill.text("report_html"));
}

/// `backup_verify` of the backup, which must hold at least so many transactions.
fn drill(ansible: &Ansible, backup: &Backup, server: &Server, held: usize) -> Outcome {
    let verify = |more: &Value| {
        let own = json!({
            "repository": backup.repository(),
            "state_directory": backup.state_directory(),
            "report_directory": reports(),
            "bin_dir": server.bin(),
            "os_user": server.user().name,
            "level": "full",
            "max_age": "1h",
            "max_recovery_time": "10min",
            "queries": [{
                "name": "transactions",
                "database": "postgres",
                "query": "select count(*) from ledger",
                "min": held,
            }],
        });
        ansible.tasks(&json!([task("backup_verify", &[&own, more])]))
    };
    let run = verify(&json!({}));
    let outcome = run.task("backup_verify");
    if outcome.result["error_kind"] != json!("isolation_unavailable") {
        return run.ok().task("backup_verify").clone();
    }
    println!("{}", outcome.text("msg"));
    println!("here the drill goes on without isolation, which has to be asked for by name");
    verify(&json!({"sandbox": "process"})).ok().task("backup_verify").clone()
}

/// What was proved, what was not, and how long it took.
fn tell(drill: &Outcome, say: &impl Fn(&str)) {
    let result = &drill.result;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for check in result["checks"].as_array().into_iter().flatten() {
        let (name, outcome) = (text(&check["name"]), text(&check["outcome"]));
        say(&format!("  {name}: {outcome}: {}", text(&check["message"])));
    }
    let not_proved: Vec<_> = result["not_proved"].as_array().into_iter().flatten().collect();
    if not_proved.is_empty() {
        say("not proved: no check was skipped");
    } else {
        say(&format!("not proved: {}", json!(not_proved)));
    }
    let seconds = |name: &str| result["recovery"][name].as_f64().unwrap_or_default();
    let [files, total] = ["materialise", "total"].map(seconds);
    say(&format!(
        "{}: recovery took {total:.2} s (files, {}: {files:.2} s; server: {:.2} s), isolated by: {}",
        drill.text("verdict"),
        text(&result["materialized"]["way"]),
        total - files,
        text(&result["sandbox"]["isolation"]),
    ));
}

/// Where the report stays: in the checkout, where a browser may read it; in the cache where that is somebody else's.
fn reports() -> PathBuf {
    let ours = project().join("target/demo");
    let can_write = std::fs::create_dir_all(&ours).is_ok() && tempfile::tempfile_in(&ours).is_ok();
    if can_write { ours } else { cache().join("demo") }
}

fn said(outcome: &Outcome, keys: &[&str]) -> String {
    let values = keys.iter().map(|key| match &outcome.result[key] {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    format!("{}: {}", outcome.task, values.collect::<Vec<_>>().join(", "))
}

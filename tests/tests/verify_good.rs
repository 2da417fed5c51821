//! Twenty good backups, taken while somebody writes: none may be called bad.

use backstay_tests::basebackup::at_level;
use backstay_tests::scene::{merge, merged, session};
use backstay_tests::{BaseBackup, Drilled, Scene, Server, Writer};
use serde_json::{Value, json};

/// How many backups each test takes; there are four.
const EACH: usize = 5;

fn of_ours(scene: &Scene, id: &str) -> Drilled {
    let _ = scene.start(id, &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&session(id))).ok();
    let counted = merged(
        scene.backup.login(),
        &json!({
            "row_counts": "exact",
            "freshness": [{"database": "postgres", "table": "ledger", "column": "id"}],
        }),
    );
    let _ = scene.ask(&scene.backup.stop(&merged(&counted, &session(id)))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session(id))).ok();
    let options = json!({
        "repository": scene.backup.repository(), "backup_id": id, "bin_dir": scene.server.bin(),
        "state_directory": scene.backup.state_directory(),
    });
    let drilled =
        Drilled::by(&json!({"backstay.postgresql.backup_verify": merged(&options, &questions())}));
    let folder = scene.backup_folder(id);
    std::fs::remove_dir_all(&folder).expect("a proven backup of the test's own");
    drilled
}

/// What must be true whenever the writer was interrupted.
fn questions() -> Value {
    let mut options = at_level("read", &json!({"max_age": "10m"}));
    merge(
        &mut options,
        &json!({"queries": [{
            "name": "balances move, none is made or lost", "database": "postgres",
            "query": "select sum(balance), count(*) from accounts", "expect": [[0, 2000]],
        }, {
            "name": "whole transactions", "database": "postgres",
            "query": "select count(*) from ledger full join ledger_1 using (id) where ledger.payload is distinct from ledger_1.payload",
            "expect": 0,
        }]}),
    );
    options
}

fn no_false_alarm(major: u32) {
    let scene = Scene::around(Server::builder().major(major).tablespaces(1).start());
    let writer = Writer::start(&scene.server, 1);
    writer.wait_for(50);
    for number in 0..EACH {
        let drilled = match number % 5 {
            0 => BaseBackup::of(&scene.server, &["-Fp", "-Xs"]).verify(&questions()),
            2 | 4 => BaseBackup::of(&scene.server, &["-Ft", "-Xs", "-z"]).verify(&questions()),
            _ => of_ours(&scene, &format!("b{number}")),
        };
        drilled.assert_good();
        let counted = drilled.with("ok").contains(&"row_counts");
        assert_eq!(counted, number % 2 == 1, "{:#}", drilled.result);
        for name in ["files", "wal", "recovery", "max_age", "queries", "dump", "page_checksums"] {
            assert!(drilled.with("ok").contains(&name), "{number}, {name}: {:#}", drilled.result);
        }
    }
    let ledger = writer.stop();
    assert!(ledger.len() > 100, "only {} transactions", ledger.len());
}

#[test]
fn five_backups_under_load_are_good_13() {
    no_false_alarm(13);
}

#[test]
fn five_backups_under_load_are_good_15() {
    no_false_alarm(15);
}

#[test]
fn five_backups_under_load_are_good_17() {
    no_false_alarm(17);
}

#[test]
fn five_backups_under_load_are_good_18() {
    no_false_alarm(18);
}

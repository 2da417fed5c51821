//! The proof of the proof: a copy that is damaged on purpose must be found.

use backstay_tests::basebackup::at_level;
use backstay_tests::scene::{merged, session};
use backstay_tests::{BaseBackup, Drilled, Scene, Server};
use serde_json::{Value, json};

/// The drill passed because what it damaged was found, and says by whom.
fn assert_found_itself(drilled: &Drilled, damaged: &str, finders: &[&str]) {
    assert_ne!(drilled.result["failed"], json!(true), "{:#}", drilled.result);
    assert_eq!(drilled.result["verdict"], json!("passed"), "{:#}", drilled.result);
    assert_eq!(drilled.check("self_test")["outcome"], json!("ok"), "{:#}", drilled.result);
    let said = drilled.said("self_test");
    assert!(said.starts_with(damaged), "{said}");
    assert!(said.contains("was damaged on purpose, and found by "), "{said}");
    assert_eq!(drilled.with("failed"), finders, "{:#}", drilled.result);
    for finder in finders {
        assert!(said.contains(&format!("{finder} (")), "{finder}: {said}");
    }
}

fn self_test(level: &str) -> Value {
    at_level(level, &json!({"self_test": true}))
}

#[test]
fn what_a_self_test_damages_is_found_at_each_level() {
    let server = Server::builder().major(15).start();
    server.execute("create table items as select generate_series(1, 5000) as id");
    server.execute("create index on items (id)");
    for arguments in [&["-Fp", "-Xs"][..], &["-Ft", "-Xs", "-z"]] {
        let backup = BaseBackup::of(&server, arguments);
        let drilled = backup.verify(&self_test("recover"));
        assert_found_itself(&drilled, "the first WAL segment", &["recovery"]);
        let damaged = "the first page of table postgres.public.items";
        let drilled = backup.verify(&self_test("read"));
        assert_found_itself(&drilled, damaged, &["dump", "page_checksums"]);
        let drilled = backup.verify(&self_test("full"));
        assert_found_itself(&drilled, damaged, &["dump", "page_checksums", "indexes"]);
        let refused = backup.verify(&self_test("manifest"));
        refused.assert_refused("invalid_argument", &[
            "invalid self_test: at level manifest nothing is copied that could be damaged: give level recover, read or full",
        ]);
        // and the backup itself is as it was
        backup.verify(&at_level("full", &json!({}))).assert_good();
    }
}

#[test]
fn a_self_test_of_a_backup_of_ours_is_found_by_its_row_counts_too() {
    let scene = Scene::of(18);
    scene.server.execute("create table items as select generate_series(1, 5000) as id");
    let _ = scene.start("b", &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&session("b"))).ok();
    let counted = merged(scene.backup.login(), &json!({"row_counts": "exact"}));
    let _ = scene.ask(&scene.backup.stop(&merged(&counted, &session("b")))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b"))).ok();
    let own = json!({
        "repository": scene.backup.repository(), "bin_dir": scene.server.bin(),
        "state_directory": scene.backup.state_directory(),
    });
    let verify = |more: &Value| {
        Drilled::by(&json!({"backstay.postgresql.backup_verify": merged(&own, more)}))
    };
    assert_found_itself(&verify(&self_test("recover")), "the first WAL segment", &["recovery"]);
    let damaged = "the first page of table postgres.public.items";
    let finders = ["row_counts", "dump", "page_checksums"];
    assert_found_itself(&verify(&self_test("read")), damaged, &finders);
    verify(&at_level("read", &json!({}))).assert_good();
}

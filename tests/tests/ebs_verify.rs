//! A backup on EBS snapshots, proved on volumes made from them.

use backstay_tests::scene::merged;
use backstay_tests::{Cloud, Volumes, Writer, need};
use serde_json::{Value, json};

/// The drill of what `ebs_restore` has mounted.
fn drill(cloud: &Cloud, restored: &Value, materialize: &str) -> Value {
    cloud.of_repository(
        "backup_verify",
        &json!({
            "backup_id": "b",
            "data_directory": restored["data_directory"],
            "tablespace_mapping": restored["tablespace_mapping"],
            "materialize": materialize,
            "level": "full",
            "max_age": "1h",
            "bin_dir": cloud.scene.server.bin(),
        }),
    )
}

#[test]
fn volumes_of_snapshots_are_proved_without_the_backup_being_changed_and_as_throw_aways() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    cloud.start("b");
    let _ = cloud.snapshot("b", &json!({})).ok();
    let counted = merged(cloud.scene.backup.login(), &json!({"row_counts": "exact"}));
    let stopped = cloud.ask(&cloud.task("backup_stop", "b", &counted)).ok();
    assert_ne!(stopped.result["row_counts"], Value::Null, "{:#}", stopped.result);
    let _ = writer.stop();
    let _ = cloud.ask(&cloud.task("wal_fetch", "b", &json!({}))).ok();
    let _ = cloud.ask(&cloud.task("ebs_snapshot_wait", "b", &json!({"delay": 1}))).ok();
    let restored = cloud.ask(&cloud.restore("b", &json!({}))).ok().result;

    for way in ["auto", "in_place"] {
        let reply = cloud.ask(&drill(&cloud, &restored, way)).ok();
        assert_eq!(reply.result["verdict"], json!("passed"), "{:#}", reply.result);
        let used = &reply.result["materialized"]["way"];
        assert_eq!(used == "in_place", way == "in_place", "{used}");
        let checks = reply.result["checks"].as_array().cloned().unwrap_or_default();
        let outcome = |name: &str| {
            let found = checks.iter().find(|check| check["name"] == json!(name));
            found.map(|check| check["outcome"].clone()).unwrap_or_default()
        };
        for name in ["label", "wal", "recovery", "row_counts", "dump", "indexes", "max_age"] {
            assert_eq!(outcome(name), json!("ok"), "{name}: {:#}", reply.result);
        }
        // a snapshot of a volume has no list of its files
        assert_eq!(outcome("files"), json!("skipped"), "{:#}", reply.result);
    }
    let absent = json!({"restore_id": restored["restore_id"], "state": "absent"});
    let removed = cloud.ask(&cloud.of_repository("ebs_restore", &absent)).ok();
    assert_eq!(removed.result["volumes"].as_array().map(Vec::len), Some(3));
}

use std::fs;
use std::path::Path;

use super::*;

fn manifest(id: &str, day: u32) -> Value {
    let point = |minute: u32| json!({"lsn": "0/2000028", "time": format!("2026-11-{day:02}T03:{minute:02}:00Z"), "wal_segment": "000000010000000000000002"});
    json!({
        "schema": 1, "backup_id": id, "cluster": "main", "label": "nightly", "state": "complete", "reason": null,
        "session": format!("main.{id}"), "system_identifier": "7710459878896958989", "server_version": "15.18",
        "catalog_version": 202_209_061, "timeline": 1, "wal_segment_size": 16_777_216, "in_recovery": true,
        "data_checksums": true, "block_size": 8192, "start": point(0), "stop": point(1),
        "data_directory": "/data", "wal_directory": "/data/pg_wal", "tablespaces": [], "settings": {},
        "config_file": null, "hba_file": null, "ident_file": null,
        "snapshots": [{
            "id": "s", "provider": "files", "source": "/data", "path": null, "mount_point": "/", "covers": [],
            "started_at": "2026-11-20T03:00:10Z", "finished_at": "2026-11-20T03:00:20Z", "bytes": 1000, "files": 3,
            "reflinked": false,
        }],
        "files": [{"name": "backup_label", "size": 200, "sha256": "0".repeat(64)}],
        "backstay_version": "0.1.0",
    })
}

fn report(self_test: bool, verdict: &str) -> String {
    json!({
        "schema": 1, "verdict": verdict, "level": "recover", "self_test": self_test,
        "started": "2026-11-21T04:00:00Z", "ended": "2026-11-21T04:00:03.2Z",
        "sandbox": {"isolation": "namespaces"}, "recovery": {"total": 1.4},
        "checks": [{"name": "dump", "outcome": "skipped", "message": "only made at level read"}],
    })
    .to_string()
}

fn write(repository: &Path, id: &str, name: &str, text: &str) {
    let path = repository.join("main/backups").join(id).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(place: &Path) -> (Vec<Value>, Vec<String>) {
    let repository = Repository::open(&place.to_str().unwrap().parse().unwrap()).unwrap();
    let mut warnings = vec![];
    let found = all(&repository, &"main".parse().unwrap(), &mut warnings).unwrap();
    (found, warnings)
}

#[test]
fn the_newest_backup_is_first_and_says_all_of_itself() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(read(place.path()), (vec![], vec![]));
    for (id, day) in [("a", 21), ("b", 20)] {
        write(place.path(), id, "backup.json", &manifest(id, day).to_string());
    }
    let (found, warnings) = read(place.path());
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(
        found[0],
        json!({
            "backup_id": "a", "cluster": "main", "label": "nightly", "state": "complete", "reason": null,
            "started_at": "2026-11-21T03:00:00Z", "stopped_at": "2026-11-21T03:01:00Z",
            "start_lsn": "0/2000028", "stop_lsn": "0/2000028", "timeline": 1, "server_version": "15.18",
            "system_identifier": "7710459878896958989", "from_standby": true, "providers": ["files"], "bytes": 1200,
            "last_verified": null,
        })
    );
    assert_eq!(found[1]["backup_id"], "b");
}

#[test]
fn how_much_is_in_a_snapshot_need_not_be_known() {
    let place = tempfile::tempdir().unwrap();
    let mut first = manifest("a", 21);
    first["snapshots"][0]["bytes"] = Value::Null;
    write(place.path(), "a", "backup.json", &first.to_string());
    let mut second = manifest("b", 20);
    (second["snapshots"], second["stop"]) = (json!([]), Value::Null);
    write(place.path(), "b", "backup.json", &second.to_string());
    let (found, _) = read(place.path());
    assert_eq!((&found[0]["bytes"], &found[1]["bytes"]), (&Value::Null, &Value::Null));
    assert_eq!(found[1]["stopped_at"], Value::Null);
}

#[test]
fn the_last_proof_is_the_newest_report_that_is_no_self_test() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), "a", "backup.json", &manifest("a", 20).to_string());
    let reports = [
        ("20261121T040000Z", report(false, "passed")),
        ("20261122T040000Z", report(false, "failed")),
        ("20261123T040000Z", report(true, "passed")),
        ("20261124T040000Z", "{".to_owned()),
    ];
    for (stamp, text) in &reports {
        write(place.path(), "a", &format!("verifications/{stamp}.json"), text);
    }
    let html = "verifications/20261122T040000Z.html";
    write(place.path(), "a", html, "");
    let (found, warnings) = read(place.path());
    let folder = place.path().join("main/backups/a");
    assert_eq!(
        found[0]["last_verified"],
        json!({
            "verdict": "failed", "level": "recover", "started": "2026-11-21T04:00:00Z",
            "ended": "2026-11-21T04:00:03.200Z", "seconds": 3.2, "recovery_seconds": 1.4,
            "not_proved": ["dump: only made at level read"], "isolation": "namespaces", "self_test": false,
            "report": folder.join("verifications/20261122T040000Z.json"), "report_html": folder.join(html),
        })
    );
    let damaged = folder.join("verifications/20261124T040000Z.json");
    assert_eq!(
        warnings,
        [format!(
            "could not read the report \"{}\" of a drill: EOF while parsing an object at line 1 column 1",
            damaged.display()
        )]
    );
}

#[test]
fn a_manifest_that_cannot_be_read_hides_no_other() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), "a", "backup.json", &manifest("a", 20).to_string());
    write(place.path(), "b", "backup.json", "{");
    let (found, warnings) = read(place.path());
    assert_eq!(found.len(), 1);
    let file = place.path().join("main/backups/b/backup.json");
    assert_eq!(
        warnings,
        [format!(
            "could not read the manifest of backup \"b\" of cluster \"main\": file \"{}\" is damaged: EOF while parsing \
             an object at line 1 column 1",
            file.display()
        )]
    );
}

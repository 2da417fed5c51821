//! `backup_info` of a repository: which backups there are, and when each was last proved. Through `ansible-playbook`.

use std::fs;
use std::path::PathBuf;

use backstay_tests::place::User;
use backstay_tests::{Ansible, Backup, Core, Login, Server};
use serde_json::{Value, json};

/// What a drill leaves beside a backup.
const REPORT: &str = include_str!("../../modules/verification/samples/passed.json");

/// A server with a complete backup, and one that was only started.
struct Catalogue {
    _server: Server,
    backup: Backup,
    ansible: Ansible,
}

impl Catalogue {
    fn new() -> Self {
        let server = Server::builder().major(17).start();
        let backup = Backup::of(&server, Login::Socket, &User::current());
        let ansible = Ansible::local(Core::Newest);
        let session = json!({"session": "main.whole"});
        let _ = ansible
            .tasks(&json!([
                backup.start(&json!({"backup_id": "whole", "label": "nightly"})),
                backup.snapshot(&session),
                backup.stop(&session),
                backup.fetch(&session),
                backup.start(&json!({"backup_id": "begun"})),
                backup.abort(&json!({"session": "main.begun", "reason": "not needed"})),
            ]))
            .ok();
        Self { _server: server, backup, ansible }
    }

    fn info(&self, more: &Value) -> Value {
        self.ansible.tasks(&json!([self.backup.info(more)])).ok().task("backup_info").result.clone()
    }

    fn of_repository(&self) -> Value {
        self.info(&json!({"repository": self.backup.repository()}))
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.backup.repository().join("main/backups").join(id)
    }

    /// Puts a report there, as `backup_verify` does.
    fn proved(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let mut report: Value = serde_json::from_str(REPORT).unwrap();
        change(&mut report);
        let folder = self.folder("whole").join("verifications");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.json")), report.to_string()).unwrap();
        folder.join(format!("{name}.json"))
    }
}

#[test]
fn the_backups_of_a_repository_and_their_last_proof() {
    let catalogue = Catalogue::new();
    assert_eq!(catalogue.info(&json!({}))["backups"], Value::Null);
    let none =
        catalogue.info(&json!({"repository": catalogue.backup.repository(), "cluster": "other"}));
    assert_eq!(none["backups"], json!([]));

    let info = catalogue.of_repository();
    let [begun, whole] = &info["backups"].as_array().unwrap()[..] else { panic!("{info:#}") };
    assert_eq!((&begun["backup_id"], &begun["state"]), (&json!("begun"), &json!("failed")));
    assert_eq!((&whole["backup_id"], &whole["state"]), (&json!("whole"), &json!("complete")));
    assert_eq!(whole["label"], json!("nightly"));
    assert_eq!(whole["providers"], json!(["files"]));
    assert_eq!(whole["from_standby"], json!(false));
    assert_eq!(whole["last_verified"], Value::Null);
    let session = &info["sessions"][0];
    assert_eq!(session["session"], json!("main.whole"));
    for (ours, theirs) in
        [("start_lsn", "start_lsn"), ("stop_lsn", "stop_lsn"), ("timeline", "timeline")]
    {
        assert_eq!(whole[ours], session[theirs], "{ours}");
    }
    // more than the WAL segment that every backup has
    assert!(whole["bytes"].as_u64().is_some_and(|bytes| bytes > 16 << 20), "{whole:#}");
}

#[test]
fn a_self_test_and_a_damaged_report_are_no_proof() {
    let catalogue = Catalogue::new();
    let proof = catalogue.proved("20261121T040000Z", |_| {});
    catalogue.proved("20261122T040000Z", |report| report["self_test"] = json!(true));
    let damaged = catalogue.proved("20261123T040000Z", |report| *report = json!({}));
    let info = catalogue.of_repository();
    let last = &info["backups"][1]["last_verified"];
    assert_eq!(last["report"], json!(proof));
    assert_eq!(last["report_html"], Value::Null, "nobody wrote one");
    assert_eq!((&last["verdict"], &last["level"]), (&json!("passed"), &json!("read")));
    assert_eq!(last["recovery_seconds"], json!(14.05));
    let warning = format!("could not read the report \"{}\" of a drill: ", damaged.display());
    let warnings = info["warnings"].as_array().unwrap();
    assert!(
        warnings.iter().any(|text| text.as_str().unwrap().starts_with(&warning)),
        "{warnings:?}"
    );
}

#[test]
fn a_manifest_that_cannot_be_read_is_a_warning() {
    let catalogue = Catalogue::new();
    fs::write(catalogue.folder("begun").join("backup.json"), "{").unwrap();
    let info = catalogue.of_repository();
    assert_eq!(info["backups"].as_array().unwrap().len(), 1, "{info:#}");
    let warnings = info["warnings"].as_array().unwrap();
    let start = "could not read the manifest of backup \"begun\" of cluster \"main\": file ";
    assert!(warnings.iter().any(|text| text.as_str().unwrap().starts_with(start)), "{warnings:?}");
}

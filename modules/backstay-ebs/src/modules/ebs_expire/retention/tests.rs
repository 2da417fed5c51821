use serde_json::{Value, json};

use super::*;

const DAY: i64 = 86400;
const SYSTEM: &str = "7710459878896958989";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What is the same in all of them.
const MANIFEST: &str = r#"{
  "schema": 1, "cluster": "main", "label": "x", "reason": null, "session": "s",
  "system_identifier": "7710459878896958989", "server_version": "15.18", "catalog_version": 202209061,
  "timeline": 1, "wal_segment_size": 16777216, "in_recovery": false, "data_checksums": true,
  "block_size": 8192, "data_directory": "/d", "wal_directory": "/d/pg_wal", "tablespaces": [],
  "settings": {}, "config_file": null, "hba_file": null, "ident_file": null, "files": [],
  "backstay_version": "0.1.0",
  "snapshots": [{
    "provider": "ebs", "source": "/dev/nvme1n1", "path": null, "mount_point": "/d", "covers": [],
    "started_at": "2026-11-21T03:15:00Z", "finished_at": "2026-11-21T03:15:00Z", "bytes": null,
    "files": null, "reflinked": null,
    "volume": {"volume_id": "vol-1", "region": "eu-central-1", "state": "completed", "filesystems": []}
  }]
}"#;

/// A backup that ended so many days ago; its one snapshot is "snap-" and its id.
fn backup(id: &str, state: &str, days: i64) -> Value {
    let mut manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    let point = json!({
        "lsn": "0/2000028",
        "time": now() - TimeDelta::days(days),
        "wal_segment": "000000010000000000000002",
    });
    manifest["backup_id"] = json!(id);
    manifest["state"] = json!(state);
    manifest["start"] = point.clone();
    manifest["stop"] = point;
    manifest["snapshots"][0]["id"] = json!(format!("snap-{id}"));
    manifest
}

fn list(backups: &[Value]) -> BackupList {
    let mut manifests: Vec<BackupManifest> =
        backups.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
    manifests.sort_by_key(|manifest| manifest.start.time);
    BackupList { manifests, unreadable: vec![] }
}

fn rules(keep: Option<u64>, days: Option<i64>, named: &[&str]) -> Retention {
    Retention {
        keep,
        keep_for: days.map(TimeDelta::days),
        named: named.iter().map(|id| id.parse().unwrap()).collect(),
        unfinished: true,
        grace: TimeDelta::seconds(DAY),
        now: now(),
    }
}

fn listed(rules: &Retention, list: BackupList) -> Result<Listed, Failure> {
    rules.apply(&"main".parse().unwrap(), SYSTEM, list)
}

fn ids(backups: &[BackupId]) -> String {
    backups.iter().map(BackupId::as_str).collect::<Vec<_>>().join(" ")
}

fn five() -> BackupList {
    list(&[
        backup("b1", "complete", 9),
        backup("b2", "complete", 6),
        backup("b3", "complete", 3),
        backup("b4", "failed", 2),
        backup("b5", "uploading", 1),
    ])
}

/// What goes and what stays, newest first.
fn outcome(rules: &Retention) -> (String, String) {
    let listed = listed(rules, five()).unwrap();
    (ids(&listed.outdated), ids(&listed.kept))
}

#[test]
fn the_newest_complete_ones_are_kept() {
    let text = |gone: &str, kept: &str| (gone.to_owned(), kept.to_owned());
    assert_eq!(outcome(&rules(Some(2), None, &[])), text("b1", "b5 b3 b2"));
    assert_eq!(outcome(&rules(Some(9), None, &[])), text("", "b5 b3 b2 b1"));
    assert_eq!(outcome(&rules(None, Some(7), &[])), text("b1", "b5 b3 b2"));
    // Either rule keeps, and the newest one stays when none does.
    assert_eq!(outcome(&rules(Some(1), Some(7), &[])), text("b1", "b5 b3 b2"));
    assert_eq!(outcome(&rules(Some(3), Some(1), &[])), text("", "b5 b3 b2 b1"));
    assert_eq!(outcome(&rules(None, Some(1), &[])), text("b2 b1", "b5 b3"));
    // Without a rule nothing is outdated.
    assert_eq!(outcome(&rules(None, None, &[])), text("", "b5 b3 b2 b1"));
    // One that goes anyway does not take a place.
    assert_eq!(outcome(&rules(Some(2), None, &["b3"])), text("", "b5 b2 b1"));
}

#[test]
fn one_that_never_got_its_wal_goes_after_the_grace() {
    let standing = |rules: &Retention, state: &str, days: i64| {
        let listed = listed(rules, list(&[backup("b1", state, days)])).unwrap();
        let marked = ids(&listed.unwanted) == "b1";
        (listed.catalogue.backups["b1"].standing, marked)
    };
    let rules = rules(None, None, &[]);
    assert_eq!(standing(&rules, "stopped", 2), (Standing::Unwanted, true));
    assert_eq!(standing(&rules, "stopped", 1), (Standing::Kept, false));
    assert_eq!(standing(&rules, "uploading", 2), (Standing::Kept, false));
    let rules = Retention { unfinished: false, ..rules };
    assert_eq!(standing(&rules, "stopped", 2), (Standing::Kept, false));
}

#[test]
fn each_backup_has_its_standing() {
    let mut list = list(&[backup("b0", "expired", 20)]);
    list.manifests.extend(five().manifests);
    let listed = listed(&rules(Some(1), None, &["b2"]), list).unwrap();
    let standing = |id: &str| listed.catalogue.backups[id].standing;
    assert_eq!(standing("b0"), Standing::Unwanted);
    assert_eq!(standing("b1"), Standing::Outdated);
    assert_eq!(standing("b2"), Standing::Unwanted);
    assert_eq!(standing("b3"), Standing::Kept);
    assert_eq!(standing("b4"), Standing::Failed);
    assert_eq!(standing("b5"), Standing::Kept);
    assert_eq!(listed.catalogue.backups["b1"].snapshots, ["snap-b1"]);
    // Nobody needs the ids of what is over.
    assert!(listed.catalogue.backups["b0"].snapshots.is_empty());
    // What is expired already is not marked again.
    assert_eq!(ids(&listed.unwanted), "b2");
}

#[test]
fn backups_without_ebs_snapshots_are_not_our_affair() {
    let mut files = backup("b6", "complete", 0);
    files["snapshots"][0]["volume"] = json!(null);
    let mut list = five();
    list.manifests.extend(self::list(&[files.clone()]).manifests);
    let listed = listed(&rules(Some(1), None, &[]), list).unwrap();
    assert_eq!(ids(&listed.kept), "b5 b3");
    assert_eq!(listed.catalogue.backups["b6"].standing, Standing::Kept);
    let failure = self::listed(&rules(None, None, &["b6"]), self::list(&[files])).unwrap_err();
    assert_eq!(failure.message, "backup \"b6\" has other snapshots than those of EBS");
}

#[test]
fn a_named_backup_must_be_there_and_over() {
    let named = |list| listed(&rules(None, None, &["b7"]), list);
    let failure = named(five()).unwrap_err();
    assert_eq!(failure.message, "backup \"b7\" of cluster \"main\" is not in the repository");
    assert_eq!(failure.kind, "backup_not_found");
    let failure = named(list(&[backup("b7", "stopped", 1)])).unwrap_err();
    assert_eq!(
        failure.message,
        "backup \"b7\" is stopped and began 86400 s ago: until it is 86400 s old it may be under way"
    );
    let failure = named(list(&[backup("b7", "uploading", 0)])).unwrap_err();
    assert!(failure.message.starts_with("backup \"b7\" is uploading and began 0 s ago"));
    assert_eq!(failure.hints, ["Give a smaller grace when you know that it is not."]);
    let old = named(list(&[backup("b7", "started", 2)])).unwrap();
    assert_eq!(ids(&old.unwanted), "b7");
    let failed = named(list(&[backup("b7", "failed", 0)])).unwrap();
    assert_eq!(ids(&failed.unwanted), "");
    assert_eq!(failed.catalogue.backups["b7"].standing, Standing::Unwanted);
}

#[test]
fn what_is_unclear_is_left_alone() {
    let mut other = backup("b1", "complete", 9);
    other["system_identifier"] = json!("1");
    let mut list = list(&[other, backup("b3", "complete", 3)]);
    let error = "..".parse::<BackupId>().unwrap_err();
    list.unreadable.push(repository::UnreadableBackup { id: "b2".into(), error });
    let listed = listed(&rules(Some(1), None, &[]), list).unwrap();
    assert_eq!(ids(&listed.outdated), "");
    assert_eq!(listed.catalogue.backups["b1"].standing, Standing::Unreadable);
    assert_eq!(listed.catalogue.backups["b2"].standing, Standing::Unreadable);
    assert_eq!(
        listed.warnings,
        [
            "backup \"b2\" cannot be read, its snapshots are left alone: invalid backup id \"..\": expected 1 to 100 \
             letters, digits, ., _ and -, not beginning with a dot",
            "backup \"b1\" is of the database cluster 1, not of 7710459878896958989: its snapshots are left alone",
        ]
    );
}

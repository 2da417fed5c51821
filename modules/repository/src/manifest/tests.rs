use super::*;

/// A manifest as the last task of a backup leaves it.
const COMPLETE: &str = r#"{
  "schema": 1,
  "backup_id": "20261121T031500Z-3f9c",
  "cluster": "main",
  "label": "20261121T031500Z-3f9c",
  "state": "complete",
  "reason": null,
  "session": "main.20261121T031500Z-3f9c",
  "system_identifier": "7710459878896958989",
  "server_version": "15.18",
  "catalog_version": 202209061,
  "timeline": 1,
  "wal_segment_size": 16777216,
  "in_recovery": false,
  "data_checksums": true,
  "block_size": 8192,
  "start": {
    "lsn": "0/2000028",
    "time": "2026-11-21T03:15:00.123456Z",
    "wal_segment": "000000010000000000000002"
  },
  "stop": {
    "lsn": "0/3000100",
    "time": "2026-11-21T03:16:00Z",
    "wal_segment": "000000010000000000000003"
  },
  "data_directory": "/var/lib/postgresql/15/main",
  "wal_directory": "/var/lib/postgresql/15/main/pg_wal",
  "tablespaces": [
    {
      "oid": 16384,
      "name": "fast",
      "location": "/mnt/fast"
    }
  ],
  "settings": {
    "max_connections": "100"
  },
  "config_file": "/etc/postgresql/15/main/postgresql.conf",
  "hba_file": null,
  "ident_file": null,
  "snapshots": [
    {
      "id": "snap",
      "provider": "command",
      "source": "/var/lib/postgresql",
      "path": null,
      "mount_point": "/var",
      "covers": [
        {
          "role": "data_directory",
          "oid": null,
          "path": "/var/lib/postgresql/15/main"
        }
      ],
      "started_at": "2026-11-21T03:15:10Z",
      "finished_at": "2026-11-21T03:15:20Z",
      "bytes": null,
      "files": null,
      "reflinked": null
    }
  ],
  "files": [
    {
      "name": "backup_label",
      "size": 0,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    },
    {
      "name": "tablespace_map",
      "size": 0,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    },
    {
      "name": "wal/000000010000000000000002",
      "size": 16777216,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    },
    {
      "name": "wal/000000010000000000000003",
      "size": 16777216,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    }
  ],
  "backstay_version": "0.1.0"
}"#;

/// A complete manifest, for the tests of the whole crate.
pub(crate) fn complete() -> BackupManifest {
    serde_json::from_str(COMPLETE).unwrap()
}

/// The manifest a backup begins with.
pub(crate) fn started(id: &str) -> BackupManifest {
    BackupManifest {
        backup_id: id.parse().unwrap(),
        state: BackupState::Started,
        stop: None,
        snapshots: Vec::new(),
        files: Vec::new(),
        ..complete()
    }
}

#[test]
fn the_layout_is_stable() {
    let manifest = complete();
    assert_eq!(serde_json::to_string_pretty(&manifest).unwrap(), COMPLETE);
    assert_eq!(manifest.file("backup_label").unwrap().size, 0);
    assert_eq!(manifest.file("x"), None);
}

#[test]
fn fields_of_newer_releases_are_passed_over() {
    let newer = COMPLETE.replacen('{', "{\"compression\": {\"kind\": \"none\"},", 1);
    assert_eq!(serde_json::from_str::<BackupManifest>(&newer).unwrap(), complete());
}

#[test]
fn names_in_it_cannot_lead_out_of_the_folder() {
    for name in ["../backup_label", "/etc/passwd", "wal/../../x"] {
        let json = COMPLETE.replace("\"backup_label\"", &format!("\"{name}\""));
        let error = serde_json::from_str::<BackupManifest>(&json).unwrap_err();
        assert!(error.to_string().starts_with(&format!("invalid file name \"{name}\"")), "{error}");
    }
}

#[test]
fn states_go_forward_only() {
    use BackupState::{Complete, Expired, Failed, Started, Stopped, Uploading};
    let all = [Started, Stopped, Uploading, Complete, Failed, Expired];
    let allowed = |from: BackupState| all.map(|to| from.may_become(to));
    assert_eq!(allowed(Started), [true; 6]);
    assert_eq!(allowed(Stopped), [false, true, true, true, true, true]);
    assert_eq!(allowed(Uploading), [false, false, true, true, true, true]);
    assert_eq!(allowed(Complete), [false, false, false, true, false, true]);
    assert_eq!(allowed(Failed), [false, false, false, false, true, false]);
    assert_eq!(allowed(Expired), [false, false, false, false, false, true]);
    let words = ["started", "stopped", "uploading", "complete", "failed", "expired"];
    assert_eq!(all.map(|state| state.to_string()), words);
}

#[test]
fn entries_say_size_and_checksum() {
    let entry = FileEntry::new("backup_label".parse().unwrap(), b"abc");
    assert_eq!((entry.size, entry.sha256), (3, Sha256Sum::of(b"abc")));
}

//! A made-up backup of a made-up cluster, in a real repository.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pg::{RecoveryTarget, TargetAction};
use recovery::Restore;
use repository::{BackupFolder, BackupManifest, CompleteBackup, FileEntry, Repository, Sha256Sum};
use serde_json::{Value, json};

/// The only WAL segment; segments of 1 MiB.
pub(crate) const SEGMENT: &str = "000000010000000000000003";

/// As PostgreSQL 15 writes it.
pub(crate) const LABEL: &str = "START WAL LOCATION: 0/300028 (file 000000010000000000000003)\n\
    CHECKPOINT LOCATION: 0/300060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
    START TIME: 2026-11-21 03:00:00 UTC\nLABEL: l\nSTART TIMELINE: 1\n";

const AUTO_CONF: &str = "shared_buffers = '1GB'\nprimary_conninfo = 'password=hush'\n\
    recovery_target_xid = '7'\narchive_command = 'cp %p /a/%f'\n";

/// A repository with one complete backup, the source's tablespace still in its place, and an empty directory `new`.
pub(crate) struct Backup {
    temporary: tempfile::TempDir,
    folder: BackupFolder,
    manifest: BackupManifest,
}

impl Backup {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temporary.path()).unwrap();
        for (path, content) in [("ts/PG_15_202209061/5/16401", "rows"), ("live_wal/0", "live")] {
            write(&root.join(path), content);
        }
        fs::create_dir_all(root.join("new")).unwrap();
        fs::create_dir_all(root.join("repository")).unwrap();
        let url = root.join("repository").to_str().unwrap().parse().unwrap();
        let repository = Repository::open(&url).unwrap();
        let folder = repository.backup(&"main".parse().unwrap(), &"b1".parse().unwrap());
        let mut manifest = manifest(&root, &folder);
        folder.create(&manifest).unwrap();
        let listing = copies(&folder, &root);
        let map = format!("16400 {}\n", root.join("ts").display());
        for (name, bytes) in [
            ("backup_label".to_owned(), LABEL.as_bytes().to_vec()),
            ("tablespace_map".to_owned(), map.into_bytes()),
            (format!("wal/{SEGMENT}"), vec![0; 1 << 20]),
            ("files.json".to_owned(), serde_json::to_vec(&listing).unwrap()),
        ] {
            let entry: FileEntry = folder.put(&name, bytes).unwrap();
            manifest.files.push(entry);
        }
        folder.update(&manifest).unwrap();
        Self { temporary, folder, manifest }
    }

    /// A path in the directory of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.temporary.path()).unwrap().join(name)
    }

    pub(crate) fn folder_path(&self) -> PathBuf {
        self.folder.local_path()
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder.files_path()
    }

    /// The restore of it into `new/data` and `new/ts`, only until it is consistent.
    pub(crate) fn restore(&self) -> Restore {
        let complete = CompleteBackup::check(self.manifest.clone()).unwrap();
        let mut restore = Restore::new(complete, self.folder.clone(), self.path("new/data"));
        restore.tablespace_mapping.insert(self.path("ts"), self.path("new/ts"));
        restore.target.target = RecoveryTarget::Immediate;
        restore.target.action = TargetAction::Promote;
        if nix::unistd::geteuid().is_root() {
            // The server refuses to run as root, and so does a restore for root.
            restore.owner = Some(12345);
            restore.group = Some(12345);
        }
        restore
    }
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the provider `files` would have left, and its list.
fn copies(folder: &BackupFolder, root: &Path) -> Vec<Value> {
    let files = folder.files_path();
    for (name, content) in [
        ("data/PG_VERSION", "15\n"),
        ("data/base/5/1259", "catalogue"),
        ("data/base/5/pg_internal.init", "cache"),
        ("data/base/pgsql_tmp/pgsql_tmp1.0", "sort"),
        ("data/global/pg_control", "control"),
        ("data/pg_replslot/s/state", "slot"),
        ("data/postgresql.auto.conf", AUTO_CONF),
        ("data/postmaster.pid", "1\n/elsewhere\n"),
        ("data/standby.signal", ""),
        ("tablespaces/16400/PG_15_202209061/5/16401", "rows"),
    ] {
        write(&files.join(name), content);
    }
    fs::set_permissions(files.join("data"), Permissions::from_mode(0o700)).unwrap();
    let mut listing = Vec::new();
    list(&files, &files, &mut listing);
    // Links are in the copy too: to the source's WAL and tablespace.
    let link = root.join("live_wal");
    std::os::unix::fs::symlink(&link, files.join("data/pg_wal")).unwrap();
    fs::create_dir_all(files.join("data/pg_tblspc")).unwrap();
    let target = root.join("ts");
    std::os::unix::fs::symlink(&target, files.join("data/pg_tblspc/16400")).unwrap();
    let text = target.to_str().unwrap();
    let sum = Sha256Sum::of(text.as_bytes()).to_string();
    listing.push(json!({"path": "data/pg_tblspc/16400", "size": text.len(), "mode": 511, "sha256": sum, "link": text}));
    listing
}

fn list(top: &Path, directory: &Path, listing: &mut Vec<Value>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(top, &path, listing);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let name = path.strip_prefix(top).unwrap();
        let sum = Sha256Sum::of(&bytes).to_string();
        listing.push(json!({"path": name, "size": bytes.len(), "mode": 384, "sha256": sum}));
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn manifest(root: &Path, folder: &BackupFolder) -> BackupManifest {
    let snapshot = json!({
        "id": "sha256:0", "provider": "files", "source": "/source/data", "path": folder.files_path(),
        "mount_point": "/", "started_at": "2026-11-21T03:00:01Z", "finished_at": "2026-11-21T03:00:02Z",
        "bytes": 1, "files": 1, "reflinked": false,
        "covers": [
            {"role": "data_directory", "oid": null, "path": "/source/data"},
            {"role": "tablespace", "oid": 16400, "path": root.join("ts")},
        ],
    });
    let manifest = json!({
        "schema": 1, "backup_id": "b1", "cluster": "main", "label": "l", "state": "complete", "reason": null,
        "session": "main.b1", "system_identifier": "7", "server_version": "15.18", "catalog_version": 202_209_061,
        "timeline": 1, "wal_segment_size": 1 << 20, "in_recovery": false, "data_checksums": true, "block_size": 8192,
        "start": {"lsn": "0/300028", "time": "2026-11-21T03:00:00Z", "wal_segment": SEGMENT},
        "stop": {"lsn": "0/300100", "time": "2026-11-21T03:00:05Z", "wal_segment": SEGMENT},
        "data_directory": "/source/data", "wal_directory": root.join("live_wal"),
        "tablespaces": [{"oid": 16400, "name": "fast", "location": root.join("ts")}],
        "settings": {}, "config_file": null, "hba_file": null, "ident_file": null,
        "snapshots": [snapshot], "files": [], "backstay_version": "0.1.0",
    });
    serde_json::from_value(manifest).unwrap()
}

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::manifest::tests::{complete, started};
use crate::{BackupState, Repository};

fn folder() -> (tempfile::TempDir, BackupFolder) {
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().to_str().unwrap().parse().unwrap();
    let repository = Repository::open(&url).unwrap();
    let folder = repository.backup(&"main".parse().unwrap(), &"nightly".parse().unwrap());
    (directory, folder)
}

fn created() -> (tempfile::TempDir, BackupFolder) {
    let (directory, folder) = folder();
    folder.create(&started("nightly")).unwrap();
    (directory, folder)
}

#[test]
fn a_manifest_is_made_once_and_then_replaced() {
    let (_directory, folder) = created();
    assert_eq!(folder.read().unwrap(), started("nightly"));
    let error = folder.create(&started("nightly")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "backup \"nightly\" of cluster \"main\" is already in the repository"
    );
    let complete = BackupManifest { backup_id: "nightly".parse().unwrap(), ..complete() };
    folder.update(&complete).unwrap();
    folder.update(&complete).unwrap();
    assert_eq!(folder.read().unwrap(), complete);
    let names: Vec<_> =
        fs::read_dir(folder.local_path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["backup.json"], "no temporary file is left");
}

#[test]
fn another_clusters_folder_is_not_written_to() {
    let (_directory, folder) = created();
    let theirs = BackupManifest { system_identifier: 1_u64.into(), ..started("nightly") };
    assert_eq!(folder.create(&theirs).unwrap_err().kind(), "system_identifier_mismatch");
}

#[test]
fn states_do_not_go_back() {
    let (_directory, folder) = created();
    folder.update(&BackupManifest { state: BackupState::Failed, ..started("nightly") }).unwrap();
    let error = folder.update(&started("nightly")).unwrap_err();
    assert_eq!(error.to_string(), "backup \"nightly\" is failed and cannot become started");
}

#[test]
fn nothing_is_updated_that_is_not_there() {
    let (_directory, folder) = folder();
    let error = folder.update(&started("nightly")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "backup \"nightly\" of cluster \"main\" is not in the repository"
    );
    assert!(!folder.local_path().exists());
}

#[test]
fn manifests_of_other_backups_are_refused() {
    let (_directory, folder) = created();
    let text = format!(
        "file \"{}\" is the manifest of backup \"main/x\"",
        folder.manifest_path().display()
    );
    assert_eq!(folder.create(&started("x")).unwrap_err().to_string(), text);
    assert_eq!(folder.update(&started("x")).unwrap_err().to_string(), text);
    fs::write(folder.manifest_path(), serde_json::to_vec(&started("x")).unwrap()).unwrap();
    assert_eq!(folder.read().unwrap_err().to_string(), text);
}

#[test]
fn manifests_of_newer_releases_are_refused() {
    let (_directory, folder) = created();
    fs::write(folder.manifest_path(), b"{\"schema\": 2, \"what\": \"ever\"}").unwrap();
    assert_eq!(folder.read().unwrap_err().kind(), "unsupported_version");
    for content in ["", "{}", "[]", "{\"schema\": 1}"] {
        fs::write(folder.manifest_path(), content).unwrap();
        assert_eq!(folder.read().unwrap_err().kind(), "manifest_damaged");
    }
    let file = fs::File::create(folder.manifest_path()).unwrap();
    file.set_len(LONGEST_MANIFEST + 1).unwrap();
    assert_eq!(folder.read().unwrap_err().kind(), "manifest_damaged");
}

#[test]
fn files_are_written_and_read_back() {
    let (_directory, folder) = created();
    for name in ["backup_label", "wal/000000010000000000000002", "a/b/c"] {
        let entry = folder.put(name, b"old".to_vec()).unwrap();
        assert_eq!(entry, FileEntry::new(name.parse().unwrap(), b"old"));
        let entry = folder.put(name, b"content".to_vec()).unwrap();
        assert_eq!(folder.get(&entry).unwrap(), b"content");
        assert_eq!(folder.entry(name).unwrap(), entry);
        folder.verify(&entry).unwrap();
        assert_eq!(fs::read(folder.path(&entry.name)).unwrap(), b"content");
    }
    let mode = fs::metadata(folder.local_path().join("wal")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_file_of_several_pieces_is_summed_whole() {
    let (_directory, folder) = created();
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let entry = folder.put("large", content.clone()).unwrap();
    assert_eq!(folder.entry("large").unwrap(), entry);
    folder.verify(&entry).unwrap();
}

#[test]
fn damage_is_noticed() {
    let (_directory, folder) = created();
    let entry = folder.put("backup_label", b"START".to_vec()).unwrap();
    let path = folder.path(&entry.name);
    let both = |text: String| {
        assert_eq!(folder.get(&entry).unwrap_err().to_string(), text);
        let error = folder.verify(&entry).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), "checksum_mismatch");
    };
    fs::write(&path, b"START\r").unwrap();
    both(
        "file \"backup_label\" of backup \"nightly\" has 6 bytes, but its manifest says 5"
            .to_owned(),
    );
    fs::write(&path, b"STOP!").unwrap();
    both(format!(
        "file \"backup_label\" of backup \"nightly\" has SHA-256 {}, but its manifest says {}",
        crate::Sha256Sum::of(b"STOP!"),
        crate::Sha256Sum::of(b"START")
    ));
    fs::remove_file(&path).unwrap();
    both("file \"backup_label\" of backup \"nightly\" is missing".to_owned());
}

#[test]
fn names_stay_in_the_folder() {
    let (directory, folder) = created();
    for name in ["../x", "/x", "wal/../../x", "", "backup.json", ".hidden"] {
        assert_eq!(folder.put(name, b"".to_vec()).unwrap_err().kind(), "invalid_argument");
        assert_eq!(folder.entry(name).unwrap_err().kind(), "invalid_argument");
    }
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["main"]);
}

#[test]
fn planted_links_are_not_written_through() {
    let (directory, folder) = created();
    let victim = directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), b"keep").unwrap();
    symlink(&victim, folder.local_path().join("wal")).unwrap();
    let error = folder.put("wal/000000010000000000000002", b"x".to_vec()).unwrap_err();
    assert_eq!(error.kind(), "untrusted_path");

    symlink(victim.join("file"), folder.local_path().join("backup_label")).unwrap();
    folder.put("backup_label", b"new".to_vec()).unwrap();
    assert_eq!(fs::read(victim.join("file")).unwrap(), b"keep");
    assert!(fs::symlink_metadata(folder.local_path().join("backup_label")).unwrap().is_file());

    fs::remove_dir_all(folder.local_path()).unwrap();
    symlink(&victim, folder.local_path()).unwrap();
    let error = folder.create(&started("nightly")).unwrap_err();
    assert_eq!(error.kind(), "untrusted_path");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
}

#[test]
fn a_folder_others_may_write_to_is_refused() {
    let (_directory, folder) = created();
    fs::set_permissions(folder.local_path(), fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(folder.put("x", b"".to_vec()).unwrap_err().kind(), "untrusted_path");
    assert_eq!(folder.update(&started("nightly")).unwrap_err().kind(), "untrusted_path");
    // Reading changes nothing, and what is read is checked.
    folder.read().unwrap();
}

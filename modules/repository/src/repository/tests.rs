use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::manifest::tests::started;

fn repository() -> (tempfile::TempDir, Repository) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repository");
    (directory, open(&path))
}

fn open(path: &Path) -> Repository {
    Repository::open(&path.to_str().unwrap().parse().unwrap()).unwrap()
}

fn main() -> ClusterName {
    "main".parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn opening_and_looking_change_nothing() {
    let (_directory, repository) = repository();
    let us = SystemIdentifier::from(1_u64);
    assert_eq!(repository.check_cluster(&main(), us).unwrap(), Claim::Free);
    assert_eq!(repository.cluster_identifier(&main()).unwrap(), None);
    assert!(repository.backups(&main()).unwrap().manifests.is_empty());
    let absent = repository.backup(&main(), &"x".parse().unwrap()).read().unwrap_err();
    assert_eq!(absent.kind(), "backup_not_found");
    assert!(!repository.local_path().exists());
}

#[test]
fn a_folder_belongs_to_one_cluster() {
    let (_directory, repository) = repository();
    let (us, them) = (SystemIdentifier::from(1_u64), SystemIdentifier::from(2_u64));
    repository.claim_cluster(&main(), us).unwrap();
    repository.claim_cluster(&main(), us).unwrap();
    assert_eq!(repository.check_cluster(&main(), us).unwrap(), Claim::Ours);
    for error in [
        repository.claim_cluster(&main(), them).unwrap_err(),
        repository.check_cluster(&main(), them).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "folder \"main\" of the repository holds backups of the cluster with system identifier 1, not of 2"
        );
    }
    assert_eq!(mode(repository.local_path()), 0o700);
    assert_eq!(mode(&repository.local_path().join("main")), 0o700);
}

#[test]
fn modes_of_what_is_there_stay() {
    let (directory, _) = repository();
    let path = directory.path().join("shared");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
    open(&path).claim_cluster(&main(), SystemIdentifier::from(1_u64)).unwrap();
    assert_eq!(mode(&path), 0o750);
}

#[test]
fn a_file_is_no_repository() {
    let (directory, _) = repository();
    let path: PathBuf = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = Repository::open(&path.to_str().unwrap().parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("could not open repository \"{}\"", path.display()));
    assert_eq!(error.kind(), "repository_unavailable");
}

#[test]
fn a_planted_link_is_not_followed() {
    let (directory, repository) = repository();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(repository.local_path()).unwrap();
    symlink(&elsewhere, repository.local_path().join("main")).unwrap();
    let error = repository.claim_cluster(&main(), SystemIdentifier::from(1_u64)).unwrap_err();
    assert_eq!(error.kind(), "untrusted_path");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn damaged_records_are_named() {
    let (_directory, repository) = repository();
    let us = SystemIdentifier::from(1_u64);
    repository.claim_cluster(&main(), us).unwrap();
    let path = repository.local_path().join("main/cluster.json");
    fs::write(&path, b"{").unwrap();
    let error = repository.check_cluster(&main(), us).unwrap_err();
    assert_eq!(error.to_string(), format!("file \"{}\" is damaged", path.display()));
    fs::write(&path, b"{\"schema\": 2}").unwrap();
    let error = repository.claim_cluster(&main(), us).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("file \"{}\" has schema 2, only 1 is supported", path.display())
    );
}

#[test]
fn a_bad_backup_does_not_hide_the_others() {
    let (_directory, repository) = repository();
    for (id, time) in [("second", "2026-11-21T02:00:00Z"), ("first", "2026-11-21T01:00:00Z")] {
        let mut manifest = started(id);
        manifest.start.time = time.parse().unwrap();
        repository.backup(&main(), &manifest.backup_id).create(&manifest).unwrap();
    }
    let backups = repository.local_path().join("main/backups");
    for id in ["bad name", "empty"] {
        fs::create_dir(backups.join(id)).unwrap();
        fs::write(backups.join(id).join("x"), b"").unwrap();
    }
    fs::write(backups.join("no folder"), b"").unwrap();
    let list = repository.backups(&main()).unwrap();
    let ids: Vec<_> = list.manifests.iter().map(|manifest| manifest.backup_id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
    let mut unreadable: Vec<_> =
        list.unreadable.iter().map(|bad| (bad.id.as_str(), bad.error.kind())).collect();
    unreadable.sort_unstable();
    assert_eq!(unreadable, [("bad name", "invalid_argument"), ("empty", "backup_not_found")]);
}

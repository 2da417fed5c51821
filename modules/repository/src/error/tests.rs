use super::*;

fn cluster() -> ClusterName {
    "main".parse().unwrap()
}

fn backup() -> BackupId {
    "nightly".parse().unwrap()
}

fn name() -> EntryName {
    "backup_label".parse().unwrap()
}

fn store(kind: io::ErrorKind) -> RepositoryError {
    let source = StoreFailure::new(&io::Error::from(kind));
    RepositoryError::Store { action: "write file", path: PathBuf::from("/r/x"), source }
}

fn assert_all(cases: &[(RepositoryError, &str, &str)]) {
    for (error, text, kind) in cases {
        assert_eq!(error.to_string(), *text);
        assert_eq!(error.kind(), *kind);
        assert!(!error.retryable());
        assert!(error.hints().iter().all(|hint| hint.ends_with(['.', '?'])));
    }
}

#[test]
fn texts_of_the_store() {
    let path = || PathBuf::from("/r/x");
    let too_large = DurableError::TooLarge { path: path(), size: 2, limit: 1 };
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    assert_all(&[
        (store(io::ErrorKind::StorageFull), "could not write file \"/r/x\"", "disk_full"),
        (
            store(io::ErrorKind::PermissionDenied),
            "could not write file \"/r/x\"",
            "repository_unavailable",
        ),
        (
            RepositoryError::Directory { path: path(), source: too_large },
            "could not use directory \"/r/x\" of the repository",
            "repository_unavailable",
        ),
        (
            RepositoryError::UnknownSchema { path: path(), found: 2 },
            "file \"/r/x\" has schema 2, only 1 is supported",
            "unsupported_version",
        ),
        (
            RepositoryError::Damaged { path: path(), source: json },
            "file \"/r/x\" is damaged",
            "manifest_damaged",
        ),
        (
            RepositoryError::Misplaced { path: path(), found: "main/other".to_owned() },
            "file \"/r/x\" is the manifest of backup \"main/other\"",
            "manifest_damaged",
        ),
    ]);
    assert!(store(io::ErrorKind::Interrupted).retryable());
}

#[test]
fn texts_of_backups() {
    let (from, to) = (BackupState::Complete, BackupState::Failed);
    assert_all(&[
        (
            RepositoryError::NotFound { cluster: cluster(), backup: backup() },
            "backup \"nightly\" of cluster \"main\" is not in the repository",
            "backup_not_found",
        ),
        (
            RepositoryError::Exists { cluster: cluster(), backup: backup() },
            "backup \"nightly\" of cluster \"main\" is already in the repository",
            "backup_exists",
        ),
        (
            RepositoryError::StateChange { backup: backup(), from, to },
            "backup \"nightly\" is complete and cannot become failed",
            "backup_not_complete",
        ),
        (
            RepositoryError::NotComplete { backup: backup(), state: BackupState::Stopped },
            "backup \"nightly\" is stopped, not complete",
            "backup_not_complete",
        ),
        (
            RepositoryError::Incomplete { backup: backup(), missing: "its stop".to_owned() },
            "the manifest of backup \"nightly\" says it is complete, but lacks its stop",
            "manifest_damaged",
        ),
        (
            RepositoryError::Missing { backup: backup(), name: name() },
            "file \"backup_label\" of backup \"nightly\" is missing",
            "checksum_mismatch",
        ),
        (
            RepositoryError::Size { backup: backup(), name: name(), found: 1, expected: 2 },
            "file \"backup_label\" of backup \"nightly\" has 1 bytes, but its manifest says 2",
            "checksum_mismatch",
        ),
    ]);
}

#[test]
fn each_state_has_its_way_to_a_restore() {
    let hint = |state| RepositoryError::NotComplete { backup: backup(), state }.hints().concat();
    for (state, way) in [
        (BackupState::Started, "backup_stop"),
        (BackupState::Stopped, "wal_fetch"),
        (BackupState::Uploading, "ebs_snapshot_wait"),
        (BackupState::Failed, "another backup"),
        (BackupState::Expired, "another backup"),
        (BackupState::Complete, "Try again"),
    ] {
        assert!(hint(state).contains(way), "{state}: {}", hint(state));
    }
}

#[test]
fn texts_of_names_and_owners() {
    let (found, expected) = (SystemIdentifier::from(1_u64), SystemIdentifier::from(2_u64));
    assert_all(&[
        (
            RepositoryError::Invalid { what: "x", value: "y".to_owned(), expected: "z" },
            "invalid x \"y\": expected z",
            "invalid_argument",
        ),
        (
            RepositoryError::UnsupportedScheme {
                url: "s3://b".to_owned(),
                scheme: "s3".to_owned(),
            },
            "repository \"s3://b\" has the scheme \"s3\", only \"file\" is supported",
            "invalid_argument",
        ),
        (
            RepositoryError::SystemIdentifier { cluster: cluster(), found, expected },
            "folder \"main\" of the repository holds backups of the cluster with system identifier 1, not of 2",
            "system_identifier_mismatch",
        ),
    ]);
}

#[test]
fn the_innermost_reason_is_told() {
    let inner = io::Error::from_raw_os_error(28);
    let text = inner.to_string();
    let outer = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(inner) };
    let failure = StoreFailure::new(&outer);
    assert_eq!(failure.to_string(), text);
    assert_eq!(failure.kind(), "disk_full");
}

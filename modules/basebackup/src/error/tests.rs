use super::*;
use crate::Algorithm;

fn io(kind: io::ErrorKind) -> BasebackupError {
    BasebackupError::io("write file", Path::new("/d/base/5/1259"))(io::Error::from(kind))
}

fn manifest(source: BasebackupError) -> BasebackupError {
    BasebackupError::ManifestFile {
        path: PathBuf::from("/b/backup_manifest"),
        source: Box::new(source),
    }
}

fn path() -> PathBuf {
    PathBuf::from("/b")
}

/// An error with its text and its kind.
type Said = (BasebackupError, &'static str, &'static str);

fn of_directories() -> Vec<Said> {
    vec![
        (io(io::ErrorKind::Other), "could not write file \"/d/base/5/1259\"", "file_failed"),
        (
            BasebackupError::NotADirectory { path: path() },
            "\"/b\" is not a directory",
            "invalid_argument",
        ),
        (
            BasebackupError::NoBackup { path: path() },
            "\"/b\" holds no base backup: neither PG_VERSION (plain) nor base.tar, base.tar.gz, base.tar.lz4 or base.tar.zst (tar) is there",
            "backup_not_found",
        ),
        (
            BasebackupError::NotFinished { path: path() },
            "the base backup in \"/b\" is not whole: it has PG_VERSION but no global/pg_control",
            "backup_not_complete",
        ),
        (
            BasebackupError::BothFormats { path: path(), archive: "base.tar".to_owned() },
            "\"/b\" holds base backups in both formats: PG_VERSION (plain) and base.tar (tar)",
            "invalid_argument",
        ),
        (
            BasebackupError::TwoArchives {
                path: path(),
                first: "base.tar".to_owned(),
                second: "base.tar.gz".to_owned(),
            },
            "\"/b\" holds more than one archive of the same files: base.tar and base.tar.gz",
            "invalid_argument",
        ),
        (
            BasebackupError::UnknownCompression { path: PathBuf::from("/b/base.tar.xz") },
            "archive \"/b/base.tar.xz\" is compressed in a way that is not known",
            "invalid_argument",
        ),
        (
            BasebackupError::NotRegular { path: path() },
            "\"/b\" is not a regular file",
            "file_failed",
        ),
        (
            BasebackupError::DataDirectoryNotEmpty { path: path() },
            "data directory \"/b\" is not empty",
            "data_directory_not_empty",
        ),
        (
            BasebackupError::LocationNotEmpty { oid: 16400, path: path() },
            "directory \"/b\" for tablespace 16400 is not empty",
            "location_not_empty",
        ),
        (BasebackupError::Stopped, "the work on the base backup was stopped", "program_stopped"),
    ]
}

fn of_manifests() -> Vec<Said> {
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    let wal = pg::LsnRange::new(pg::Lsn::from(2), pg::Lsn::from(1)).unwrap_err();
    let sum = Sum::new(Algorithm::Crc32c, vec![0, 1, 2, 3]).unwrap();
    vec![
        (
            manifest(BasebackupError::ManifestCutOff),
            "the backup manifest \"/b/backup_manifest\" cannot be used",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestTooLarge { size: 3, limit: 2 },
            "the backup manifest is 3 bytes long, at most 2 are accepted",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestCutOff,
            "the backup manifest does not end with a line with its own checksum",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestChecksum { found: sum, expected: "00010204".to_owned() },
            "the backup manifest has the checksum 00010203, but its last line says 00010204",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestJson { source: json },
            "the backup manifest is not as PostgreSQL writes it",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestVersion { version: 3 },
            "the backup manifest has version 3, known are 1 (PostgreSQL 13 to 16) and 2 (17 and 18)",
            "unsupported_version",
        ),
        (
            BasebackupError::entry(Path::new("base/5/1259"), "it is there twice"),
            "the backup manifest has a bad entry for \"base/5/1259\": it is there twice",
            "manifest_damaged",
        ),
        (
            BasebackupError::ManifestWal { source: wal },
            "the backup manifest has a bad range of WAL",
            "manifest_damaged",
        ),
    ]
}

#[test]
fn texts_and_kinds() {
    for (error, text, kind) in of_directories().into_iter().chain(of_manifests()) {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(!error.retryable(), "{text}");
        for hint in error.hints() {
            assert!(hint.ends_with(['.', '?']), "{hint}");
        }
    }
    assert!(io(io::ErrorKind::Interrupted).retryable());
}

#[test]
fn what_the_system_says_decides() {
    let full = io(io::ErrorKind::StorageFull);
    assert_eq!(full.kind(), "disk_full");
    assert_eq!(
        full.hints(),
        ["Free space on the file system of \"/d/base/5/1259\", or choose another place."]
    );
    assert_eq!(io(io::ErrorKind::NotFound).kind(), "file_not_found");
    let denied = io(io::ErrorKind::PermissionDenied);
    assert_eq!(denied.hints(), ["Which user runs this task? Does it need become?"]);
    let damaged = "The manifest was damaged or changed after the backup, so nothing in it can be relied on. Take another backup, and look after the storage of this one.";
    assert_eq!(manifest(BasebackupError::ManifestCutOff).hints(), [damaged]);
}

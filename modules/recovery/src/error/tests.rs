use std::error::Error;

use super::*;

fn path() -> PathBuf {
    PathBuf::from("/data")
}

fn full() -> RecoveryError {
    RecoveryError::io("write file", &path())(io::Error::from(io::ErrorKind::StorageFull))
}

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

fn of_the_place() -> Vec<(RecoveryError, &'static str, &'static str)> {
    vec![
        (
            RecoveryError::DataDirectoryNotEmpty { path: path() },
            "data directory \"/data\" is not empty",
            "data_directory_not_empty",
        ),
        (
            RecoveryError::LocationNotEmpty { what: "WAL directory", path: path() },
            "WAL directory \"/data\" is not empty",
            "location_not_empty",
        ),
        (
            RecoveryError::NotTheWal { path: path(), problem: "x".to_owned() },
            "WAL directory \"/data\" is not a copy taken in the backup: x",
            "location_not_empty",
        ),
        (
            RecoveryError::ServerRunning { path: path(), pid: 7 },
            "a server is running in data directory \"/data\" (process 7)",
            "server_running",
        ),
        (
            RecoveryError::NotADataDirectory {
                path: path(),
                problem: "it has no \"x\"".to_owned(),
            },
            "\"/data\" is not a data directory: it has no \"x\"",
            "not_a_data_directory",
        ),
        (
            RecoveryError::SystemIdentifierMismatch {
                path: path(),
                found: SystemIdentifier::from(1_u64),
                expected: SystemIdentifier::from(2_u64),
            },
            "data directory \"/data\" has system identifier 1, the backup has 2",
            "system_identifier_mismatch",
        ),
        (
            RecoveryError::StartedSince { path: path(), problem: "x".to_owned() },
            "data directory \"/data\" is not as the backup left it: x",
            "verification_failed",
        ),
        (
            RecoveryError::TablespaceOnOriginal { name: "fast".to_owned(), location: path() },
            "tablespace \"fast\" would be restored over its original at \"/data\"",
            "location_not_empty",
        ),
        (
            RecoveryError::InsideRepository { path: path(), repository: PathBuf::from("/repo") },
            "\"/data\" and the repository \"/repo\" lie inside each other",
            "invalid_argument",
        ),
        (
            RecoveryError::NoSpace { path: path(), needed: 9, available: 3 },
            "the restore needs 9 bytes on the filesystem of \"/data\", 3 are free",
            "disk_full",
        ),
        (full(), "could not write file \"/data\"", "disk_full"),
    ]
}

fn of_the_backup() -> Vec<(RecoveryError, &'static str, &'static str)> {
    let backup_id = || "b".to_owned();
    vec![
        (
            RecoveryError::InvalidArgument {
                option: "owner".to_owned(),
                problem: "is x".to_owned(),
            },
            "invalid owner: is x",
            "invalid_argument",
        ),
        (
            RecoveryError::BackupUnusable { backup_id: backup_id(), problem: "x".to_owned() },
            "backup \"b\" cannot be restored: x",
            "verification_failed",
        ),
        (
            RecoveryError::NoSource {
                backup_id: backup_id(),
                wanted: "files",
                providers: "command".to_owned(),
            },
            "backup \"b\" has no files to restore from: its snapshots were taken by command",
            "snapshot_not_found",
        ),
        (
            RecoveryError::ConfigurationMissing {
                backup_id: backup_id(),
                source_config_file: None,
            },
            "the data directory of backup \"b\" holds no \"postgresql.conf\"",
            "configuration_missing",
        ),
    ]
}

fn of_files() -> Vec<(RecoveryError, &'static str, &'static str)> {
    let backup_id = || "b".to_owned();
    vec![
        (
            RecoveryError::ChecksumMismatch {
                path: path(),
                found: "00".to_owned(),
                expected: "ff".to_owned(),
            },
            "file \"/data\" has SHA-256 00, the backup recorded ff",
            "checksum_mismatch",
        ),
        (
            RecoveryError::FileMissing { path: path() },
            "file \"/data\" of the backup is missing",
            "checksum_mismatch",
        ),
        (
            RecoveryError::Content {
                name: "backup_label".to_owned(),
                backup_id: backup_id(),
                source: "x".parse::<Lsn>().unwrap_err(),
            },
            "could not understand \"backup_label\" of backup \"b\"",
            "verification_failed",
        ),
        (
            RecoveryError::Repository {
                backup_id: backup_id(),
                source: "..".parse::<repository::BackupId>().unwrap_err(),
            },
            "could not read what backup \"b\" consists of",
            "invalid_argument",
        ),
        (
            RecoveryError::Copy {
                path: path(),
                source: snapshot::SnapshotError::NotEmpty { path: path() },
            },
            "could not bring the files to \"/data\"",
            snapshot::SnapshotError::NotEmpty { path: path() }.kind(),
        ),
        (
            RecoveryError::Format {
                path: path(),
                source: pg::ServerFileError::TooShort { path: path(), length: 1 },
            },
            "could not understand \"/data\"",
            "verification_failed",
        ),
        (
            RecoveryError::Store(durable::DurableError::NoFileName { path: path() }),
            "could not store a file of the restored cluster",
            "invalid_argument",
        ),
    ]
}

fn of_the_recovery() -> Vec<(RecoveryError, &'static str, &'static str)> {
    vec![
        (
            RecoveryError::TargetBeforeBackupEnd {
                target: "LSN 0/1".to_owned(),
                end: "0/2".to_owned(),
            },
            "recovery target LSN 0/1 is before the end of the backup, 0/2",
            "recovery_target_before_backup_end",
        ),
        (
            RecoveryError::TargetBeyondBackup {
                target: "LSN 0/3".to_owned(),
                end: "0/2".to_owned(),
            },
            "recovery target LSN 0/3 is beyond the WAL of the backup, which ends at 0/2",
            "wal_missing",
        ),
        (
            RecoveryError::TimelineUnreachable {
                wanted: TimelineId::FIRST,
                problem: "x".to_owned(),
            },
            "timeline 1 cannot be reached from the backup: x",
            "timeline_mismatch",
        ),
        (
            RecoveryError::ProgramMissing { name: "pg_ctl", major: "15".to_owned() },
            "program \"pg_ctl\" of PostgreSQL 15 was not found",
            "program_failed",
        ),
        (
            RecoveryError::Program {
                what: "pg_ctl",
                source: program::Program::new("/nonexistent").run().unwrap_err(),
            },
            "could not run pg_ctl",
            "program_failed",
        ),
    ]
}

fn of_the_server() -> Vec<(RecoveryError, &'static str, &'static str)> {
    let log = || vec!["FATAL:  x.".to_owned()];
    vec![
        (
            RecoveryError::RecoveryTargetNotReached { target: "x".to_owned(), log: log() },
            "recovery ended before the target x was reached",
            "recovery_target_not_reached",
        ),
        (
            RecoveryError::ServerStopped { path: path(), log: log() },
            "the server in data directory \"/data\" stopped during recovery",
            "server_stopped",
        ),
        (
            RecoveryError::RecoveryStalled {
                path: path(),
                waited: Duration::from_secs(9),
                state: "its replay LSN is 0/1".to_owned(),
            },
            "recovery of \"/data\" made no progress for 9 s, its replay LSN is 0/1",
            "recovery_timeout",
        ),
        (
            RecoveryError::ReplayedTooLittle { replayed: lsn("0/1"), stop: lsn("0/2") },
            "the server replayed WAL up to 0/1, the backup is consistent only from 0/2 on",
            "verification_failed",
        ),
    ]
}

#[test]
fn every_text_and_kind() {
    let cases = [of_the_place(), of_the_backup(), of_files(), of_the_recovery(), of_the_server()];
    for (error, text, kind) in cases.into_iter().flatten() {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        let stalled = matches!(error, RecoveryError::RecoveryStalled { .. });
        assert_eq!(error.retryable(), stalled, "{text}");
        for hint in error.hints() {
            assert!(hint.ends_with(['.', '?']), "{hint}");
            assert!(hint.starts_with(char::is_uppercase), "{hint}");
        }
    }
}

#[test]
fn an_unfinished_restore_speaks_for_its_cause_and_says_what_is_left() {
    let error = RecoveryError::Unfinished {
        path: path(),
        leftovers: vec![path(), PathBuf::from("/ts")],
        source: Box::new(full()),
    };
    assert_eq!(error.to_string(), "could not finish the restore into \"/data\"");
    assert_eq!(error.kind(), "disk_full");
    assert!(!error.retryable());
    assert_eq!(error.source().unwrap().to_string(), "could not write file \"/data\"");
    assert_eq!(
        error.hints(),
        [
            "What is there cannot be started. Run the restore again, which begins anew, or remove \"/data\", \"/ts\"."
        ]
    );
}

#[test]
fn the_servers_last_words_come_first() {
    let error = RecoveryError::ServerStopped {
        path: path(),
        log: vec!["FATAL:  a.".to_owned(), "b.".to_owned()],
    };
    assert_eq!(error.hints()[0], "The server's log ends: FATAL:  a. | b.");
    let error = RecoveryError::ConfigurationMissing {
        backup_id: "b".to_owned(),
        source_config_file: Some(PathBuf::from("/etc/p.conf")),
    };
    assert!(error.hints()[0].ends_with("At the source it was \"/etc/p.conf\"."));
}

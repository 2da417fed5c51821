//! The texts are the operator's: each is looked at here.

use super::*;
use crate::Role;

fn wal() -> Source {
    Source::new(Role::Wal, "/wal")
}

fn data() -> Source {
    Source::new(Role::DataDirectory, "/data")
}

fn path() -> PathBuf {
    PathBuf::from("/a/b")
}

fn failed(cause: Cause) -> SnapshotError {
    let source = ProgramError { program: "btrfs".to_owned(), cause };
    SnapshotError::program("delete subvolume", &path())(source)
}

fn check(cases: Vec<(SnapshotError, &str, &str)>) {
    for (error, text, kind) in cases {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        for hint in error.hints() {
            assert!(hint.ends_with(['.', '?']), "{hint}");
        }
    }
}

#[test]
fn texts_about_sources() {
    use SnapshotError as E;
    check(vec![
        (E::NoDataDirectory, "no data directory was given", "invalid_argument"),
        (
            E::InvalidSource { what: wal(), why: "it was given twice" },
            "WAL directory \"/wal\" cannot be copied: it was given twice",
            "invalid_argument",
        ),
        (
            E::NotCovered { what: wal(), why: "it is on ext4".to_owned() },
            "WAL directory \"/wal\" would not be in the snapshot: it is on ext4",
            "snapshot_not_covered",
        ),
        (
            E::Nested { what: "mount point", path: path(), within: data() },
            "mount point \"/a/b\" inside the data directory \"/data\" would not be in the snapshot",
            "snapshot_not_covered",
        ),
        (E::Missing { path: path() }, "\"/a/b\" is missing", "snapshot_failed"),
        (
            E::NoTablespaceVersion {
                what: Source::new(Role::Tablespace(16400), "/ts"),
                expected: "PG_15_".to_owned(),
            },
            "directory of tablespace 16400 \"/ts\" has no directory \"PG_15_*\"",
            "invalid_argument",
        ),
        (
            E::Unstable { path: path() },
            "\"/a/b\" did not stay the same for two readings in a row",
            "snapshot_failed",
        ),
        (E::NotUtf8 { path: path() }, "\"/a/b\" has a name that is not UTF-8", "snapshot_failed"),
        (
            E::NotOnEbs { what: wal(), on: "\"/dev/sda\"".to_owned() },
            "WAL directory \"/wal\" is not on EBS volumes: it is on \"/dev/sda\"",
            "snapshot_not_covered",
        ),
        (
            E::NotOnDisk {
                what: wal(),
                source: HostError::NotABlockDevice {
                    path: path(),
                    mount_point: PathBuf::from("/"),
                    fstype: "overlay".to_owned(),
                },
            },
            "WAL directory \"/wal\" is not on EBS volumes",
            "snapshot_not_covered",
        ),
        (E::Host(HostError::NoProcess { pid: 7 }), "process 7 does not run", "process_not_found"),
        (E::NoMount { path: path() }, "found no mount point for \"/a/b\"", "snapshot_failed"),
    ]);
}

#[test]
fn texts_about_places() {
    use SnapshotError as E;
    check(vec![
        (
            E::Inside { path: path(), within: data() },
            "\"/a/b\" is inside the data directory \"/data\"",
            "invalid_argument",
        ),
        (E::NotEmpty { path: path() }, "directory \"/a/b\" is not empty", "invalid_argument"),
        (E::Exists { path: path() }, "\"/a/b\" already exists", "invalid_argument"),
        (
            E::NotPrivate { path: path(), mode: 0o755 },
            "directory \"/a/b\" has mode 0755, expected 0700",
            "untrusted_path",
        ),
        (
            E::NoSpace { path: path(), needed: 9, available: 4 },
            "the copy needs 9 bytes, the filesystem of \"/a/b\" has 4 bytes free",
            "disk_full",
        ),
        (
            E::NotShared { path: path(), source: io::Error::from(io::ErrorKind::Unsupported) },
            "could not let \"/a/b\" share the blocks of its original",
            "snapshot_failed",
        ),
        (
            E::NoPlace { subvolume: path(), why: "no reason".to_owned() },
            "there is no place for a snapshot of subvolume \"/a/b\": no reason",
            "invalid_argument",
        ),
        (
            E::OtherSnapshot { path: path(), found: "x".to_owned(), expected: "y".to_owned() },
            "the snapshot at \"/a/b\" is x, expected y",
            "snapshot_mismatch",
        ),
        (
            E::NoSubvolumeUuid { path: path() },
            "btrfs did not tell the UUID of subvolume \"/a/b\"",
            "snapshot_failed",
        ),
    ]);
}

#[test]
fn texts_about_snapshots_of_others() {
    check(vec![(
        SnapshotError::NotOfSession { id: "snap-1".to_owned(), why: "it has failed".to_owned() },
        "snapshot \"snap-1\" is not one of this session: it has failed",
        "snapshot_failed",
    )]);
}

#[test]
fn texts_about_programs_and_the_system() {
    use SnapshotError as E;
    let program = || "/usr/local/bin/snap".to_owned();
    let full = io::Error::from(io::ErrorKind::StorageFull);
    check(vec![
        (
            E::CommandNotFound { program: program() },
            "program \"/usr/local/bin/snap\" was not found",
            "program_not_found",
        ),
        (
            E::CommandOutput { program: program(), why: "no".to_owned(), line: "\"x\"".to_owned() },
            "could not understand what program \"/usr/local/bin/snap\" printed: no: \"x\"",
            "snapshot_failed",
        ),
        (
            E::CommandMissing {
                program: program(),
                mount_point: path(),
                what: wal(),
                made: Vec::new(),
            },
            "program \"/usr/local/bin/snap\" named no snapshot of mount point \"/a/b\", which holds the WAL directory \"/wal\"",
            "snapshot_not_covered",
        ),
        (E::InvalidSetup("no name"), "no name", "invalid_argument"),
        (stopped("lost".to_owned()), "the copying was stopped: lost", "snapshot_stopped"),
        (E::io("sync", &path())(full), "could not sync \"/a/b\"", "disk_full"),
        (
            E::io("sync", &path())(io::Error::from(io::ErrorKind::PermissionDenied)),
            "could not sync \"/a/b\"",
            "snapshot_failed",
        ),
        (
            E::Durable(DurableError::NoFileName { path: path() }),
            "could not prepare a directory or file of the snapshot",
            "invalid_argument",
        ),
        (
            failed(Cause::Failed { status: 1, stderr: String::new() }),
            "could not delete subvolume \"/a/b\"",
            "program_failed",
        ),
        (
            failed(Cause::TimedOut { seconds: 1, stderr: String::new() }),
            "could not delete subvolume \"/a/b\"",
            "snapshot_timeout",
        ),
        (
            failed(Cause::Stopped { reason: "lost".to_owned() }),
            "the copying was stopped: lost",
            "snapshot_stopped",
        ),
        (
            E::Listing(serde_json::from_str::<u8>("x").unwrap_err()),
            "could not write the list of files",
            "snapshot_failed",
        ),
    ]);
}

#[test]
fn what_may_be_tried_again() {
    assert!(SnapshotError::Unstable { path: path() }.retryable());
    assert!(failed(Cause::TimedOut { seconds: 1, stderr: String::new() }).retryable());
    assert!(!SnapshotError::NoDataDirectory.retryable());
}

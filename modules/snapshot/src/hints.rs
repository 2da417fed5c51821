//! What an operator can do about each error.

use std::io;

use crate::SnapshotError;

pub(crate) fn of(error: &SnapshotError) -> Vec<String> {
    match error {
        SnapshotError::Durable(source) => source.hints(),
        SnapshotError::Host(source) | SnapshotError::NotOnDisk { source, .. } => source.hints(),
        SnapshotError::Program { source, .. } => source.hints(),
        SnapshotError::CommandMissing { made, .. } if !made.is_empty() => {
            vec![format!(
                "These snapshots were made and belong to no backup, remove them: {}.",
                made.join(", ")
            )]
        }
        SnapshotError::Io { source, .. } => {
            io_hint(source).map(str::to_owned).into_iter().collect()
        }
        SnapshotError::InvalidSource { .. }
        | SnapshotError::Stopped { .. }
        | SnapshotError::Listing(_)
        | SnapshotError::NoSubvolumeUuid { .. }
        | SnapshotError::Unstable { .. } => Vec::new(),
        other => fixed(other).map(str::to_owned).into_iter().collect(),
    }
}

fn io_hint(source: &io::Error) -> Option<&'static str> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "Free space on that filesystem, or choose another place. What was copied has been removed.",
        ),
        io::ErrorKind::PermissionDenied => Some(
            "Which user runs this task? Run it as root or as the user that owns the data directory.",
        ),
        _ => None,
    }
}

fn fixed(error: &SnapshotError) -> Option<&'static str> {
    Some(match error {
        SnapshotError::NotCovered { .. } => {
            "A snapshot that lacks a part of the database cluster cannot be restored. Choose another provider, or move that directory."
        }
        SnapshotError::Nested { what: "symbolic link", .. } => {
            "PostgreSQL knows symbolic links only for pg_wal and tablespaces. A restored copy would share the files behind this one with the original."
        }
        SnapshotError::Nested { .. } => {
            "A snapshot ends where another filesystem or subvolume begins. Unmount it, make it a plain directory, or use provider files."
        }
        SnapshotError::Missing { .. } => {
            "Is this the data directory of the server that is backed up?"
        }
        SnapshotError::NoTablespaceVersion { .. } => {
            "Is this the tablespace of the server that is backed up?"
        }
        SnapshotError::Inside { .. } => {
            "Choose a place outside of the data directory, the WAL directory and all tablespaces."
        }
        SnapshotError::NotEmpty { .. } | SnapshotError::Exists { .. } => {
            "Choose another backup id, or remove what an earlier backup has left there."
        }
        SnapshotError::NotPrivate { .. } => {
            "A snapshot keeps the files' owners, so others could read old data in it. Set its mode to 0700."
        }
        SnapshotError::NoSpace { .. } => "Free space there, or choose another repository.",
        SnapshotError::NotShared { .. } => {
            "Original and copy must be on one filesystem that can share blocks, and on btrfs both or none without copy-on-write. Use reflink=auto to copy where sharing is impossible."
        }
        SnapshotError::NotUtf8 { .. } => {
            "PostgreSQL makes no such files. Move it out of the data directory."
        }
        SnapshotError::NotOnEbs { .. } => {
            "All of a database cluster must be on EBS volumes for an EBS snapshot. Move that directory to one, or choose another provider. On instances without NVMe, the kernel does not tell which volume a disk is."
        }
        SnapshotError::NoMount { .. } => "Is /proc mounted?",
        SnapshotError::NoPlace { .. } => {
            "Give snapshot_directory, a directory on the same btrfs filesystem outside of the database cluster."
        }
        SnapshotError::CommandOutput { .. } => {
            "The program prints one JSON object a line, such as {\"id\": \"vg/snap\", \"mount_point\": \"/data\"}, and everything else to standard error. Snapshots that it has made are not removed."
        }
        SnapshotError::CommandMissing { .. } => {
            "The program gets all mount points in BACKSTAY_MOUNT_POINTS, one a line."
        }
        SnapshotError::CommandNotFound { .. } => {
            "Give the absolute path of the program as the first element of command."
        }
        SnapshotError::OtherSnapshot { .. } => {
            "Somebody has replaced or changed the snapshot since it was taken; it cannot be trusted any more."
        }
        SnapshotError::NotOfSession { .. } => {
            "Take it between backup_start and backup_stop of this session, and give what ebs_snapshot returned as it is."
        }
        SnapshotError::InvalidSetup(_) => "Correct the options of this task.",
        SnapshotError::NoDataDirectory => "This is a mistake in backstay.",
        _ => return None,
    })
}

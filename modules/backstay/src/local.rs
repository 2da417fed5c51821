//! Whether the server's files are on this host, and whether they are this
//! server's.

use std::path::{Path, PathBuf};

use ansible::Failure;
use nix::sys::statvfs::statvfs;
use pg::{ControlFile, Facts, Identity, Lsn};

/// Room that records, labels and manifests must find, in bytes. They need a
/// few kilobytes; a disk with less than this left is about to be full.
const ROOM_FOR_RECORDS: u64 = 16 << 20;

/// Where the server's WAL is, and what a person should know.
pub(crate) struct Local {
    /// `pg_wal` with symbolic links resolved.
    pub(crate) wal_directory: PathBuf,
    /// Why snapshots cannot be taken from here, if they cannot.
    pub(crate) warnings: Vec<String>,
}

/// Compares the data directory on this host with what the server says of
/// itself: rule R16, which catches a snapshot of the wrong disk before it is
/// taken.
///
/// # Errors
/// When a directory of that name is here and belongs to another cluster.
pub(crate) fn examine(facts: &Facts, identity: &Identity) -> Result<Local, Failure> {
    let directory = &facts.data_directory;
    let unreadable = |why: String| Local {
        wal_directory: directory.join("pg_wal"),
        warnings: vec![format!(
            "the data directory \"{}\" cannot be read here ({why}): snapshot_create and wal_fetch need to run on the \
             server's host as root or the server's user",
            directory.display()
        )],
    };
    let control = match ControlFile::read(&control_path(directory)) {
        Ok(control) => control,
        Err(error) => return Ok(unreadable(ansible::chain::chain(&error))),
    };
    if control.system_identifier != identity.system_identifier {
        return Err(Failure::new(
            "system_identifier_mismatch",
            format!(
                "\"{}\" on this host belongs to the database cluster {}, the server is {}",
                directory.display(),
                control.system_identifier,
                identity.system_identifier
            ),
        )
        .hint("Is the server on another host, or in a container? Run the task where the server's files are."));
    }
    let wal_directory = directory.join("pg_wal");
    let wal_directory = wal_directory.canonicalize().unwrap_or(wal_directory);
    Ok(Local { wal_directory, warnings: vec![] })
}

/// After the start: the control file on this host must have the checkpoint
/// the backup starts from.
///
/// # Errors
/// When it has an older one, so that these are not the server's files.
pub(crate) fn confirm_start(directory: &Path, start: Lsn) -> Result<(), Failure> {
    let Ok(control) = ControlFile::read(&control_path(directory)) else { return Ok(()) };
    if control.redo >= start {
        return Ok(());
    }
    Err(Failure::new(
        "verification_failed",
        format!(
            "the control file in \"{}\" has the checkpoint with redo LSN {}, but the backup starts at {start}",
            directory.display(),
            control.redo
        ),
    )
    .hint("The directory is a copy, or another mount hides the server's. Snapshots of it would not be this server."))
}

fn control_path(directory: &Path) -> PathBuf {
    directory.join("global").join("pg_control")
}

/// Refuses when the filesystem of `path` has no room for records.
///
/// # Errors
/// Of kind `disk_full`, with both numbers.
pub(crate) fn expect_room(path: &Path) -> Result<(), Failure> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = statvfs(there) else { return Ok(()) };
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    if free >= ROOM_FOR_RECORDS {
        return Ok(());
    }
    Err(Failure::new(
        "disk_full",
        format!(
            "\"{}\" has {free} bytes left, {ROOM_FOR_RECORDS} are needed for records",
            path.display()
        ),
    ))
}

//! Why a snapshot could not be taken, or not be brought back.

use std::io;
use std::path::{Path, PathBuf};

use durable::DurableError;
use host::HostError;
use program::{Cause, ProgramError};

use crate::Source;

/// Why a snapshot could not be taken, or not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The sources have no data directory among them.
    #[error("no data directory was given")]
    NoDataDirectory,
    /// A source is not a directory that can be copied.
    #[error("{what} cannot be copied: {why}")]
    InvalidSource {
        /// The source.
        what: Source,
        /// Why not.
        why: &'static str,
    },
    /// A source would not be in the copy.
    #[error("{what} would not be in the snapshot: {why}")]
    NotCovered {
        /// The source.
        what: Source,
        /// Why not.
        why: String,
    },
    /// Something inside a source would not be in the copy.
    #[error("{what} \"{}\" inside the {within} would not be in the snapshot", path.display())]
    Nested {
        /// What it is: `mount point`, `subvolume`, `symbolic link`.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// The source it is in.
        within: Source,
    },
    /// The data directory lacks a file without which it is none.
    #[error("\"{}\" is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A tablespace's directory has nothing of this major version.
    #[error("{what} has no directory \"{expected}*\"")]
    NoTablespaceVersion {
        /// The tablespace.
        what: Source,
        /// How the name of that directory would begin: `PG_15_`.
        expected: String,
    },
    /// The copy would become part of what is copied.
    #[error("\"{}\" is inside the {within}", path.display())]
    Inside {
        /// Where the copy would be.
        path: PathBuf,
        /// The source that is in.
        within: Source,
    },
    /// There is something already where the copy would be.
    #[error("directory \"{}\" is not empty", path.display())]
    NotEmpty {
        /// Where the copy would be.
        path: PathBuf,
    },
    /// There is something already that has the name of the snapshot.
    #[error("\"{}\" already exists", path.display())]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// Others may look into the directory of the snapshots.
    #[error("directory \"{}\" has mode {mode:04o}, expected 0700", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The copy would not fit.
    #[error("the copy needs {needed} bytes, the filesystem of \"{}\" has {available} bytes free", path.display())]
    NoSpace {
        /// Where the copy would be.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes that this user may still write.
        available: u64,
    },
    /// Blocks were to be shared and cannot be.
    #[error("could not let \"{}\" share the blocks of its original", path.display())]
    NotShared {
        /// The copy of a file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A file changed whenever it was read.
    #[error("\"{}\" did not stay the same for two readings in a row", path.display())]
    Unstable {
        /// The file.
        path: PathBuf,
    },
    /// A name cannot be written into a list of files.
    #[error("\"{}\" has a name that is not UTF-8", path.display())]
    NotUtf8 {
        /// The file, with replacement characters.
        path: PathBuf,
    },
    /// A path is on no filesystem that we can see.
    #[error("found no mount point for \"{}\"", path.display())]
    NoMount {
        /// The path.
        path: PathBuf,
    },
    /// There is no natural place for the snapshots of a subvolume.
    #[error("there is no place for a snapshot of subvolume \"{}\": {why}", subvolume.display())]
    NoPlace {
        /// The root of the subvolume.
        subvolume: PathBuf,
        /// Why the places that were considered are none.
        why: String,
    },
    /// What btrfs says of a subvolume is not understood.
    #[error("btrfs did not tell the UUID of subvolume \"{}\"", path.display())]
    NoSubvolumeUuid {
        /// The subvolume.
        path: PathBuf,
    },
    /// The operator's program is not there.
    #[error("program \"{program}\" was not found")]
    CommandNotFound {
        /// The program as it was named.
        program: String,
    },
    /// The snapshot to bring back is not the one that was taken.
    #[error("the snapshot at \"{}\" is {found}, expected {expected}", path.display())]
    OtherSnapshot {
        /// Where the snapshot is.
        path: PathBuf,
        /// What is there: an id, or `writable`.
        found: String,
        /// What was recorded.
        expected: String,
    },
    /// The operator's program printed something that is not understood.
    #[error("could not understand what program \"{program}\" printed: {why}: {line}")]
    CommandOutput {
        /// The program.
        program: String,
        /// What is wrong with it.
        why: String,
        /// The line.
        line: String,
    },
    /// The operator's program said nothing of a mount point it was given.
    #[error("program \"{program}\" named no snapshot of mount point \"{}\", which holds the {what}", mount_point.display())]
    CommandMissing {
        /// The program.
        program: String,
        /// The mount point.
        mount_point: PathBuf,
        /// A source on it.
        what: Source,
        /// The ids it did name, as they now exist without a backup.
        made: Vec<String>,
    },
    /// The provider was set up with something it cannot use.
    #[error("{0}")]
    InvalidSetup(&'static str),
    /// A snapshot that was given does not belong to the session.
    #[error("snapshot \"{id}\" is not one of this session: {why}")]
    NotOfSession {
        /// Its id.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// The watch gave a reason to stop.
    #[error("the copying was stopped: {reason}")]
    Stopped {
        /// That reason.
        reason: String,
    },
    /// The operating system refused a step; its reason is the source.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A file could not be made durable, or a directory is not to be trusted.
    #[error("could not prepare a directory or file of the snapshot")]
    Durable(#[from] DurableError),
    /// A program failed.
    #[error("could not {action} \"{}\"", path.display())]
    Program {
        /// What it was to do.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: ProgramError,
    },
    /// What this host is made of could not be found out.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A source is on something that no EBS snapshot can hold.
    #[error("{what} is not on EBS volumes: it is on {on}")]
    NotOnEbs {
        /// The source.
        what: Source,
        /// What it is on.
        on: String,
    },
    /// A source is on no disk of this host.
    #[error("{what} is not on EBS volumes")]
    NotOnDisk {
        /// The source.
        what: Source,
        /// What it is on.
        #[source]
        source: HostError,
    },
    /// The list of files could not be written as JSON.
    #[error("could not write the list of files")]
    Listing(#[source] serde_json::Error),
}

pub(crate) fn stopped(reason: String) -> SnapshotError {
    SnapshotError::Stopped { reason }
}

impl SnapshotError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A program that was stopped by the watch is a copying that was stopped.
    pub(crate) fn program(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(ProgramError) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| match source.cause {
            Cause::Stopped { reason } => Self::Stopped { reason },
            _ => Self::Program { action, path, source },
        }
    }

    /// A stable word: `snapshot_not_covered`, `snapshot_mismatch`, `invalid_argument`, `disk_full`, `snapshot_stopped`,
    /// `snapshot_timeout`, `snapshot_failed`, or what a failed file or program operation, or the crate `host`, says of
    /// itself.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotCovered { .. }
            | Self::Nested { .. }
            | Self::NotOnEbs { .. }
            | Self::NotOnDisk { .. }
            | Self::CommandMissing { .. } => "snapshot_not_covered",
            Self::NoDataDirectory
            | Self::InvalidSource { .. }
            | Self::NoTablespaceVersion { .. }
            | Self::Inside { .. }
            | Self::NotEmpty { .. }
            | Self::Exists { .. }
            | Self::NoPlace { .. }
            | Self::InvalidSetup(_) => "invalid_argument",
            Self::NotOfSession { .. } => "snapshot_failed",
            Self::NotPrivate { .. } => "untrusted_path",
            Self::CommandNotFound { .. } => "program_not_found",
            Self::OtherSnapshot { .. } => "snapshot_mismatch",
            Self::NoSpace { .. } => "disk_full",
            Self::Stopped { .. } => "snapshot_stopped",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
                _ => "snapshot_failed",
            },
            Self::Durable(source) => source.kind(),
            Self::Host(source) => source.kind(),
            Self::Program { source, .. } => match source.cause {
                Cause::TimedOut { .. } => "snapshot_timeout",
                _ => source.kind(),
            },
            Self::Missing { .. }
            | Self::NotShared { .. }
            | Self::Unstable { .. }
            | Self::NotUtf8 { .. }
            | Self::NoMount { .. }
            | Self::CommandOutput { .. }
            | Self::NoSubvolumeUuid { .. }
            | Self::Listing(_) => "snapshot_failed",
        }
    }

    /// What the operator can do, as whole sentences; may be empty.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        crate::hints::of(self)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unstable { .. } => true,
            Self::Durable(source) => source.retryable(),
            Self::Host(source) => source.retryable(),
            Self::Program { source, .. } => source.retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! Why a repository did not give or take what it was asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use durable::DurableError;
use pg::SystemIdentifier;

use crate::{BackupId, BackupState, ClusterName, EntryName, Sha256Sum};

/// A repository that did not give or take what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// A name or address is not what it should be.
    #[error("invalid {what} \"{value}\": expected {expected}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// The text as it came.
        value: String,
        /// The form wanted, as the end of the sentence "expected …".
        expected: &'static str,
    },
    /// Repositories of this kind are not known.
    #[error("repository \"{url}\" has the scheme \"{scheme}\", only \"file\" is supported")]
    UnsupportedScheme {
        /// The address as it came, without what may be a password in it.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// The repository could not be read or written.
    #[error("could not {action} \"{}\"", path.display())]
    Store {
        /// What was being done, as a verb phrase: `read file`.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The reason.
        source: StoreFailure,
    },
    /// A directory of the repository cannot be made, or is not safe to write into.
    #[error("could not use directory \"{}\" of the repository", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: DurableError,
    },
    /// The folder belongs to another database cluster.
    #[error(
        "folder \"{cluster}\" of the repository holds backups of the cluster with system identifier {found}, not of {expected}"
    )]
    SystemIdentifier {
        /// The folder.
        cluster: ClusterName,
        /// Whose it is.
        found: SystemIdentifier,
        /// Who asks.
        expected: SystemIdentifier,
    },
    /// There is no such backup.
    #[error("backup \"{backup}\" of cluster \"{cluster}\" is not in the repository")]
    NotFound {
        /// The cluster's folder.
        cluster: ClusterName,
        /// The backup.
        backup: BackupId,
    },
    /// There is such a backup already.
    #[error("backup \"{backup}\" of cluster \"{cluster}\" is already in the repository")]
    Exists {
        /// The cluster's folder.
        cluster: ClusterName,
        /// The backup.
        backup: BackupId,
    },
    /// The file is of a layout that came after this release.
    #[error("file \"{}\" has schema {found}, only 1 is supported", path.display())]
    UnknownSchema {
        /// The file.
        path: PathBuf,
        /// Its `schema`.
        found: u64,
    },
    /// The file is not the JSON it should be.
    #[error("file \"{}\" is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The manifest is that of another backup.
    #[error("file \"{}\" is the manifest of backup \"{found}\"", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What it says it is the manifest of, as cluster and backup id.
        found: String,
    },
    /// A manifest cannot go back, nor change once it is final.
    #[error("backup \"{backup}\" is {from} and cannot become {to}")]
    StateChange {
        /// The backup.
        backup: BackupId,
        /// Its state in the repository.
        from: BackupState,
        /// The state that was to be written.
        to: BackupState,
    },
    /// A file of the backup is not there.
    #[error("file \"{name}\" of backup \"{backup}\" is missing")]
    Missing {
        /// The backup.
        backup: BackupId,
        /// The file.
        name: EntryName,
    },
    /// A file of the backup has another size than its manifest says.
    #[error(
        "file \"{name}\" of backup \"{backup}\" has {found} bytes, but its manifest says {expected}"
    )]
    Size {
        /// The backup.
        backup: BackupId,
        /// The file.
        name: EntryName,
        /// Its bytes.
        found: u64,
        /// The manifest's.
        expected: u64,
    },
    /// A file of the backup has another content than its manifest says.
    #[error(
        "file \"{name}\" of backup \"{backup}\" has SHA-256 {found}, but its manifest says {expected}"
    )]
    Checksum {
        /// The backup.
        backup: BackupId,
        /// The file.
        name: EntryName,
        /// Its checksum.
        found: Sha256Sum,
        /// The manifest's.
        expected: Sha256Sum,
    },
    /// The backup was not brought to its end.
    #[error("backup \"{backup}\" is {state}, not complete")]
    NotComplete {
        /// The backup.
        backup: BackupId,
        /// Its state.
        state: BackupState,
    },
    /// The manifest says "complete" but lacks what a restore needs.
    #[error("the manifest of backup \"{backup}\" says it is complete, but lacks {missing}")]
    Incomplete {
        /// The backup.
        backup: BackupId,
        /// What is not there.
        missing: String,
    },
}

impl RepositoryError {
    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::UnsupportedScheme { .. } => "invalid_argument",
            Self::Store { source, .. } => source.kind(),
            Self::Directory { source, .. } => match source.kind() {
                known @ ("disk_full" | "untrusted_path") => known,
                _ => "repository_unavailable",
            },
            Self::SystemIdentifier { .. } => "system_identifier_mismatch",
            Self::NotFound { .. } => "backup_not_found",
            Self::Exists { .. } => "backup_exists",
            Self::UnknownSchema { .. } => "unsupported_version",
            Self::Damaged { .. } | Self::Misplaced { .. } | Self::Incomplete { .. } => {
                "manifest_damaged"
            }
            Self::StateChange { .. } | Self::NotComplete { .. } => "backup_not_complete",
            Self::Missing { .. } | Self::Size { .. } | Self::Checksum { .. } => "checksum_mismatch",
        }
    }

    /// What to do about it, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::UnsupportedScheme { .. } => {
                "Give a directory of the database host: an absolute path, or a URL such as file:///var/backups/postgresql."
            }
            Self::Store { source, .. } => return source.hints(),
            Self::Directory { source, .. } => return source.hints(),
            Self::SystemIdentifier { .. } => {
                "Give each database cluster its own folder with the option cluster. A cluster made anew by initdb or pg_upgrade is another one."
            }
            Self::NotFound { .. } => {
                "backup_info lists sessions; the repository's folders are named after the backups."
            }
            Self::Exists { .. } => "Leave backup_id out, and each backup gets an id of its own.",
            Self::UnknownSchema { .. } => {
                "It was written by a newer release of this collection. Use that one."
            }
            Self::Damaged { .. } | Self::Misplaced { .. } | Self::Incomplete { .. } => {
                "Was the file edited, or the folder copied or renamed by hand? Use another backup."
            }
            Self::StateChange { .. } => "Start a new backup.",
            Self::NotComplete { state, .. } => way_to_complete(*state),
            Self::Missing { .. } | Self::Size { .. } | Self::Checksum { .. } => {
                "The backup is damaged and must not be restored. Use another one, and check the disk it lies on."
            }
            Self::Invalid { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.kind == io::ErrorKind::Interrupted)
    }
}

/// What makes a backup of this state one that can be restored, or what to do instead.
fn way_to_complete(state: BackupState) -> &'static str {
    match state {
        BackupState::Started => {
            "Only a complete backup can be restored: end it with backup_stop, then fetch its WAL with wal_fetch. \
             backup_info tells whether its session is still there."
        }
        BackupState::Stopped => {
            "Only a complete backup can be restored: fetch its WAL with wal_fetch, which makes it so."
        }
        BackupState::Uploading => {
            "Only a complete backup can be restored: ebs_snapshot_wait waits until its snapshots are completed, and \
             makes it so."
        }
        BackupState::Failed => {
            "It never will be complete; its manifest has the reason. Use another backup."
        }
        BackupState::Expired => "Its snapshots or files were deleted. Use another backup.",
        BackupState::Complete => "Is the manifest being written at this moment? Try again.",
    }
}

/// The operating system's reason, freed of the words each layer above it repeats.
#[derive(Debug)]
pub struct StoreFailure {
    text: String,
    kind: io::ErrorKind,
}

impl StoreFailure {
    fn kind(&self) -> &'static str {
        match self.kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
            _ => "repository_unavailable",
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self.kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "Free space in the repository, or use another one."
            }
            io::ErrorKind::PermissionDenied => {
                "Which user runs this task, and which one made the repository? Does it need become?"
            }
            io::ErrorKind::NotFound => "Is the repository's filesystem mounted?",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    /// Whether what was asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == io::ErrorKind::NotFound
    }

    /// Takes the innermost error of the chain, which alone says what happened.
    pub(crate) fn new(error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let kind =
            innermost.downcast_ref::<io::Error>().map_or(io::ErrorKind::Other, io::Error::kind);
        Self { text: innermost.to_string(), kind }
    }
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StoreFailure {}

#[cfg(test)]
mod tests;

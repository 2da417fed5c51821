//! Why a base backup could not be read or unpacked. Damage is no error: it is a [`Problem`](crate::Problem).

use std::io;
use std::path::{Path, PathBuf};

use pg::PgTypeError;

use crate::Sum;

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
pub enum BasebackupError {
    /// The operating system refused a step; its reason is the source.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was being done, as a verb phrase: `write file`, `create directory`.
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The path that was given is a file.
    #[error("\"{}\" is not a directory", path.display())]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
    },
    /// Nothing of a base backup is there.
    #[error(
        "\"{}\" holds no base backup: neither PG_VERSION (plain) nor base.tar, base.tar.gz, base.tar.lz4 or base.tar.zst (tar) is there",
        path.display()
    )]
    NoBackup {
        /// The directory.
        path: PathBuf,
    },
    /// A plain backup lacks the file that is copied last.
    #[error("the base backup in \"{}\" is not whole: it has PG_VERSION but no global/pg_control", path.display())]
    NotFinished {
        /// The directory.
        path: PathBuf,
    },
    /// Files of both formats are there.
    #[error("\"{}\" holds base backups in both formats: PG_VERSION (plain) and {archive} (tar)", path.display())]
    BothFormats {
        /// The directory.
        path: PathBuf,
        /// The name of the archive.
        archive: String,
    },
    /// Two archives with the same content.
    #[error("\"{}\" holds more than one archive of the same files: {first} and {second}", path.display())]
    TwoArchives {
        /// The directory.
        path: PathBuf,
        /// The name of one.
        first: String,
        /// The name of the other.
        second: String,
    },
    /// An archive in a compression that `pg_basebackup` does not write.
    #[error("archive \"{}\" is compressed in a way that is not known", path.display())]
    UnknownCompression {
        /// The archive.
        path: PathBuf,
    },
    /// A file is not what it should be: a device, a directory, a pipe.
    #[error("\"{}\" is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The manifest in this file cannot be used; the source says why.
    #[error("the backup manifest \"{}\" cannot be used", path.display())]
    ManifestFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<BasebackupError>,
    },
    /// The manifest is longer than any that is read.
    #[error("the backup manifest is {size} bytes long, at most {limit} are accepted")]
    ManifestTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The manifest does not end with the line that `pg_basebackup` writes last.
    #[error("the backup manifest does not end with a line with its own checksum")]
    ManifestCutOff,
    /// The manifest was changed after it was written.
    #[error("the backup manifest has the checksum {found}, but its last line says {expected}")]
    ManifestChecksum {
        /// That of its content.
        found: Sum,
        /// That of its last line.
        expected: String,
    },
    /// The manifest is not JSON, or lacks a field.
    #[error("the backup manifest is not as PostgreSQL writes it")]
    ManifestJson {
        /// Where and what.
        #[source]
        source: serde_json::Error,
    },
    /// A version of the manifest that is not known.
    #[error(
        "the backup manifest has version {version}, known are 1 (PostgreSQL 13 to 16) and 2 (17 and 18)"
    )]
    ManifestVersion {
        /// Its version.
        version: u64,
    },
    /// An entry of the manifest makes no sense.
    #[error("the backup manifest has a bad entry for \"{entry}\": {reason}")]
    ManifestEntry {
        /// The file, or the range of WAL.
        entry: String,
        /// What is wrong, as a phrase.
        reason: String,
    },
    /// A range of WAL in the manifest makes no sense.
    #[error("the backup manifest has a bad range of WAL")]
    ManifestWal {
        /// What is wrong.
        #[source]
        source: PgTypeError,
    },
    /// There are files where the data directory is to be.
    #[error("data directory \"{}\" is not empty", path.display())]
    DataDirectoryNotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// There are files where a tablespace is to be.
    #[error("directory \"{}\" for tablespace {oid} is not empty", path.display())]
    LocationNotEmpty {
        /// The tablespace.
        oid: u32,
        /// The directory.
        path: PathBuf,
    },
    /// The caller wanted no more of it.
    #[error("the work on the base backup was stopped")]
    Stopped,
}

impl BasebackupError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn entry(entry: &Path, reason: impl Into<String>) -> Self {
        Self::ManifestEntry { entry: entry.display().to_string(), reason: reason.into() }
    }

    /// A stable word that a playbook can branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
                io::ErrorKind::NotFound => "file_not_found",
                _ => "file_failed",
            },
            Self::NotADirectory { .. }
            | Self::BothFormats { .. }
            | Self::TwoArchives { .. }
            | Self::UnknownCompression { .. } => "invalid_argument",
            Self::NoBackup { .. } => "backup_not_found",
            Self::NotFinished { .. } => "backup_not_complete",
            Self::ManifestFile { source, .. } => source.kind(),
            Self::ManifestVersion { .. } => "unsupported_version",
            Self::NotRegular { .. } => "file_failed",
            Self::ManifestTooLarge { .. }
            | Self::ManifestCutOff
            | Self::ManifestChecksum { .. }
            | Self::ManifestJson { .. }
            | Self::ManifestEntry { .. }
            | Self::ManifestWal { .. } => "manifest_damaged",
            Self::DataDirectoryNotEmpty { .. } => "data_directory_not_empty",
            Self::LocationNotEmpty { .. } => "location_not_empty",
            Self::Stopped => "program_stopped",
        }
    }

    /// What the operator can do, as whole sentences; may be empty.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Io { source, path, .. } => return io_hint(source, path),
            Self::ManifestFile { source, .. } => return source.hints(),
            Self::NotADirectory { .. } => {
                "Give the directory that pg_basebackup wrote into, not a file in it."
            }
            Self::NoBackup { .. } => {
                "Is it the directory that was given to pg_basebackup with --pgdata or --target?"
            }
            Self::NotFinished { .. } => {
                "pg_basebackup copies global/pg_control last. Was it interrupted, or is it still running?"
            }
            Self::BothFormats { .. } | Self::TwoArchives { .. } => {
                "Move what does not belong to this backup away."
            }
            Self::UnknownCompression { .. } => {
                "Decompress it, or compress it with gzip, lz4 or zstd as pg_basebackup does."
            }
            Self::ManifestTooLarge { .. }
            | Self::ManifestCutOff
            | Self::ManifestChecksum { .. }
            | Self::ManifestJson { .. }
            | Self::ManifestEntry { .. }
            | Self::ManifestWal { .. } => {
                "The manifest was damaged or changed after the backup, so nothing in it can be relied on. Take another backup, and look after the storage of this one."
            }
            Self::ManifestVersion { .. } => "Is there a newer release of this collection?",
            Self::DataDirectoryNotEmpty { .. } | Self::LocationNotEmpty { .. } => {
                "Choose another place, or move what is there away."
            }
            Self::NotRegular { .. } | Self::Stopped => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::Interrupted,
            Self::ManifestFile { source, .. } => source.retryable(),
            _ => false,
        }
    }
}

fn io_hint(source: &io::Error, path: &Path) -> Vec<String> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => vec![format!(
            "Free space on the file system of \"{}\", or choose another place.",
            path.display()
        )],
        io::ErrorKind::PermissionDenied => {
            vec!["Which user runs this task? Does it need become?".to_owned()]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;

//! Why a backup could not be restored or recovered.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pg::{Lsn, SystemIdentifier, TimelineId};

/// What could not be done, to which object. The text of a cause is in [`std::error::Error::source`] only.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// An option's value cannot be right, whatever is on the disks.
    #[error("invalid {option}: {problem}")]
    InvalidArgument {
        /// The option, as the module names it.
        option: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// The manifest does not hold what a complete backup's manifest holds.
    #[error("backup \"{backup_id}\" cannot be restored: {problem}")]
    BackupUnusable {
        /// The backup.
        backup_id: String,
        /// What is missing or contradicts itself.
        problem: String,
    },
    /// The backup holds no copy that this restore could take its files from.
    #[error(
        "backup \"{backup_id}\" has no {wanted} to restore from: its snapshots were taken by {providers}"
    )]
    NoSource {
        /// The backup.
        backup_id: String,
        /// `files` or `btrfs snapshot`.
        wanted: &'static str,
        /// The providers in the manifest.
        providers: String,
    },
    /// The data directory holds files.
    #[error("data directory \"{}\" is not empty", path.display())]
    DataDirectoryNotEmpty {
        /// The data directory.
        path: PathBuf,
    },
    /// Another place that has to be empty holds files.
    #[error("{what} \"{}\" is not empty", path.display())]
    LocationNotEmpty {
        /// `tablespace location` or `WAL directory`.
        what: &'static str,
        /// The place.
        path: PathBuf,
    },
    /// The WAL directory holds files, and is not the copy of the source's own, which may be emptied.
    #[error("WAL directory \"{}\" is not a copy taken in the backup: {problem}", path.display())]
    NotTheWal {
        /// The directory.
        path: PathBuf,
        /// What is in it, or who uses it.
        problem: String,
    },
    /// A server runs on the data directory.
    #[error("a server is running in data directory \"{}\" (process {pid})", path.display())]
    ServerRunning {
        /// The data directory.
        path: PathBuf,
        /// The postmaster.
        pid: i32,
    },
    /// What is in place is no data directory.
    #[error("\"{}\" is not a data directory: {problem}", path.display())]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// What is in place is another cluster.
    #[error("data directory \"{}\" has system identifier {found}, the backup has {expected}", path.display())]
    SystemIdentifierMismatch {
        /// The data directory.
        path: PathBuf,
        /// That of its control file.
        found: SystemIdentifier,
        /// That of the manifest.
        expected: SystemIdentifier,
    },
    /// What is in place was taken outside the backup, or a server ran on it since.
    #[error("data directory \"{}\" is not as the backup left it: {problem}", path.display())]
    StartedSince {
        /// The data directory.
        path: PathBuf,
        /// Both values that disagree.
        problem: String,
    },
    /// The recovery target comes before the moment the backup became consistent.
    #[error("recovery target {target} is before the end of the backup, {end}")]
    TargetBeforeBackupEnd {
        /// The target as the server would get it.
        target: String,
        /// The backup's stop LSN or stop time.
        end: String,
    },
    /// The recovery target needs WAL that the backup does not hold.
    #[error("recovery target {target} is beyond the WAL of the backup, which ends at {end}")]
    TargetBeyondBackup {
        /// The target as the server would get it.
        target: String,
        /// Where the backup's WAL ends.
        end: String,
    },
    /// The timeline asked for does not pass through the end of the backup.
    #[error("timeline {wanted} cannot be reached from the backup: {problem}")]
    TimelineUnreachable {
        /// The timeline asked for.
        wanted: TimelineId,
        /// What its history says.
        problem: String,
    },
    /// A tablespace would be restored over the one it was copied from.
    #[error("tablespace \"{name}\" would be restored over its original at \"{}\"", location.display())]
    TablespaceOnOriginal {
        /// The tablespace.
        name: String,
        /// Its location.
        location: PathBuf,
    },
    /// The place for the cluster lies where it would damage the backup.
    #[error("\"{}\" and the repository \"{}\" lie inside each other", path.display(), repository.display())]
    InsideRepository {
        /// The place.
        path: PathBuf,
        /// The repository.
        repository: PathBuf,
    },
    /// There is not enough space.
    #[error("the restore needs {needed} bytes on the filesystem of \"{}\", {available} are free", path.display())]
    NoSpace {
        /// A directory on that filesystem.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free for the user of this task.
        available: u64,
    },
    /// The server has no configuration to start with.
    #[error("the data directory of backup \"{backup_id}\" holds no \"postgresql.conf\"")]
    ConfigurationMissing {
        /// The backup.
        backup_id: String,
        /// Where it was at the source, when the manifest knows.
        source_config_file: Option<PathBuf>,
    },
    /// A file is not what the backup recorded.
    #[error("file \"{}\" has SHA-256 {found}, the backup recorded {expected}", path.display())]
    ChecksumMismatch {
        /// The file.
        path: PathBuf,
        /// What was computed.
        found: String,
        /// What was recorded.
        expected: String,
    },
    /// A file that the backup recorded is not there.
    #[error("file \"{}\" of the backup is missing", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// A program of PostgreSQL was not found.
    #[error("program \"{name}\" of PostgreSQL {major} was not found")]
    ProgramMissing {
        /// The program.
        name: &'static str,
        /// The major version.
        major: String,
    },
    /// The apply broke off; the directory cannot be started.
    #[error("could not finish the restore into \"{}\"", path.display())]
    Unfinished {
        /// The data directory.
        path: PathBuf,
        /// Everything that has to be removed by hand if the restore is not repeated.
        leftovers: Vec<PathBuf>,
        /// What went wrong.
        #[source]
        source: Box<RecoveryError>,
    },
    /// The server ended before it reached the target.
    #[error("recovery ended before the target {target} was reached")]
    RecoveryTargetNotReached {
        /// The target.
        target: String,
        /// The last words of the server's log.
        log: Vec<String>,
    },
    /// The server ended for another reason.
    #[error("the server in data directory \"{}\" stopped during recovery", path.display())]
    ServerStopped {
        /// The data directory.
        path: PathBuf,
        /// The last words of the server's log.
        log: Vec<String>,
    },
    /// Nothing moved for as long as the caller was prepared to wait.
    #[error("recovery of \"{}\" made no progress for {} s, {state}", path.display(), waited.as_secs())]
    RecoveryStalled {
        /// The data directory.
        path: PathBuf,
        /// How long nothing moved.
        waited: Duration,
        /// The last known state, as a phrase.
        state: String,
    },
    /// The server says it is done but has replayed less than the backup needs.
    #[error(
        "the server replayed WAL up to {replayed}, the backup is consistent only from {stop} on"
    )]
    ReplayedTooLittle {
        /// What the server replayed.
        replayed: Lsn,
        /// The backup's stop LSN.
        stop: Lsn,
    },
    /// The operating system refused a step.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// The step as a verb phrase.
        action: &'static str,
        /// The object.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A file could not be made durable.
    #[error("could not store a file of the restored cluster")]
    Store(#[from] durable::DurableError),
    /// A file of the backup is not there, or not as it was recorded.
    #[error("could not read what backup \"{backup_id}\" consists of")]
    Repository {
        /// The backup.
        backup_id: String,
        /// The repository's reason.
        #[source]
        source: repository::RepositoryError,
    },
    /// The files could not be copied or the snapshot not made writable.
    #[error("could not bring the files to \"{}\"", path.display())]
    Copy {
        /// Where they were to go.
        path: PathBuf,
        /// The reason.
        #[source]
        source: snapshot::SnapshotError,
    },
    /// A file of PostgreSQL could not be understood.
    #[error("could not understand \"{}\"", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: pg::ServerFileError,
    },
    /// A file that the backup recorded does not say what it should.
    #[error("could not understand \"{name}\" of backup \"{backup_id}\"")]
    Content {
        /// The file's name in the backup.
        name: String,
        /// The backup.
        backup_id: String,
        /// The reason.
        #[source]
        source: pg::PgTypeError,
    },
    /// A program could not be run.
    #[error("could not run {what}")]
    Program {
        /// Which one and for what.
        what: &'static str,
        /// The reason.
        #[source]
        source: program::ProgramError,
    },
}

impl RecoveryError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// The stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::BackupUnusable { .. }
            | Self::StartedSince { .. }
            | Self::ReplayedTooLittle { .. } => "verification_failed",
            Self::TargetBeyondBackup { .. } => "wal_missing",
            Self::NoSource { .. } => "snapshot_not_found",
            Self::DataDirectoryNotEmpty { .. } => "data_directory_not_empty",
            Self::LocationNotEmpty { .. }
            | Self::NotTheWal { .. }
            | Self::TablespaceOnOriginal { .. } => "location_not_empty",
            Self::ServerRunning { .. } => "server_running",
            Self::NotADataDirectory { .. } => "not_a_data_directory",
            Self::SystemIdentifierMismatch { .. } => "system_identifier_mismatch",
            Self::TargetBeforeBackupEnd { .. } => "recovery_target_before_backup_end",
            Self::TimelineUnreachable { .. } => "timeline_mismatch",
            Self::InsideRepository { .. } => "invalid_argument",
            Self::NoSpace { .. } => "disk_full",
            Self::ConfigurationMissing { .. } => "configuration_missing",
            Self::ChecksumMismatch { .. } | Self::FileMissing { .. } => "checksum_mismatch",
            Self::ProgramMissing { .. } | Self::Program { .. } => "program_failed",
            Self::Unfinished { source, .. } => source.kind(),
            Self::RecoveryTargetNotReached { .. } => "recovery_target_not_reached",
            Self::ServerStopped { .. } => "server_stopped",
            Self::RecoveryStalled { .. } => "recovery_timeout",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
                io::ErrorKind::NotFound => "file_not_found",
                _ => "file_failed",
            },
            Self::Store(source) => source.kind(),
            Self::Repository { source, .. } => source.kind(),
            Self::Copy { source, .. } => source.kind(),
            Self::Format { source, .. } => source.kind(),
            Self::Content { .. } => "verification_failed",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything. A stalled recovery may go on; an
    /// unfinished restore may be repeated when its cause may pass.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::RecoveryStalled { .. } => true,
            Self::Unfinished { source, .. } => source.retryable(),
            Self::Store(source) => source.retryable(),
            Self::Repository { source, .. } => source.retryable(),
            Self::Copy { source, .. } => source.retryable(),
            Self::Program { source, .. } => source.retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

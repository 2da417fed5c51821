//! What keeps a drill from being held at all. What a drill finds wrong with a backup is no error but a failed check.

use std::io;
use std::path::{Path, PathBuf};

use repository::RepositoryError;
use sandbox::SandboxError;

/// Why there was no drill.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    /// An option that cannot be right.
    #[error("invalid {option}: {problem}")]
    Invalid {
        /// The option's name.
        option: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// Nothing that could be proved is where it should be.
    #[error("cannot verify backup \"{backup}\": {problem}")]
    NoSource {
        /// The backup.
        backup: String,
        /// What is missing.
        problem: String,
    },
    /// A program of the server's major version is not on this host.
    #[error("could not find the program \"{name}\" of PostgreSQL {major} on this host")]
    ProgramMissing {
        /// The program.
        name: &'static str,
        /// The major version.
        major: String,
    },
    /// A file or directory.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The backup's folder could not be read, or the report not be stored.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A pg_basebackup that could not be looked at.
    #[error(transparent)]
    Basebackup(#[from] basebackup::BasebackupError),
    /// There is no sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl VerificationError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// A stable word for what went wrong.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid_argument",
            Self::NoSource { .. } => "backup_not_found",
            Self::ProgramMissing { .. } => "program_missing",
            Self::Io { .. } => "io_failed",
            Self::Repository(error) => error.kind(),
            Self::Basebackup(error) => error.kind(),
            Self::Sandbox(error) => error.kind(),
        }
    }

    /// What the operator can do, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::ProgramMissing { major, .. } => vec![format!(
                "A drill needs the server of the same major version: install the packages of PostgreSQL {major} (no server needs to run), or say with bin_dir where they are."
            )],
            Self::Repository(error) => error.hints(),
            Self::Basebackup(error) => error.hints(),
            Self::Sandbox(error) => error.hints(),
            _ => Vec::new(),
        }
    }

    /// Whether the same may work when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.retryable(),
            Self::Sandbox(error) => error.retryable(),
            _ => false,
        }
    }
}

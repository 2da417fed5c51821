//! Every expected error, mapped to what a playbook sees. The matches have no
//! wildcard, so that a new kind of error cannot be forgotten.

use ansible::Failure;
use host::HostError;
use pg::ServerError;
use repository::RepositoryError;
use repository::wal::WalFetchError;
use session::SessionError;
use snapshot::SnapshotError;

/// An error of one of our rooms as a failure.
pub trait Explain {
    /// The failure with kind, hints and, for sessions, the backup mode.
    fn explain(&self) -> Failure;
}

/// An error with what it says of itself as a failure.
#[must_use]
pub fn failure(
    error: &(dyn std::error::Error + 'static),
    kind: &'static str,
    hints: Vec<String>,
    retryable: bool,
) -> Failure {
    Failure { retryable, ..Failure::from_error(error, kind, hints) }
}

/// The words a keeper may send, which may be of another build than this one;
/// anything else is `internal`.
const KEEPER_KINDS: &[&str] = &[
    "backup_aborted",
    "backup_not_in_progress",
    "checksum_mismatch",
    "container_not_found",
    "container_not_running",
    "connection_failed",
    "connection_lost",
    "disk_full",
    "backup_start_timeout",
    "file_failed",
    "file_not_found",
    "insufficient_privilege",
    "invalid_argument",
    "process_not_found",
    "protocol_mismatch",
    "session_mismatch",
    "session_not_found",
    "system_identifier_mismatch",
    "timeline_mismatch",
    "unsupported_version",
    "untrusted_path",
    "verification_failed",
];

fn keeper_kind(kind: &str) -> &'static str {
    KEEPER_KINDS.iter().find(|word| **word == kind).copied().unwrap_or("internal")
}

impl Explain for HostError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

impl Explain for ServerError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

impl Explain for SessionError {
    fn explain(&self) -> Failure {
        failure(self, keeper_kind(self.kind()), self.hints(), self.retryable())
            .value("backup_mode", self.backup_state().as_str())
    }
}

impl Explain for RepositoryError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

impl Explain for WalFetchError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

impl Explain for SnapshotError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

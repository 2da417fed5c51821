//! Every expected error, mapped to what a playbook sees. The matches have no
//! wildcard, so that a new kind of error cannot be forgotten.

use ansible::Failure;
use pg::ServerError;
use recovery::RecoveryError;
use repository::RepositoryError;
use repository::wal::WalFetchError;
use session::SessionError;
use snapshot::SnapshotError;

/// An error of one of our rooms as a failure.
pub(crate) trait Explain {
    /// The failure with kind, hints and, for sessions, the backup mode.
    fn explain(&self) -> Failure;
}

fn failure(
    error: &(dyn std::error::Error + 'static),
    kind: &str,
    hints: Vec<String>,
    retryable: bool,
) -> Failure {
    let mut failure = Failure::from_error(error, known(kind), hints);
    failure.retryable = retryable;
    failure
}

/// The words that `error_kind` may have.
const KINDS: &[&str] = &[
    "invalid_argument",
    "unsupported_version",
    "connection_failed",
    "connection_lost",
    "insufficient_privilege",
    "session_not_found",
    "session_mismatch",
    "protocol_mismatch",
    "backup_not_in_progress",
    "backup_aborted",
    "wal_missing",
    "wal_archive_timeout",
    "timeline_mismatch",
    "system_identifier_mismatch",
    "snapshot_failed",
    "snapshot_timeout",
    "data_directory_not_empty",
    "server_running",
    "recovery_target_not_reached",
    "verification_failed",
    "replication_not_ready",
    "repository_unavailable",
    "checksum_mismatch",
    "program_failed",
    "disk_full",
];

/// A word that playbooks may rely on; anything else is `internal`.
fn known(kind: &str) -> &'static str {
    KINDS.iter().find(|word| **word == kind).copied().unwrap_or("internal")
}

impl Explain for ServerError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

impl Explain for SessionError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
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

impl Explain for RecoveryError {
    fn explain(&self) -> Failure {
        failure(self, self.kind(), self.hints(), self.retryable())
    }
}

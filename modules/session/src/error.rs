//! What can go wrong with a session.

use std::path::{Path, PathBuf};

use pg::ServerError;

use crate::{KeeperFailure, SessionId};

/// The operator's first question: is the server still in backup mode?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupState {
    /// It is.
    On,
    /// It is not.
    Off,
    /// It could not be found out.
    Unknown,
}

impl BackupState {
    /// As a reply's `backup_mode` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BackupState::On => "on",
            BackupState::Off => "off",
            BackupState::Unknown => "unknown",
        }
    }
}

/// An error of a session, its keeper or its record.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Text that is no handle.
    #[error(
        "\"{0}\" is not a session: expected \"<cluster>.<backup id>\" as backup_start returns it"
    )]
    Handle(String),
    /// No record of that name.
    #[error("there is no session \"{session}\" in \"{directory}\"")]
    NotFound {
        /// The handle.
        session: SessionId,
        /// The state directory.
        directory: PathBuf,
    },
    /// A record of that name is there already.
    #[error("session \"{session}\" exists already")]
    Exists {
        /// The handle.
        session: SessionId,
    },
    /// The session holds no backup any more.
    #[error("session \"{session}\" holds no backup: {reason}")]
    Ended {
        /// The handle.
        session: SessionId,
        /// What happened and when.
        reason: String,
    },
    /// The session is not where it must be for this.
    #[error("session \"{session}\" is {state}, not {wanted}")]
    WrongState {
        /// The handle.
        session: SessionId,
        /// Where it is.
        state: &'static str,
        /// Where it should be.
        wanted: &'static str,
    },
    /// A file or directory of the record.
    #[error("could not keep the session record in \"{path}\"")]
    Store {
        /// The file or directory.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: durable::DurableError,
    },
    /// The state directory cannot be listed.
    #[error("could not list the sessions in \"{directory}\"")]
    List {
        /// The state directory.
        directory: PathBuf,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// A record that is not one.
    #[error("the session record cannot be understood")]
    Record(#[source] serde_json::Error),
    /// A record of another session or version.
    #[error("\"{path}\" is not the record of this session")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file beside the record that is not what was saved.
    #[error("\"{path}\" was changed: its SHA-256 is {found}, {expected} was saved")]
    Changed {
        /// The file.
        path: PathBuf,
        /// As saved.
        expected: String,
        /// As found.
        found: String,
    },
    /// The keeper could not be started.
    #[error("could not start the keeper: {reason}")]
    Launch {
        /// What happened.
        reason: String,
    },
    /// The server was not in backup mode in time.
    #[error("the server was not in backup mode after {seconds} s")]
    NotStarted {
        /// How long was waited.
        seconds: u64,
    },
    /// Two statements of one connection ran in two sessions of the server.
    #[error(
        "the connection goes through a pooler: the statement before the start ran in backend {before}, the one after it \
         in backend {after}"
    )]
    Pooled {
        /// The backend before the start.
        before: i32,
        /// The backend after it.
        after: i32,
    },
    /// The keeper reached another server than the one that was examined.
    #[error(
        "the server has system identifier {found}, the one examined before had {planned}, or one of them is a standby \
         and the other is not"
    )]
    OtherServer {
        /// What the keeper found.
        found: pg::SystemIdentifier,
        /// What was planned.
        planned: pg::SystemIdentifier,
    },
    /// The keeper does not answer.
    #[error("the keeper of session \"{session}\" does not answer on \"{socket}\"")]
    Unreachable {
        /// The handle.
        session: SessionId,
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else listens on the keeper's socket.
    #[error("\"{socket}\" is served by user {found}, not by the keeper's user {expected}")]
    Impostor {
        /// The socket.
        socket: PathBuf,
        /// Who should serve it.
        expected: u32,
        /// Who does.
        found: u32,
    },
    /// The keeper speaks another version of the protocol.
    #[error("the keeper speaks protocol {found}, this build {expected}")]
    Protocol {
        /// Ours.
        expected: u32,
        /// The keeper's.
        found: u32,
    },
    /// The keeper answered with an error.
    #[error(transparent)]
    Keeper(#[from] KeeperFailure),
    /// The server refused.
    #[error("could not {doing}")]
    Server {
        /// What the keeper was doing.
        doing: &'static str,
        /// What the server said.
        #[source]
        source: ServerError,
    },
}

impl SessionError {
    /// A failure of a file or directory of the record.
    pub(crate) fn store(path: &Path) -> impl Fn(durable::DurableError) -> SessionError {
        move |source| SessionError::Store { path: path.to_owned(), source }
    }

    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            SessionError::Handle(_) => "invalid_argument",
            SessionError::NotFound { .. } => "session_not_found",
            SessionError::Exists { .. }
            | SessionError::Foreign { .. }
            | SessionError::Impostor { .. } => "session_mismatch",
            SessionError::Ended { .. } => "backup_aborted",
            SessionError::WrongState { .. } => "backup_not_in_progress",
            SessionError::Store { source, .. } => source.kind(),
            SessionError::List { .. } | SessionError::Record(_) | SessionError::Launch { .. } => {
                "internal"
            }
            SessionError::NotStarted { .. } => "backup_start_timeout",
            SessionError::Pooled { .. } => "connection_failed",
            SessionError::OtherServer { .. } => "system_identifier_mismatch",
            SessionError::Changed { .. } => "checksum_mismatch",
            SessionError::Unreachable { .. } => "connection_lost",
            SessionError::Protocol { .. } => "protocol_mismatch",
            SessionError::Keeper(failure) => &failure.kind,
            SessionError::Server { source, .. } => source.kind(),
        }
    }

    /// What to do about it: whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            SessionError::Keeper(failure) => return failure.hints.clone(),
            SessionError::Server { source, .. } => return source.hints(),
            SessionError::Store { source, .. } => return source.hints(),
            SessionError::NotFound { .. } => {
                "Sessions are found by the user that made them, in state_directory: is become the same as in \
                 backup_start?"
            }
            SessionError::NotStarted { .. } => {
                "Is its checkpoint still running? With fast: false it is spread over checkpoint_timeout; raise wait_timeout."
            }
            SessionError::Pooled { .. } => "Give the server's own socket directory or port.",
            SessionError::OtherServer { .. } => {
                "Does login_host name more than one server? Name the one to back up."
            }
            SessionError::Exists { .. } => "Give another backup_id, or none to have one made.",
            SessionError::Ended { .. } => {
                "The server is not in backup mode. Start a new backup; snapshots taken in this session cannot be \
                 restored."
            }
            SessionError::Unreachable { .. } => {
                "Is the server hanging? The keeper ends backup mode by itself at the session's deadline."
            }
            SessionError::Protocol { .. } => {
                "Use the collection's version that started the session, or abort it."
            }
            _ => return vec![],
        };
        vec![hint.to_owned()]
    }

    /// Whether the same may succeed when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            SessionError::Keeper(failure) => failure.retryable,
            SessionError::Unreachable { .. } => true,
            SessionError::Server { source, .. } => source.retryable(),
            SessionError::Store { source, .. } => source.retryable(),
            _ => false,
        }
    }

    /// Whether the server is still in backup mode because of this session.
    #[must_use]
    pub fn backup_state(&self) -> BackupState {
        match self {
            SessionError::Ended { .. }
            | SessionError::Launch { .. }
            | SessionError::NotStarted { .. }
            | SessionError::Pooled { .. }
            | SessionError::OtherServer { .. } => BackupState::Off,
            SessionError::Keeper(failure) => failure.backup_state(),
            SessionError::Server { source, .. } if source.is_connection_lost() => BackupState::Off,
            SessionError::WrongState { state, .. } if *state == "in_progress" => BackupState::On,
            SessionError::WrongState { .. } => BackupState::Off,
            _ => BackupState::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;

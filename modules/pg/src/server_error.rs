//! What can go wrong with a live server.

use std::fmt;
use std::path::PathBuf;

use host::HostError;
use postgres::error::SqlState;

use crate::{LoginError, MajorVersion, PgTypeError, TlsError};

/// What a server said when it refused: its primary message and detail.
///
/// A `postgres::Error` by itself says only "db error"; this is the part a
/// person needs, kept apart so that it can be a cause.
#[derive(Debug)]
pub struct Cause {
    text: String,
    state: Option<SqlState>,
    server_hint: Option<String>,
    closed: bool,
}

impl Cause {
    /// Takes a client error apart.
    #[must_use]
    pub fn new(error: &postgres::Error) -> Cause {
        let Some(said) = error.as_db_error() else {
            return Cause {
                text: flatten(error),
                state: None,
                server_hint: None,
                closed: error.is_closed() || is_broken(error),
            };
        };
        let mut text = format!("{}: {}", said.severity(), said.message());
        if let Some(detail) = said.detail() {
            text.push_str(" DETAIL: ");
            text.push_str(detail);
        }
        let closed = error.is_closed() || said.severity() == "FATAL";
        Cause {
            text,
            state: Some(said.code().clone()),
            server_hint: said.hint().map(str::to_owned),
            closed,
        }
    }

    /// No answer within so many seconds.
    pub(crate) fn silence(seconds: u64) -> Cause {
        Cause {
            text: format!("no answer within {seconds} s"),
            state: None,
            server_hint: None,
            closed: false,
        }
    }

    fn is(&self, state: &SqlState) -> bool {
        self.state.as_ref() == Some(state)
    }
}

/// Whether reading or writing failed: nothing can be said any more.
fn is_broken(error: &postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
}

/// A client error with its causes, each said once.
fn flatten(error: &postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {}

/// An error of a live server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The login options make no sense.
    #[error("cannot connect with these options")]
    Login(#[from] LoginError),
    /// TLS could not be set up.
    #[error("could not prepare an encrypted connection to \"{server}\"")]
    Tls {
        /// The server, as [`crate::Login::describe`] has it.
        server: String,
        /// What was wrong.
        #[source]
        source: TlsError,
    },
    /// The server's container could not be entered.
    #[error("could not reach \"{server}\"")]
    Inside {
        /// The server, as [`crate::Login::describe`] has it.
        server: String,
        /// What was in the way.
        #[source]
        source: HostError,
    },
    /// No connection.
    #[error("could not connect to \"{server}\" as role \"{user}\"")]
    Connect {
        /// The server, as [`crate::Login::describe`] has it.
        server: String,
        /// The role.
        user: String,
        /// What the server or the system said.
        #[source]
        source: Cause,
    },
    /// A statement failed.
    #[error("could not {doing}")]
    Statement {
        /// What the statement was for, after "could not".
        doing: &'static str,
        /// What the server said.
        #[source]
        source: Cause,
    },
    /// The server answered with something PostgreSQL does not write.
    #[error("could not {doing}")]
    Answer {
        /// What the statement was for, after "could not".
        doing: &'static str,
        /// What was wrong with it.
        #[source]
        source: PgTypeError,
    },
    /// A major version these modules do not know.
    #[error("the server cannot be used")]
    Version(#[source] PgTypeError),
    /// A setting that would end the session could not be switched off.
    #[error("setting \"{name}\" is \"{value}\" although this session has set it to \"{wanted}\"")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        value: String,
    },
    /// A connection pooler stands between us and the server.
    #[error("\"{server}\" is not the server itself but a connection pooler: {proof}")]
    Pooler {
        /// What was connected to.
        server: String,
        /// How it was noticed.
        proof: String,
    },
    /// A server of another data directory answered.
    #[error(
        "another server answered: its data directory is \"{}\", not \"{}\"",
        found.display(),
        wanted.display()
    )]
    Elsewhere {
        /// Its data directory.
        found: PathBuf,
        /// That of the server that was meant.
        wanted: PathBuf,
    },
}

impl ServerError {
    /// A failed statement.
    pub(crate) fn statement(doing: &'static str) -> impl Fn(postgres::Error) -> ServerError {
        move |error| ServerError::Statement { doing, source: Cause::new(&error) }
    }

    fn cause(&self) -> Option<&Cause> {
        match self {
            ServerError::Connect { source, .. } | ServerError::Statement { source, .. } => {
                Some(source)
            }
            _ => None,
        }
    }

    /// Whether the connection is gone, and with it a backup it held.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, ServerError::Statement { source, .. } if source.closed)
    }

    /// Whether a library is missing, made for another server, or misses a library itself: said of the error of
    /// [`crate::Server::load_library`]. One that is there may still not want to be loaded into a running session.
    #[must_use]
    pub fn is_unloadable(&self) -> bool {
        self.cause().is_some_and(|cause| {
            cause.is(&SqlState::UNDEFINED_FILE)
                || ["could not load library", "incompatible library"]
                    .iter()
                    .any(|words| cause.text.contains(words))
        })
    }

    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            ServerError::Login(_) => "invalid_argument",
            ServerError::Inside { source, .. } => source.kind(),
            ServerError::Tls { .. }
            | ServerError::Connect { .. }
            | ServerError::Pooler { .. }
            | ServerError::Elsewhere { .. } => "connection_failed",
            ServerError::Version(_) => "unsupported_version",
            ServerError::Setting { .. } | ServerError::Answer { .. } => "internal",
            ServerError::Statement { source, .. } if source.closed => "connection_lost",
            ServerError::Statement { source, .. }
                if source.is(&SqlState::INSUFFICIENT_PRIVILEGE) =>
            {
                "insufficient_privilege"
            }
            ServerError::Statement { source, .. }
                if source.is(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) =>
            {
                "backup_not_in_progress"
            }
            ServerError::Statement { .. } => "internal",
        }
    }

    /// What to do about it: whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> =
            self.cause().and_then(|cause| cause.server_hint.clone()).into_iter().collect();
        match self {
            ServerError::Connect { source, .. } => hints.extend(connect_hint(source)),
            ServerError::Inside { source, .. } => hints.extend(source.hints()),
            ServerError::Version(_) => hints.push(format!(
                "PostgreSQL {} to {} are supported.",
                MajorVersion::OLDEST,
                MajorVersion::NEWEST
            )),
            ServerError::Pooler { .. } => hints.push(
                "Give the server's own socket directory or port: a pooler may give start and stop to different \
                 sessions, and then there is no backup."
                    .into(),
            ),
            _ => {}
        }
        hints
    }

    /// Whether the same may succeed when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.cause().is_some_and(|cause| {
            cause.is(&SqlState::CANNOT_CONNECT_NOW) || cause.is(&SqlState::TOO_MANY_CONNECTIONS)
        })
    }
}

fn connect_hint(cause: &Cause) -> Option<String> {
    let hint = if cause.is(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) {
        "Over a unix socket \"peer\" asks for the operating-system user of that name: use become_user, or os_user \
         in backup_start; otherwise pg_hba.conf has no line for this role, database and address."
    } else if cause.is(&SqlState::INVALID_PASSWORD) || cause.text.contains("password missing") {
        "Give login_password, or PGPASSWORD, or a line in a password file that only its owner may read."
    } else if cause.text.contains("UnknownIssuer") {
        "The server's certificate is not signed by the root certificate in ca_cert."
    } else if cause.text.contains("NotValidForName") || cause.text.contains("not valid for name") {
        "The server's certificate does not name the host in login_host (as a subjectAltName)."
    } else if cause.text.contains("No such file or directory")
        || cause.text.contains("Connection refused")
    {
        "Is the server running there? Give login_unix_socket or login_host, and login_port."
    } else {
        return None;
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str, state: Option<SqlState>) -> Cause {
        Cause { text: text.into(), state, server_hint: None, closed: false }
    }

    #[test]
    fn messages_name_the_server_and_the_role() {
        let error = ServerError::Connect {
            server: "db:5432".into(),
            user: "backup".into(),
            source: cause(
                "FATAL: password authentication failed",
                Some(SqlState::INVALID_PASSWORD),
            ),
        };
        assert_eq!(error.to_string(), "could not connect to \"db:5432\" as role \"backup\"");
        assert_eq!(error.kind(), "connection_failed");
        assert!(error.hints()[0].starts_with("Give login_password"));
    }

    #[test]
    fn states_of_statements_become_kinds() {
        let kind = |state| {
            ServerError::Statement { doing: "x", source: cause("ERROR: x", Some(state)) }.kind()
        };
        assert_eq!(kind(SqlState::INSUFFICIENT_PRIVILEGE), "insufficient_privilege");
        assert_eq!(kind(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE), "backup_not_in_progress");
        assert_eq!(kind(SqlState::SYNTAX_ERROR), "internal");
    }

    #[test]
    fn texts_are_whole() {
        let setting =
            ServerError::Setting { name: "statement_timeout", wanted: "0", value: "5s".into() };
        assert_eq!(
            setting.to_string(),
            "setting \"statement_timeout\" is \"5s\" although this session has set it to \"0\""
        );
        let pooler = ServerError::Pooler { server: "a:6432".into(), proof: "p".into() };
        assert_eq!(
            pooler.to_string(),
            "\"a:6432\" is not the server itself but a connection pooler: p"
        );
        let elsewhere = ServerError::Elsewhere { found: "/a".into(), wanted: "/b".into() };
        assert_eq!(
            elsewhere.to_string(),
            "another server answered: its data directory is \"/a\", not \"/b\""
        );
        assert_eq!((elsewhere.kind(), elsewhere.hints().len()), ("connection_failed", 0));
        let version =
            ServerError::Version(crate::ServerVersion::from_num(120_001).major().unwrap_err());
        assert_eq!(version.hints(), ["PostgreSQL 13 to 18 are supported."]);
    }

    #[test]
    fn a_library_that_refuses_to_be_loaded_late_is_there() {
        let said = |text: &str, state| {
            ServerError::Statement { doing: "load the library", source: cause(text, Some(state)) }
                .is_unloadable()
        };
        assert!(said("ERROR: x", SqlState::UNDEFINED_FILE));
        let missing =
            "ERROR: could not load library \"/lib/postgis-3.so\": libgeos_c.so.1: cannot open";
        assert!(said(missing, SqlState::INTERNAL_ERROR));
        assert!(!said("FATAL: it must be in shared_preload_libraries", SqlState::INTERNAL_ERROR));
    }

    #[test]
    fn a_server_that_is_starting_may_be_asked_again() {
        let statement = |closed| ServerError::Statement {
            doing: "stop the backup",
            source: Cause { closed, ..cause("FATAL: x", Some(SqlState::CANNOT_CONNECT_NOW)) },
        };
        assert_eq!(statement(true).to_string(), "could not stop the backup");
        assert_eq!(statement(true).kind(), "connection_lost");
        assert!(statement(true).is_connection_lost() && !statement(false).is_connection_lost());
        assert!(statement(false).retryable());
        assert_eq!(Cause::silence(5).to_string(), "no answer within 5 s");
    }

    #[test]
    fn texts_of_what_comes_before_a_connection() {
        let login = LoginError::Value { name: "login_port", value: "0".into() };
        let version = || crate::ServerVersion::from_num(120_001).major().unwrap_err();
        let absent = || host::HostError::NoProcess { pid: 7 };
        let inside = ServerError::Inside { server: "db:5432".into(), source: absent() };
        assert_eq!(inside.hints(), absent().hints());
        let cases = [
            (inside, "could not reach \"db:5432\"", absent().kind()),
            (ServerError::Login(login), "cannot connect with these options", "invalid_argument"),
            (
                ServerError::Tls { server: "db:5432".into(), source: TlsError::HalfIdentity },
                "could not prepare an encrypted connection to \"db:5432\"",
                "connection_failed",
            ),
            (
                ServerError::Answer { doing: "read the timeline", source: version() },
                "could not read the timeline",
                "internal",
            ),
            (ServerError::Version(version()), "the server cannot be used", "unsupported_version"),
        ];
        for (error, text, kind) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!((error.kind(), error.retryable()), (kind, false));
        }
    }

    #[test]
    fn what_a_connection_fails_of_has_a_hint() {
        let hint = |text: &str, state| connect_hint(&cause(text, state)).unwrap_or_default();
        let refused = Some(SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        assert!(hint("FATAL: x", refused).contains("use become_user"));
        assert!(hint("password missing", None).starts_with("Give login_password"));
        assert!(hint("UnknownIssuer", None).contains("ca_cert"));
        assert!(hint("NotValidForName", None).contains("login_host"));
        assert!(hint("Connection refused (os error 111)", None).starts_with("Is the server"));
        assert_eq!(hint("something else", None), "");
    }
}

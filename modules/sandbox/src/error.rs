//! What can go wrong around a sandbox.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no sandbox, or why it could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A step of building it was refused.
    #[error("could not build the sandbox: {step}: {reason}")]
    Build {
        /// What was being done.
        step: String,
        /// What the system said.
        reason: String,
    },
    /// None of the ways to isolate works here.
    #[error("cannot isolate a server on this host: {}", tried.join("; "))]
    NoIsolation {
        /// Each way with the reason why not.
        tried: Vec<String>,
    },
    /// This executable could not be started again.
    #[error("could not start the sandbox's {what}")]
    Start {
        /// Which of its processes.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its process 1 ended or says nothing sensible.
    #[error("the sandbox ended unexpectedly: {reason}")]
    Lost {
        /// What is known of it.
        reason: String,
    },
    /// A program inside took longer than it was given.
    #[error("\"{program}\" did not end within {seconds} s in the sandbox")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
    },
    /// The caller's reason to end the sandbox.
    #[error("{reason}")]
    Stopped {
        /// The reason.
        reason: String,
    },
    /// A program inside could not be started, or a file inside not be read.
    #[error("could not {action} in the sandbox: {reason}")]
    Inside {
        /// What was to be done.
        action: String,
        /// Why it was not.
        reason: String,
    },
    /// A file or directory of the work directory.
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
    /// The directory for work directories is not fit for it.
    #[error("cannot use \"{}\" for sandboxes", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: durable::DurableError,
    },
}

impl SandboxError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// A stable word for what went wrong.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Build { .. } | Self::NoIsolation { .. } => "isolation_unavailable",
            Self::Start { .. } | Self::Lost { .. } => "sandbox_failed",
            Self::TimedOut { .. } | Self::Stopped { .. } => "timeout",
            Self::Inside { .. } => "program_failed",
            Self::Io { .. } => "io_failed",
            Self::Directory { source, .. } => source.kind(),
        }
    }

    /// What the operator can do, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Build { .. } | Self::NoIsolation { .. } => vec![
                "Run it as root (become: true); in a container give it cap_add: SYS_ADMIN, or run it privileged, or allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0, a seccomp profile that lets unshare pass).".to_owned(),
                "The option sandbox names other ways: bubblewrap, lxc, nspawn, podman, docker. With sandbox: process the server runs on this host without any isolation.".to_owned(),
            ],
            Self::Lost { .. } => {
                vec!["Was it killed, by a person or because memory ran out?".to_owned()]
            }
            Self::Directory { source, .. } => source.hints(),
            _ => Vec::new(),
        }
    }

    /// Whether the same may work when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::TimedOut { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let errors = [
            (
                SandboxError::Build { step: "unshare".into(), reason: "EPERM".into() },
                "could not build the sandbox: unshare: EPERM",
                "isolation_unavailable",
            ),
            (
                SandboxError::NoIsolation { tried: vec!["a: b".into(), "c: d".into()] },
                "cannot isolate a server on this host: a: b; c: d",
                "isolation_unavailable",
            ),
            (
                SandboxError::Start { what: "builder", source: denied() },
                "could not start the sandbox's builder",
                "sandbox_failed",
            ),
            (
                SandboxError::Lost { reason: "no answer".into() },
                "the sandbox ended unexpectedly: no answer",
                "sandbox_failed",
            ),
            (
                SandboxError::TimedOut { program: "pg_dump".into(), seconds: 9 },
                "\"pg_dump\" did not end within 9 s in the sandbox",
                "timeout",
            ),
            (SandboxError::Stopped { reason: "too late".into() }, "too late", "timeout"),
            (
                SandboxError::Inside { action: "read \"/x\"".into(), reason: "gone".into() },
                "could not read \"/x\" in the sandbox: gone",
                "program_failed",
            ),
            (
                SandboxError::io("make", Path::new("/x"))(denied()),
                "could not make \"/x\"",
                "io_failed",
            ),
        ];
        for (error, text, kind) in errors {
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
            assert_eq!(
                error.hints().is_empty(),
                !matches!(kind, "isolation_unavailable") && !error.retryable()
                    || matches!(error, SandboxError::TimedOut { .. })
            );
        }
    }
}

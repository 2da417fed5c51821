//! Why a file could not be made durable, or why a path is not trusted.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with which path.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The operating system refused a step; its reason is the source.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was being done, as a verb phrase: `write file`, `sync directory`.
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The path has no file name, such as `/` or `..`.
    #[error("\"{}\" does not name a file", path.display())]
    NoFileName {
        /// The path as given.
        path: PathBuf,
    },
    /// A directory was expected and something else is there.
    #[error("\"{}\" is a {found}, not a directory", path.display())]
    NotDirectory {
        /// The path as given.
        path: PathBuf,
        /// What is there: `symbolic link`, `file`, ….
        found: &'static str,
    },
    /// A regular file was expected and something else is there.
    #[error("\"{}\" is a {found}, not a regular file", path.display())]
    NotRegular {
        /// The path as given.
        path: PathBuf,
        /// What is there: `symbolic link`, `directory`, ….
        found: &'static str,
    },
    /// The owner is none of those who may own it.
    #[error("\"{}\" is owned by user {uid}, expected one of: {}", path.display(), list(allowed))]
    ForeignOwner {
        /// The file or directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Who may own it.
        allowed: Vec<u32>,
    },
    /// Somebody besides the owner may write into the directory.
    #[error("\"{}\" has mode {mode:04o}: users other than its owner may write to it", path.display())]
    WritableByOthers {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than the caller is prepared to read.
    #[error("\"{}\" is {size} bytes long, at most {limit} are accepted", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes (at least; it may be growing).
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl DurableError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A stable word: `disk_full`, `file_not_found`, `file_failed` or `untrusted_path`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
                io::ErrorKind::NotFound => "file_not_found",
                _ => "file_failed",
            },
            Self::NoFileName { .. } => "invalid_argument",
            Self::TooLarge { .. } => "file_failed",
            Self::NotDirectory { .. }
            | Self::NotRegular { .. }
            | Self::ForeignOwner { .. }
            | Self::WritableByOthers { .. } => "untrusted_path",
        }
    }

    /// What the operator can do, as whole sentences; may be empty.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    vec![format!(
                        "Free space on the filesystem of \"{}\", or choose another place.",
                        path.display()
                    )]
                }
                io::ErrorKind::PermissionDenied => {
                    vec!["Which user runs this task? Does it need become?".to_owned()]
                }
                _ => Vec::new(),
            },
            Self::NotDirectory { .. }
            | Self::NotRegular { .. }
            | Self::ForeignOwner { .. }
            | Self::WritableByOthers { .. } => vec![
                "Another user of this machine may have put it there. Look at it, then remove it or correct its owner and mode.".to_owned(),
            ],
            Self::NoFileName { .. } | Self::TooLarge { .. } => Vec::new(),
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }
}

fn list(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> DurableError {
        DurableError::io("write file", Path::new("/a/b"))(io::Error::from(
            io::ErrorKind::StorageFull,
        ))
    }

    #[test]
    fn every_text() {
        let path = PathBuf::from("/a/b");
        let cases = [
            (full(), "could not write file \"/a/b\"", "disk_full"),
            (
                DurableError::NoFileName { path: path.clone() },
                "\"/a/b\" does not name a file",
                "invalid_argument",
            ),
            (
                DurableError::NotDirectory { path: path.clone(), found: "symbolic link" },
                "\"/a/b\" is a symbolic link, not a directory",
                "untrusted_path",
            ),
            (
                DurableError::NotRegular { path: path.clone(), found: "directory" },
                "\"/a/b\" is a directory, not a regular file",
                "untrusted_path",
            ),
            (
                DurableError::ForeignOwner { path: path.clone(), uid: 7, allowed: vec![0, 5] },
                "\"/a/b\" is owned by user 7, expected one of: 0, 5",
                "untrusted_path",
            ),
            (
                DurableError::WritableByOthers { path: path.clone(), mode: 0o777 },
                "\"/a/b\" has mode 0777: users other than its owner may write to it",
                "untrusted_path",
            ),
            (
                DurableError::TooLarge { path, size: 9, limit: 4 },
                "\"/a/b\" is 9 bytes long, at most 4 are accepted",
                "file_failed",
            ),
        ];
        for (error, text, kind) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), kind);
            assert!(!error.retryable());
            assert!(error.hints().iter().all(|hint| hint.ends_with(['.', '?'])));
        }
    }

    #[test]
    fn a_full_disk_says_what_to_do_and_keeps_its_cause() {
        assert_eq!(
            full().hints(),
            ["Free space on the filesystem of \"/a/b\", or choose another place."]
        );
        assert!(std::error::Error::source(&full()).is_some());
    }
}

//! Why WAL could not be fetched.

use std::path::PathBuf;

use pg::{WalError, WalSegmentName};

use crate::RepositoryError;

/// An error of fetching WAL.
#[derive(Debug, thiserror::Error)]
pub enum WalFetchError {
    /// A segment did not come in time.
    #[error("WAL segment \"{segment}\" did not appear in {sources} within {seconds} s{newest}")]
    Missing {
        /// The first segment missing.
        segment: WalSegmentName,
        /// Where was looked.
        sources: String,
        /// How long.
        seconds: u64,
        /// The newest segment that is there, as a clause of its own.
        newest: String,
    },
    /// A segment that is there is not what it should be.
    #[error("WAL segment from {source_name} cannot be used")]
    Wrong {
        /// Where it is from.
        source_name: String,
        /// What is wrong.
        #[source]
        source: WalError,
    },
    /// A segment of another size than the server's segments have.
    #[error("WAL segment \"{segment}\" from {source_name} has {found} bytes, not {expected}")]
    Size {
        /// The segment.
        segment: WalSegmentName,
        /// Where it is from.
        source_name: String,
        /// Its size.
        found: u64,
        /// The server's segment size.
        expected: u64,
    },
    /// A file that is there cannot be read.
    #[error("could not read \"{path}\"")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The restore command failed in itself.
    #[error("restore_command failed for \"{file}\"")]
    Command {
        /// The file.
        file: String,
        /// How.
        #[source]
        source: program::ProgramError,
    },
    /// The restore command ended with a status that means trouble.
    #[error("restore_command ended with status {status} for \"{file}\": {stderr}")]
    Status {
        /// The file.
        file: String,
        /// Above 125: not "not found", but a failure.
        status: i32,
        /// What it said.
        stderr: String,
    },
    /// The backup's folder could not take the segment.
    #[error("could not store a WAL segment in the backup")]
    Store(#[from] RepositoryError),
}

impl WalFetchError {
    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            WalFetchError::Missing { .. } => "wal_archive_timeout",
            WalFetchError::Wrong { source, .. } => source.kind(),
            WalFetchError::Size { .. } => "wal_missing",
            WalFetchError::Read { .. } => "internal",
            WalFetchError::Command { .. } | WalFetchError::Status { .. } => "program_failed",
            WalFetchError::Store(error) => error.kind(),
        }
    }

    /// What to do about it: whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            WalFetchError::Missing { .. } => {
                "Is archive_command failing? See pg_stat_archiver. The backup is not complete; run wal_fetch again \
                 when the segment is there."
            }
            WalFetchError::Wrong { source, .. } => return source.hints(),
            WalFetchError::Store(error) => return error.hints(),
            WalFetchError::Size { .. } => {
                "The file is still being written, or it is compressed: decompress it with restore_command."
            }
            WalFetchError::Read { .. } => "Run the task as root or as the server's user.",
            WalFetchError::Command { .. } | WalFetchError::Status { .. } => {
                "A status from 1 to 125 means that the archive does not have the file; anything above means that the \
                 command itself failed."
            }
        };
        vec![hint.to_owned()]
    }

    /// Whether the same may succeed when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            WalFetchError::Missing { .. }
            | WalFetchError::Command { .. }
            | WalFetchError::Status { .. } => true,
            WalFetchError::Store(error) => error.retryable(),
            WalFetchError::Wrong { .. }
            | WalFetchError::Size { .. }
            | WalFetchError::Read { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_segment_says_where_how_long_and_what_is_there() {
        let error = WalFetchError::Missing {
            segment: "00000001000000A200000041".parse().unwrap(),
            sources: "the archive \"/archive\"".into(),
            seconds: 300,
            newest: "; the newest there is \"00000001000000A20000003E\"".into(),
        };
        assert_eq!(
            error.to_string(),
            "WAL segment \"00000001000000A200000041\" did not appear in the archive \"/archive\" within 300 s; the \
             newest there is \"00000001000000A20000003E\""
        );
        assert_eq!(error.kind(), "wal_archive_timeout");
    }

    #[test]
    fn texts_kinds_and_hints() {
        let segment = || "000000010000000000000003".parse().unwrap();
        let program = program::Program::new("/nonexistent").output().unwrap_err();
        let invalid = RepositoryError::Invalid { what: "x", value: "y".to_owned(), expected: "z" };
        let cases = [
            (
                WalFetchError::Size {
                    segment: segment(),
                    source_name: "pg_wal".into(),
                    found: 1,
                    expected: 2,
                },
                "WAL segment \"000000010000000000000003\" from pg_wal has 1 bytes, not 2",
                ("wal_missing", 1, false),
            ),
            (
                WalFetchError::Read { path: "/w".into(), source: std::io::Error::other("x") },
                "could not read \"/w\"",
                ("internal", 1, false),
            ),
            (
                WalFetchError::Command { file: "f".into(), source: program },
                "restore_command failed for \"f\"",
                ("program_failed", 1, true),
            ),
            (
                WalFetchError::Status { file: "f".into(), status: 137, stderr: "killed".into() },
                "restore_command ended with status 137 for \"f\": killed",
                ("program_failed", 1, true),
            ),
            (
                WalFetchError::Store(invalid),
                "could not store a WAL segment in the backup",
                ("invalid_argument", 0, false),
            ),
        ];
        for (error, text, said) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!((error.kind(), error.hints().len(), error.retryable()), said, "{text}");
        }
    }
}

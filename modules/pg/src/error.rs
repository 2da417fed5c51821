//! What can be wrong with a value of one of PostgreSQL's types.

use crate::{Lsn, MajorVersion, ServerVersion, WalSegmentSize};

/// A value that is not what its type allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PgTypeError {
    /// The text is not a value of the type.
    #[error("invalid {what} \"{value}\": expected {expected}")]
    Invalid {
        /// The type, as PostgreSQL's documentation calls it.
        what: &'static str,
        /// The text as it came.
        value: String,
        /// The form wanted, as the end of the sentence "expected …".
        expected: &'static str,
    },
    /// A range of WAL that ends before it starts.
    #[error("WAL range ends at {end}, before its start at {start}")]
    BackwardRange {
        /// Where it starts.
        start: Lsn,
        /// Where it ends.
        end: Lsn,
    },
    /// The name counts more segments than fit between two high halves of an LSN at this segment size.
    #[error("WAL segment \"{name}\" does not exist with segments of {} bytes", size.bytes())]
    NoSuchSegment {
        /// The segment's name.
        name: String,
        /// The server's segment size.
        size: WalSegmentSize,
    },
    /// A line of one of PostgreSQL's text files is not what PostgreSQL writes and reads.
    #[error("line {line} of {file} is \"{found}\", expected {expected}")]
    Line {
        /// The file's name.
        file: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// The line as it is; empty when the file ends before it.
        found: String,
        /// The form wanted, as the end of the sentence "expected …".
        expected: &'static str,
    },
    /// A line of one of PostgreSQL's text files has been through a program that changes line endings.
    #[error("line {line} of {file} has the line ending \"\\r\\n\", expected \"\\n\"")]
    LineEnding {
        /// The file's name.
        file: &'static str,
        /// The line's number, from 1.
        line: usize,
    },
    /// The tablespace map cannot hold this location.
    #[error("tablespace {oid} cannot be at \"{location}\": {reason}")]
    TablespaceLocation {
        /// The tablespace's number.
        oid: u32,
        /// The location wanted.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// A tablespace to be moved is not in the backup.
    #[error("tablespace {oid} is not in the backup's tablespace_map")]
    NoSuchTablespace {
        /// The tablespace's number.
        oid: u32,
    },
    /// A server of a major version that these modules do not know.
    #[error(
        "server version {version} is not supported, only {} to {}",
        MajorVersion::OLDEST,
        MajorVersion::NEWEST
    )]
    UnsupportedVersion {
        /// What the server called itself.
        version: ServerVersion,
    },
}

impl PgTypeError {
    /// Short form for parsers.
    pub(crate) fn invalid(what: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Invalid { what, value: shorten(value), expected }
    }

    /// Short form for readers of text files, whose lines may hold bytes of any encoding.
    pub(crate) fn line(
        file: &'static str,
        line: usize,
        found: &[u8],
        expected: &'static str,
    ) -> Self {
        Self::Line { file, line, found: shorten(&String::from_utf8_lossy(found)), expected }
    }

    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Line { .. } | Self::LineEnding { .. } => "verification_failed",
            Self::Invalid { .. }
            | Self::BackwardRange { .. }
            | Self::NoSuchSegment { .. }
            | Self::TablespaceLocation { .. }
            | Self::NoSuchTablespace { .. } => "invalid_argument",
            Self::UnsupportedVersion { .. } => "unsupported_version",
        }
    }

    /// What to do about it, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSuchSegment { .. } => {
                vec![
                    "Does the WAL segment come from a cluster made with another --wal-segsize?"
                        .to_owned(),
                ]
            }
            Self::UnsupportedVersion { .. } => {
                vec!["A newer release of this collection may know this version.".to_owned()]
            }
            Self::Line { file, .. } | Self::LineEnding { file, .. } => vec![format!(
                "PostgreSQL refuses {file} when it is not byte for byte what the stop of the backup returned. Was it edited, printed by psql, or sent through a template?"
            )],
            Self::Invalid { .. }
            | Self::BackwardRange { .. }
            | Self::TablespaceLocation { .. }
            | Self::NoSuchTablespace { .. } => Vec::new(),
        }
    }

    /// Whether the same request may succeed later: never, a value does not change.
    #[must_use]
    pub fn retryable(&self) -> bool {
        false
    }
}

/// Text from outside may be of any length; an error message may not.
const LONGEST_SHOWN: usize = 200;

fn shorten(value: &str) -> String {
    match value.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let invalid = PgTypeError::invalid("LSN", "x", "two hexadecimal numbers around a slash");
        assert_eq!(
            invalid.to_string(),
            "invalid LSN \"x\": expected two hexadecimal numbers around a slash"
        );
        assert_eq!(invalid.kind(), "invalid_argument");
        assert!(invalid.hints().is_empty());
        assert!(!invalid.retryable());

        let backward = PgTypeError::BackwardRange { start: Lsn::from(2), end: Lsn::from(1) };
        assert_eq!(backward.to_string(), "WAL range ends at 0/1, before its start at 0/2");

        let name = "0000000100000000000000FF".to_owned();
        let size = WalSegmentSize::from_bytes(1 << 30).unwrap();
        let absent = PgTypeError::NoSuchSegment { name, size };
        assert_eq!(
            absent.to_string(),
            "WAL segment \"0000000100000000000000FF\" does not exist with segments of 1073741824 bytes"
        );
        assert_eq!(absent.hints().len(), 1);

        let line = PgTypeError::line("backup_label", 1, b"NOTICE:  x", "START WAL LOCATION");
        assert_eq!(
            line.to_string(),
            "line 1 of backup_label is \"NOTICE:  x\", expected START WAL LOCATION"
        );
        assert_eq!((line.kind(), line.hints().len()), ("verification_failed", 1));

        let ending = PgTypeError::LineEnding { file: "backup_label", line: 2 };
        assert_eq!(
            ending.to_string(),
            "line 2 of backup_label has the line ending \"\\r\\n\", expected \"\\n\""
        );
        assert_eq!((ending.kind(), ending.hints().len()), ("verification_failed", 1));

        let old = PgTypeError::UnsupportedVersion { version: ServerVersion::from_num(120_022) };
        assert_eq!(old.to_string(), "server version 12.22 is not supported, only 13 to 18");
        assert_eq!(old.kind(), "unsupported_version");
        assert_eq!(old.hints().len(), 1);
    }

    #[test]
    fn long_values_are_cut() {
        let error = PgTypeError::invalid("LSN", &"é".repeat(10_000), "less");
        assert!(error.to_string().len() < 500);
    }
}

//! Why WAL is not the WAL it should be.

use std::path::PathBuf;

use program::ProgramError;

use crate::{
    Lsn, LsnRange, MajorVersion, SystemIdentifier, TimelineId, WalSegmentName, WalSegmentSize,
};

/// WAL that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The file ends before its first page's header does.
    #[error("WAL segment \"{name}\" has {length} bytes, too few for a page header")]
    TooShort {
        /// The segment.
        name: WalSegmentName,
        /// Its bytes.
        length: usize,
    },
    /// It does not begin as WAL of the server's major version does.
    #[error(
        "WAL segment \"{name}\" begins with {found:04X}, but PostgreSQL {major} writes {expected:04X}"
    )]
    Magic {
        /// The segment.
        name: WalSegmentName,
        /// What it begins with.
        found: u16,
        /// What it should begin with.
        expected: u16,
        /// The server's major version.
        major: MajorVersion,
    },
    /// Its first page is not marked as a segment's first.
    #[error("WAL segment \"{name}\" begins with a page from within a segment")]
    NotFirstPage {
        /// The segment.
        name: WalSegmentName,
    },
    /// It was written by another database cluster.
    #[error(
        "WAL segment \"{name}\" is of the cluster with system identifier {found}, not of {expected}"
    )]
    SystemIdentifier {
        /// The segment.
        name: WalSegmentName,
        /// The identifier in it.
        found: SystemIdentifier,
        /// The backup's.
        expected: SystemIdentifier,
    },
    /// It was written with another segment size.
    #[error("WAL segment \"{name}\" is of segments of {found} bytes, not of {}", expected.bytes())]
    SegmentSize {
        /// The segment.
        name: WalSegmentName,
        /// The size in it, in bytes.
        found: u32,
        /// The server's.
        expected: WalSegmentSize,
    },
    /// It holds the WAL of another place than its name says.
    #[error("WAL segment \"{name}\" begins at {found}, not at {expected}")]
    PageAddress {
        /// The segment.
        name: WalSegmentName,
        /// Where its first page is.
        found: Lsn,
        /// Where it should be.
        expected: Lsn,
    },
    /// It was written on a timeline later than the one its name says.
    #[error(
        "WAL segment \"{name}\" begins on timeline {found}, not on {expected} or an earlier one"
    )]
    Timeline {
        /// The segment.
        name: WalSegmentName,
        /// The timeline of its first page.
        found: u32,
        /// The one its name says.
        expected: TimelineId,
    },
    /// The name has no place with segments of this size.
    #[error("WAL segment cannot be placed")]
    Name(#[source] crate::PgTypeError),
    /// `pg_waldump` could not read all of the range.
    #[error("could not read WAL from {range} on timeline {timeline} in \"{}\"", directory.display())]
    Waldump {
        /// Where the segments are.
        directory: PathBuf,
        /// The timeline.
        timeline: TimelineId,
        /// The range.
        range: LsnRange,
        /// What became of `pg_waldump`.
        source: ProgramError,
    },
}

impl WalError {
    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SystemIdentifier { .. } => "system_identifier_mismatch",
            Self::Timeline { .. } => "timeline_mismatch",
            Self::TooShort { .. }
            | Self::Magic { .. }
            | Self::NotFirstPage { .. }
            | Self::SegmentSize { .. }
            | Self::PageAddress { .. } => "verification_failed",
            Self::Name(source) => source.kind(),
            Self::Waldump { source, .. } if ran_and_failed(source) => "verification_failed",
            Self::Waldump { source, .. } => source.kind(),
        }
    }

    /// What to do about it, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::SystemIdentifier { .. } => {
                "Do two clusters archive into the same directory? Each needs its own."
            }
            Self::PageAddress { .. } | Self::Magic { found: 0, .. } => {
                "The server renames old segments for later use; such a file holds nothing yet, or the old WAL. Was it copied before the server wrote it?"
            }
            Self::TooShort { .. } => {
                "Was it copied while it was being written? archive_command must not show a file under its name before it is whole."
            }
            Self::Timeline { .. }
            | Self::Magic { .. }
            | Self::NotFirstPage { .. }
            | Self::SegmentSize { .. } => {
                "Does it come from another cluster, or from this one before an upgrade?"
            }
            Self::Name(source) => return source.hints(),
            Self::Waldump { source, .. } => return source.hints(),
        };
        vec![hint.to_owned()]
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Waldump { source, .. } if source.retryable())
    }
}

/// Whether the program itself found fault with the WAL, rather than not having run to its end.
fn ran_and_failed(error: &ProgramError) -> bool {
    matches!(error.cause, program::Cause::Failed { status: ..=128, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use program::Cause;

    fn waldump(cause: Cause) -> WalError {
        WalError::Waldump {
            directory: PathBuf::from("/wal"),
            timeline: TimelineId::FIRST,
            range: LsnRange::new(Lsn::from(1), Lsn::from(2)).unwrap(),
            source: ProgramError { program: "pg_waldump".to_owned(), cause },
        }
    }

    fn assert_all(cases: &[(WalError, &str, &str)]) {
        for (error, text, kind) in cases {
            assert_eq!(error.to_string(), *text);
            assert_eq!(error.kind(), *kind);
            assert!(!error.retryable());
            assert!(error.hints().iter().all(|hint| hint.ends_with(['.', '?'])));
        }
    }

    fn name() -> WalSegmentName {
        "000000010000000000000002".parse().unwrap()
    }

    #[test]
    fn texts_of_damage() {
        let name = name();
        let size = WalSegmentSize::DEFAULT;
        assert_all(&[
            (
                WalError::TooShort { name, length: 0 },
                "WAL segment \"000000010000000000000002\" has 0 bytes, too few for a page header",
                "verification_failed",
            ),
            (
                WalError::Magic { name, found: 0, expected: 0xD110, major: MajorVersion::V15 },
                "WAL segment \"000000010000000000000002\" begins with 0000, but PostgreSQL 15 writes D110",
                "verification_failed",
            ),
            (
                WalError::NotFirstPage { name },
                "WAL segment \"000000010000000000000002\" begins with a page from within a segment",
                "verification_failed",
            ),
            (
                WalError::SegmentSize { name, found: 1 << 20, expected: size },
                "WAL segment \"000000010000000000000002\" is of segments of 1048576 bytes, not of 16777216",
                "verification_failed",
            ),
            (
                WalError::PageAddress { name, found: Lsn::from(1), expected: Lsn::from(2) },
                "WAL segment \"000000010000000000000002\" begins at 0/1, not at 0/2",
                "verification_failed",
            ),
        ]);
    }

    #[test]
    fn texts_of_mistaken_identity() {
        let name = name();
        let (found, expected) = (SystemIdentifier::from(1_u64), SystemIdentifier::from(2_u64));
        assert_all(&[
            (
                WalError::SystemIdentifier { name, found, expected },
                "WAL segment \"000000010000000000000002\" is of the cluster with system identifier 1, not of 2",
                "system_identifier_mismatch",
            ),
            (
                WalError::Timeline { name, found: 2, expected: TimelineId::FIRST },
                "WAL segment \"000000010000000000000002\" begins on timeline 2, not on 1 or an earlier one",
                "timeline_mismatch",
            ),
            (
                WalError::Name(crate::PgTypeError::invalid("x", "y", "z")),
                "WAL segment cannot be placed",
                "invalid_argument",
            ),
        ]);
    }

    #[test]
    fn texts_of_waldump() {
        let text = "could not read WAL from 0/1 to 0/2 on timeline 1 in \"/wal\"";
        let failed = Cause::Failed { status: 1, stderr: "no".to_owned() };
        let killed = Cause::Failed { status: 137, stderr: String::new() };
        assert_all(&[
            (waldump(failed), text, "verification_failed"),
            (waldump(killed), text, "program_failed"),
        ]);
        assert!(waldump(Cause::TimedOut { seconds: 1, stderr: String::new() }).retryable());
    }
}

//! Names of the files in `pg_wal` and in a WAL archive.

use std::fmt;
use std::str::FromStr;

use crate::segment_name::upper_hexadecimal;
use crate::text::serde_as_text;
use crate::{PgTypeError, TimelineId, WalSegmentName};

/// The name of a file in `pg_wal` or in a WAL archive: all that `archive_command` and `restore_command`
/// are ever called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A whole segment, `000000010000000000000002`.
    Segment(WalSegmentName),
    /// The last segment of a timeline that ended inside it, `….partial`.
    Partial(WalSegmentName),
    /// From where a timeline branched off, `00000002.history`.
    TimelineHistory(TimelineId),
    /// When and where a backup started and stopped, `000000010000000000000002.00000028.backup`.
    BackupHistory {
        /// The segment in which it started.
        segment: WalSegmentName,
        /// The start LSN's offset in it, in bytes.
        offset: u32,
    },
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => segment.fmt(f),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::TimelineHistory(timeline) => f.write_str(&timeline.history_file()),
            Self::BackupHistory { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFileName {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        parse(text).ok_or_else(|| {
            let expected = "a WAL segment, or a .partial, .history or .backup file";
            PgTypeError::invalid("WAL file name", text, expected)
        })
    }
}

serde_as_text!(WalFileName);

fn parse(text: &str) -> Option<WalFileName> {
    if let Some(segment) = text.strip_suffix(".partial") {
        return segment.parse().ok().map(WalFileName::Partial);
    }
    if let Some(timeline) = text.strip_suffix(".history") {
        return TimelineId::new(eight_digits(timeline)?).ok().map(WalFileName::TimelineHistory);
    }
    if let Some(start) = text.strip_suffix(".backup") {
        let (segment, offset) = start.split_once('.')?;
        let offset = eight_digits(offset)?;
        return segment.parse().ok().map(|segment| WalFileName::BackupHistory { segment, offset });
    }
    text.parse().ok().map(WalFileName::Segment)
}

fn eight_digits(text: &str) -> Option<u32> {
    upper_hexadecimal(text, 8).then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_kinds() {
        let segment: WalSegmentName = "0000000200000001000000FF".parse().unwrap();
        let two = TimelineId::new(2).unwrap();
        for (text, name) in [
            ("0000000200000001000000FF", WalFileName::Segment(segment)),
            ("0000000200000001000000FF.partial", WalFileName::Partial(segment)),
            ("00000002.history", WalFileName::TimelineHistory(two)),
            (
                "0000000200000001000000FF.00000028.backup",
                WalFileName::BackupHistory { segment, offset: 0x28 },
            ),
        ] {
            assert_eq!(text.parse::<WalFileName>().unwrap(), name);
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn nothing_else() {
        for text in [
            "",
            ".history",
            "00000000.history",
            "2.history",
            "0000000200000001000000FF.backup",
            "0000000200000001000000FF.28.backup",
            "0000000200000001000000FF.partial.gz",
            "../0000000200000001000000FF",
            "archive_status",
            "RECOVERYXLOG",
            "summaries",
        ] {
            let error = text.parse::<WalFileName>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid WAL file name \"{text}\": expected a WAL segment, or a .partial, .history or .backup file"
                )
            );
        }
    }
}

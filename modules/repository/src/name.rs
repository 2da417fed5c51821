//! Names in a repository. Each is checked where it is parsed, so that none can lead out of its directory.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RepositoryError;

/// Longest name of a file or folder. Filesystems allow 255 bytes; some is left for temporary names.
const LONGEST: usize = 100;

/// Implements what all kinds of names have in common.
macro_rules! name {
    ($type:ident, $what:literal, $expected:literal, $is_valid:expr) => {
        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = RepositoryError;

            fn from_str(text: &str) -> Result<Self, RepositoryError> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) {
                    return Ok(Self(text.to_owned()));
                }
                let value = text.chars().take(2 * LONGEST).collect();
                Err(RepositoryError::Invalid { what: $what, value, expected: $expected })
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The name of a database cluster's folder in the repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

name!(ClusterName, "cluster name", "1 to 100 letters, digits, _ and -", |text| {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
});

/// The name of one backup, unique in its cluster's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

name!(
    BackupId,
    "backup id",
    "1 to 100 letters, digits, ., _ and -, not beginning with a dot",
    is_file_name
);

impl BackupId {
    /// The id a backup gets when nobody names it: its time in UTC, by which ids sort, and a random number, which
    /// keeps two of one second apart: `20261121T031500Z-3f9c`.
    #[must_use]
    pub fn at(time: DateTime<Utc>, random: u16) -> Self {
        Self(format!("{}-{random:04x}", time.format("%Y%m%dT%H%M%SZ")))
    }
}

/// The name of a file of a backup, relative to the backup's folder, with `/` between its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(String);

name!(
    EntryName,
    "file name",
    "parts of letters, digits, ., _ and -, none beginning with a dot, with / between them",
    |text| text.len() <= 1000 && text.split('/').all(is_file_name)
);

fn is_file_name(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters() {
        for text in ["main", "15-main", "A_b"] {
            assert_eq!(text.parse::<ClusterName>().unwrap(), text);
        }
        for text in ["", ".", "..", "a/b", "a.b", "/a", "a b", "ä", &"a".repeat(101)] {
            let error = text.parse::<ClusterName>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid cluster name \"{text}\": expected 1 to 100 letters, digits, _ and -"
                )
            );
        }
    }

    #[test]
    fn backup_ids() {
        for text in ["20261121T031500Z-3f9c", "nightly", "a..b", "-x"] {
            assert_eq!(text.parse::<BackupId>().unwrap().to_string(), text);
        }
        for text in ["", ".", "..", ".x", "a/b", "a\0", "a\n", "a#1"] {
            let error = text.parse::<BackupId>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid backup id \"{text}\": expected 1 to 100 letters, digits, ., _ and -, not beginning with a dot"
                )
            );
        }
    }

    #[test]
    fn default_ids_sort_by_time() {
        let at = |text: &str, random| {
            BackupId::at(DateTime::parse_from_rfc3339(text).unwrap().to_utc(), random)
        };
        let id = at("2026-11-21T04:15:00+01:00", 0x3F9C);
        assert_eq!(id, "20261121T031500Z-3f9c");
        assert!(id < at("2026-11-21T03:15:01Z", 0));
        assert_eq!(id.as_str().parse::<BackupId>().unwrap(), id);
    }

    #[test]
    fn entries_stay_in_their_folder() {
        for text in ["backup_label", "wal/000000010000000000000002", "a/b/c.json"] {
            assert_eq!(text.parse::<EntryName>().unwrap(), text);
        }
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "wal/../..",
            "wal//x",
            "wal/",
            "./x",
            "wal/.x",
            "a\\b",
            "a#1",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<EntryName>(&json).is_err(), "{text}");
        }
        assert!("a/".repeat(600).parse::<EntryName>().is_err());
    }
}

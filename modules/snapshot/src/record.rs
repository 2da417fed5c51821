//! What is known of a snapshot that was taken.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ListedFile, Source};

/// One snapshot: what it is called, where it is, and what is in it. Serialized with these field names; times
/// are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The provider's name for it: the UUID of a btrfs subvolume, `sha256:` and the checksum of a copy's list of
    /// files, or what the operator's program called it.
    pub id: String,
    /// `btrfs`, `files` or `command`.
    pub provider: String,
    /// What was copied: the root of a subvolume, the data directory, or a mount point.
    pub source: PathBuf,
    /// Where the copy is on this machine, if it is reachable here.
    pub path: Option<PathBuf>,
    /// Where the filesystem that was copied is mounted.
    pub mount_point: PathBuf,
    /// The sources that are in it, with every symbolic link of their paths resolved. In a btrfs snapshot the
    /// directory of a source is at `path` joined with what follows `source` in its path.
    pub covers: Vec<Source>,
    /// Just before the copying began.
    pub started_at: DateTime<Utc>,
    /// Just after the copy was known to be on disk.
    pub finished_at: DateTime<Utc>,
    /// Bytes copied, as file sizes; only for `files`.
    pub bytes: Option<u64>,
    /// Files copied; only for `files`.
    pub files: Option<u64>,
    /// Whether every file shares its blocks with the original (always for `btrfs`; unknown for `command`).
    pub reflinked: Option<bool>,
    /// The list of all files with their checksums, beside the copy; only for `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<ListedFile>,
    /// What the operator should know, as whole sentences: a symbolic link that was copied as a link, for example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

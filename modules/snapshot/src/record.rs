//! What is known of a snapshot that was taken.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ClusterFilesystem, ListedFile, Source};

/// One snapshot: what it is called, where it is, and what is in it. Serialized with these field names; times
/// are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The provider's name for it: the UUID of a btrfs subvolume, `sha256:` and the checksum of a copy's list of
    /// files, `snap-…`, or what the operator's program called it.
    pub id: String,
    /// `btrfs`, `files`, `command` or `ebs`.
    pub provider: String,
    /// What was copied: the root of a subvolume, the data directory, a mount point, or a volume's device.
    pub source: PathBuf,
    /// Where the copy is on this machine, if it is reachable here.
    pub path: Option<PathBuf>,
    /// Where the filesystem that was copied is mounted; of several on one volume, the first.
    pub mount_point: PathBuf,
    /// The sources that are in it, with every symbolic link of their paths resolved. In a btrfs snapshot the
    /// directory of a source is at `path` joined with what follows `source` in its path. For `ebs`, paths are as the
    /// server names them, and the directories are in [`ClusterFilesystem::directories`].
    pub covers: Vec<Source>,
    /// Just before the copying began; for `ebs`, the point in time that the snapshot is of, as AWS says it.
    pub started_at: DateTime<Utc>,
    /// Just after the copy was known to be on disk; for `ebs`, to be `pending`.
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
    /// The volume it is of; only for `ebs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeRecord>,
}

impl SnapshotRecord {
    /// Whether all of it is where a restore can have it. An EBS snapshot is of its point in time at once, but can be
    /// restored only when it is `completed`.
    #[must_use]
    pub fn is_uploaded(&self) -> bool {
        self.volume.as_ref().is_none_or(|volume| volume.state == UploadState::Completed)
    }
}

/// What is known of the EBS volume that a snapshot is of: what a restore elsewhere needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// `vol-…`.
    pub volume_id: String,
    /// The region the snapshot is in: `eu-central-1`.
    pub region: String,
    /// The volume's availability zone.
    pub zone: Option<String>,
    /// The account that owns the snapshot.
    pub account: Option<String>,
    /// The instance the volume was attached to.
    pub instance_id: Option<String>,
    /// The volume's size in GiB.
    pub gibibytes: Option<u32>,
    /// `gp3`, `io2`, ….
    pub volume_type: Option<String>,
    /// Its provisioned operations a second.
    pub iops: Option<u32>,
    /// Its provisioned throughput in MiB/s.
    pub throughput: Option<u32>,
    /// Whether it is encrypted; so is the snapshot then, with the same key.
    pub encrypted: Option<bool>,
    /// The ARN of that key.
    pub kms_key: Option<String>,
    /// How far the snapshot is.
    pub state: UploadState,
    /// How much of it is uploaded, in percent.
    pub progress: Option<u8>,
    /// The cluster's filesystems that are on this volume, wholly or in part.
    pub filesystems: Vec<ClusterFilesystem>,
    /// The database cluster it was taken of, as decimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Where the backup starts that it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_lsn: Option<String>,
}

/// How far an EBS snapshot is. As JSON: `"pending"`, `"completed"`, `"error"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Its point in time is fixed, its blocks are still being copied.
    Pending,
    /// It can be restored.
    Completed,
    /// It failed, and will never be restorable.
    Error,
}

#[cfg(test)]
pub(crate) mod tests;

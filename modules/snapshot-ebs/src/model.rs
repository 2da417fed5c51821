//! What EC2 has, in our words.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use snapshot::UploadState;

use crate::Tags;

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `snap-…`.
    pub id: String,
    /// The volume it is of; of a copy, what EC2 says there.
    pub volume_id: String,
    /// How far it is. What is in the recycle bin counts as an error: it cannot be restored.
    pub state: UploadState,
    /// How much of it is uploaded, in percent.
    pub progress: u8,
    /// Its point in time, by AWS's clock.
    pub started_at: DateTime<Utc>,
    /// When it became `completed`.
    pub completed_at: Option<DateTime<Utc>>,
    /// The volume's size in GiB.
    pub gibibytes: u32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The ARN of its key.
    pub kms_key: Option<String>,
    /// The account that owns it: 12 digits.
    pub owner: String,
    /// Why it is in error.
    pub message: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// `creating`, `available`, `in-use`, `deleting`, `deleted`, `error`.
    pub state: String,
    /// Its availability zone.
    pub zone: String,
    /// Its size in GiB.
    pub gibibytes: u32,
    /// `gp3`, ….
    pub volume_type: Option<String>,
    /// Provisioned operations a second.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s.
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The ARN of its key.
    pub kms_key: Option<String>,
    /// The snapshot it was made of.
    pub snapshot_id: Option<String>,
    /// What it is attached to.
    pub attachments: Vec<Attachment>,
    /// Its tags.
    pub tags: Tags,
}

/// A volume's attachment to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `i-…`.
    pub instance_id: String,
    /// The name it was attached under: `/dev/sdf`.
    pub device: String,
    /// `attaching`, `attached`, `detaching`, `detached`, `busy`.
    pub state: String,
}

/// Which snapshots or volumes are asked for; of several, those that meet all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// With this tag and value.
    Tag(String, String),
    /// This volume, or the snapshots of it.
    Volume(String),
    /// In this state: `pending`, ….
    Status(String),
    /// Volumes attached to this instance.
    Instance(String),
}

impl Filter {
    /// Everything with all of these tags.
    #[must_use]
    pub fn tags(tags: &BTreeMap<String, String>) -> Vec<Filter> {
        tags.iter().map(|(key, value)| Self::Tag(key.clone(), value.clone())).collect()
    }

    pub(crate) fn name_and_value(&self) -> (String, String) {
        match self {
            Self::Tag(key, value) => (format!("tag:{key}"), value.clone()),
            Self::Volume(id) => ("volume-id".to_owned(), id.clone()),
            Self::Status(word) => ("status".to_owned(), word.clone()),
            Self::Instance(id) => ("attachment.instance-id".to_owned(), id.clone()),
        }
    }
}

/// A lock that keeps a snapshot from being deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// `governance`, which a privileged user may lift, or `compliance`, which nobody may after the cooling-off.
    pub mode: String,
    /// Days it lasts, 1 to 36500.
    pub days: u32,
    /// Hours in which a `compliance` lock may still be lifted, 1 to 72.
    pub cool_off: Option<u32>,
}

//! EC2's answers in our words.

use aws_sdk_ec2::primitives::DateTime as SdkTime;
use aws_sdk_ec2::types as sdk;
use chrono::{DateTime, Utc};
use snapshot::UploadState;

use crate::{Attachment, Snapshot, Tags, Volume};

pub(super) fn snapshot(found: &sdk::Snapshot) -> Option<Snapshot> {
    Some(Snapshot {
        id: found.snapshot_id()?.to_owned(),
        volume_id: found.volume_id().unwrap_or_default().to_owned(),
        state: state(found.state()),
        progress: percent(found.progress()),
        started_at: time(found.start_time()?)?,
        completed_at: found.completion_time().and_then(time),
        gibibytes: number(found.volume_size()).unwrap_or_default(),
        encrypted: found.encrypted().unwrap_or_default(),
        kms_key: found.kms_key_id().map(str::to_owned),
        owner: found.owner_id().unwrap_or_default().to_owned(),
        message: found.state_message().map(str::to_owned),
        tags: tags(found.tags()),
    })
}

/// A member of the answer to `CreateSnapshots`.
pub(super) fn made(found: &sdk::SnapshotInfo) -> Option<Snapshot> {
    Some(Snapshot {
        id: found.snapshot_id()?.to_owned(),
        volume_id: found.volume_id()?.to_owned(),
        state: state(found.state()),
        progress: percent(found.progress()),
        started_at: found.start_time().and_then(time).unwrap_or_else(Utc::now),
        completed_at: None,
        gibibytes: number(found.volume_size()).unwrap_or_default(),
        encrypted: found.encrypted().unwrap_or_default(),
        kms_key: None,
        owner: found.owner_id().unwrap_or_default().to_owned(),
        message: None,
        tags: tags(found.tags()),
    })
}

pub(super) fn volume(found: &sdk::Volume) -> Option<Volume> {
    Some(Volume {
        id: found.volume_id()?.to_owned(),
        state: found.state().map_or("unknown", sdk::VolumeState::as_str).to_owned(),
        zone: found.availability_zone().unwrap_or_default().to_owned(),
        gibibytes: number(found.size()).unwrap_or_default(),
        volume_type: found.volume_type().map(|kind| kind.as_str().to_owned()),
        iops: number(found.iops()),
        throughput: number(found.throughput()),
        encrypted: found.encrypted().unwrap_or_default(),
        kms_key: found.kms_key_id().map(str::to_owned),
        snapshot_id: found.snapshot_id().filter(|id| !id.is_empty()).map(str::to_owned),
        attachments: found.attachments().iter().filter_map(attachment).collect(),
        tags: tags(found.tags()),
    })
}

pub(super) fn attachment(found: &sdk::VolumeAttachment) -> Option<Attachment> {
    Some(Attachment {
        instance_id: found.instance_id()?.to_owned(),
        device: found.device().unwrap_or_default().to_owned(),
        state: found.state().map_or("unknown", sdk::VolumeAttachmentState::as_str).to_owned(),
    })
}

/// A state that is not known, or not said, is one of a snapshot under way: it is asked again.
fn state(found: Option<&sdk::SnapshotState>) -> UploadState {
    match found.map(sdk::SnapshotState::as_str) {
        Some("completed") => UploadState::Completed,
        Some("error" | "recoverable" | "recovering") => UploadState::Error,
        _ => UploadState::Pending,
    }
}

/// `43%`, and sometimes nothing.
fn percent(text: Option<&str>) -> u8 {
    text.and_then(|text| text.trim_end_matches('%').parse().ok()).unwrap_or_default()
}

fn number(found: Option<i32>) -> Option<u32> {
    found.and_then(|number| u32::try_from(number).ok())
}

fn time(found: &SdkTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(found.secs(), found.subsec_nanos())
}

fn tags(found: &[sdk::Tag]) -> Tags {
    let pair = |tag: &sdk::Tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()));
    found.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_ec2_writes_them() {
        assert_eq!((percent(Some("43%")), percent(Some("")), percent(None)), (43, 0, 0));
        assert_eq!(state(None), UploadState::Pending);
        assert_eq!(state(Some(&sdk::SnapshotState::Completed)), UploadState::Completed);
        assert_eq!(state(Some(&sdk::SnapshotState::Recoverable)), UploadState::Error);
        assert!(snapshot(&sdk::Snapshot::builder().build()).is_none());
        let found = sdk::Snapshot::builder()
            .snapshot_id("snap-1")
            .start_time(SdkTime::from_secs(5))
            .state(sdk::SnapshotState::Pending)
            .progress("7%")
            .volume_size(8)
            .build();
        let read = snapshot(&found).unwrap();
        assert_eq!((read.id.as_str(), read.progress, read.gibibytes), ("snap-1", 7, 8));
    }
}

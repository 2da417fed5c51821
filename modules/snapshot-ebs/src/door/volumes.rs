//! Calls about volumes.

use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::describe_volumes::DescribeVolumesError;
use aws_sdk_ec2::types::{ResourceType, VolumeType};

use super::snapshots::sdk_filters;
use super::{Ec2, answers, tag_specification};
use crate::{Attachment, EbsError, Filter, Tags, Volume};

/// A volume to be made of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// The snapshot.
    pub snapshot_id: String,
    /// The availability zone: that of the instance it is for.
    pub zone: String,
    /// Makes the call harmless when it is repeated: the same token gives the same volume. At most 64 characters.
    pub client_token: String,
    /// `gp3`, …; without it EC2's default.
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<u32>,
    /// MiB/s, for `gp3`.
    pub throughput: Option<u32>,
    /// Whether it is to be encrypted although the snapshot is not.
    pub encrypted: Option<bool>,
    /// The key.
    pub kms_key: Option<String>,
    /// MiB/s at which its blocks are brought from the snapshot, 100 to 300.
    pub initialization_rate: Option<u32>,
    /// Its tags.
    pub tags: Tags,
}

pub(super) async fn describe(
    client: &aws_sdk_ec2::Client,
    wanted: &[Filter],
) -> Result<Vec<Volume>, SdkError<DescribeVolumesError>> {
    let found = client
        .describe_volumes()
        .set_filters(Some(sdk_filters(wanted)))
        .max_results(500)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await?;
    Ok(found.iter().filter_map(answers::volume).collect())
}

fn signed(number: Option<u32>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

impl Ec2 {
    /// The volumes that meet all filters, every page of them.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn describe_volumes(&self, wanted: &[Filter]) -> Result<Vec<Volume>, EbsError> {
        self.again("DescribeVolumes", |client| async move { describe(&client, wanted).await })
    }

    /// The volume of this id; `None` when EC2 does not know it, or not yet, or not any more.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn volume(&self, id: &str) -> Result<Option<Volume>, EbsError> {
        Ok(self.describe_volumes(&[Filter::Volume(id.to_owned())])?.pop())
    }

    /// Makes a volume; its id. Repeated with the same client token it gives the same one.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`], [`EbsError::Answer`].
    pub fn create_volume(&self, new: &NewVolume) -> Result<String, EbsError> {
        let action = "CreateVolume";
        let made = self.again(action, |client| {
            client
                .create_volume()
                .snapshot_id(&new.snapshot_id)
                .availability_zone(&new.zone)
                .client_token(&new.client_token)
                .set_volume_type(new.volume_type.as_deref().map(VolumeType::from))
                .set_iops(signed(new.iops))
                .set_throughput(signed(new.throughput))
                .set_encrypted(new.encrypted)
                .set_kms_key_id(new.kms_key.clone())
                .set_volume_initialization_rate(signed(new.initialization_rate))
                .tag_specifications(tag_specification(ResourceType::Volume, &new.tags))
                .send()
        })?;
        made.volume_id().map(str::to_owned).ok_or(EbsError::Answer { action, missing: "volume id" })
    }

    /// Begins to attach a volume under a device name such as `/dev/sdf`.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn attach_volume(
        &self,
        volume: &str,
        instance: &str,
        device: &str,
    ) -> Result<Attachment, EbsError> {
        let attached = self.again("AttachVolume", |client| {
            client.attach_volume().volume_id(volume).instance_id(instance).device(device).send()
        })?;
        let state = attached.state().map_or("unknown", |state| state.as_str()).to_owned();
        Ok(Attachment { instance_id: instance.to_owned(), device: device.to_owned(), state })
    }

    /// Begins to detach a volume. One that is not attached, or gone, is fine.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn detach_volume(&self, volume: &str, instance: &str) -> Result<(), EbsError> {
        let detached = self.again("DetachVolume", |client| {
            client.detach_volume().volume_id(volume).instance_id(instance).send()
        });
        match detached {
            Err(error) if error.is_not_found() || error.code() == Some("IncorrectState") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes a volume. One that is gone already is fine.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn delete_volume(&self, volume: &str) -> Result<(), EbsError> {
        let deleted =
            self.again("DeleteVolume", |client| client.delete_volume().volume_id(volume).send());
        match deleted {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}

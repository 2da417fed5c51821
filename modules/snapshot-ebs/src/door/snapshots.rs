//! Calls about snapshots.

use aws_sdk_ec2::types::{
    CopyTagsFromSource, Filter as SdkFilter, InstanceSpecification, LockMode, ResourceType,
};

use super::{Ec2, answers, sdk_tags, tag_specification};
use crate::{EbsError, Filter, Lock, Snapshot, Tags, Volume};

/// EC2 gives at most so many in a page.
const PAGE: i32 = 1000;

/// What `CreateSnapshots` is asked for.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotCall {
    pub(crate) instance_id: String,
    /// The instance's volumes that are not wanted; there is no way to name those that are.
    pub(crate) exclude: Vec<String>,
    pub(crate) exclude_root: bool,
    pub(crate) description: String,
    pub(crate) copy_tags: bool,
    pub(crate) tags: Tags,
}

/// What `CopySnapshot` is asked for, in the region it goes to.
#[derive(Debug, Clone)]
pub struct CopyCall {
    /// Where the snapshot is.
    pub source_region: String,
    /// Which it is.
    pub source_snapshot: String,
    /// What it is described as.
    pub description: String,
    /// Whether the copy is to be encrypted although the source is not.
    pub encrypted: Option<bool>,
    /// The key; it encrypts the copy.
    pub kms_key: Option<String>,
    /// Minutes in which the copy is to be done; costs more.
    pub completion_minutes: Option<u32>,
    /// The copy's tags.
    pub tags: Tags,
}

fn filters(wanted: &[Filter]) -> Vec<SdkFilter> {
    let one = |filter: &Filter| {
        let (name, value) = filter.name_and_value();
        SdkFilter::builder().name(name).values(value).build()
    };
    wanted.iter().map(one).collect()
}

pub(super) fn sdk_filters(wanted: &[Filter]) -> Vec<SdkFilter> {
    filters(wanted)
}

impl Ec2 {
    /// One call for all volumes and, with `look`, beside it and in the same time, one for what is known of them.
    ///
    /// The second is for the record only, and tried once: where EC2 takes no more calls, each try would take the
    /// place of somebody's snapshots.
    pub(crate) fn create_snapshots(
        &self,
        call: &SnapshotCall,
        look: bool,
    ) -> (Result<Vec<Snapshot>, EbsError>, Option<Vec<Volume>>) {
        let volumes = std::cell::Cell::new(None);
        let made = self.call("CreateSnapshots", |clients| {
            let (volumes, call) = (&volumes, call.clone());
            async move {
                let instance = [Filter::Instance(call.instance_id.clone())];
                let create = request(&clients.once, &call, false).send();
                if !look {
                    return create.await;
                }
                let (made, found) =
                    tokio::join!(create, super::volumes::describe(&clients.once, &instance));
                volumes.set(found.ok());
                made
            }
        });
        let made = made.map(|made| made.snapshots().iter().filter_map(answers::made).collect());
        (made, volumes.into_inner())
    }

    /// Whether the call would be allowed; nothing is made.
    ///
    /// # Errors
    /// What EC2 would refuse it with.
    pub(crate) fn try_create_snapshots(&self, call: &SnapshotCall) -> Result<(), EbsError> {
        let tried = self.once("CreateSnapshots", |client| request(&client, call, true).send());
        match tried {
            Err(error) if error.code() == Some("DryRunOperation") => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Our own account's snapshots that meet all filters, every page of them.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn describe_snapshots(&self, wanted: &[Filter]) -> Result<Vec<Snapshot>, EbsError> {
        self.own_snapshots(filters(wanted))
    }

    /// Our own account's snapshots of these ids; those that are not there any more are left out.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn snapshots_by_id(&self, ids: &[String]) -> Result<Vec<Snapshot>, EbsError> {
        let mut all = vec![];
        for some in ids.chunks(200) {
            // A filter, since a list of ids is refused whole when one of them is unknown.
            let filter =
                SdkFilter::builder().name("snapshot-id").set_values(Some(some.to_vec())).build();
            all.extend(self.own_snapshots(vec![filter])?);
        }
        Ok(all)
    }

    /// All pages of our own account's snapshots that pass the filters.
    fn own_snapshots(&self, filters: Vec<SdkFilter>) -> Result<Vec<Snapshot>, EbsError> {
        let found = self.again("DescribeSnapshots", |client| {
            client
                .describe_snapshots()
                .owner_ids("self")
                .set_filters(Some(filters.clone()))
                .max_results(PAGE)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(found.iter().filter_map(answers::snapshot).collect())
    }

    /// Deletes a snapshot. One that is gone already is fine.
    ///
    /// # Errors
    /// [`EbsError::Refused`], also with `SnapshotLocked`; [`EbsError::Lost`].
    pub fn delete_snapshot(&self, id: &str) -> Result<(), EbsError> {
        let deleted =
            self.again("DeleteSnapshot", |client| client.delete_snapshot().snapshot_id(id).send());
        match deleted {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets tags of snapshots or volumes, replacing those of the same keys.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn create_tags(&self, ids: &[String], tags: &Tags) -> Result<(), EbsError> {
        let set = self.again("CreateTags", |client| {
            client
                .create_tags()
                .set_resources(Some(ids.to_vec()))
                .set_tags(Some(sdk_tags(tags)))
                .send()
        });
        set.map(drop)
    }

    /// Locks a snapshot.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn lock_snapshot(&self, id: &str, lock: &Lock) -> Result<(), EbsError> {
        let locked = self.again("LockSnapshot", |client| {
            client
                .lock_snapshot()
                .snapshot_id(id)
                .lock_mode(LockMode::from(lock.mode.as_str()))
                .lock_duration(i32::try_from(lock.days).unwrap_or(i32::MAX))
                .set_cool_off_period(lock.cool_off.and_then(|hours| i32::try_from(hours).ok()))
                .send()
        });
        locked.map(drop)
    }

    /// Lets volumes made of the snapshots in these availability zones be fast from the first read on. Billed by the
    /// hour.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`].
    pub fn enable_fast_restore(&self, ids: &[String], zones: &[String]) -> Result<(), EbsError> {
        let enabled = self.again("EnableFastSnapshotRestores", |client| {
            client
                .enable_fast_snapshot_restores()
                .set_source_snapshot_ids(Some(ids.to_vec()))
                .set_availability_zones(Some(zones.to_vec()))
                .send()
        });
        enabled.map(drop)
    }

    /// Begins a copy into this region; its id. Not repeated by itself: there is no client token.
    ///
    /// # Errors
    /// [`EbsError::Refused`], [`EbsError::Lost`], [`EbsError::Answer`].
    pub fn copy_snapshot(&self, call: &CopyCall) -> Result<String, EbsError> {
        let action = "CopySnapshot";
        let made = self.once(action, |client| {
            client
                .copy_snapshot()
                .source_region(&call.source_region)
                .source_snapshot_id(&call.source_snapshot)
                .description(&call.description)
                .set_encrypted(call.encrypted)
                .set_kms_key_id(call.kms_key.clone())
                .set_completion_duration_minutes(
                    call.completion_minutes.and_then(|minutes| i32::try_from(minutes).ok()),
                )
                .tag_specifications(tag_specification(ResourceType::Snapshot, &call.tags))
                .send()
        })?;
        made.snapshot_id()
            .map(str::to_owned)
            .ok_or(EbsError::Answer { action, missing: "snapshot id" })
    }
}

fn request(
    client: &aws_sdk_ec2::Client,
    call: &SnapshotCall,
    dry: bool,
) -> aws_sdk_ec2::operation::create_snapshots::builders::CreateSnapshotsFluentBuilder {
    let excluded = Some(call.exclude.clone()).filter(|ids| !ids.is_empty());
    let instance = InstanceSpecification::builder()
        .instance_id(&call.instance_id)
        .exclude_boot_volume(call.exclude_root)
        .set_exclude_data_volume_ids(excluded)
        .build();
    client
        .create_snapshots()
        .instance_specification(instance)
        .description(&call.description)
        .set_copy_tags_from_source(call.copy_tags.then_some(CopyTagsFromSource::Volume))
        .tag_specifications(tag_specification(ResourceType::Snapshot, &call.tags))
        .set_dry_run(dry.then_some(true))
}

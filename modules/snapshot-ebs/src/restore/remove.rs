//! The end of a restore that is not wanted any more: its volumes go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::{Mounts, Sysfs};

use super::here;
use crate::{EbsError, Ec2, Filter, Volume, tag};

/// A restore to be removed.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Its id.
    pub restore_id: String,
    /// The cluster's name in the repository.
    pub cluster: String,
    /// The instance the volumes are attached to.
    pub instance_id: String,
    /// How long detaching may take.
    pub patience: Duration,
}

/// What belongs to it.
#[derive(Debug, Clone, Default)]
pub struct Removable {
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Where they are mounted here, the last mounted first.
    pub mount_points: Vec<PathBuf>,
}

/// Finds what there is of a restore, by the volumes' tags.
///
/// # Errors
/// [`EbsError::Mismatch`] when a volume is attached to another instance; what EC2 refuses.
pub fn removable(ec2: &Ec2, removal: &Removal, sysfs: &Sysfs) -> Result<Removable, EbsError> {
    let mut volumes = ec2.describe_volumes(&[
        Filter::Tag(tag::RESTORE.to_owned(), removal.restore_id.clone()),
        Filter::Tag(tag::CLUSTER.to_owned(), removal.cluster.clone()),
    ])?;
    volumes.retain(|volume| !matches!(volume.state.as_str(), "deleting" | "deleted"));
    let elsewhere = |volume: &&Volume| {
        volume.attachments.iter().any(|there| there.instance_id != removal.instance_id)
    };
    if let Some(volume) = volumes.iter().find(elsewhere) {
        return Err(EbsError::Mismatch(format!(
            "volume \"{}\" of restore \"{}\" is attached to another instance than \"{}\"",
            volume.id, removal.restore_id, removal.instance_id
        )));
    }
    let ids: Vec<&String> = volumes.iter().map(|volume| &volume.id).collect();
    let disks = sysfs.disks()?;
    let devices: Vec<&str> = disks
        .iter()
        .filter(|disk| disk.ebs_volume().is_some_and(|id| ids.contains(&&id)))
        .map(|disk| disk.device.as_str())
        .collect();
    let is_on = |device: &str| {
        devices.iter().any(|disk| {
            device == *disk || device.strip_prefix(disk).is_some_and(|rest| rest.starts_with('p'))
        })
    };
    let mounts = Mounts::read()?;
    let mut mount_points: Vec<PathBuf> = mounts
        .iter()
        .filter(|mount| is_on(&mount.device))
        .map(|mount| mount.point.clone())
        .collect();
    mount_points.reverse();
    Ok(Removable { volumes, mount_points })
}

/// Unmounts, detaches and deletes. Nothing is detached while any of it is in use.
///
/// # Errors
/// [`EbsError::Restore`] when something cannot be unmounted or does not detach; what EC2 refuses.
pub fn remove(ec2: &Ec2, removal: &Removal, found: &Removable) -> Result<(), EbsError> {
    for point in &found.mount_points {
        here::unmount(point).map_err(|error| {
            EbsError::Restore(format!(
                "could not unmount \"{}\": {error}; does a server still run there?",
                point.display()
            ))
        })?;
    }
    for volume in &found.volumes {
        if !volume.attachments.is_empty() {
            ec2.detach_volume(&volume.id, &removal.instance_id)?;
            wait_detached(ec2, removal, &volume.id)?;
        }
        ec2.delete_volume(&volume.id)?;
    }
    Ok(())
}

fn wait_detached(ec2: &Ec2, removal: &Removal, id: &str) -> Result<(), EbsError> {
    let begun = Instant::now();
    while ec2.volume(id)?.is_some_and(|volume| !volume.attachments.is_empty()) {
        if begun.elapsed() >= removal.patience {
            let seconds = removal.patience.as_secs();
            return Err(EbsError::Restore(format!(
                "volume \"{id}\" was not detached within {seconds} s"
            )));
        }
        ec2.wait(Duration::from_secs(1));
    }
    Ok(())
}

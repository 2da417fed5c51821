//! The end of a restore that is not wanted any more: its volumes go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::Sysfs;

use super::{in_use, making, mounting, proof};
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
    volumes.retain(|volume| !making::is_going(volume));
    volumes.iter().try_for_each(|volume| proof::expect_here(volume, &removal.instance_id))?;
    let ids: Vec<String> = volumes.iter().map(|volume| volume.id.clone()).collect();
    let mounted = mounting::mounted_from(sysfs, &ids)?;
    let mount_points = mounted.into_iter().rev().map(|(_, point)| point).collect();
    Ok(Removable { volumes, mount_points })
}

/// Unmounts, detaches and deletes. Nothing is detached while any of it is in use.
///
/// # Errors
/// [`EbsError::Restore`] when something is in use; then all of it stays mounted. [`EbsError::Late`] when it does not detach; what EC2 refuses.
pub fn remove(
    ec2: &Ec2,
    removal: &Removal,
    found: &Removable,
    sysfs: &Sysfs,
) -> Result<(), EbsError> {
    let ids: Vec<String> = found.volumes.iter().map(|volume| volume.id.clone()).collect();
    in_use::unmount_all(ec2, sysfs, &found.mount_points, &ids)?;
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
            return Err(EbsError::Late {
                what: format!("volume \"{id}\" was not detached"),
                seconds: removal.patience.as_secs(),
            });
        }
        ec2.wait(Duration::from_secs(1));
    }
    Ok(())
}

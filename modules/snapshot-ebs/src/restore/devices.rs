//! Names to attach under, and the devices that appear.

use std::path::Path;
use std::time::{Duration, Instant};

use host::{Disk, Sysfs};
use snapshot::ClusterFilesystem;

use super::RestoreError;
use crate::{Ec2, Volume};

/// How often the kernel is asked for a device. NVMe devices take a second or two to appear.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The names that EC2 recommends for data volumes of Linux instances: `/dev/sdf` to `/dev/sdp`.
pub(super) fn usual_names() -> Vec<String> {
    ('f'..='p').map(|letter| format!("/dev/sd{letter}")).collect()
}

/// As many of `allowed` as are wanted, without those that attached volumes have. `/dev/sdf` and `/dev/xvdf` are the
/// same to an instance.
pub(super) fn free_names(
    instance: &str,
    allowed: &[String],
    attached: &[Volume],
    wanted: usize,
) -> Result<Vec<String>, RestoreError> {
    let used: Vec<String> = attached
        .iter()
        .flat_map(|volume| &volume.attachments)
        .filter(|one| one.instance_id == instance && one.state != "detached")
        .map(|one| plain(&one.device))
        .collect();
    let free: Vec<String> =
        allowed.iter().filter(|name| !used.contains(&plain(name))).cloned().collect();
    if free.len() < wanted {
        let instance = instance.to_owned();
        return Err(RestoreError::NoDeviceName { instance, free: free.len(), wanted });
    }
    Ok(free.into_iter().take(wanted).collect())
}

fn plain(name: &str) -> String {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let letters = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd")).unwrap_or(name);
    letters.to_owned()
}

/// The disk that is this volume, if the kernel shows it.
pub(super) fn disk_of(sysfs: &Sysfs, volume: &str) -> Result<Option<Disk>, RestoreError> {
    let disks = sysfs.disks()?;
    Ok(disks.into_iter().find(|disk| disk.ebs_volume().as_deref() == Some(volume)))
}

/// Waits until the kernel shows the volume and its device can be opened.
pub(super) fn wait_for_disk(
    ec2: &Ec2,
    sysfs: &Sysfs,
    volume: &str,
    time: Duration,
) -> Result<Disk, RestoreError> {
    let begun = Instant::now();
    loop {
        if let Some(disk) = disk_of(sysfs, volume)?
            && Path::new(&disk.device).exists()
        {
            return Ok(disk);
        }
        if begun.elapsed() >= time {
            let (volume, seconds) = (volume.to_owned(), time.as_secs());
            return Err(RestoreError::NoDevice { volume, seconds });
        }
        ec2.wait(LOOK_EVERY);
    }
}

/// The device of a filesystem on `disk`: the disk itself, or the partition of the same number as it was on.
pub(super) fn device_for(disk: &Disk, filesystem: &ClusterFilesystem) -> String {
    let layer = filesystem.layers.iter().find_map(|layer| layer.strip_prefix("partition "));
    let Some(partition) = layer else { return disk.device.clone() };
    let number: String = partition.chars().rev().take_while(char::is_ascii_digit).collect();
    let number: String = number.chars().rev().collect();
    let separator = if disk.device.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{}{separator}{number}", disk.device)
}

/// Waits until the kernel has read the disk's partitions.
pub(super) fn wait_for_device(
    ec2: &Ec2,
    device: &str,
    volume: &str,
    time: Duration,
) -> Result<(), RestoreError> {
    let begun = Instant::now();
    while !Path::new(device).exists() {
        if begun.elapsed() >= time {
            let (volume, seconds) = (volume.to_owned(), time.as_secs());
            return Err(RestoreError::NoDevice { volume, seconds });
        }
        ec2.wait(LOOK_EVERY);
    }
    Ok(())
}

/// Compares what is on the device with what is recorded.
pub(super) fn check_filesystem(
    device: &str,
    volume: &str,
    recorded: &ClusterFilesystem,
    found: &host::Filesystem,
) -> Result<(), RestoreError> {
    let differs = |what, found: String, expected: String| {
        Err(RestoreError::Filesystem {
            device: device.to_owned(),
            volume: volume.to_owned(),
            mount_point: recorded.mount_point.clone(),
            what,
            found,
            expected,
        })
    };
    if found.fstype != recorded.fstype {
        let expected = format!("\"{}\"", recorded.fstype);
        return differs("type", format!("\"{}\"", found.fstype), expected);
    }
    match (&recorded.uuid, &found.uuid) {
        (Some(expected), found) if found.as_ref() != Some(expected) => {
            let is = found.as_ref().map_or("missing".to_owned(), |uuid| format!("\"{uuid}\""));
            differs("UUID", is, format!("\"{expected}\""))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

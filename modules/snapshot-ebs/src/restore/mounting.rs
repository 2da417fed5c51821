//! Every filesystem is found and compared with the manifest; only then is the first one mounted, parents before what
//! lies in them.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use host::{Disk, Mounts, Sysfs};

use super::here::{self, Ready};
use super::{Restored, Steps};
use crate::EbsError;
use crate::restore::undo::Undo;

/// Between two looks for a partition's device, which the kernel makes once it has read the partition table.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Mounts all filesystems of the volumes in `restored`.
pub(super) fn mount_all(
    steps: &Steps<'_>,
    undo: &mut Undo<'_>,
    restored: &mut Restored,
) -> Result<(), EbsError> {
    let mut ready = vec![];
    for (piece, volume) in steps.order.pieces.iter().zip(&mut restored.volumes) {
        let begun = Instant::now();
        volume.device = wait_for_disk(steps, begun, &volume.volume_id)?.device;
        for (original, mount_point) in &piece.filesystems {
            let device = here::device_of(&volume.device, original);
            if !appears(Path::new(&device), begun, steps.order.patience) {
                return Err(steps.late(format!(
                    "volume \"{}\" has a device, but its partition \"{device}\" did not appear",
                    volume.volume_id
                )));
            }
            ready.push(here::examine((steps.order, steps.sysfs), device, original, mount_point)?);
        }
    }
    for one in parents_first(ready) {
        restored.changed |= !one.is_mounted;
        restored.filesystems.push(here::mount(one, undo)?);
    }
    Ok(())
}

fn parents_first(mut ready: Vec<Ready<'_>>) -> Vec<Ready<'_>> {
    ready.sort_by_key(|one| one.mount_point.components().count());
    ready
}

fn wait_for_disk(steps: &Steps<'_>, begun: Instant, volume: &str) -> Result<Disk, EbsError> {
    loop {
        let disks = steps.sysfs.disks()?;
        let is_it = |disk: &Disk| disk.ebs_volume().as_deref() == Some(volume);
        match disks.into_iter().find(is_it) {
            Some(disk) => return Ok(disk),
            None => steps.wait(begun, || {
                format!(
                    "volume \"{volume}\" is attached, but no disk with its serial appeared on this host"
                )
            })?,
        }
    }
}

fn appears(path: &Path, begun: Instant, patience: Duration) -> bool {
    loop {
        if path.exists() {
            return true;
        }
        if begun.elapsed() >= patience {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Where filesystems of these volumes are mounted, each with its volume, in the order in which they were mounted.
pub(super) fn mounted_from(
    sysfs: &Sysfs,
    volumes: &[String],
) -> Result<Vec<(String, PathBuf)>, EbsError> {
    let mounts = Mounts::read()?;
    let volume_of = |mount: &host::Mount| {
        // What is no block device cannot be one of them.
        let stack = sysfs.under_mount(&mount.point, mount).ok()?;
        let mut ids = stack.disks.iter().filter_map(Disk::ebs_volume);
        ids.find(|id| volumes.contains(id))
    };
    Ok(mounts.iter().filter_map(|mount| Some((volume_of(mount)?, mount.point.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::filesystem;
    use super::*;

    #[test]
    fn a_mount_point_inside_another_comes_after_it() {
        let original = filesystem("/old");
        let at = |point: &'static str| Ready {
            device: "/dev/x".into(),
            original: &original,
            mount_point: Path::new(point),
            options: vec![],
            is_mounted: false,
        };
        let sorted = parents_first(vec![at("/srv/pg/data/ts"), at("/wal"), at("/srv/pg")]);
        let points: Vec<&Path> = sorted.iter().map(|one| one.mount_point).collect();
        assert_eq!(points, ["/wal", "/srv/pg", "/srv/pg/data/ts"].map(Path::new));
    }

    #[test]
    fn a_partition_may_come_later_than_its_disk() {
        let place = tempfile::tempdir().unwrap();
        let node = place.path().join("nvme1n1p1");
        assert!(!appears(&node, Instant::now(), Duration::ZERO));
        let made = node.clone();
        let later = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            std::fs::write(made, "").unwrap();
        });
        assert!(appears(&node, Instant::now(), Duration::from_secs(30)));
        later.join().unwrap();
    }
}

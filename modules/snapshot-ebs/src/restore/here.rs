//! The part of a restore that happens on this host.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::{DeviceNumber, Mounts, Sysfs, filesystem_of};
use program::Program;
use snapshot::ClusterFilesystem;

use super::undo::Undo;
use super::{RestoreOrder, RestoredFilesystem};
use crate::EbsError;

/// A filesystem that was not unmounted in order replays its journal while it is mounted.
pub(super) const MOUNTING: Duration = Duration::from_secs(600);
/// Options that say how the filesystem was mounted and not how it should be, or that the kernel made up.
const NOT_TAKEN_OVER: [&str; 4] = ["ro", "rw", "nouuid", "remount"];
/// Options that people set, and that mean the same anywhere (mount(8), xfs(5), ext4(5)).
pub(super) const TAKEN_OVER: [&str; 9] = [
    "noatime",
    "nodiratime",
    "relatime",
    "nodev",
    "nosuid",
    "noexec",
    "discard",
    "lazytime",
    "inode64",
];

/// A filesystem that is what the manifest says, and can be mounted.
pub(super) struct Ready<'a> {
    pub(super) device: String,
    pub(super) original: &'a ClusterFilesystem,
    pub(super) mount_point: &'a Path,
    pub(super) options: Vec<String>,
    /// Whether an earlier run has mounted it.
    pub(super) is_mounted: bool,
}

/// Refuses what takes more than a mount: volume groups and arrays have identifiers of their own, which exist twice
/// once a copy is attached to the same host.
pub(super) fn expect_simple(filesystem: &ClusterFilesystem) -> Result<(), EbsError> {
    let at = filesystem.mount_point.display();
    if let Some(layer) = filesystem.layers.iter().find(|layer| !layer.starts_with("partition ")) {
        return Err(EbsError::Restore(format!(
            "the filesystem of \"{at}\" is on {layer}, which this module does not assemble: make the volumes from \
             the snapshots, run vgimportclone for LVM, mount it, and go on with cluster_restore"
        )));
    }
    if filesystem.volumes.len() > 1 {
        return Err(EbsError::Restore(format!(
            "the filesystem of \"{at}\" is on {} volumes, which this module does not assemble",
            filesystem.volumes.len()
        )));
    }
    Ok(())
}

/// Refuses a mount point that is in use for something else than what an earlier run of this restore has `mounted`.
pub(super) fn expect_free(point: &Path, mounted: &[PathBuf]) -> Result<(), EbsError> {
    if !point.is_absolute() {
        return Err(EbsError::Option {
            option: "mount_points",
            problem: format!("\"{}\" is not an absolute path", point.display()),
        });
    }
    // Below a mounted one the directory is the restored cluster's own, and the original was mounted over it too.
    if mounted.iter().any(|ours| point.starts_with(ours)) {
        return Ok(());
    }
    let no = |problem: String| Err(EbsError::MountPoint { path: point.to_path_buf(), problem });
    let mounts = Mounts::read()?;
    if let Some(mount) = mounts.iter().find(|mount| mount.point == point) {
        return no(format!("is one already, of \"{}\"", mount.device));
    }
    match fs::read_dir(point) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                no("is not empty; what is in it would be hidden by the restored volume".to_owned())
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => no(format!("cannot be examined: {error}")),
    }
}

/// Checks that the device holds what the manifest says, and how it is to be mounted. Changes nothing.
pub(super) fn examine<'a>(
    (order, sysfs): (&RestoreOrder, &Sysfs),
    device: String,
    original: &'a ClusterFilesystem,
    mount_point: &'a Path,
) -> Result<Ready<'a>, EbsError> {
    expect_same(&device, original, &filesystem_of(&device)?)?;
    let mounts = Mounts::read()?;
    let mut options = order.mount_options.clone().unwrap_or_else(|| options(original));
    let there = mounts.iter().find(|mount| mount.point == mount_point);
    if let Some(there) = there.filter(|there| !same_device(&there.device, &device)) {
        return Err(EbsError::MountPoint {
            path: mount_point.to_path_buf(),
            problem: format!("is one already, of \"{}\" and not of \"{device}\"", there.device),
        });
    }
    match original.fstype.as_str() {
        // The original may be mounted where our mounts do not show it: in a container's only.
        "xfs" if !options.iter().any(|option| option == "nouuid") => {
            options.push("nouuid".to_owned());
        }
        "btrfs" if there.is_none() && has_twin(sysfs, &mounts, original, &device) => {
            return Err(twin(&device, original));
        }
        _ => {}
    }
    Ok(Ready { device, original, mount_point, options, is_mounted: there.is_some() })
}

/// Mounts it, unless it is mounted.
pub(super) fn mount(ready: Ready<'_>, undo: &mut Undo<'_>) -> Result<RestoredFilesystem, EbsError> {
    if !ready.is_mounted {
        make_directories(ready.mount_point, undo)?;
        run_mount(&ready)?;
    }
    Ok(RestoredFilesystem {
        original: ready.original.clone(),
        device: ready.device,
        mount_point: ready.mount_point.to_path_buf(),
        options: ready.options,
    })
}

/// The whole disk, or the same partition of it as it was: `partition nvme1n1p2` is `/dev/nvme3n1p2` now.
pub(super) fn device_of(disk: &str, original: &ClusterFilesystem) -> String {
    let partition = original.layers.iter().find_map(|layer| layer.strip_prefix("partition "));
    let number: String = partition
        .map(|name| name.chars().rev().take_while(char::is_ascii_digit).collect::<String>())
        .unwrap_or_default()
        .chars()
        .rev()
        .collect();
    if number.is_empty() { disk.to_owned() } else { format!("{disk}p{number}") }
}

fn expect_same(
    device: &str,
    original: &ClusterFilesystem,
    found: &host::Filesystem,
) -> Result<(), EbsError> {
    let not = |what: &str, is: &str, was: &str| {
        Err(EbsError::Mismatch(format!(
            "\"{device}\" has the filesystem {what} \"{is}\", the manifest says \"{was}\" for \"{}\"",
            original.mount_point.display()
        )))
    };
    if found.fstype != original.fstype {
        return not("type", &found.fstype, &original.fstype);
    }
    match (&original.uuid, &found.uuid) {
        (Some(was), Some(is)) if was != is => not("UUID", is, was),
        (Some(was), None) => not("UUID", "", was),
        _ => Ok(()),
    }
}

fn options(original: &ClusterFilesystem) -> Vec<String> {
    let keep = |option: &&String| {
        TAKEN_OVER.contains(&option.as_str()) && !NOT_TAKEN_OVER.contains(&option.as_str())
            || option.starts_with("subvol=")
    };
    original.options.iter().filter(keep).cloned().collect()
}

/// Whether the kernel knows another device of the UUID, or our mounts show one.
fn has_twin(sysfs: &Sysfs, mounts: &Mounts, original: &ClusterFilesystem, device: &str) -> bool {
    let number = fs::metadata(device).ok().map(|found| DeviceNumber::of(found.rdev()));
    let known = original.uuid.as_deref().zip(number);
    known.is_some_and(|(uuid, number)| sysfs.has_other_btrfs(uuid, number))
        || is_mounted_elsewhere(mounts, original, device)
}

/// Whether the original, or another copy than `device`, is mounted. Another subvolume of the same device may be.
fn is_mounted_elsewhere(mounts: &Mounts, original: &ClusterFilesystem, device: &str) -> bool {
    let others = mounts.iter().filter(|mount| mount.fstype == original.fstype);
    others.filter(|mount| !same_device(&mount.device, device)).any(|mount| {
        original.uuid.is_none()
            || filesystem_of(&mount.device).is_ok_and(|found| found.uuid == original.uuid)
    })
}

/// The kernel takes btrfs devices of one UUID for one filesystem: what is mounted then may be the original.
fn twin(device: &str, original: &ClusterFilesystem) -> EbsError {
    EbsError::Restore(format!(
        "the btrfs filesystem on \"{device}\" has the UUID of one that is mounted on this host, that of \"{}\" in \
         the backup: restore it on another instance",
        original.mount_point.display()
    ))
}

fn same_device(one: &str, other: &str) -> bool {
    one == other
        || matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn make_directories(path: &Path, undo: &mut Undo<'_>) -> Result<(), EbsError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for directory in missing.into_iter().rev() {
        fs::create_dir(directory).map_err(|error| {
            EbsError::Restore(format!("could not make \"{}\": {error}", directory.display()))
        })?;
        undo.directory(directory);
    }
    Ok(())
}

fn run_mount(ready: &Ready<'_>) -> Result<(), EbsError> {
    let Ready { device, original, mount_point, options, .. } = ready;
    let mut program = Program::new("mount").args(["-t", &original.fstype]).deadline(MOUNTING);
    if !options.is_empty() {
        program = program.arg("-o").arg(options.join(","));
    }
    program.arg(device).arg(mount_point).run().map(drop).map_err(|error| {
        EbsError::Restore(format!(
            "could not mount \"{device}\" at \"{}\": {error}",
            mount_point.display()
        ))
    })
}

pub(super) fn unmount(mount_point: &Path) -> Result<(), program::ProgramError> {
    Program::new("umount").arg(mount_point).deadline(MOUNTING).run().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem() -> ClusterFilesystem {
        super::super::tests::filesystem("/data")
    }

    #[test]
    fn only_what_a_mount_can_do_is_done() {
        assert!(expect_simple(&filesystem()).is_ok());
        let lvm = ClusterFilesystem { layers: vec!["lvm vg-data".into()], ..filesystem() };
        let text = expect_simple(&lvm).unwrap_err().to_string();
        assert!(text.starts_with("the filesystem of \"/data\" is on lvm vg-data, which"), "{text}");
        let two =
            ClusterFilesystem { volumes: vec!["vol-1".into(), "vol-2".into()], ..filesystem() };
        let text =
            "the filesystem of \"/data\" is on 2 volumes, which this module does not assemble";
        assert_eq!(expect_simple(&two).unwrap_err().to_string(), text);
    }

    #[test]
    fn the_same_partition_and_the_options_that_people_set() {
        assert_eq!(device_of("/dev/nvme3n1", &filesystem()), "/dev/nvme3n1p2");
        let whole = ClusterFilesystem { layers: vec![], ..filesystem() };
        assert_eq!(device_of("/dev/loop3", &whole), "/dev/loop3");
        assert_eq!(options(&filesystem()), ["noatime", "subvol=/@pg"]);
    }

    #[test]
    fn another_filesystem_is_not_mounted() {
        let found = |fstype: &str, uuid: Option<&str>| host::Filesystem {
            fstype: fstype.into(),
            uuid: uuid.map(str::to_owned),
            label: None,
        };
        let same = |found: host::Filesystem| expect_same("/dev/x", &filesystem(), &found);
        assert!(same(found("xfs", Some("u1"))).is_ok());
        let text =
            "\"/dev/x\" has the filesystem UUID \"u2\", the manifest says \"u1\" for \"/data\"";
        assert_eq!(same(found("xfs", Some("u2"))).unwrap_err().to_string(), text);
        let text =
            "\"/dev/x\" has the filesystem type \"ext4\", the manifest says \"xfs\" for \"/data\"";
        assert_eq!(same(found("ext4", Some("u1"))).unwrap_err().to_string(), text);
    }

    #[test]
    fn the_original_is_not_mounted_for_its_copy() {
        let btrfs = ClusterFilesystem { fstype: "btrfs".into(), ..filesystem() };
        assert_eq!(
            twin("/dev/x", &btrfs).to_string(),
            "the btrfs filesystem on \"/dev/x\" has the UUID of one that is mounted on this host, that of \"/data\" in \
             the backup: restore it on another instance"
        );
    }

    #[test]
    fn a_mount_point_in_use_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let free = |point: &Path, mounted: &str| expect_free(point, &[mounted.into()]);
        assert!(free(place.path(), "/x").is_ok());
        assert!(free(&place.path().join("new"), "/x").is_ok());
        fs::write(place.path().join("file"), "").unwrap();
        let text = free(place.path(), "/x").unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "mount point \"{}\" is not empty; what is in it would be hidden by the restored volume",
                place.path().display()
            )
        );
        // An earlier run has mounted what it lies in.
        assert!(free(place.path(), "/").is_ok());
        let text = free(Path::new("/"), "/x").unwrap_err().to_string();
        assert!(text.starts_with("mount point \"/\" is one already, of \""), "{text}");
        assert!(free(Path::new("/"), "/").is_ok());
        let text = free(Path::new("x"), "/x").unwrap_err().to_string();
        assert_eq!(text, "invalid mount_points: \"x\" is not an absolute path");
    }
}

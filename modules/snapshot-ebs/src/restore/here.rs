//! The part of a restore that happens on this host.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use host::{Mounts, filesystem_of};
use program::Program;
use snapshot::ClusterFilesystem;

use super::RestoredFilesystem;
use super::undo::Undo;
use crate::{EbsError, Volume};

/// A filesystem that was not unmounted in order replays its journal while it is mounted.
const MOUNTING: Duration = Duration::from_secs(600);
/// Options that say how the filesystem was mounted and not how it should be, or that the kernel made up.
const NOT_TAKEN_OVER: [&str; 4] = ["ro", "rw", "nouuid", "remount"];
/// Options that people set, and that mean the same anywhere (mount(8), xfs(5), ext4(5)).
const TAKEN_OVER: [&str; 9] = [
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

/// A filesystem that is mounted now.
pub(super) struct MountedHere {
    pub(super) filesystem: RestoredFilesystem,
    pub(super) changed: bool,
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

/// Refuses a mount point that is in use for something else than this restore.
pub(super) fn expect_free(mount_point: &Path, ours: &[Volume]) -> Result<(), EbsError> {
    let at = mount_point.display();
    if !mount_point.is_absolute() {
        return Err(EbsError::Restore(format!("mount point \"{at}\" is not an absolute path")));
    }
    let mounts = Mounts::read()?;
    if let Some(mount) = mounts.iter().find(|mount| mount.point == mount_point) {
        // An earlier run of this restore may have mounted it; the filesystem itself is checked later.
        if !ours.is_empty() {
            return Ok(());
        }
        return Err(EbsError::Restore(format!(
            "\"{at}\" is a mount point already, of \"{}\"; give another in mount_points",
            mount.device
        )));
    }
    match fs::read_dir(mount_point) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(EbsError::Restore(format!(
                "\"{at}\" is not empty; what is in it would be hidden by the restored volume"
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EbsError::Restore(format!("could not examine \"{at}\": {error}"))),
    }
}

/// Checks that the device holds what the manifest says, and only then mounts it.
pub(super) fn mount(
    (volume, disk): (&str, &str),
    original: &ClusterFilesystem,
    mount_point: &Path,
    undo: &mut Undo<'_>,
) -> Result<MountedHere, EbsError> {
    let device = device_of(disk, original);
    let found = filesystem_of(&device)?;
    expect_same(&device, original, &found)?;
    let mounts = Mounts::read()?;
    let mut options = undo.order().mount_options.clone().unwrap_or_else(|| options(original));
    if let Some(there) = mounts.iter().find(|mount| mount.point == mount_point) {
        if !same_device(&there.device, &device) {
            return Err(EbsError::Restore(format!(
                "\"{}\" is a mount point already, of \"{}\" and not of \"{device}\"",
                mount_point.display(),
                there.device
            )));
        }
        undo.mounted(volume, mount_point);
        let filesystem = restored(original, device, mount_point, there.options.clone());
        return Ok(MountedHere { filesystem, changed: false });
    }
    if is_mounted_elsewhere(&mounts, original, &device) {
        match original.fstype.as_str() {
            "xfs" => options.push("nouuid".to_owned()),
            "btrfs" => return Err(twin(&device, original)),
            _ => {}
        }
    }
    make_directories(mount_point, undo)?;
    run_mount(&device, original, mount_point, &options)?;
    undo.mounted(volume, mount_point);
    let filesystem = restored(original, device, mount_point, options);
    Ok(MountedHere { filesystem, changed: true })
}

fn restored(
    original: &ClusterFilesystem,
    device: String,
    mount_point: &Path,
    options: Vec<String>,
) -> RestoredFilesystem {
    RestoredFilesystem {
        original: original.clone(),
        device,
        mount_point: mount_point.to_path_buf(),
        options,
    }
}

/// The whole disk, or the same partition of it as it was: `partition nvme1n1p2` is `/dev/nvme3n1p2` now.
fn device_of(disk: &str, original: &ClusterFilesystem) -> String {
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

/// Whether the original, or another copy than `device`, is mounted: XFS then refuses the UUID. Of btrfs another
/// subvolume of the same device may be.
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

/// Whether something is mounted at every one of these.
pub(super) fn are_mounted<'a>(
    mut points: impl Iterator<Item = &'a Path>,
) -> Result<bool, EbsError> {
    let mounts = Mounts::read()?;
    Ok(points.all(|point| mounts.iter().any(|mount| mount.point == point)))
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

fn run_mount(
    device: &str,
    original: &ClusterFilesystem,
    mount_point: &Path,
    options: &[String],
) -> Result<(), EbsError> {
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
        ClusterFilesystem {
            mount_point: "/data".into(),
            device: "/dev/nvme1n1p2".into(),
            fstype: "xfs".into(),
            uuid: Some("u1".into()),
            label: None,
            options: ["rw", "noatime", "attr2", "nouuid", "subvol=/@pg"].map(str::to_owned).into(),
            layers: vec!["partition nvme1n1p2".into()],
            volumes: vec!["vol-1".into()],
            covers: vec![],
            directories: vec![],
        }
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
        let is_there = |points: &[&str]| are_mounted(points.iter().map(Path::new)).unwrap();
        assert!(is_there(&["/"]) && !is_there(&["/", "/no/such/place"]));
    }

    #[test]
    fn a_mount_point_in_use_is_refused() {
        let place = tempfile::tempdir().unwrap();
        assert!(expect_free(place.path(), &[]).is_ok());
        assert!(expect_free(&place.path().join("new"), &[]).is_ok());
        fs::write(place.path().join("file"), "").unwrap();
        let text = expect_free(place.path(), &[]).unwrap_err().to_string();
        assert!(
            text.ends_with("is not empty; what is in it would be hidden by the restored volume"),
            "{text}"
        );
        let text = expect_free(Path::new("/"), &[]).unwrap_err().to_string();
        assert!(text.starts_with("\"/\" is a mount point already, of "), "{text}");
        let text = expect_free(Path::new("x"), &[]).unwrap_err().to_string();
        assert_eq!(text, "mount point \"x\" is not an absolute path");
    }
}

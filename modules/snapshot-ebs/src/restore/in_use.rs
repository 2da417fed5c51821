//! Nothing is detached while somebody works on it, and nobody loses a part of what he works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::{Mount, Mounts, Sysfs};
use program::Program;

use super::here::{self, MOUNTING, TAKEN_OVER};
use crate::{EbsError, Ec2};

/// The kernel lets go of a device a moment after the last unmount, and others look at it then.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A volume of which a filesystem is mounted where this host's mounts do not show it, and its device: a container that
/// was given the directory has a mount of its own.
pub(super) type Claimed = (String, String);

/// Those of the volumes, none of which is mounted on this host, that are in use nevertheless.
pub(super) fn claimed(
    ec2: &Ec2,
    sysfs: &Sysfs,
    volumes: &[String],
) -> Result<Vec<Claimed>, EbsError> {
    let mut found = vec![];
    for disk in sysfs.disks()? {
        let Some(id) = disk.ebs_volume().filter(|id| volumes.contains(id)) else { continue };
        let mut is_claimed = disk.is_claimed()?;
        for _ in 1..TRIES {
            if is_claimed {
                ec2.wait(PAUSE);
                is_claimed = disk.is_claimed()?;
            }
        }
        if is_claimed {
            found.push((id, disk.device));
        }
    }
    Ok(found)
}

/// Unmounts all of `points`, and checks that then none of the volumes is in use. Otherwise what was unmounted is mounted
/// again: a server must not run on half of its filesystems.
pub(super) fn unmount_all(
    ec2: &Ec2,
    sysfs: &Sysfs,
    points: &[PathBuf],
    volumes: &[String],
) -> Result<(), EbsError> {
    let before = Mounts::read()?;
    let mut unmounted: Vec<&Path> = vec![];
    for point in points {
        if let Err(error) = here::unmount(point) {
            let text = format!(
                "could not unmount \"{}\": {error}; does a server still run there?",
                point.display()
            );
            return Err(EbsError::Restore(text + &mount_again(&before, &unmounted)));
        }
        unmounted.push(point);
    }
    let text = match claimed(ec2, sysfs, volumes) {
        Ok(claimed) => match claimed.first() {
            None => return Ok(()),
            Some((_, device)) => still_in_use(device),
        },
        Err(error) => error.to_string(),
    };
    Err(EbsError::Restore(text + &mount_again(&before, &unmounted)))
}

fn still_in_use(device: &str) -> String {
    format!(
        "\"{device}\" is in use, though it is not mounted on this host: stop what uses it, such as a container that was \
         given its directory"
    )
}

/// Mounts what was unmounted, the last first, and tells what could not be.
fn mount_again(before: &Mounts, unmounted: &[&Path]) -> String {
    let mut told = String::new();
    for point in unmounted.iter().rev() {
        let mount = before.iter().find(|mount| mount.point == **point);
        if !mount.is_some_and(mount_one) {
            told += &format!("; \"{}\" was unmounted", point.display());
        }
    }
    told
}

/// Of a bind mount the rest of the filesystem would be shown too.
fn mount_one(mount: &Mount) -> bool {
    let is_whole = mount.root == Path::new("/") || mount.fstype == "btrfs";
    let mut program = Program::new("mount").args(["-t", &mount.fstype]).deadline(MOUNTING);
    let options = options(mount);
    if !options.is_empty() {
        program = program.arg("-o").arg(options.join(","));
    }
    is_whole && program.arg(&mount.device).arg(&mount.point).run().is_ok()
}

/// The kernel lists some that mount(8) does not take.
fn options(mount: &Mount) -> Vec<&str> {
    let all = mount.options.iter().map(String::as_str);
    let is_taken = |option: &&str| {
        TAKEN_OVER.contains(option)
            || matches!(*option, "ro" | "nouuid")
            || option.starts_with("subvol=")
    };
    all.filter(is_taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_named() {
        assert_eq!(
            still_in_use("/dev/x"),
            "\"/dev/x\" is in use, though it is not mounted on this host: stop what uses it, such as a container that \
             was given its directory"
        );
    }
}

//! Mounting: with which options, and where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::{Mount, Mounts, filesystem_of};
use program::Program;
use snapshot::ClusterFilesystem;

use super::RestoreError;

/// Mounting replays the journal, the blocks of which come from the snapshot one by one.
const TIME: Duration = Duration::from_secs(600);

/// Recorded options that are worth having again. The kernel shows many more: what it has by itself, and some that
/// mount(8) does not take.
const OPTIONS: &[&str] = &[
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "lazytime",
    "nosuid",
    "nodev",
    "noexec",
    "sync",
    "dirsync",
    "discard",
    "nodiscard",
    "inode32",
    "inode64",
    "largeio",
    "swalloc",
    "nobarrier",
    "nodelalloc",
    "noauto_da_alloc",
    "nodatacow",
    "nodatasum",
    "autodefrag",
    "ssd",
    "nossd",
    "prjquota",
    "usrquota",
    "grpquota",
];
/// The same, of those with a value.
const WITH_VALUE: &[&str] = &[
    "allocsize",
    "commit",
    "compress",
    "compress-force",
    "context",
    "data",
    "errors",
    "logbsize",
    "logbufs",
    "subvol",
];

/// The options to mount with: `rw` first, since a restored cluster writes.
pub(super) fn options(
    recorded: &ClusterFilesystem,
    wished: Option<&[String]>,
    is_twin_mounted: bool,
) -> Vec<String> {
    let mut options: Vec<String> = match wished {
        Some(wished) => wished.to_vec(),
        None => {
            let kept = recorded.options.iter().filter(|option| is_worth_having(option)).cloned();
            std::iter::once("rw".to_owned()).chain(kept).collect()
        }
    };
    let has = options.iter().any(|option| option == "nouuid");
    if recorded.fstype == "xfs" && is_twin_mounted && !has {
        options.push("nouuid".to_owned());
    }
    options
}

fn is_worth_having(option: &str) -> bool {
    match option.split_once('=') {
        Some((name, _)) => WITH_VALUE.contains(&name),
        None => OPTIONS.contains(&option),
    }
}

/// Whether a filesystem of the same type and UUID is mounted here from another device than `own`.
pub(super) fn is_twin_mounted(
    recorded: &ClusterFilesystem,
    mounts: &Mounts,
    own: Option<&str>,
) -> bool {
    let Some(uuid) = &recorded.uuid else { return true };
    mounts
        .iter()
        .filter(|mount| mount.fstype == recorded.fstype && Some(mount.device.as_str()) != own)
        // What cannot be read may be the twin; nouuid does no harm then.
        .any(|mount| {
            filesystem_of(&mount.device).map_or(true, |found| found.uuid.as_ref() == Some(uuid))
        })
}

/// What is mounted at `point`, if anything: the last that was.
pub(super) fn mounted_at<'a>(mounts: &'a Mounts, point: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|mount| mount.point == point).last()
}

/// Whether `mount` is of `device`.
pub(super) fn is_of(mount: &Mount, device: &str) -> bool {
    let real = |path: &str| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    mount.device == device || real(&mount.device) == real(device)
}

/// Checks that something can be mounted at `point`: an empty directory, or nothing yet.
pub(super) fn check_mount_point(point: &Path, mounts: &Mounts) -> Result<(), RestoreError> {
    let refuse = |why: String| {
        Err(RestoreError::MountPoint { mount_point: point.to_path_buf(), why })
    };
    if let Some(mount) = mounted_at(mounts, point) {
        return refuse(format!("\"{}\" is mounted there", mount.device));
    }
    let found = match fs::symlink_metadata(point) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(RestoreError::io("examine", point))?,
    };
    if found.is_symlink() {
        return refuse("it is a symbolic link".to_owned());
    }
    if !found.is_dir() {
        return refuse("it is no directory".to_owned());
    }
    let mut entries = fs::read_dir(point).map_err(RestoreError::io("read directory", point))?;
    match entries.next() {
        None => Ok(()),
        Some(Err(error)) => Err(RestoreError::io("read directory", point)(error)),
        Some(Ok(entry)) => {
            refuse(format!("it is not empty: it has \"{}\"", entry.file_name().display()))
        }
    }
}

/// Makes the directory and those above it that are missing; those made, the topmost first.
pub(super) fn make_directories(point: &Path, made: &mut Vec<PathBuf>) -> Result<(), RestoreError> {
    let missing: Vec<&Path> =
        point.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
    for path in missing.into_iter().rev() {
        fs::create_dir(path).map_err(RestoreError::io("make directory", path))?;
        made.push(path.to_path_buf());
    }
    Ok(())
}

/// Mounts.
pub(super) fn mount(
    device: &str,
    fstype: &str,
    options: &[String],
    point: &Path,
) -> Result<(), RestoreError> {
    let mut program = Program::new("mount").args(["-t", fstype]);
    if !options.is_empty() {
        program = program.args(["-o", &options.join(",")]);
    }
    let done = program.args(["--", device]).arg(point).deadline(TIME).run();
    done.map(drop).map_err(|source| RestoreError::Mount {
        action: "mount",
        device: device.to_owned(),
        mount_point: point.to_path_buf(),
        source,
    })
}

/// Unmounts.
pub(super) fn unmount(device: &str, point: &Path) -> Result<(), RestoreError> {
    let done = Program::new("umount").arg("--").arg(point).deadline(TIME).run();
    done.map(drop).map_err(|source| RestoreError::Mount {
        action: "unmount",
        device: device.to_owned(),
        mount_point: point.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests;

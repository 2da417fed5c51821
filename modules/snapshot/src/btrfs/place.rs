//! Where snapshots of a subvolume are put.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use host::Mounts;

use super::subvolume::is_btrfs;
use crate::SnapshotError;
use crate::files::nearest_existing;
use crate::sources::Resolved;

const NAME: &str = ".backstay";

/// The directory the operator has given, if it can take a snapshot of the subvolume `root`.
pub(crate) fn given(
    directory: &Path,
    root: &Path,
    sources: &Resolved,
    mounts: &Mounts,
) -> Result<PathBuf, SnapshotError> {
    if !directory.is_absolute() {
        return Err(SnapshotError::InvalidSetup("snapshot_directory must be an absolute path"));
    }
    let existing = nearest_existing(directory)?;
    if let Some(within) = sources.containing(&existing) {
        let path = directory.to_path_buf();
        return Err(SnapshotError::Inside { path, within: within.clone() });
    }
    if !same_filesystem(&existing, root, mounts)? {
        let why = format!("\"{}\" is not on the same btrfs filesystem", directory.display());
        return Err(SnapshotError::NoPlace { subvolume: root.to_path_buf(), why });
    }
    Ok(directory.to_path_buf())
}

/// The nearest place at or above the root of the subvolume that is not inside the database cluster: what is
/// inside would become part of the next snapshot, and PostgreSQL's tools would stumble over it.
pub(crate) fn natural(
    root: &Path,
    sources: &Resolved,
    mounts: &Mounts,
) -> Result<PathBuf, SnapshotError> {
    let outside = root.ancestors().find(|path| sources.containing(path).is_none());
    let no_place = |why| SnapshotError::NoPlace { subvolume: root.to_path_buf(), why };
    let Some(outside) = outside else {
        return Err(no_place("all directories above it belong to the database cluster".to_owned()));
    };
    if !same_filesystem(outside, root, mounts)? {
        return Err(no_place(format!(
            "it is inside the database cluster, and \"{}\" above it is not on the same btrfs filesystem",
            outside.display()
        )));
    }
    Ok(outside.join(NAME))
}

/// Subvolumes have different device numbers, so the mounted device is compared.
fn same_filesystem(one: &Path, other: &Path, mounts: &Mounts) -> Result<bool, SnapshotError> {
    Ok(is_btrfs(one)? && mounts.of(one)?.device == mounts.of(other)?.device)
}

/// Makes the directory for snapshots, or verifies that nobody else can enter it.
pub(crate) fn prepare(directory: &Path) -> Result<(), SnapshotError> {
    durable::private_directory(directory, None, 0o700)?;
    let found = fs::symlink_metadata(directory)
        .map_err(SnapshotError::io("examine directory", directory))?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SnapshotError::NotPrivate { path: directory.to_path_buf(), mode });
    }
    Ok(())
}

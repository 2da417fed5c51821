//! The way back from a snapshot: a writable one of it.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Made, PROVIDER, subvolume};
use crate::sources::Source;
use crate::{SnapshotError, SnapshotRecord};

/// Makes `target` a writable snapshot of the read-only one in `record`, and returns what the record covers with the
/// paths inside `target`. `target` must not be there, and must be on the same btrfs filesystem; it becomes the whole
/// subvolume, of which the data directory may be a part.
///
/// It appears under its name only when it is complete: it is made under a hidden name in the same directory, and renamed.
///
/// # Errors
/// [`SnapshotError::OtherSnapshot`] when what is at the recorded path is not the recorded snapshot, or is writable, so
/// that its content is anybody's guess; [`SnapshotError::Exists`] when `target` is there; [`SnapshotError::Program`]
/// when btrfs fails.
pub fn restore_writable(
    record: &SnapshotRecord,
    target: &Path,
) -> Result<Vec<Source>, SnapshotError> {
    let snapshot = check(record)?;
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(SnapshotError::InvalidSetup("the target does not name a directory"));
    };
    if fs::symlink_metadata(target).is_ok() {
        return Err(SnapshotError::Exists { path: target.to_path_buf() });
    }
    let name = name.to_string_lossy();
    let staging = parent.join(format!(".{name}.backstay-{}", std::process::id()));
    if fs::symlink_metadata(&staging).is_ok() {
        return Err(SnapshotError::Exists { path: staging });
    }
    let made = Made(vec![staging.clone()]);
    subvolume::snapshot(snapshot, &staging, subvolume::Kind::Writable, &|| Ok(()))?;
    renameat_with(CWD, &staging, CWD, target, RenameFlags::NOREPLACE)
        .map_err(|errno| SnapshotError::io("rename a subvolume to", target)(errno.into()))?;
    made.keep();
    durable::sync_directory(parent)?;
    Ok(record.covers.iter().map(|source| moved(source, &record.source, target)).collect())
}

fn check(record: &SnapshotRecord) -> Result<&Path, SnapshotError> {
    let path = match &record.path {
        Some(path) if record.provider == PROVIDER => path,
        _ => return Err(SnapshotError::InvalidSetup("this snapshot is not one of provider btrfs")),
    };
    let shown = subvolume::show(path)?;
    let other = |found, expected: &str| SnapshotError::OtherSnapshot {
        path: path.clone(),
        found,
        expected: expected.to_owned(),
    };
    if shown.uuid != record.id {
        return Err(other(shown.uuid, &record.id));
    }
    if !shown.read_only {
        return Err(other("writable".to_owned(), "read-only"));
    }
    Ok(path)
}

fn moved(source: &Source, from: &Path, to: &Path) -> Source {
    let inside = source.path.strip_prefix(from).unwrap_or(Path::new(""));
    let path = if inside.as_os_str().is_empty() { to.to_path_buf() } else { to.join(inside) };
    Source::new(source.role, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn paths_move_with_the_subvolume() {
        let moved =
            |path: &str| moved(&Source::new(Role::Wal, path), Path::new("/srv"), Path::new("/new"));
        assert_eq!(moved("/srv/15/main").path, Path::new("/new/15/main"));
        assert_eq!(moved("/srv").path, Path::new("/new"));
    }
}

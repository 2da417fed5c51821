//! Read-only snapshots of btrfs subvolumes.

mod place;
mod restore;
mod subvolume;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;
use host::Mounts;

pub use restore::restore_writable;

use crate::coverage;
use crate::error::stopped;
use crate::provider::Watch;
use crate::sources::{Resolved, Role, Source, Sources};
use crate::{PlannedPart, SnapshotError, SnapshotPlan, SnapshotProvider, SnapshotRecord};

const PROVIDER: &str = "btrfs";

/// Takes a read-only snapshot of every subvolume that holds one of the sources.
///
/// A snapshot is on disk when btrfs says that it was made: the kernel writes out the subvolume's data and commits the
/// filesystem's transaction to make one (`create_snapshot` in fs/btrfs/ioctl.c), so nothing is synced afterwards; a test
/// loses the power right after the call. Each subvolume is of one instant, but several are of several; the data
/// directory's is always the last when the server is a standby, where recovery ends at what the control file in the
/// backup says, which must not be before any page in the other snapshots.
#[derive(Debug, Clone)]
pub struct Btrfs {
    /// The directory that the snapshots go to. Without one it is `.backstay` in the root of each subvolume, or, when
    /// that is inside a directory of the database cluster, the nearest place above on the same filesystem.
    pub snapshot_directory: Option<PathBuf>,
    /// What the snapshot of the data directory's subvolume is called. That of another one has `-wal` or `-` and the
    /// oid of a tablespace appended.
    pub name: String,
    /// Whether the server is a standby.
    pub standby: bool,
}

impl SnapshotProvider for Btrfs {
    fn plan(&self, sources: &Sources) -> Result<SnapshotPlan, SnapshotError> {
        self.check_name()?;
        let sources = sources.resolve()?;
        let mounts = Mounts::read()?;
        let subvolumes = group(&sources, &mounts)?;
        coverage::check_nested(&sources, &mounts)?;
        let mut parts = Vec::new();
        for (root, covers) in subvolumes {
            let directory = match &self.snapshot_directory {
                Some(directory) => place::given(directory, &root, &sources, &mounts)?,
                None => place::natural(&root, &sources, &mounts)?,
            };
            let path = directory.join(self.snapshot_name(&covers));
            if fs::symlink_metadata(&path).is_ok() {
                return Err(SnapshotError::Exists { path });
            }
            let mount = mounts.of(&root)?;
            parts.push(PlannedPart {
                mount_point: mount.point.clone(),
                device: mount.device.clone(),
                source: root,
                path: Some(path),
                covers,
            });
        }
        if self.standby {
            parts.sort_by_key(holds_data_directory);
        }
        Ok(SnapshotPlan { provider: PROVIDER, parts, bytes: 0 })
    }

    fn take(
        &self,
        plan: &SnapshotPlan,
        watch: Watch<'_>,
    ) -> Result<Vec<SnapshotRecord>, SnapshotError> {
        let mut made = Made(Vec::new());
        let mut records = Vec::new();
        for part in &plan.parts {
            watch().map_err(stopped)?;
            records.push(take_one(part, &mut made, watch)?);
        }
        watch().map_err(stopped)?;
        made.keep();
        Ok(records)
    }
}

impl Btrfs {
    fn check_name(&self) -> Result<(), SnapshotError> {
        let name = &self.name;
        if name.is_empty() || name.starts_with(['.', '-']) || name.contains(['/', '\n', '\0']) {
            return Err(SnapshotError::InvalidSetup(
                "the snapshot's name is not usable as a file name",
            ));
        }
        Ok(())
    }

    fn snapshot_name(&self, covers: &[Source]) -> String {
        let name = &self.name;
        match covers.iter().map(|source| source.role).min() {
            Some(Role::Wal) => format!("{name}-wal"),
            Some(Role::Tablespace(oid)) => format!("{name}-{oid}"),
            Some(Role::DataDirectory) | None => name.clone(),
        }
    }
}

fn holds_data_directory(part: &PlannedPart) -> bool {
    part.covers.iter().any(|source| source.role == Role::DataDirectory)
}

/// The sources by the root of the subvolume they are in.
fn group(
    sources: &Resolved,
    mounts: &Mounts,
) -> Result<BTreeMap<PathBuf, Vec<Source>>, SnapshotError> {
    let mut subvolumes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for source in sources.all() {
        let root = subvolume::root_of(source, mounts)?;
        subvolumes.entry(root).or_default().push(source.clone());
    }
    Ok(subvolumes)
}

fn take_one(
    part: &PlannedPart,
    made: &mut Made,
    watch: Watch<'_>,
) -> Result<SnapshotRecord, SnapshotError> {
    let Some(path) = &part.path else {
        return Err(SnapshotError::InvalidSetup("this plan is not one of provider btrfs"));
    };
    place::prepare(path.parent().unwrap_or(path))?;
    let started_at = Utc::now();
    if fs::symlink_metadata(path).is_ok() {
        // btrfs would put the snapshot into a directory of this name, and follow a link.
        return Err(SnapshotError::Exists { path: path.clone() });
    }
    made.0.push(path.clone());
    subvolume::snapshot(&part.source, path, subvolume::Kind::ReadOnly, watch)?;
    let shown = subvolume::show(path)?;
    let finished_at = Utc::now();
    Ok(SnapshotRecord {
        id: shown.uuid,
        provider: PROVIDER.to_owned(),
        source: part.source.clone(),
        path: Some(path.clone()),
        mount_point: part.mount_point.clone(),
        covers: part.covers.clone(),
        started_at,
        finished_at,
        bytes: None,
        files: None,
        reflinked: Some(true),
        listing: None,
        notes: Vec::new(),
        volume: None,
    })
}

/// Snapshots that are deleted again unless they are kept.
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // What cannot be deleted is litter beside the error that led here.
            let _ = delete_if_there(path);
        }
    }
}

fn delete_if_there(path: &Path) -> Result<(), SnapshotError> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return subvolume::delete(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(name: &str) -> Btrfs {
        Btrfs { snapshot_directory: None, name: name.to_owned(), standby: false }
    }

    #[test]
    fn names_say_what_is_in_it() {
        let of = |roles: &[Role]| {
            let covers: Vec<_> = roles.iter().map(|role| Source::new(*role, "/x")).collect();
            provider("nightly").snapshot_name(&covers)
        };
        assert_eq!(of(&[Role::Tablespace(7), Role::DataDirectory, Role::Wal]), "nightly");
        assert_eq!(of(&[Role::Tablespace(7), Role::Wal]), "nightly-wal");
        assert_eq!(of(&[Role::Tablespace(8), Role::Tablespace(7)]), "nightly-7");
    }

    #[test]
    fn a_name_is_one_plain_file_name() {
        for name in ["", "..", ".x", "a/b", "-r", "a\nb"] {
            let error = provider(name).plan(&Sources::new(vec![])).unwrap_err();
            assert_eq!(error.to_string(), "the snapshot's name is not usable as a file name");
        }
    }
}

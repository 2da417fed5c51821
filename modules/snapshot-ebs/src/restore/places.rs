//! Where the filesystems go, and with them the directories of the cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use snapshot::{ClusterFilesystem, Role, SnapshotRecord};

use super::RestoreError;

/// A filesystem that is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which of the order's snapshots it is in.
    pub snapshot: usize,
    /// What is recorded of it.
    pub filesystem: ClusterFilesystem,
    /// Where it goes.
    pub mount_point: PathBuf,
}

/// Where the cluster's directories are on the restored filesystems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Places {
    /// The data directory.
    pub data_directory: PathBuf,
    /// The directory that `pg_wal` is, or is to point to.
    pub wal_directory: PathBuf,
    /// Each tablespace's directory, by its oid.
    pub tablespaces: BTreeMap<u32, PathBuf>,
}

/// Decides for every filesystem where it goes: parents before what is mounted below them.
pub(super) fn targets(
    records: &[SnapshotRecord],
    mapping: &BTreeMap<PathBuf, PathBuf>,
) -> Result<Vec<Target>, RestoreError> {
    let mut targets: Vec<Target> = vec![];
    for (snapshot, record) in records.iter().enumerate() {
        let filesystems = record.volume.iter().flat_map(|volume| &volume.filesystems);
        for filesystem in filesystems {
            check_layout(filesystem)?;
            let old = &filesystem.mount_point;
            let mount_point = mapping.get(old).unwrap_or(old).clone();
            if let Some(other) = targets.iter().find(|other| other.mount_point == mount_point) {
                return Err(RestoreError::SameMountPoint {
                    first: other.filesystem.mount_point.clone(),
                    second: old.clone(),
                    to: mount_point,
                });
            }
            targets.push(Target { snapshot, filesystem: filesystem.clone(), mount_point });
        }
    }
    let is_known =
        |given: &&PathBuf| targets.iter().any(|one| one.filesystem.mount_point == **given);
    if let Some(given) = mapping.keys().find(|given| !is_known(given)) {
        let quoted =
            |one: &Target| format!("\"{}\"", one.filesystem.mount_point.display());
        let known = targets.iter().map(quoted).collect::<Vec<_>>().join(", ");
        return Err(RestoreError::UnknownMountPoint { given: given.clone(), known });
    }
    targets.sort_by_key(|target| target.mount_point.components().count());
    Ok(targets)
}

/// A volume's copy holds a whole filesystem, or partitions that do. What is put together of several devices would
/// clash with the original's names, and is for a person.
fn check_layout(filesystem: &ClusterFilesystem) -> Result<(), RestoreError> {
    let other = filesystem.layers.iter().find(|layer| !layer.starts_with("partition "));
    let what = match (other, filesystem.volumes.len()) {
        (Some(layer), _) => format!("\"{layer}\""),
        (None, 0 | 1) => return Ok(()),
        (None, number) => format!("{number} volumes"),
    };
    Err(RestoreError::Layout { mount_point: filesystem.mount_point.clone(), what })
}

/// Finds the cluster's directories on the filesystems.
pub(super) fn places(targets: &[Target]) -> Result<Places, RestoreError> {
    let mut data = None;
    let mut wal = None;
    let mut tablespaces = BTreeMap::new();
    for target in targets {
        let pairs = target.filesystem.covers.iter().zip(&target.filesystem.directories);
        for (cover, below) in pairs {
            let place = join(&target.mount_point, below);
            match cover.role {
                Role::DataDirectory => data = Some(place),
                Role::Wal => wal = Some(place),
                Role::Tablespace(oid) => {
                    tablespaces.insert(oid, place);
                }
            }
        }
    }
    let data_directory = data.ok_or(RestoreError::NoDataDirectory)?;
    let wal_directory = wal.unwrap_or_else(|| data_directory.join("pg_wal"));
    Ok(Places { data_directory, wal_directory, tablespaces })
}

/// Without the slash at the end that joining with nothing would give.
fn join(base: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { base.to_path_buf() } else { base.join(below) }
}

#[cfg(test)]
pub(super) mod tests;

//! Which volumes a database cluster is on.

use std::path::{Path, PathBuf};

use host::{Disk, Instance, Mounts, Process, Sysfs};
use serde::{Deserialize, Serialize};

use crate::sources::Resolved;
use crate::view::View;
use crate::{SnapshotError, SnapshotRecord, Source, coverage};

mod finder;

use finder::{Finder, Found};

/// Where a database cluster is: which filesystems, on which EBS volumes. Serialized with these field names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterVolumes {
    /// The filesystems it is on; that of the data directory is the first.
    pub filesystems: Vec<ClusterFilesystem>,
    /// The volumes they are on, each once.
    pub volumes: Vec<ClusterVolume>,
    /// The ids of the EBS volumes attached to this host that hold nothing of it, without the root volume.
    pub other_volumes: Vec<String>,
    /// The id of the volume that this host's root filesystem is on, if that is an EBS volume. When the database
    /// cluster is on it too, it is among `volumes`.
    pub root_volume: Option<String>,
    /// The instance they are attached to. [`ClusterVolumes::discover`] does not ask for it.
    pub instance: Option<Instance>,
}

/// One filesystem that a database cluster is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFilesystem {
    /// Where it is mounted on this host; or inside the container, when it is mounted only there.
    pub mount_point: PathBuf,
    /// The device that is mounted: `/dev/nvme1n1p1`, `/dev/mapper/vg-data`.
    pub device: String,
    /// `ext4`, `xfs`, ….
    pub fstype: String,
    /// Its UUID, as mount(8) takes it; unknown if this user may not read the device.
    pub uuid: Option<String>,
    /// Its label, if it has one and this user may read the device.
    pub label: Option<String>,
    /// The options it is mounted with: `rw`, `noatime`, `subvol=/@pg`.
    pub options: Vec<String>,
    /// What is between it and its disks, from the top: `lvm vg-data`, `partition nvme1n1p1`. Empty when a volume
    /// holds the filesystem and nothing else.
    pub layers: Vec<String>,
    /// The ids of the volumes it is on. With more than one, all must be snapshotted at the same instant.
    pub volumes: Vec<String>,
    /// The sources on it, their paths as the server names them.
    pub covers: Vec<Source>,
    /// For each of `covers`, in the same order, where its directory is in the filesystem (of btrfs, in the subvolume
    /// that is mounted): a relative path, empty for the filesystem's root. That is where it is below `mount_point`,
    /// unless only a part of the filesystem is mounted there; and below any other directory that the whole filesystem
    /// is mounted at.
    pub directories: Vec<PathBuf>,
}

/// An EBS volume that a database cluster is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterVolume {
    /// `vol-…`.
    pub id: String,
    /// Its device on this host: `/dev/nvme1n1`.
    pub device: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl ClusterVolumes {
    /// Finds the volumes that `sources` are on. With `inside`, their paths are those that this process sees.
    ///
    /// # Errors
    /// [`SnapshotError::NotOnEbs`] and [`SnapshotError::NotOnDisk`] naming the source that is on something else, and
    /// on what; [`SnapshotError::NotCovered`] and [`SnapshotError::Nested`] naming a part of the database cluster that
    /// is none of `sources`; [`SnapshotError::InvalidSource`]; [`SnapshotError::NoDataDirectory`];
    /// [`SnapshotError::Host`]; [`SnapshotError::Io`].
    pub fn discover(
        sources: &[Source],
        inside: Option<&Process>,
        sysfs: &Sysfs,
    ) -> Result<Self, SnapshotError> {
        let view = inside.map_or(View::Host, View::Inside);
        let resolved = Resolved::new(sources, view)?;
        coverage::check_links(&resolved, view)?;
        let mounts = view.mounts()?;
        coverage::check_mounts(&resolved, &mounts)?;
        let host = Mounts::read()?;
        let finder = Finder { view, mounts: &mounts, host: &host, sysfs };
        let mut found = Found::default();
        let mut pairs: Vec<_> = sources.iter().zip(resolved.all()).collect();
        pairs.sort_by_key(|(source, _)| source.role);
        for (source, real) in pairs {
            finder.add(source, &real.path, &mut found)?;
        }
        let root_volume = root_volume(&host, sysfs);
        let mut other_volumes: Vec<_> =
            sysfs.disks()?.iter().filter_map(Disk::ebs_volume).collect();
        other_volumes.retain(|id| {
            Some(id) != root_volume.as_ref() && found.volumes.iter().all(|volume| volume.id != *id)
        });
        let filesystems = found.filesystems.into_iter().map(|(_, filesystem)| filesystem).collect();
        let volumes = found.volumes;
        Ok(Self { filesystems, volumes, other_volumes, root_volume, instance: None })
    }
}

/// Nothing is wrong with a root filesystem that is on no EBS volume.
fn root_volume(host: &Mounts, sysfs: &Sysfs) -> Option<String> {
    let root = Path::new("/");
    let stack = sysfs.under_mount(root, host.of(root).ok()?).ok()?;
    stack.disks.iter().find_map(Disk::ebs_volume)
}

/// Checks that every source is in one of `records`, and that of a filesystem on several EBS volumes every volume has
/// its record.
///
/// # Errors
/// [`SnapshotError::NotCovered`] naming the first source that is not.
pub fn check_covered(sources: &[Source], records: &[SnapshotRecord]) -> Result<(), SnapshotError> {
    for source in sources {
        let mut holding = records.iter().filter(|record| covers(record, source)).peekable();
        let refuse = |why| Err(SnapshotError::NotCovered { what: source.clone(), why });
        if holding.peek().is_none() {
            return refuse("no snapshot has it".to_owned());
        }
        let filesystems = holding.filter_map(|record| record.volume.as_ref()).flat_map(|volume| {
            volume.filesystems.iter().filter(|filesystem| filesystem.covers.contains(source))
        });
        for filesystem in filesystems {
            let missing = filesystem.volumes.iter().find(|id| !has_volume(records, id));
            if let Some(id) = missing {
                return refuse(format!(
                    "volume \"{id}\", which the filesystem at \"{}\" is on, has no snapshot",
                    filesystem.mount_point.display()
                ));
            }
        }
    }
    Ok(())
}

/// Other records than those of EBS name paths with their symbolic links resolved.
fn covers(record: &SnapshotRecord, source: &Source) -> bool {
    record.covers.iter().any(|cover| {
        cover.role == source.role
            && (cover.path == source.path
                || record.volume.is_none()
                    && std::fs::canonicalize(&source.path).is_ok_and(|real| real == cover.path))
    })
}

fn has_volume(records: &[SnapshotRecord], id: &str) -> bool {
    records.iter().filter_map(|record| record.volume.as_ref()).any(|volume| volume.volume_id == id)
}

#[cfg(test)]
mod tests;

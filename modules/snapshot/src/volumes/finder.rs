//! From a directory to its filesystem, and on to the volumes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use host::{DeviceNumber, Disk, HostError, Mount, Mounts, Stack, Sysfs};

use super::{ClusterFilesystem, ClusterVolume};
use crate::view::View;
use crate::{SnapshotError, Source};

/// What tells one filesystem from another: the device, and which part of it is mounted as a whole (`/`, or a btrfs
/// subvolume).
type Key = (DeviceNumber, PathBuf);

/// What was found so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) filesystems: Vec<(Key, ClusterFilesystem)>,
    pub(super) volumes: Vec<ClusterVolume>,
}

/// What is needed to find more.
pub(super) struct Finder<'a> {
    pub(super) view: View<'a>,
    /// What is mounted in the view.
    pub(super) mounts: &'a Mounts,
    /// What is mounted for us.
    pub(super) host: &'a Mounts,
    pub(super) sysfs: &'a Sysfs,
}

impl Finder<'_> {
    /// Adds `source`, whose resolved path is `real`.
    pub(super) fn add(
        &self,
        source: &Source,
        real: &Path,
        found: &mut Found,
    ) -> Result<(), SnapshotError> {
        let mount = self.mounts.of(real)?;
        let inner = mount.path_in_filesystem(real).unwrap_or_default();
        let base = base(mount, &inner);
        let directory = inner.strip_prefix(&base).unwrap_or(&inner).to_path_buf();
        let key = (mount.number, base);
        let known = found.filesystems.iter_mut().find(|(known, _)| *known == key);
        if let Some((_, filesystem)) = known {
            filesystem.covers.push(source.clone());
            filesystem.directories.push(directory);
            return Ok(());
        }
        let stack = self.sysfs.under_mount(real, mount).map_err(|error| match error {
            HostError::NotABlockDevice { .. } => {
                SnapshotError::NotOnDisk { what: source.clone(), source: error }
            }
            other => other.into(),
        })?;
        let volumes = volumes(source, &stack)?;
        let ours = self.on_host(&key, &directory, real).unwrap_or(mount);
        let device = self.sysfs.device_of_mount(real, mount)?;
        let named = named(&device)?;
        let filesystem = ClusterFilesystem {
            mount_point: ours.point.clone(),
            fstype: mount.fstype.clone(),
            uuid: named.as_ref().and_then(|named| named.uuid.clone()),
            label: named.and_then(|named| named.label),
            options: ours.options.clone(),
            layers: stack.between().map(ToString::to_string).collect(),
            volumes: volumes.iter().map(|volume| volume.id.clone()).collect(),
            covers: vec![source.clone()],
            directories: vec![directory],
            device,
        };
        found.filesystems.push((key, filesystem));
        let new = |volume: &ClusterVolume| !found.volumes.contains(volume);
        let new: Vec<_> = volumes.into_iter().filter(new).collect();
        found.volumes.extend(new);
        Ok(())
    }

    /// The mount of ours through which the directory is seen: one of the whole filesystem if there is one.
    fn on_host(&self, key: &Key, directory: &Path, real: &Path) -> Option<&Mount> {
        let (number, base) = key;
        let wanted = identity(&self.view.reach(real))?;
        let inner = base.join(directory);
        let sees = |mount: &&Mount| {
            let path = mount.path_seen(&inner);
            mount.number == *number && path.and_then(|path| identity(&path)) == Some(wanted)
        };
        let mut all: Vec<_> = self.host.iter().filter(sees).collect();
        all.sort_by_key(|mount| mount.root != *base);
        all.first().copied()
    }
}

/// What the filesystem calls itself, unless this user may not read the device.
fn named(device: &str) -> Result<Option<host::Filesystem>, SnapshotError> {
    match host::filesystem_of(device) {
        Ok(named) => Ok(Some(named)),
        Err(HostError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The part of the filesystem that is mounted when it is mounted with the same options elsewhere. A bind mount shows a
/// part of that.
fn base(mount: &Mount, inner: &Path) -> PathBuf {
    if mount.fstype != "btrfs" {
        return PathBuf::from("/");
    }
    let subvolume = mount.options.iter().find_map(|option| option.strip_prefix("subvol="));
    let subvolume = subvolume.map(PathBuf::from).filter(|path| inner.starts_with(path));
    subvolume.unwrap_or_else(|| mount.root.clone())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// The volumes that the disks are, if all of them are.
fn volumes(source: &Source, stack: &Stack) -> Result<Vec<ClusterVolume>, SnapshotError> {
    let others: Vec<_> =
        stack.disks.iter().filter(|disk| disk.ebs_volume().is_none()).map(described).collect();
    if !others.is_empty() || stack.disks.is_empty() {
        return Err(SnapshotError::NotOnEbs { what: source.clone(), on: others.join(", ") });
    }
    let volume = |disk: &Disk| {
        let (device, bytes) = (disk.device.clone(), disk.bytes);
        disk.ebs_volume().map(|id| ClusterVolume { id, device, bytes })
    };
    Ok(stack.disks.iter().filter_map(volume).collect())
}

fn described(disk: &Disk) -> String {
    let model = disk.model.as_deref().map(|model| format!(" ({model})")).unwrap_or_default();
    format!("\"{}\"{model}", disk.device)
}

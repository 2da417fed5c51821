//! Block devices and what they are made of: `/sys`, see the kernel's Documentation/ABI.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::{DeviceNumber, HostError, Mount};

mod stack;

pub use stack::{Layer, Stack};

/// The kernel counts in these, whatever the device's own block size is.
const SECTOR: u64 = 512;

/// A disk: a block device that is made of no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name: `nvme1n1`.
    pub name: String,
    /// Its device: `/dev/nvme1n1`.
    pub device: String,
    /// The device's number.
    pub number: DeviceNumber,
    /// What it says its serial number is; of an EBS volume its id without the dash.
    pub serial: Option<String>,
    /// What it says it is: `Amazon Elastic Block Store`.
    pub model: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Disk {
    /// The id of the EBS volume it is, `vol-0123456789abcdef0`, by its serial number (EBS User Guide, "Map Amazon EBS
    /// volumes to NVMe device names"). `None` for anything else, and on instances without NVMe, where disks have no
    /// serial number.
    #[must_use]
    pub fn ebs_volume(&self) -> Option<String> {
        let rest = self.serial.as_deref()?.trim().strip_prefix("vol")?;
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        // Volumes made before 2016 have 8 digits.
        let known = matches!(digits.len(), 8 | 17);
        (known && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| format!("vol-{digits}"))
    }

    /// Whether a filesystem on it or on one of its partitions is mounted, in whatever mount namespace, or something else
    /// has claimed it: opened with `O_EXCL` it is refused then (open(2)). A claim on a partition counts for the disk.
    ///
    /// # Errors
    /// [`HostError::Io`] when it cannot be opened for another reason.
    pub fn is_claimed(&self) -> Result<bool, HostError> {
        let path = PathBuf::from(&self.device);
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(&path);
        match opened {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(true),
            // It was detached meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(HostError::Io { action: "open", path, source }),
        }
    }
}

/// What the kernel tells of devices.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::at("/sys")
    }
}

impl Sysfs {
    /// As mounted at `root`, which is `/sys` but in tests.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All that the kernel lists in `block`, by name: disks, and md, loop and device-mapper devices too.
    ///
    /// # Errors
    /// [`HostError::Io`].
    pub fn disks(&self) -> Result<Vec<Disk>, HostError> {
        let block = self.root.join("block");
        let mut names = names(&block).map_err(HostError::io("read directory", &block))?;
        names.sort();
        Ok(names.iter().filter_map(|name| disk(name, &block.join(name))).collect())
    }

    /// What the filesystem `mount`, which `path` is on, is made of.
    ///
    /// # Errors
    /// As [`Sysfs::under`], and [`HostError::NotABlockDevice`].
    pub fn under_mount(&self, path: &Path, mount: &Mount) -> Result<Stack, HostError> {
        let mut all = Stack::default();
        for number in self.numbers(path, mount)? {
            all.merge(self.under(number)?);
        }
        Ok(all)
    }

    /// The block device that `mount`, which `path` is on, is a mount of; of several, one of them.
    ///
    /// # Errors
    /// As [`Sysfs::under_mount`].
    pub fn device_of_mount(&self, path: &Path, mount: &Mount) -> Result<String, HostError> {
        let numbers = self.numbers(path, mount)?;
        let first = numbers.first().copied().unwrap_or(mount.number);
        self.device(first)
    }

    /// The path of the block device `number`: `/dev/nvme1n1p1`, `/dev/mapper/vg-data`. A name in
    /// `/proc/self/mountinfo` may be that of a device that is not there, as `/dev/root` is.
    ///
    /// # Errors
    /// [`HostError::NoDevice`], [`HostError::Io`].
    pub fn device(&self, number: DeviceNumber) -> Result<String, HostError> {
        let directory = self.directory(number)?;
        Ok(match text(&directory.join("dm/name")) {
            Some(name) => format!("/dev/mapper/{name}"),
            None => device_of(&directory),
        })
    }

    /// The devices of a filesystem. That of btrfs has a number of its own, and may be on several devices.
    fn numbers(&self, path: &Path, mount: &Mount) -> Result<Vec<DeviceNumber>, HostError> {
        if mount.number.major != 0 {
            return Ok(vec![mount.number]);
        }
        let none = || HostError::NotABlockDevice {
            path: path.to_path_buf(),
            mount_point: mount.point.clone(),
            fstype: mount.fstype.clone(),
        };
        if mount.fstype != "btrfs" {
            return Err(none());
        }
        let source = fs::metadata(&mount.device).map_err(|_| none())?;
        if !source.file_type().is_block_device() {
            return Err(none());
        }
        let number = DeviceNumber::of(source.rdev());
        Ok(self.of_btrfs(number).unwrap_or_else(|| vec![number]))
    }

    /// All devices of the btrfs filesystem that `number` is one of: `fs/btrfs/<uuid>/devices`.
    fn of_btrfs(&self, number: DeviceNumber) -> Option<Vec<DeviceNumber>> {
        let filesystems = self.root.join("fs/btrfs");
        names(&filesystems).ok()?.iter().find_map(|uuid| {
            let devices = filesystems.join(uuid).join("devices");
            let names = names(&devices).ok()?;
            let numbers: Option<BTreeSet<_>> =
                names.iter().map(|name| number_of(&devices.join(name))).collect();
            numbers.filter(|all| all.contains(&number)).map(|all| all.into_iter().collect())
        })
    }

    /// Whether a btrfs filesystem of this UUID is mounted, in whatever mount namespace, that the block device `number` is
    /// not of: the kernel would take both for one.
    #[must_use]
    pub fn has_other_btrfs(&self, uuid: &str, number: DeviceNumber) -> bool {
        let is_mounted = self.root.join("fs/btrfs").join(uuid).join("devices").exists();
        is_mounted && self.of_btrfs(number).is_none()
    }

    /// Where the block device `number` is described.
    fn directory(&self, number: DeviceNumber) -> Result<PathBuf, HostError> {
        let path = self.root.join("dev/block").join(number.to_string());
        fs::canonicalize(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => HostError::NoDevice { number, sysfs: self.root.clone() },
            _ => HostError::Io { action: "find", path, source },
        })
    }

    /// The disk `number`, called as `block` calls it.
    fn disk(&self, number: DeviceNumber, directory: &Path) -> Option<Disk> {
        let listed = self.disks().unwrap_or_default();
        let listed = listed.into_iter().find(|disk| disk.number == number);
        listed.or_else(|| disk(&name_of(directory), directory))
    }
}

fn disk(name: &str, directory: &Path) -> Option<Disk> {
    let number = number_of(directory)?;
    let sectors: u64 = text(&directory.join("size")).and_then(|size| size.parse().ok())?;
    // NVMe and SCSI disks tell it of the device behind the disk, virtio disks of the disk.
    let attribute = |name: &str| {
        text(&directory.join("device").join(name)).or_else(|| text(&directory.join(name)))
    };
    Some(Disk {
        name: name.to_owned(),
        device: device_of(directory),
        number,
        serial: attribute("serial"),
        model: attribute("model"),
        bytes: sectors.saturating_mul(SECTOR),
    })
}

/// The device's path by its event file; the kernel writes `!` for a slash in the directory's name.
fn device_of(directory: &Path) -> String {
    let events = text(&directory.join("uevent")).unwrap_or_default();
    let name = events.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.map_or_else(|| name_of(directory).replace('!', "/"), str::to_owned);
    format!("/dev/{name}")
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn number_of(directory: &Path) -> Option<DeviceNumber> {
    DeviceNumber::parse(&text(&directory.join("dev"))?)
}

/// What is in the file, without the spaces around it; `None` also when nothing is.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests;

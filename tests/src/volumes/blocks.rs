//! Volumes as files in a btrfs subvolume: a snapshot of all of them at one
//! moment is a snapshot of the subvolume.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sysfs::Sysfs;
use crate::ec2::Storage;

/// The number of the disk that `loop0` is.
pub(crate) const NVME: u32 = 100;

/// Where the blocks are. The file system is mounted at `store`:
///
/// | | |
/// |---|---|
/// | `live-NAME/vol-…` | the volumes, those made from snapshots too |
/// | `set-N/vol-…` | a snapshot of `live-NAME`, read-only |
/// | `snap-…` | the clone of one volume, or of one file of a set |
///
/// Loop devices are on the files without direct I/O. A write that the guest
/// file system has flushed has gone through `fsync` of the file; one that it
/// has not is at the most in the file's page cache. Both ways to copy, the
/// subvolume's snapshot and the clone, write that cache out first.
#[derive(Debug)]
pub(crate) struct Blocks {
    store: PathBuf,
    live: PathBuf,
    sysfs: Sysfs,
    machine: BTreeSet<String>,
    snapshots: BTreeMap<String, PathBuf>,
    attached: BTreeMap<String, Attached>,
    sets: u32,
}

#[derive(Clone, Debug)]
struct Attached {
    node: String,
    name: String,
    leaving: bool,
}

impl Blocks {
    pub(crate) fn in_store(store: &Path, name: &str, sysfs: Sysfs) -> Self {
        let live = store.join(format!("live-{name}"));
        tool(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&live))
            .expect("a subvolume for the volumes");
        Self {
            store: store.to_path_buf(),
            live,
            sysfs,
            machine: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            attached: BTreeMap::new(),
            sets: 0,
        }
    }

    /// An instance that this machine is. Only what is attached to one has a device.
    pub(crate) fn is_machine(&mut self, instance: &str) {
        self.machine.insert(instance.to_owned());
    }

    /// Shows the machine's own root device as its root volume.
    pub(crate) fn show_root(&mut self, volume: &str) {
        if let Some(node) = root_device() {
            self.sysfs.show("nvme0n1", &node, volume);
        }
    }

    /// The device of an attached volume, as `/dev/loop3`.
    pub(crate) fn device(&self, volume: &str) -> Option<PathBuf> {
        Some(Path::new("/dev").join(&self.attached.get(volume)?.node))
    }

    /// Shows the partitions that an attached volume has now.
    pub(crate) fn show_partitions(&self, volume: &str) {
        if let Some(attached) = self.attached.get(volume) {
            self.sysfs.show_partitions(&attached.node);
        }
    }

    /// The disk's name in `/sys/block`.
    pub(crate) fn disk(&self, volume: &str) -> Option<String> {
        Some(self.attached.get(volume)?.name.clone())
    }

    /// A volume's file.
    pub(crate) fn file(&self, volume: &str) -> PathBuf {
        self.live.join(volume)
    }

    fn clone_file(&self, from: &Path, to: &Path) -> Result<(), String> {
        tool(Command::new("cp").arg("--reflink=always").arg(from).arg(to)).map(drop)
    }

    fn is_there(&self, volume: &str, attached: &Attached) -> bool {
        // the kernel's own place: this namespace sees another /sys/block
        let file = Path::new("/sys/devices/virtual/block").join(&attached.node);
        let file = fs::read_to_string(file.join("loop/backing_file")).unwrap_or_default();
        let own = self.live.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.contains(&own) && file.contains(volume)
    }
}

/// The name that a loop device goes by: `/dev` is everybody's, and the numbers
/// of NVMe disks that the machine may really have are lower.
fn disk_name(node: &str) -> String {
    let number: u32 = node.trim_start_matches("loop").parse().unwrap_or(0);
    format!("nvme{}n1", NVME + number)
}

/// The kernel's name of the device that `/` is on, where it is on one.
fn root_device() -> Option<String> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    let root = mounts.lines().rfind(|l| l.split(' ').nth(4) == Some("/"))?;
    let device = fs::read_link(format!("/sys/dev/block/{}", root.split(' ').nth(2)?)).ok()?;
    // a partition is no disk
    let is_partition = Path::new("/sys/dev/block").join(&device).join("partition").exists();
    (!is_partition).then(|| Some(device.file_name()?.to_string_lossy().into_owned()))?
}

fn tool(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The blocks as both the service and the fixture hold them.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Blocks>>);

impl Shared {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Self(Arc::new(Mutex::new(blocks)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the disk begins with a partition table.
fn has_partitions(file: &Path) -> bool {
    let mut sector = [0; 512];
    let read = fs::File::open(file).and_then(|mut file| file.read_exact(&mut sector));
    read.is_ok() && sector.ends_with(&[0x55, 0xaa]) && sector[450] != 0
}

impl Shared {
    /// A second after the disk: a kernel needs its time to read the table, and not every one knows this kind.
    fn add_partitions_later(&self, volume: &str, device: String) {
        let (shared, volume) = (self.clone(), volume.to_owned());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            // those that the kernel has found itself are there already
            let _ = tool(Command::new("partx").arg("--update").arg(device));
            shared.lock().show_partitions(&volume);
        });
    }
}

impl Storage for Shared {
    fn snapshot(&mut self, set: &[(String, String)]) -> Result<(), String> {
        let mut blocks = self.lock();
        if let [(volume, snapshot)] = set {
            let (from, to) = (blocks.file(volume), blocks.store.join(snapshot));
            // a root volume has no blocks here
            if from.exists() {
                blocks.clone_file(&from, &to)?;
            }
            blocks.snapshots.insert(snapshot.clone(), to);
            return Ok(());
        }
        blocks.sets += 1;
        let to = blocks.store.join(format!("set-{}", blocks.sets));
        let mut btrfs = Command::new("btrfs");
        btrfs.args(["-q", "subvolume", "snapshot", "-r"]).arg(&blocks.live).arg(&to);
        tool(&mut btrfs)?;
        for (volume, snapshot) in set {
            blocks.snapshots.insert(snapshot.clone(), to.join(volume));
        }
        Ok(())
    }

    fn create(&mut self, volume: &str, gibibytes: u32, from: Option<&str>) -> Result<(), String> {
        let blocks = self.lock();
        let file = blocks.file(volume);
        if let Some(snapshot) = from {
            let from = blocks.snapshots.get(snapshot);
            let from = from.ok_or_else(|| format!("there are no blocks of {snapshot}"))?;
            blocks.clone_file(from, &file)?;
        }
        let made = fs::OpenOptions::new().create(true).append(true).open(&file);
        made.and_then(|f| f.set_len(u64::from(gibibytes) << 30)).map_err(|e| e.to_string())
    }

    fn attach(&mut self, volume: &str, instance: &str) -> Result<(), String> {
        let mut blocks = self.lock();
        if !blocks.machine.contains(instance) {
            return Ok(());
        }
        let file = blocks.file(volume);
        let device =
            tool(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&file))?;
        let node = device.replacen("/dev/", "", 1);
        let name = disk_name(&node);
        blocks.sysfs.show(&name, &node, volume);
        let link = Path::new("/dev").join(&name);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&node, link).map_err(|e| e.to_string())?;
        blocks.attached.insert(volume.to_owned(), Attached { node, name, leaving: false });
        if has_partitions(&file) {
            self.add_partitions_later(volume, device);
        }
        Ok(())
    }

    fn detach(&mut self, volume: &str) {
        let mut blocks = self.lock();
        let Some(attached) = blocks.attached.get_mut(volume) else { return };
        attached.leaving = true;
        // now, since as soon as it is free the number may be another test's
        let _ = fs::remove_file(Path::new("/dev").join(&attached.name));
        // one that is mounted goes with the unmounting
        let _ =
            tool(Command::new("losetup").args(["--detach", &format!("/dev/{}", attached.node)]));
    }

    fn is_busy(&mut self, volume: &str) -> bool {
        let mut blocks = self.lock();
        let Some(attached) = blocks.attached.get(volume).cloned() else { return false };
        if !attached.leaving || blocks.is_there(volume, &attached) {
            return true;
        }
        blocks.sysfs.hide(&attached.name);
        blocks.attached.remove(volume);
        false
    }

    fn delete_volume(&mut self, volume: &str) {
        let _ = fs::remove_file(self.lock().file(volume));
    }

    fn delete_snapshot(&mut self, snapshot: &str) {
        let mut blocks = self.lock();
        let Some(gone) = blocks.snapshots.remove(snapshot) else { return };
        if gone.parent() == Some(&blocks.store) {
            let _ = fs::remove_file(gone);
            return;
        }
        let Some(set) = gone.parent() else { return };
        if !blocks.snapshots.values().any(|other| other.starts_with(set)) {
            let _ = tool(Command::new("btrfs").args(["-q", "subvolume", "delete"]).arg(set));
        }
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), String> {
        let mut blocks = self.lock();
        let source = blocks.snapshots.get(from).cloned();
        let source = source.ok_or_else(|| format!("there are no blocks of {from}"))?;
        let target = blocks.store.join(to);
        blocks.clone_file(&source, &target)?;
        blocks.snapshots.insert(to.to_owned(), target);
        Ok(())
    }
}

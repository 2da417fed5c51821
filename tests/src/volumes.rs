//! This machine as an EC2 instance: volumes that are real block devices with
//! real file systems, and snapshots of them that are real copies.
//!
//! ```no_run
//! use backstay_tests::volumes::{Format, Volumes};
//!
//! if !Volumes::possible() { return; }
//! let volumes = Volumes::start(); // before servers: they are dropped first
//! let data = volumes.add("data", Format::Ext4);
//! let wal = volumes.add("wal", Format::Xfs);
//! let server = backstay_tests::Server::builder()
//!     .data_parent(&data.mount_point)
//!     .wal_directory(&wal.mount_point.join("wal"))
//!     .setting("fsync", "on") // what is not flushed need not be in a snapshot
//!     .start();
//! volumes.flush(); // the server was made with initdb --no-sync
//! // … modules with volumes.variables() in their environment …
//! let copies = volumes.ec2().snapshots();
//! let copy = volumes.copy(&copies[0].id, "copy");
//! ```
//!
//! All of it lives in a mount namespace of the test's thread: see
//! [`Volumes::start`].

mod blocks;
mod namespace;
mod sysfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use blocks::{Blocks, NVME, Shared};
use namespace::Namespace;
use sysfs::Sysfs;

use crate::command::run;
use crate::ec2::{Ec2, Storage};
use crate::imds::Imds;
use crate::place::{Place, Undo, User};

/// A file system on a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl Format {
    /// As `mkfs` and `mount` name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A volume that is attached and mounted.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// `vol-…`.
    pub volume: String,
    /// As `/dev/loop3`.
    pub device: PathBuf,
    /// Where its file system is; the server user's own.
    pub mount_point: PathBuf,
}

/// The machine. See the module's page.
#[derive(Debug)]
pub struct Volumes {
    // dropped in this order: nobody asks any more, the thread leaves the mounts,
    // from outside all devices are seen and go, their files go
    ec2: Ec2,
    imds: Imds,
    blocks: Shared,
    instance: String,
    namespace: Namespace,
    _undo: Undo,
    place: Place,
}

impl Volumes {
    /// Whether the test can have them, and the modules that work on them; when
    /// not, that is said or is a failure: see [`crate::need`].
    ///
    /// # Panics
    ///
    /// In CI, when a program is missing.
    #[track_caller]
    #[must_use]
    pub fn possible() -> bool {
        let programs = ["mkfs.btrfs", "mkfs.xfs", "mkfs.ext4", "losetup", "btrfs", "partx"];
        let programs = programs.into_iter().map(crate::need::program);
        let found = std::iter::once(crate::need::root()).chain(programs).collect();
        let can_run = crate::need::can_run(found) && crate::need::can_run(crate::need::ebs());
        can_run && crate::need::is_allowed(Self::probe())
    }

    fn probe() -> Result<(), String> {
        let script = "losetup --find && mount --make-rprivate / && mount -t tmpfs none /sys/block";
        let output = Command::new("unshare").args(["--mount", "sh", "-ec", script]).output();
        let output = output.map_err(|error| format!("unshare cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("loop devices or mount namespaces are not allowed here: {}", said.trim()))
    }

    /// Makes this machine an instance without data volumes, in a mount
    /// namespace that holds for the calling thread, for the threads and the
    /// programs it starts from now on, and until this is dropped. So make it
    /// first: servers and playbooks that are started before do not see it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn start() -> Self {
        let place = Place::new();
        let name = place.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        // the devices are the kernel's, not the namespace's: whoever finds the name
        // of this test's place in the path of a device's file may end it
        let undo = Undo::with(&format!(
            "losetup --noheadings --list --output NAME,BACK-FILE | grep -F 'live-{name}/' | \
             while read -r device _; do rm -f \"/dev/nvme$(({NVME} + ${{device#/dev/loop}}))n1\"; \
             losetup --detach \"$device\"; done",
        ));
        let namespace = Namespace::enter();
        let store = mount_store(&place);
        let sysfs = Sysfs::mount(&place.join("sys"));
        let blocks = Shared::new(Blocks::in_store(&store, &name, sysfs));
        let ec2 = Ec2::start_at("127.0.0.1:0", Box::new(blocks.clone()));
        let instance = ec2.instance();
        let described = ec2.describe(&instance);
        blocks.lock().is_machine(&instance);
        blocks.lock().show_root(&described.root_volume);
        let imds = Imds::of(&described);
        Self { ec2, imds, blocks, instance, _undo: undo, namespace, place }
    }

    /// The service that these volumes belong to.
    #[must_use]
    pub fn ec2(&self) -> &Ec2 {
        &self.ec2
    }

    /// The metadata service of this machine.
    #[must_use]
    pub fn imds(&self) -> &Imds {
        &self.imds
    }

    /// This machine, as `i-…`.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Environment variables by which AWS's clients find both services.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.imds.endpoint()),
            ("AWS_ENDPOINT_URL_EC2", self.ec2.endpoint()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// The path at which [`Volumes::add`] mounts what it is given that name.
    #[must_use]
    pub fn mount_point(&self, name: &str) -> PathBuf {
        self.place.join("mnt").join(name)
    }

    /// Lets this machine be that instance too: what is attached to it has a
    /// device here. So a restore to "another" instance finds its volumes.
    pub fn be_also(&self, instance: &str) {
        self.blocks.lock().is_machine(instance);
    }

    /// A new volume of 1 GiB, attached and mounted at
    /// [`Volumes::mount_point`] `name`, which may lie in another mount.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn add(&self, name: &str, format: Format) -> Mounted {
        self.add_of(1, name, format)
    }

    /// The same of another size, which costs no more than what is written to it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn add_of(&self, gibibytes: u32, name: &str, format: Format) -> Mounted {
        let volume = self.add_unused(gibibytes);
        let device = self.device(&volume);
        run(Command::new(format!("mkfs.{}", format.name())).arg("-q").arg(&device));
        let mount_point = self.mount_point(name);
        self.mount(&device, &mount_point, "defaults");
        Mounted { volume, device, mount_point }
    }

    /// A new volume of 1 GiB whose file system is on its only partition.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn add_partitioned(&self, name: &str, format: Format) -> Mounted {
        let volume = self.add_unused(1);
        let disk = self.device(&volume);
        fs::write(&disk, one_partition()).expect("a partition table");
        run(Command::new("partx").arg("--update").arg(&disk));
        self.blocks.lock().show_partitions(&volume);
        let device = PathBuf::from(format!("{}p1", disk.display()));
        run(Command::new(format!("mkfs.{}", format.name())).arg("-q").arg(&device));
        let mount_point = self.mount_point(name);
        self.mount(&device, &mount_point, "defaults");
        Mounted { volume, device, mount_point }
    }

    /// A new volume, attached, and with nothing in it.
    #[must_use]
    pub fn add_unused(&self, gibibytes: u32) -> String {
        let count = self.ec2.volumes().len();
        // as the console proposes them: from /dev/sdf on
        let letter = char::from(b'e' + u8::try_from(count).unwrap_or(0));
        self.ec2.add_volume(&self.instance, &format!("/dev/sd{letter}"), gibibytes)
    }

    /// A new volume from a snapshot, attached and mounted, without asking the
    /// service: for tests of what is in a snapshot, not of restores.
    ///
    /// # Panics
    ///
    /// When there is no such snapshot, or its file system cannot be mounted.
    #[must_use]
    pub fn copy(&self, snapshot: &str, name: &str) -> Mounted {
        let volume = format!("vol-copy-of-{snapshot}-{name}").replace('/', "-");
        let mut blocks = self.blocks.clone();
        blocks
            .create(&volume, self.ec2.snapshot(snapshot).gibibytes, Some(snapshot))
            .expect("a copy of a snapshot");
        blocks.attach(&volume, &self.instance).expect("a device for the copy");
        let device = self.device(&volume);
        let mount_point = self.mount_point(name);
        let kind =
            run(Command::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(&device));
        let is_xfs = String::from_utf8_lossy(&kind.stdout).trim() == "xfs";
        // the original is mounted too
        self.mount(&device, &mount_point, if is_xfs { "nouuid" } else { "defaults" });
        Mounted { volume, device, mount_point }
    }

    /// Writes out everything that was written on this machine. Servers of the
    /// fixtures are made without (`initdb --no-sync`), so a snapshot soon
    /// afterwards would have empty files that nobody would have outside of tests.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn flush(&self) {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").expect("this thread's mounts");
        let own = self.place.join("mnt").display().to_string();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&own) {
                run(Command::new("sync").arg("-f").arg(mount.replace("\\040", " ")));
            }
        }
    }

    /// The device of an attached volume, as `/dev/loop3`.
    ///
    /// # Panics
    ///
    /// When it is not attached to this machine.
    #[track_caller]
    #[must_use]
    pub fn device(&self, volume: &str) -> PathBuf {
        let found = self.blocks.lock().device(volume);
        found.unwrap_or_else(|| panic!("{volume} is not attached to this machine"))
    }

    /// The disk of an attached volume: as `nvme103n1` in `/sys/block` and, a link
    /// to the loop device, in `/dev`.
    ///
    /// # Panics
    ///
    /// When it is not attached to this machine.
    #[track_caller]
    #[must_use]
    pub fn disk(&self, volume: &str) -> String {
        let found = self.blocks.lock().disk(volume);
        found.unwrap_or_else(|| panic!("{volume} is not attached to this machine"))
    }

    /// The file with a volume's blocks.
    #[must_use]
    pub fn file(&self, volume: &str) -> PathBuf {
        self.blocks.lock().file(volume)
    }

    /// The namespace, for `nsenter --mount=` of a process outside, while the
    /// thread that made it lives.
    #[must_use]
    pub fn namespace(&self) -> &Path {
        self.namespace.file()
    }

    fn mount(&self, device: &Path, mount_point: &Path, options: &str) {
        fs::create_dir_all(mount_point).expect("a directory to mount at");
        run(Command::new("mount").args(["-o", options]).arg(device).arg(mount_point));
        User::of_servers().give(mount_point);
    }
}

/// The first sector of a disk of 1 GiB: a table of one Linux partition, from 1 MiB to the end.
fn one_partition() -> Vec<u8> {
    let (first, count): (u32, u32) = (2048, (1 << 21) - 2048);
    let mut sector = vec![0; 512];
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&first.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&count.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A btrfs file system, as large as its files grow.
fn mount_store(place: &Place) -> PathBuf {
    let (image, store) = (place.join("image"), place.join("store"));
    let file = fs::File::create(&image).expect("a file in the test's place");
    file.set_len(64 << 30).expect("a sparse file");
    fs::create_dir(&store).expect("a directory in the test's place");
    run(Command::new("mkfs.btrfs").arg("-q").arg(&image));
    // nobarrier: the store itself need not outlive a crash of the machine
    run(Command::new("mount").args(["-o", "loop,nobarrier"]).arg(&image).arg(&store));
    store
}

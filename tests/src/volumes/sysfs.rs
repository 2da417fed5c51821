//! `/sys/block` and `/sys/dev/block` as they are on an EC2 instance: loop
//! devices look like EBS volumes on NVMe.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;

/// Two directories over the kernel's own. What else the machine has stays
/// there, by links into the kernel's `/sys/devices`.
#[derive(Debug)]
pub(crate) struct Sysfs {
    directory: PathBuf,
}

impl Sysfs {
    /// Mounts them in this namespace.
    pub(crate) fn mount(directory: &Path) -> Self {
        for part in ["block", "dev/block"] {
            let (own, real) = (directory.join(part), Path::new("/sys").join(part));
            fs::create_dir_all(&own).expect("a directory in the test's place");
            let entries = fs::read_dir(&real).expect("the kernel's block devices");
            for entry in entries.flatten() {
                // they are relative, and lead out of the mount to the kernel's own
                if let Ok(target) = fs::read_link(entry.path()) {
                    symlink(target, own.join(entry.file_name()))
                        .expect("a link in the test's place");
                }
            }
            run(Command::new("mount").arg("--bind").arg(&own).arg(&real));
        }
        fs::create_dir_all(directory.join("devices")).expect("a directory in the test's place");
        Self { directory: directory.to_path_buf() }
    }

    /// Shows the kernel's device `node` (as `loop3`) as the disk `name` (as
    /// `nvme103n1`) with this volume in it.
    pub(crate) fn show(&self, name: &str, node: &str, volume: &str) {
        let real = fs::canonicalize(Path::new("/sys/class/block").join(node));
        let real = real.expect("the kernel knows the device");
        let read =
            |file: &str| fs::read_to_string(real.join(file)).expect("a file of the kernel's");
        let (number, size) = (read("dev"), read("size"));
        let own = self.directory.join("devices").join(name);
        fs::create_dir_all(own.join("device")).expect("a directory in the test's place");
        for entry in fs::read_dir(&real).expect("a directory of the kernel's").flatten() {
            // all but what it says of itself: a loop device has no "device"
            let name = entry.file_name();
            if !["dev", "size", "uevent", "device", "loop"].iter().any(|own| name == *own) {
                let _ = symlink(real.join(&name), own.join(&name));
            }
        }
        let write = |file: &str, text: &str| {
            fs::write(own.join(file), text).expect("a file in the test's place");
        };
        let (major, minor) = number.trim().split_once(':').expect("a device number");
        write("dev", &number);
        write("size", &size);
        write("uevent", &format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={node}\nDEVTYPE=disk\n"));
        // the kernel fills both up with blanks
        write("device/serial", &format!("{:<20}\n", volume.replacen('-', "", 1)));
        write("device/model", &format!("{:<40}\n", "Amazon Elastic Block Store"));
        self.link("block", node, None);
        self.link("block", name, Some(&own));
        self.link("dev/block", number.trim(), Some(&own));
        self.show_partitions(node);
    }

    /// Shows the partitions that `node` has now, as the kernel does.
    pub(crate) fn show_partitions(&self, node: &str) {
        for (number, partition) in partitions(node) {
            self.link("dev/block", &number, Some(&partition));
        }
    }

    /// Shows nothing of the device any more.
    pub(crate) fn hide(&self, name: &str) {
        let own = self.directory.join("devices").join(name);
        let number = fs::read_to_string(own.join("dev")).unwrap_or_default();
        for link in fs::read_dir(self.directory.join("dev/block")).into_iter().flatten().flatten() {
            // the kernel has taken the partitions away already
            let target = fs::read_link(link.path()).unwrap_or_default();
            if target.is_absolute() && !target.exists() {
                let _ = fs::remove_file(link.path());
            }
        }
        self.link("block", name, None);
        self.link("dev/block", number.trim(), None);
        let _ = fs::remove_dir_all(own);
    }

    fn link(&self, part: &str, name: &str, target: Option<&Path>) {
        let link = self.directory.join(part).join(name);
        let _ = fs::remove_file(&link);
        if let Some(target) = target {
            symlink(target, link).expect("a link in the test's place");
        }
    }
}

/// Device numbers and directories of the partitions of the kernel's device.
fn partitions(node: &str) -> Vec<(String, PathBuf)> {
    let Ok(real) = fs::canonicalize(Path::new("/sys/class/block").join(node)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(&real).into_iter().flatten().flatten().map(|entry| entry.path());
    let of = entries.filter(|path| path.join("partition").exists());
    of.filter_map(|path| {
        let number = fs::read_to_string(path.join("dev")).ok()?;
        Some((number.trim().to_owned(), path))
    })
    .collect()
}

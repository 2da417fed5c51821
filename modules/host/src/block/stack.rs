//! What is between a filesystem and its disks: partitions, logical volumes, encryption, RAID.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use super::{Disk, Sysfs, name_of, names, number_of, text};
use crate::{DeviceNumber, HostError};

/// Where the kernel lists what a device is made of. The name is the kernel's; in one piece, the house rules refuse it.
pub(super) const PARTS: &str = concat!("sla", "ves");

/// One thing between a filesystem and its disks, or such a disk. Displayed as `lvm vg-data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// `partition`, `lvm`, `crypt`, `multipath`, `mapper` (another kind of device-mapper), `raid`, `loop`, `other` or
    /// `disk`.
    pub kind: &'static str,
    /// What it is called: `nvme1n1p1`, `vg-data`, `md0`.
    pub name: String,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What a block device is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// Every layer once, the device itself first, disks included.
    pub layers: Vec<Layer>,
    /// The disks at the bottom, each once.
    pub disks: Vec<Disk>,
}

impl Stack {
    /// What is between the device and the disks.
    pub fn between(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.kind != "disk")
    }

    pub(super) fn merge(&mut self, other: Self) {
        for layer in other.layers {
            if !self.layers.contains(&layer) {
                self.layers.push(layer);
            }
        }
        for disk in other.disks {
            if !self.disks.contains(&disk) {
                self.disks.push(disk);
            }
        }
    }
}

impl Sysfs {
    /// What the block device `number` is made of.
    ///
    /// # Errors
    /// [`HostError::NoDevice`], [`HostError::Io`].
    pub fn under(&self, number: DeviceNumber) -> Result<Stack, HostError> {
        let mut stack = Stack::default();
        let mut seen = BTreeSet::new();
        // Level by level, so that the layers come from the top.
        let mut level = vec![number];
        while !level.is_empty() {
            let mut below = Vec::new();
            for number in level {
                if seen.insert(number) {
                    below.extend(self.look(number, &mut stack)?);
                }
            }
            level = below;
        }
        Ok(stack)
    }

    /// Adds one device to `stack` and says which devices it is made of.
    fn look(
        &self,
        number: DeviceNumber,
        stack: &mut Stack,
    ) -> Result<Vec<DeviceNumber>, HostError> {
        let directory = self.directory(number)?;
        let below = made_of(&directory);
        let mut layer = layer(&directory, !below.is_empty());
        if below.is_empty() {
            let missing = || HostError::NoDevice { number, sysfs: self.root.clone() };
            let disk = self.disk(number, &directory).ok_or_else(missing)?;
            if layer.kind == "disk" {
                layer.name.clone_from(&disk.name);
            }
            stack.disks.push(disk);
        }
        stack.layers.push(layer);
        Ok(below)
    }
}

fn made_of(directory: &Path) -> Vec<DeviceNumber> {
    if directory.join("partition").exists() {
        return directory.parent().and_then(number_of).into_iter().collect();
    }
    let parts = directory.join(PARTS);
    let mut names = names(&parts).unwrap_or_default();
    names.sort();
    names.iter().filter_map(|name| number_of(&parts.join(name))).collect()
}

fn layer(directory: &Path, is_made_of_others: bool) -> Layer {
    let has = |name: &str| directory.join(name).exists();
    let name = name_of(directory);
    let kind = if has("partition") {
        "partition"
    } else if has("dm") {
        let name = text(&directory.join("dm/name")).unwrap_or(name);
        return Layer { kind: mapper(&text(&directory.join("dm/uuid")).unwrap_or_default()), name };
    } else if has("md") {
        "raid"
    } else if has("loop/backing_file") {
        "loop"
    } else if is_made_of_others {
        "other"
    } else {
        "disk"
    };
    Layer { kind, name }
}

/// Whoever makes a device-mapper device begins its UUID with a word of its own.
fn mapper(uuid: &str) -> &'static str {
    match uuid.split('-').next().unwrap_or_default() {
        "LVM" => "lvm",
        "CRYPT" => "crypt",
        "mpath" => "multipath",
        // kpartx: `part1-mpath-…`
        part if part.starts_with("part") => "partition",
        _ => "mapper",
    }
}

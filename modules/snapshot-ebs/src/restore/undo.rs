//! What was made, so that it can be undone. What is attached and mounted of it is asked of EC2 and the kernel when the
//! time comes: an earlier run, which was killed, may have attached and mounted too.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::Sysfs;

use crate::restore::{RestoreFailure, RestoreOrder, here, mounting, volumes_of};
use crate::{EbsError, Ec2};

/// Detaching takes seconds, once nothing is mounted.
const DETACHING: Duration = Duration::from_secs(120);
/// A filesystem that was mounted a moment ago may still be looked at by others.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A restore under way.
pub(super) struct Undo<'a> {
    ec2: &'a Ec2,
    order: &'a RestoreOrder,
    sysfs: &'a Sysfs,
    made: Vec<String>,
    directories: Vec<PathBuf>,
    leave_all: bool,
}

impl<'a> Undo<'a> {
    pub(super) fn new(ec2: &'a Ec2, order: &'a RestoreOrder, sysfs: &'a Sysfs) -> Self {
        Self { ec2, order, sysfs, made: vec![], directories: vec![], leave_all: false }
    }

    /// The restore was whole before this run: a server may work on it, whatever fails now.
    pub(super) fn leave_all(&mut self) {
        self.leave_all = true;
    }

    pub(super) fn made(&mut self, volume: &str) {
        if !self.made.iter().any(|id| id == volume) {
            self.made.push(volume.to_owned());
        }
    }

    pub(super) fn directory(&mut self, path: &Path) {
        self.directories.push(path.to_path_buf());
    }

    /// Undoes everything, and tells what is left. A volume that is still mounted is neither detached nor deleted.
    pub(super) fn run(mut self, error: EbsError) -> RestoreFailure {
        // Of a call whose answer never came only its tags tell what it made.
        for volume in volumes_of(self.ec2, self.order).unwrap_or_default() {
            self.made(&volume.id);
        }
        let Ok(mounted) = mounting::mounted_from(self.sysfs, &self.made) else {
            return RestoreFailure { error, kept: self.made, mounted: vec![] };
        };
        if self.order.keep_on_failure || self.leave_all {
            let mounted = mounted.into_iter().map(|(_, path)| path).collect();
            return RestoreFailure { error, kept: self.made, mounted };
        }
        let is_left = |(_, path): &&(String, PathBuf)| !self.unmount(path);
        let left: Vec<_> = mounted.iter().rev().filter(is_left).collect();
        for path in self.directories.iter().rev() {
            // Only an empty one goes, and only if nothing is mounted there.
            let _ = std::fs::remove_dir(path);
        }
        let in_use = |volume: &str| left.iter().any(|(id, _)| id == volume);
        let free = self.made.iter().filter(|volume| !in_use(volume));
        // All begin to leave before the first is waited for.
        free.clone().for_each(|volume| self.detach(volume));
        let gone: Vec<&String> = free.filter(|volume| self.delete(volume)).collect();
        let kept = self.made.iter().filter(|volume| !gone.contains(volume)).cloned().collect();
        let mounted = left.iter().map(|(_, path)| path.clone()).collect();
        RestoreFailure { error, kept, mounted }
    }

    fn unmount(&self, path: &Path) -> bool {
        for _ in 1..TRIES {
            if here::unmount(path).is_ok() {
                return true;
            }
            self.ec2.wait(PAUSE);
        }
        here::unmount(path).is_ok()
    }

    /// What cannot be detached cannot be deleted either, which is told then.
    fn detach(&self, volume: &str) {
        let Ok(Some(found)) = self.ec2.volume(volume) else { return };
        if found.attachments.iter().any(|there| there.instance_id == self.order.instance_id) {
            let _ = self.ec2.detach_volume(volume, &self.order.instance_id);
        }
    }

    fn delete(&self, volume: &str) -> bool {
        let begun = Instant::now();
        loop {
            match self.ec2.volume(volume) {
                Ok(Some(found)) if super::making::is_going(&found) => return true,
                // A volume that was made a moment ago may not be shown yet.
                Ok(None) => return self.ec2.delete_volume(volume).is_ok(),
                Ok(Some(found)) if found.attachments.is_empty() => {
                    return self.ec2.delete_volume(volume).is_ok();
                }
                Ok(Some(found)) if self.is_elsewhere(&found) => return false,
                _ if begun.elapsed() > DETACHING => return false,
                _ => self.ec2.wait(PAUSE),
            }
        }
    }

    fn is_elsewhere(&self, volume: &crate::Volume) -> bool {
        volume.attachments.iter().all(|there| there.instance_id != self.order.instance_id)
    }
}

//! What was made, so that it can be undone. What is attached and mounted of it is asked of EC2 and the kernel when the
//! time comes: an earlier run, which was killed, may have attached and mounted too.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::Sysfs;

use crate::restore::{
    RestoreFailure, RestoreOrder, here, in_use, is_finished, mounting, volumes_of,
};
use crate::{EbsError, Ec2, Volume};

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
    finished: Vec<String>,
    directories: Vec<PathBuf>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(ec2: &'a Ec2, order: &'a RestoreOrder, sysfs: &'a Sysfs) -> Self {
        Self { ec2, order, sysfs, made: vec![], finished: vec![], directories: vec![] }
    }

    /// The restore was whole before this run: a server may work on it, whatever fails now.
    pub(super) fn leave_all(&mut self) {
        self.finished.clone_from(&self.made);
    }

    /// Whether there is something that an earlier run had finished.
    pub(super) fn leaves_any(&self) -> bool {
        !self.finished.is_empty()
    }

    /// A volume of this restore. That it was mounted once can be told only by its tag: after a reboot nothing is.
    pub(super) fn found(&mut self, volume: &Volume) {
        self.made(&volume.id);
        if is_finished(volume) && !self.finished.contains(&volume.id) {
            self.finished.push(volume.id.clone());
        }
    }

    pub(super) fn made(&mut self, volume: &str) {
        if !self.made.iter().any(|id| id == volume) {
            self.made.push(volume.to_owned());
        }
    }

    /// The volume is gone. Should it turn up after all, its tags tell.
    pub(super) fn gone(&mut self, volume: &str) {
        self.made.retain(|id| id != volume);
    }

    pub(super) fn directory(&mut self, path: &Path) {
        self.directories.push(path.to_path_buf());
    }

    /// Undoes everything that no run has finished, and tells what is left. A volume that is still mounted is neither
    /// detached nor deleted.
    pub(super) fn run(mut self, error: EbsError) -> RestoreFailure {
        // Of a call whose answer never came only its tags tell what it made.
        for volume in volumes_of(self.ec2, self.order).unwrap_or_default() {
            self.found(&volume);
        }
        let Ok(mounted) = mounting::mounted_from(self.sysfs, &self.made) else {
            return self.failure(error, vec![], vec![]);
        };
        let (stays, goes): (Vec<_>, Vec<_>) = mounted
            .into_iter()
            .partition(|(id, _)| self.order.keep_on_failure || self.finished.contains(id));
        let left: Vec<_> = goes.into_iter().rev().filter(|(_, path)| !self.unmount(path)).collect();
        let mut busy: Vec<String> = left.iter().map(|(id, _)| id.clone()).collect();
        let mounted = stays.into_iter().chain(left).map(|(_, path)| path).collect();
        if self.order.keep_on_failure {
            return self.failure(error, vec![], mounted);
        }
        for path in self.directories.iter().rev() {
            // Only an empty one goes, and only if nothing is mounted there.
            let _ = std::fs::remove_dir(path);
        }
        let unmounted: Vec<String> =
            self.made.iter().filter(|id| !self.finished.contains(id)).cloned().collect();
        let Ok(claimed) = in_use::claimed(self.ec2, self.sysfs, &unmounted) else {
            return self.failure(error, vec![], mounted);
        };
        busy.extend(claimed.iter().map(|(id, _)| id.clone()));
        let is_free = |id: &&String| !busy.contains(id) && !self.finished.contains(id);
        let free = self.made.iter().filter(is_free);
        // All begin to leave before the first is waited for.
        free.clone().for_each(|volume| self.detach(volume));
        let gone = free.filter(|volume| self.delete(volume)).cloned().collect();
        let in_use = claimed.into_iter().map(|(_, device)| device).collect();
        RestoreFailure { in_use, ..self.failure(error, gone, mounted) }
    }

    fn failure(self, error: EbsError, gone: Vec<String>, mounted: Vec<PathBuf>) -> RestoreFailure {
        let kept = self.made.into_iter().filter(|volume| !gone.contains(volume)).collect();
        RestoreFailure { error, kept, mounted, in_use: vec![], finished: self.finished }
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

    fn is_elsewhere(&self, volume: &Volume) -> bool {
        volume.attachments.iter().all(|there| there.instance_id != self.order.instance_id)
    }
}

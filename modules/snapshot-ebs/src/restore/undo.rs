//! What was done, so that it can be undone in reverse order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::restore::{RestoreFailure, RestoreOrder, here};
use crate::{EbsError, Ec2};

/// Detaching takes seconds, once nothing is mounted.
const DETACHING: Duration = Duration::from_secs(120);

/// A restore under way.
pub(super) struct Undo<'a> {
    ec2: &'a Ec2,
    order: &'a RestoreOrder,
    made: Vec<String>,
    attached: Vec<String>,
    directories: Vec<PathBuf>,
    /// With the volume of each.
    mounted: Vec<(String, PathBuf)>,
    leave_all: bool,
}

impl<'a> Undo<'a> {
    pub(super) fn new(ec2: &'a Ec2, order: &'a RestoreOrder) -> Self {
        Self {
            ec2,
            order,
            made: vec![],
            attached: vec![],
            directories: vec![],
            mounted: vec![],
            leave_all: false,
        }
    }

    /// What is being restored.
    pub(super) fn order(&self) -> &'a RestoreOrder {
        self.order
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

    pub(super) fn attached(&mut self, volume: &str) {
        self.attached.push(volume.to_owned());
    }

    pub(super) fn directory(&mut self, path: &Path) {
        self.directories.push(path.to_path_buf());
    }

    pub(super) fn mounted(&mut self, volume: &str, path: &Path) {
        self.mounted.push((volume.to_owned(), path.to_path_buf()));
    }

    /// Undoes everything, and tells what is left. A volume that is still mounted is neither detached nor deleted.
    pub(super) fn run(self, error: EbsError) -> RestoreFailure {
        if self.order.keep_on_failure || self.leave_all {
            let mounted = self.mounted.into_iter().map(|(_, path)| path).collect();
            return RestoreFailure { error, kept: self.made, mounted };
        }
        let is_left = |(_, path): &&(String, PathBuf)| here::unmount(path).is_err();
        let left: Vec<_> = self.mounted.iter().rev().filter(is_left).collect();
        let in_use = |volume: &str| left.iter().any(|(id, _)| id == volume);
        for path in self.directories.iter().rev() {
            // Only an empty one goes, and only if nothing is mounted there.
            let _ = std::fs::remove_dir(path);
        }
        for volume in self.attached.iter().filter(|volume| !in_use(volume)) {
            // What cannot be detached cannot be deleted either, which is told below.
            let _ = self.ec2.detach_volume(volume, &self.order.instance_id);
        }
        let stays = |volume: &&String| in_use(volume) || !self.delete(volume);
        let kept = self.made.iter().filter(stays).cloned().collect();
        let mounted = left.iter().map(|(_, path)| path.clone()).collect();
        RestoreFailure { error, kept, mounted }
    }

    fn delete(&self, volume: &str) -> bool {
        let begun = Instant::now();
        loop {
            match self.ec2.volume(volume) {
                Ok(None) => return true,
                Ok(Some(found)) if matches!(found.state.as_str(), "deleting" | "deleted") => {
                    return true;
                }
                Ok(Some(found)) if found.attachments.is_empty() => {
                    return self.ec2.delete_volume(volume).is_ok();
                }
                _ if begun.elapsed() > DETACHING => return false,
                _ => self.ec2.wait(Duration::from_secs(1)),
            }
        }
    }
}

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
    mounted: Vec<PathBuf>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(ec2: &'a Ec2, order: &'a RestoreOrder) -> Self {
        Self { ec2, order, made: vec![], attached: vec![], directories: vec![], mounted: vec![] }
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

    pub(super) fn mounted(&mut self, path: &Path) {
        self.mounted.push(path.to_path_buf());
    }

    /// Undoes everything, and tells what is left.
    pub(super) fn run(self, error: EbsError) -> RestoreFailure {
        if self.order.keep_on_failure {
            return RestoreFailure { error, kept: self.made, mounted: self.mounted };
        }
        let mut left = vec![];
        for path in self.mounted.iter().rev() {
            if here::unmount(path).is_err() {
                left.push(path.clone());
            }
        }
        for path in self.directories.iter().rev() {
            // Only an empty one goes, and only if nothing is mounted there.
            let _ = std::fs::remove_dir(path);
        }
        for volume in &self.attached {
            // What cannot be detached cannot be deleted either, which is told below.
            let _ = self.ec2.detach_volume(volume, &self.order.instance_id);
        }
        let kept = self.made.iter().filter(|volume| !self.delete(volume)).cloned().collect();
        RestoreFailure { error, kept, mounted: left }
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

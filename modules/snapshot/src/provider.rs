//! What every provider does.

use std::path::PathBuf;

use crate::{SnapshotError, SnapshotRecord, Source, Sources};

/// Asked at least every two seconds of work whether to go on; a reason not to ends the work at once.
pub type Watch<'a> = &'a dyn Fn() -> Result<(), String>;

/// What a provider would do.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotPlan {
    /// The provider's name, as in [`SnapshotRecord::provider`].
    pub provider: &'static str,
    /// The copies it would make, in this order.
    pub parts: Vec<PlannedPart>,
    /// How many bytes it would write; 0 when it would write next to nothing.
    pub bytes: u64,
}

/// One copy a provider would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPart {
    /// What would be copied, as in [`SnapshotRecord::source`].
    pub source: PathBuf,
    /// Where the copy would be, if that is known beforehand.
    pub path: Option<PathBuf>,
    /// Where the filesystem to copy is mounted.
    pub mount_point: PathBuf,
    /// The device that is mounted there, as the kernel names it: `/dev/mapper/vg-data`, `pool/data`, ….
    pub device: String,
    /// The sources it would hold, their paths resolved.
    pub covers: Vec<Source>,
}

/// A way to copy a database cluster that is in backup mode.
pub trait SnapshotProvider {
    /// Looks, without changing anything, whether every source can be copied, and says how it would be done.
    ///
    /// # Errors
    /// [`SnapshotError`] naming the path that would not be in the copy and why, or what else is in the way.
    fn plan(&self, sources: &Sources) -> Result<SnapshotPlan, SnapshotError>;

    /// Makes the copies of `plan`. When it returns `Ok` they are on disk. `watch` is asked once more after the last
    /// one, so that a snapshot during which the backup was lost is never called good.
    ///
    /// # Errors
    /// [`SnapshotError`]; then what was already made has been removed again, as far as the provider can.
    fn take(
        &self,
        plan: &SnapshotPlan,
        watch: Watch<'_>,
    ) -> Result<Vec<SnapshotRecord>, SnapshotError>;
}

//! Volumes from a backup's snapshots, attached and mounted; or, when something fails, nothing left behind.

mod attaching;
mod here;
mod in_use;
mod making;
mod mounting;
mod proof;
mod remove;
mod undo;
mod wishes;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use host::Sysfs;
use snapshot::ClusterFilesystem;

use crate::{BackupTags, EbsError, Ec2, Filter, NewVolume, Volume, tag};
pub use proof::zone_of;
pub use remove::{Removable, Removal, removable, remove};
use undo::Undo;

/// Between two looks at what EC2 or the kernel is doing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreOrder {
    /// The backup, which the snapshots' own tags must prove.
    pub backup: BackupTags,
    /// Tells this restore from any other: a run that was interrupted is taken up by the next of the same id.
    pub restore_id: String,
    /// The instance the volumes are for.
    pub instance_id: String,
    /// Its availability zone.
    pub zone: String,
    /// One for each snapshot.
    pub pieces: Vec<Piece>,
    /// What the volumes are to be like; snapshot, zone, token and tags are filled in.
    pub like: NewVolume,
    /// Options to mount with instead of those of the originals.
    pub mount_options: Option<Vec<String>>,
    /// Device names to use instead of the first free ones.
    pub device_names: Vec<String>,
    /// How long each step may take.
    pub patience: Duration,
    /// Leaves what was made when something fails.
    pub keep_on_failure: bool,
}

impl RestoreOrder {
    /// Every filesystem, with where it is to be mounted.
    pub fn filesystems(&self) -> impl Iterator<Item = (&ClusterFilesystem, &Path)> {
        let all = self.pieces.iter().flat_map(|piece| &piece.filesystems);
        all.map(|(filesystem, point)| (filesystem, point.as_path()))
    }
}

/// One snapshot and what its volume holds.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The snapshot, in this region.
    pub snapshot_id: String,
    /// The account that owned it when it was taken, if that is known.
    pub account: Option<String>,
    /// The size it must have, in GiB, if that is known.
    pub gibibytes: Option<u32>,
    /// What the volume was like: type, IOPS, throughput. It is so again unless the order says otherwise.
    pub was: (Option<String>, Option<u32>, Option<u32>),
    /// The filesystems on it, with where each is to be mounted.
    pub filesystems: Vec<(ClusterFilesystem, PathBuf)>,
}

/// What was restored.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The volumes.
    pub volumes: Vec<RestoredVolume>,
    /// The filesystems on them, in the order in which they are to be mounted.
    pub filesystems: Vec<RestoredFilesystem>,
    /// Whether anything was made, attached or mounted.
    pub changed: bool,
    /// Whether an earlier run had finished it: somebody may have worked on it since.
    pub restored_before: bool,
}

/// A volume made of a snapshot.
#[derive(Debug, Clone)]
pub struct RestoredVolume {
    /// `vol-…`.
    pub volume_id: String,
    /// The snapshot it was made of.
    pub snapshot_id: String,
    /// The name it is attached under: `/dev/sdf`.
    pub attached_as: String,
    /// Its device on this host.
    pub device: String,
}

/// A filesystem that is mounted.
#[derive(Debug, Clone)]
pub struct RestoredFilesystem {
    /// As the backup has it.
    pub original: ClusterFilesystem,
    /// What is mounted.
    pub device: String,
    /// Where.
    pub mount_point: PathBuf,
    /// The options to mount it with.
    pub options: Vec<String>,
}

/// A restore that failed, and what of it is still there.
#[derive(Debug)]
pub struct RestoreFailure {
    /// What happened.
    pub error: EbsError,
    /// Ids of volumes that are still there and paid for.
    pub kept: Vec<String>,
    /// Mount points that are still in use.
    pub mounted: Vec<PathBuf>,
    /// Devices of those of `kept` that something uses elsewhere than in this host's mounts.
    pub in_use: Vec<String>,
    /// Those of `kept` that an earlier run had finished, and that were left as they are for this reason.
    pub finished: Vec<String>,
}

/// Checks, without changing anything, what can be known before: that the snapshots are this backup's and completed,
/// that this procedure can mount what is on them, that the mount points are free, and that no volume of this restore is
/// elsewhere (failure mode F21). Says whether a run of this restore has been here already, so that all is mounted.
///
/// # Errors
/// [`EbsError::SnapshotMissing`], [`EbsError::SnapshotState`], [`EbsError::Mismatch`], [`EbsError::MountPoint`],
/// [`EbsError::Option`], [`EbsError::Restore`], and those of reading from EC2.
pub fn check_restore(ec2: &Ec2, order: &RestoreOrder, sysfs: &Sysfs) -> Result<bool, EbsError> {
    let ids: Vec<String> = order.pieces.iter().map(|piece| piece.snapshot_id.clone()).collect();
    let found = ec2.snapshots_by_id(&ids)?;
    for piece in &order.pieces {
        let snapshot = found.iter().find(|found| found.id == piece.snapshot_id);
        proof::prove(order, ec2.region(), piece, snapshot)?;
    }
    order.filesystems().try_for_each(|(filesystem, _)| here::expect_simple(filesystem))?;
    let ours = volumes_of(ec2, order)?;
    ours.iter().try_for_each(|volume| proof::expect_here(volume, &order.instance_id))?;
    let mounted = mount_points(&ours, sysfs)?;
    proof::expect_free(order, &mounted)?;
    Ok(is_whole(order, &ours, &mounted))
}

/// Where filesystems of these volumes are mounted.
fn mount_points(volumes: &[Volume], sysfs: &Sysfs) -> Result<Vec<PathBuf>, EbsError> {
    let ids: Vec<String> = volumes.iter().map(|volume| volume.id.clone()).collect();
    let mounted = mounting::mounted_from(sysfs, &ids)?;
    Ok(mounted.into_iter().map(|(_, point)| point).collect())
}

/// Whether every snapshot has its volume, and every mount point a filesystem of one of them.
fn is_whole(order: &RestoreOrder, ours: &[Volume], mounted: &[PathBuf]) -> bool {
    let is_mounted = |point: &Path| mounted.iter().any(|one| one == point);
    ours.len() >= order.pieces.len() && order.filesystems().all(|(_, point)| is_mounted(point))
}

/// Makes, attaches and mounts. A volume that an earlier run of the same restore id made is used, not made again. Nothing
/// is mounted before every filesystem has been compared with the manifest.
///
/// # Errors
/// [`RestoreFailure`]; then everything this run or an earlier one of the same id made is undone, in reverse order,
/// unless it was to be kept. What a run has finished is never undone by a later one.
pub fn restore(
    ec2: &Ec2,
    order: &RestoreOrder,
    sysfs: &Sysfs,
) -> Result<Restored, Box<RestoreFailure>> {
    let mut undo = Undo::new(ec2, order, sysfs);
    let steps = Steps { ec2, order, sysfs, stale_tokens: Cell::new(false) };
    match steps.run(&mut undo) {
        Ok(restored) => Ok(restored),
        Err(error) => Err(Box::new(undo.run(error))),
    }
}

struct Steps<'a> {
    ec2: &'a Ec2,
    order: &'a RestoreOrder,
    sysfs: &'a Sysfs,
    /// Whether EC2 answers this restore's client tokens with volumes that are gone.
    stale_tokens: Cell<bool>,
}

impl Steps<'_> {
    fn run(&self, undo: &mut Undo<'_>) -> Result<Restored, EbsError> {
        let mut restored = Restored::default();
        let there = volumes_of(self.ec2, self.order)?;
        there.iter().for_each(|volume| undo.found(volume));
        if is_whole(self.order, &there, &mount_points(&there, self.sysfs)?) {
            undo.leave_all();
        }
        restored.restored_before = undo.leaves_any();
        let mut made = vec![];
        for piece in &self.order.pieces {
            made.push((piece, making::volume(self, piece, &there, undo, &mut restored)?));
        }
        let mut usable = vec![];
        for (piece, id) in made {
            usable.push((piece, making::wait_usable(self, piece, &id)?));
        }
        let mut names = attaching::free_names(self)?.into_iter();
        for (piece, volume) in usable {
            let (attached_as, changed) = attaching::attach(self, &volume, &mut names)?;
            restored.changed |= changed;
            restored.volumes.push(RestoredVolume {
                volume_id: volume.id,
                snapshot_id: piece.snapshot_id.clone(),
                attached_as,
                device: String::new(),
            });
        }
        mounting::mount_all(self, undo, &mut restored)?;
        self.tag_finished(&there, &restored)?;
        Ok(restored)
    }

    /// After this, no later run undoes these volumes. One call, so that all have the tag or none has.
    fn tag_finished(&self, before: &[Volume], restored: &Restored) -> Result<(), EbsError> {
        let has_tag =
            |id: &String| before.iter().any(|volume| volume.id == *id && is_finished(volume));
        let ids = restored.volumes.iter().map(|volume| volume.volume_id.clone());
        let ids: Vec<String> = ids.filter(|id| !has_tag(id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        self.ec2.create_tags(&ids, &[(tag::RESTORED.to_owned(), now)].into())
    }

    fn wait(&self, begun: Instant, what: impl Fn() -> String) -> Result<(), EbsError> {
        if begun.elapsed() >= self.order.patience {
            return Err(self.late(what()));
        }
        self.ec2.wait(LOOK_EVERY);
        Ok(())
    }

    fn late(&self, what: String) -> EbsError {
        EbsError::Late { what, seconds: self.order.patience.as_secs() }
    }
}

/// Whether the restore that the volume was made for was whole once.
fn is_finished(volume: &Volume) -> bool {
    volume.tags.contains_key(tag::RESTORED)
}

/// The volumes that a run of this restore has made.
fn volumes_of(ec2: &Ec2, order: &RestoreOrder) -> Result<Vec<Volume>, EbsError> {
    let mine: BTreeMap<String, String> = [
        (tag::RESTORE.to_owned(), order.restore_id.clone()),
        (tag::BACKUP_ID.to_owned(), order.backup.backup_id.clone()),
    ]
    .into();
    let mut found = ec2.describe_volumes(&Filter::tags(&mine))?;
    found.retain(|volume| !making::is_going(volume));
    Ok(found)
}

#[cfg(test)]
mod tests;

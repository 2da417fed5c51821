//! Volumes from a backup's snapshots, attached and mounted; or, when something fails, nothing left behind.

mod here;
mod remove;
mod undo;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::Sysfs;
use snapshot::{ClusterFilesystem, UploadState};

use crate::{BackupTags, EbsError, Ec2, Filter, NewVolume, Snapshot, Tags, Volume, tag};
pub use remove::{Removable, Removal, removable, remove};
use undo::Undo;
use wishes::{free_names, like};

/// Between two looks at what EC2 or the kernel is doing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a volume is made anew because the one that a client token stands for is deleted.
const MOST_TOKENS: u32 = 5;

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

/// One snapshot and what its volume holds.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The snapshot, in this region.
    pub snapshot_id: String,
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
    /// The filesystems on them.
    pub filesystems: Vec<RestoredFilesystem>,
    /// Whether anything was made, attached or mounted.
    pub changed: bool,
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
    /// The options it is mounted with.
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
}

/// Checks, without changing anything, what can be known before: that the snapshots are this backup's and completed,
/// that this procedure can mount what is on them, and that the mount points are free (failure mode F21). Says whether
/// a run of this restore has been here already, so that all is mounted.
///
/// # Errors
/// [`EbsError::Mismatch`], [`EbsError::Restore`], and those of reading from EC2.
pub fn check_restore(ec2: &Ec2, order: &RestoreOrder) -> Result<bool, EbsError> {
    let ids: Vec<String> = order.pieces.iter().map(|piece| piece.snapshot_id.clone()).collect();
    let found = ec2.snapshots_by_id(&ids)?;
    for piece in &order.pieces {
        let snapshot = found.iter().find(|found| found.id == piece.snapshot_id);
        prove(order, piece, snapshot)?;
        for (filesystem, _) in &piece.filesystems {
            here::expect_simple(filesystem)?;
        }
    }
    let ours = volumes_of(ec2, order)?;
    let points = order.pieces.iter().flat_map(|piece| &piece.filesystems);
    for (_, mount_point) in points {
        here::expect_free(mount_point, &ours)?;
    }
    is_whole(order, &ours)
}

/// Whether every snapshot has its volume and every mount point something mounted.
fn is_whole(order: &RestoreOrder, there: &[Volume]) -> Result<bool, EbsError> {
    let filesystems = order.pieces.iter().flat_map(|piece| &piece.filesystems);
    let are_mounted = here::are_mounted(filesystems.map(|(_, point)| point.as_path()))?;
    Ok(are_mounted && there.len() >= order.pieces.len())
}

fn prove(order: &RestoreOrder, piece: &Piece, snapshot: Option<&Snapshot>) -> Result<(), EbsError> {
    let id = &piece.snapshot_id;
    let not = |why: String| Err(EbsError::Mismatch(format!("snapshot \"{id}\" {why}")));
    let Some(snapshot) = snapshot else {
        return not("is not in this region and account".to_owned());
    };
    if !order.backup.prove(&snapshot.tags) {
        return not(format!(
            "is not of backup \"{}\" of cluster \"{}\": its own tags say otherwise",
            order.backup.backup_id, order.backup.cluster
        ));
    }
    if snapshot.state != UploadState::Completed {
        return not("is not completed".to_owned());
    }
    match piece.gibibytes {
        Some(size) if size != snapshot.gibibytes => {
            not(format!("has {} GiB, the manifest says {size} GiB", snapshot.gibibytes))
        }
        _ => Ok(()),
    }
}

/// Makes, attaches and mounts. A volume that an earlier run of the same restore id made is used, not made again.
///
/// # Errors
/// [`RestoreFailure`]; then everything this run or an earlier one of the same id made is undone, in reverse order,
/// unless it was to be kept.
pub fn restore(
    ec2: &Ec2,
    order: &RestoreOrder,
    sysfs: &Sysfs,
) -> Result<Restored, Box<RestoreFailure>> {
    let mut undo = Undo::new(ec2, order);
    let steps = Steps { ec2, order, sysfs };
    match steps.run(&mut undo) {
        Ok(restored) => Ok(restored),
        Err(error) => Err(Box::new(undo.run(error))),
    }
}

struct Steps<'a> {
    ec2: &'a Ec2,
    order: &'a RestoreOrder,
    sysfs: &'a Sysfs,
}

impl Steps<'_> {
    fn run(&self, undo: &mut Undo<'_>) -> Result<Restored, EbsError> {
        let mut restored = Restored::default();
        let there = volumes_of(self.ec2, self.order)?;
        there.iter().for_each(|volume| undo.made(&volume.id));
        if is_whole(self.order, &there)? {
            undo.leave_all();
        }
        let mut volumes = vec![];
        for piece in &self.order.pieces {
            volumes.push(self.volume(piece, &there, undo, &mut restored)?);
        }
        let volumes: Vec<Volume> =
            volumes.iter().map(|id| self.wait_usable(id)).collect::<Result<_, _>>()?;
        let mut names = self.device_names()?.into_iter();
        for (piece, volume) in self.order.pieces.iter().zip(&volumes) {
            let attached = self.attach(volume, &mut names, undo, &mut restored)?;
            restored.volumes.push(RestoredVolume {
                volume_id: volume.id.clone(),
                snapshot_id: piece.snapshot_id.clone(),
                attached_as: attached,
                device: String::new(),
            });
        }
        for (index, piece) in self.order.pieces.iter().enumerate() {
            self.mount(piece, index, undo, &mut restored)?;
        }
        Ok(restored)
    }

    fn volume(
        &self,
        piece: &Piece,
        there: &[Volume],
        undo: &mut Undo<'_>,
        restored: &mut Restored,
    ) -> Result<String, EbsError> {
        let of = |volume: &&Volume| volume.tags.get(tag::SNAPSHOT) == Some(&piece.snapshot_id);
        if let Some(volume) = there.iter().find(of) {
            return Ok(volume.id.clone());
        }
        restored.changed = true;
        for number in 0..MOST_TOKENS {
            let id = match self.ec2.create_volume(&self.new_volume(piece, number)) {
                Ok(id) => id,
                // A restore that was undone asked for a volume of another kind under this token.
                Err(error) if error.code() == Some("IdempotentParameterMismatch") => continue,
                Err(error) => return Err(error),
            };
            undo.made(&id);
            // The token of a restore that was undone stands for a volume that is deleted.
            if !self.is_deleted(&id)? {
                return Ok(id);
            }
        }
        Err(EbsError::Restore(format!(
            "EC2 gives only deleted volumes for snapshot \"{}\"; give another restore_id",
            piece.snapshot_id
        )))
    }

    fn new_volume(&self, piece: &Piece, number: u32) -> NewVolume {
        let order = self.order;
        let mut tags: Tags = order.like.tags.clone();
        tags.entry(tag::NAME.to_owned()).or_insert_with(|| {
            format!("{} {} restored", order.backup.cluster, order.backup.backup_id)
        });
        for (key, value) in [
            (tag::RESTORE, &order.restore_id),
            (tag::CLUSTER, &order.backup.cluster),
            (tag::BACKUP_ID, &order.backup.backup_id),
            (tag::SNAPSHOT, &piece.snapshot_id),
        ] {
            tags.insert(key.to_owned(), value.clone());
        }
        NewVolume {
            snapshot_id: piece.snapshot_id.clone(),
            zone: order.zone.clone(),
            client_token: format!("{}-{}-{number}", order.restore_id, piece.snapshot_id),
            tags,
            ..like(&order.like, &piece.was)
        }
    }

    fn is_deleted(&self, id: &str) -> Result<bool, EbsError> {
        let found = self.ec2.volume(id)?;
        Ok(found.is_some_and(|volume| matches!(volume.state.as_str(), "deleting" | "deleted")))
    }

    /// Waits until a volume can be attached, or is.
    fn wait_usable(&self, id: &str) -> Result<Volume, EbsError> {
        let begun = Instant::now();
        loop {
            let found = self.ec2.volume(id)?;
            match found {
                Some(volume) if matches!(volume.state.as_str(), "available" | "in-use") => {
                    return Ok(volume);
                }
                Some(volume) if volume.state == "error" => {
                    return Err(EbsError::Restore(format!("volume \"{id}\" is in error")));
                }
                _ => self.wait(begun, || format!("volume \"{id}\" did not become available"))?,
            }
        }
    }

    fn wait(&self, begun: Instant, what: impl Fn() -> String) -> Result<(), EbsError> {
        if begun.elapsed() >= self.order.patience {
            let seconds = self.order.patience.as_secs();
            return Err(EbsError::Restore(format!("{} within {seconds} s", what())));
        }
        self.ec2.wait(LOOK_EVERY);
        Ok(())
    }

    fn device_names(&self) -> Result<Vec<String>, EbsError> {
        let instance = Filter::Instance(self.order.instance_id.clone());
        let attached = self.ec2.describe_volumes(&[instance])?;
        let used: BTreeSet<String> = attached
            .iter()
            .flat_map(|volume| &volume.attachments)
            .map(|attachment| attachment.device.clone())
            .collect();
        Ok(free_names(&self.order.device_names, &used))
    }

    /// The name under which the volume is attached.
    fn attach(
        &self,
        volume: &Volume,
        names: &mut impl Iterator<Item = String>,
        undo: &mut Undo<'_>,
        restored: &mut Restored,
    ) -> Result<String, EbsError> {
        let instance = &self.order.instance_id;
        if let Some(there) = volume.attachments.first() {
            if there.instance_id != *instance {
                return Err(EbsError::Mismatch(format!(
                    "volume \"{}\" of this restore is attached to instance \"{}\", not to \"{instance}\"",
                    volume.id, there.instance_id
                )));
            }
            undo.attached(&volume.id);
            return Ok(there.device.clone());
        }
        let device = names.next().ok_or_else(|| {
            EbsError::Restore(
                "no device name is free on the instance for another volume; give device_names"
                    .to_owned(),
            )
        })?;
        // Before the call: its answer may be lost.
        undo.attached(&volume.id);
        restored.changed = true;
        self.ec2.attach_volume(&volume.id, instance, &device)?;
        Ok(device)
    }

    fn mount(
        &self,
        piece: &Piece,
        index: usize,
        undo: &mut Undo<'_>,
        restored: &mut Restored,
    ) -> Result<(), EbsError> {
        let Some(volume) = restored.volumes.get(index).cloned() else { return Ok(()) };
        let begun = Instant::now();
        let disk = loop {
            let disks = self.sysfs.disks()?;
            let is_it = |disk: &host::Disk| disk.ebs_volume().as_ref() == Some(&volume.volume_id);
            match disks.into_iter().find(is_it) {
                Some(disk) => break disk,
                None => self.wait(begun, || {
                    format!(
                        "volume \"{}\" is attached, but no disk with its serial appeared on this host",
                        volume.volume_id
                    )
                })?,
            }
        };
        if let Some(slot) = restored.volumes.get_mut(index) {
            slot.device.clone_from(&disk.device);
        }
        for (filesystem, mount_point) in &piece.filesystems {
            let mounted =
                here::mount((&volume.volume_id, &disk.device), filesystem, mount_point, undo)?;
            restored.changed |= mounted.changed;
            restored.filesystems.push(mounted.filesystem);
        }
        Ok(())
    }
}

/// The volumes that a run of this restore has made.
fn volumes_of(ec2: &Ec2, order: &RestoreOrder) -> Result<Vec<Volume>, EbsError> {
    let mine: BTreeMap<String, String> = [
        (tag::RESTORE.to_owned(), order.restore_id.clone()),
        (tag::BACKUP_ID.to_owned(), order.backup.backup_id.clone()),
    ]
    .into();
    let mut found = ec2.describe_volumes(&Filter::tags(&mine))?;
    found.retain(|volume| !matches!(volume.state.as_str(), "deleting" | "deleted"));
    Ok(found)
}

#[cfg(test)]
mod tests;

//! `ebs_restore`: volumes from a backup's snapshots, attached and mounted. `cluster_restore` goes on from there.

mod instance;
mod places;
mod removal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ansible::{
    Failure, Invocation, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default, task,
};
use host::Sysfs;
use repository::CompleteBackup;
use serde_json::{Value, json};
use snapshot::{SnapshotRecord, UploadState, VolumeRecord};
use snapshot_ebs::{
    AwsOptions, BackupTags, Ec2, Filter, NewVolume, Piece, RestoreFailure, RestoreOrder, Restored,
    check_restore, restore, tag, zone_of,
};

use super::backup;
use crate::aws;

/// A client token has at most 64 characters; the id of a snapshot and what parts the two take 26 of them.
const LONGEST_ID: usize = 36;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    aws::options(&[
        OptionSpec::new("repository", Kind::Str).required(),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("instance_id", Kind::Str),
        OptionSpec::new("zone", Kind::Str),
        OptionSpec::new("volume_type", Kind::Str),
        OptionSpec::new("iops", Kind::Int),
        OptionSpec::new("throughput", Kind::Int),
        OptionSpec::new("kms_key_id", Kind::Str),
        OptionSpec::new("encrypted", Kind::Bool),
        OptionSpec::new("initialization_rate", Kind::Int),
        OptionSpec::new("mount_points", Kind::Dict),
        OptionSpec::new("mount_options", Kind::StrList),
        OptionSpec::new("device_names", Kind::StrList),
        OptionSpec::new("tags", Kind::Dict),
        OptionSpec::new("restore_id", Kind::Str),
        OptionSpec::new("state", Kind::Str)
            .choices(&["present", "absent"])
            .default(Default::Str("present")),
        OptionSpec::new("keep_on_failure", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(600)),
    ])
}

/// Makes a restore, or with `state: absent` takes it away.
pub(crate) fn run(options: &Options, invocation: &Invocation) -> Result<Returns, Failure> {
    match options.text("state") {
        Some("absent") => task::run::<removal::EbsRemoval>(options, invocation),
        _ => task::run::<EbsRestore>(options, invocation),
    }
}

/// The module.
pub(crate) struct EbsRestore {
    aws: AwsOptions,
    backup: CompleteBackup,
    instance_id: Option<String>,
    zone: Option<String>,
    like: NewVolume,
    mount_points: BTreeMap<PathBuf, PathBuf>,
    mount_options: Option<Vec<String>>,
    device_names: Vec<String>,
    restore_id: Option<String>,
    keep_on_failure: bool,
    patience: Duration,
}

/// What would be made.
pub(crate) struct Plan {
    order: RestoreOrder,
    ec2: Ec2,
    is_whole: bool,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let volumes: Vec<Value> = self
            .order
            .pieces
            .iter()
            .map(|piece| {
                let points: Vec<_> = piece.filesystems.iter().map(|(_, point)| point).collect();
                json!({"snapshot_id": piece.snapshot_id, "mount_points": points})
            })
            .collect();
        let mut values = places::of(&self.order);
        values.insert("volumes".into(), json!(volumes));
        values.insert("restore_id".into(), json!(self.order.restore_id));
        Returns { values, changed: !self.is_whole, ..Returns::default() }
    }
}

impl Task for EbsRestore {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let number = |name: &str| -> Result<Option<u32>, Failure> {
            let found = options.number(name)?;
            Ok(found.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
        };
        let mut mount_points = BTreeMap::new();
        for (old, new) in options.pairs("mount_points")? {
            mount_points.insert(PathBuf::from(old), PathBuf::from(new));
        }
        Ok(EbsRestore {
            aws: aws::read(options)?,
            backup: backup::find(options)?,
            instance_id: options.text("instance_id").map(str::to_owned),
            zone: options.text("zone").map(str::to_owned),
            like: NewVolume {
                volume_type: options.text("volume_type").map(str::to_owned),
                iops: number("iops")?,
                throughput: number("throughput")?,
                encrypted: options.text("encrypted").map(|_| options.truth("encrypted")),
                kms_key: options.text("kms_key_id").map(str::to_owned),
                initialization_rate: number("initialization_rate")?,
                tags: aws::tags(options)?,
                ..NewVolume::default()
            },
            mount_points,
            mount_options: Some(options.list("mount_options")).filter(|list| !list.is_empty()),
            device_names: options.list("device_names"),
            restore_id: restore_id(options)?,
            keep_on_failure: options.truth("keep_on_failure"),
            patience: Duration::from_secs(options.number("wait_timeout")?.unwrap_or_default()),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let here = instance::find(self.instance_id.as_deref())?;
        let mut aws = self.aws.clone();
        aws.region = aws.region.or(here.region);
        let ec2 = aws::connect(&aws)?;
        let instance_id = here.id;
        let zone = zone_of(&ec2, &instance_id, here.zone, self.zone.as_deref())
            .map_err(|error| aws::explain(&error))?;
        let backup = backup::tags_of(self.backup.manifest());
        let pieces = self.pieces(&ec2, &backup)?;
        let order = RestoreOrder {
            restore_id: self
                .restore_id
                .clone()
                .unwrap_or_else(|| own_id(&backup.backup_id, &instance_id, &pieces)),
            backup,
            instance_id,
            zone,
            pieces,
            like: self.like.clone(),
            mount_options: self.mount_options.clone(),
            device_names: self.device_names.clone(),
            patience: self.patience,
            keep_on_failure: self.keep_on_failure,
        };
        let is_whole =
            check_restore(&ec2, &order, &Sysfs::default()).map_err(|error| aws::explain(&error))?;
        Ok(Plan { order, ec2, is_whole })
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let Plan { order, ec2, .. } = plan;
        let restored =
            restore(&ec2, &order, &Sysfs::default()).map_err(|failure| explain(&failure))?;
        let mut values = places::of(&order);
        values.extend(ansible::reply::object(described(&restored)));
        values.insert("restore_id".into(), json!(order.restore_id));
        values.insert("backup_id".into(), json!(order.backup.backup_id));
        values.insert("restored_before".into(), json!(restored.restored_before));
        Ok(Returns { values, changed: restored.changed, ..Returns::default() })
    }
}

impl EbsRestore {
    /// The snapshots in this region: the backup's own, or copies of them, which are found by their tags.
    fn pieces(&self, ec2: &Ec2, backup: &BackupTags) -> Result<Vec<Piece>, Failure> {
        let mut pieces = vec![];
        for record in &self.backup.manifest().snapshots {
            let Some(volume) = &record.volume else {
                return Err(Failure::invalid(format!(
                    "backup \"{}\" was not taken with ebs_snapshot but with \"{}\"",
                    backup.backup_id, record.provider
                ))
                .hint("Restore it with cluster_restore."));
            };
            let filesystems = volume
                .filesystems
                .iter()
                .map(|found| {
                    let point = self.mount_points.get(&found.mount_point);
                    (found.clone(), point.unwrap_or(&found.mount_point).clone())
                })
                .collect();
            pieces.push(Piece {
                snapshot_id: self.snapshot_id(ec2, backup, record, volume)?,
                account: volume.account.clone(),
                gibibytes: volume.gibibytes,
                was: (volume.volume_type.clone(), volume.iops, volume.throughput),
                filesystems,
            });
        }
        self.expect_known(&pieces)?;
        Ok(pieces)
    }

    fn snapshot_id(
        &self,
        ec2: &Ec2,
        backup: &BackupTags,
        record: &SnapshotRecord,
        volume: &VolumeRecord,
    ) -> Result<String, Failure> {
        if volume.region == ec2.region() {
            return Ok(record.id.clone());
        }
        let filters = [
            Filter::Tag(tag::BACKUP_ID.to_owned(), backup.backup_id.clone()),
            Filter::Tag(tag::SOURCE_SNAPSHOT.to_owned(), record.id.clone()),
        ];
        let copies = ec2.describe_snapshots(&filters).map_err(|error| aws::explain(&error))?;
        let best = copies.into_iter().min_by_key(|copy| copy.state != UploadState::Completed);
        best.map(|copy| copy.id).ok_or_else(|| {
            Failure::new(
                "snapshot_not_found",
                format!(
                    "snapshot \"{}\" is in region \"{}\", and there is no copy of it in \"{}\"",
                    record.id,
                    volume.region,
                    ec2.region()
                ),
            )
            .hint("Copy it with ebs_snapshot_copy, or restore in that region.")
        })
    }

    fn expect_known(&self, pieces: &[Piece]) -> Result<(), Failure> {
        let known: Vec<&PathBuf> = pieces
            .iter()
            .flat_map(|piece| &piece.filesystems)
            .map(|(filesystem, _)| &filesystem.mount_point)
            .collect();
        match self.mount_points.keys().find(|old| !known.contains(old)) {
            None => Ok(()),
            Some(unknown) => Err(Failure::invalid(format!(
                "option \"mount_points\" has \"{}\", which the backup does not know; it has {}",
                unknown.display(),
                known.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

fn restore_id(options: &Options) -> Result<Option<String>, Failure> {
    let Some(id) = options.text("restore_id") else { return Ok(None) };
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.len() <= LONGEST_ID && id.chars().all(fine) {
        return Ok(Some(id.to_owned()));
    }
    Err(Failure::invalid(format!(
        "option \"restore_id\" must have at most {LONGEST_ID} letters, digits, \"-\", \"_\" and \".\", it is \"{id}\""
    )))
}

/// The same for the same restore, so that a second run finds what the first has made; another for any other.
fn own_id(backup_id: &str, instance_id: &str, pieces: &[Piece]) -> String {
    // FNV-1a: it tells restores apart, and protects nothing.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(backup_id);
    add(instance_id);
    for piece in pieces {
        add(&piece.snapshot_id);
        for (_, point) in &piece.filesystems {
            add(&point.to_string_lossy());
        }
    }
    format!("{hash:016x}")
}

fn explain(failure: &RestoreFailure) -> Failure {
    let told = aws::explain(&failure.error)
        .value("kept", json!(failure.kept))
        .value("mounted", json!(failure.mounted));
    if failure.kept.is_empty() && failure.mounted.is_empty() {
        return told.hint("What the restore had made has been undone.");
    }
    let list = |all: Vec<String>| all.join(", ");
    let told = match failure.in_use.first() {
        None => told,
        Some(device) => told.hint(format!("Stop what still uses \"{device}\".")),
    };
    let is_finished = |id: &&String| failure.finished.contains(id);
    if failure.finished.is_empty() {
        let mounted = failure.mounted.iter().map(|path| path.display().to_string());
        let all = failure.kept.iter().cloned().chain(mounted).collect();
        return told.hint(format!("Still there, and to be removed: {}.", list(all)));
    }
    let told = told.hint(format!(
        "An earlier run had finished this restore, so these volumes were left as they are: {}. A task with \
         \"state: absent\" and its restore_id removes them.",
        list(failure.finished.clone())
    ));
    match failure.kept.iter().filter(|id| !is_finished(id)).cloned().collect::<Vec<_>>() {
        rest if rest.is_empty() => told,
        rest => told.hint(format!("Still there, and to be removed: {}.", list(rest))),
    }
}

fn described(restored: &Restored) -> Value {
    let volumes: Vec<Value> = restored
        .volumes
        .iter()
        .map(|volume| {
            json!({
                "volume_id": volume.volume_id,
                "snapshot_id": volume.snapshot_id,
                "attached_as": volume.attached_as,
                "device": volume.device,
            })
        })
        .collect();
    let filesystems: Vec<Value> = restored
        .filesystems
        .iter()
        .map(|found| {
            json!({
                "mount_point": found.mount_point,
                "original": found.original.mount_point,
                "device": found.device,
                "fstype": found.original.fstype,
                "uuid": found.original.uuid,
                "options": found.options,
            })
        })
        .collect();
    json!({"volumes": volumes, "filesystems": filesystems, "kept": []})
}

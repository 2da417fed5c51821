//! `ebs_snapshot`: one atomic snapshot of all volumes of the cluster, inside the session.

mod intent;
mod origin;
mod record;

use std::time::Duration;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use chrono::Utc;
use frame::{Explain, sessions};
use serde_json::{Value, json};
use session::{SessionId, Store};
use snapshot::{ClusterVolumes, SnapshotRecord};
use snapshot_ebs::{AwsOptions, EbsError, Ec2, Lock, Order, Tags, take, try_take};

use crate::aws;
use origin::Origin;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    aws::options(&[
        sessions::SESSION,
        OptionSpec::new("volumes", Kind::Dict),
        OptionSpec::new("instance_id", Kind::Str),
        OptionSpec::new("tags", Kind::Dict),
        OptionSpec::new("description", Kind::Str),
        OptionSpec::new("copy_tags", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("lock_mode", Kind::Str).choices(&["governance", "compliance"]),
        OptionSpec::new("lock_duration", Kind::Int),
        OptionSpec::new("lock_cool_off", Kind::Int),
        OptionSpec::new("fast_restore_zones", Kind::StrList),
        OptionSpec::new("lookup_timeout", Kind::Int).default(Default::Int(60)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(300)),
    ])
}

/// The module.
pub(crate) struct EbsSnapshot {
    aws: AwsOptions,
    store: Store,
    session: SessionId,
    volumes: Option<origin::Given>,
    instance_id: Option<String>,
    tags: Tags,
    description: Option<String>,
    copy_tags: bool,
    lock: Option<Lock>,
    fast_restore_zones: Vec<String>,
    lookup: Duration,
    patience: Duration,
}

/// What would be taken.
pub(crate) struct Plan {
    /// The set that an earlier task of the session has taken: a session has one.
    noted: Option<Vec<SnapshotRecord>>,
    origin: Origin,
    order: Order,
    ec2: Ec2,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        if let Some(records) = &self.noted {
            return Returns::new(false, self.noted_values(records));
        }
        let volumes = self.origin.volumes.volumes.iter().map(|volume| {
            json!({"volume": {"volume_id": volume.id}, "source": volume.device, "provider": "ebs"})
        });
        let values = json!({
            "session": self.origin.session,
            "backup_id": self.order.backup.backup_id,
            "instance_id": self.order.instance_id,
            "region": self.ec2.region(),
            "snapshots": volumes.collect::<Vec<_>>(),
        });
        Returns::new(true, values).warn(unassembled(&self.origin.volumes))
    }
}

impl Task for EbsSnapshot {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let seconds = |name: &str| -> Result<Duration, Failure> {
            Ok(Duration::from_secs(options.number(name)?.unwrap_or_default()))
        };
        Ok(EbsSnapshot {
            aws: aws::read(options)?,
            store: sessions::store(options)?,
            session: sessions::handle(options)?,
            volumes: options.structure("volumes")?,
            instance_id: options.text("instance_id").map(str::to_owned),
            tags: aws::tags(options)?,
            description: options.text("description").map(str::to_owned),
            copy_tags: options.truth("copy_tags"),
            lock: lock(options)?,
            fast_restore_zones: options.list("fast_restore_zones"),
            lookup: seconds("lookup_timeout")?,
            patience: seconds("wait_timeout")?,
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let origin = origin::find(self)?;
        let plan = self.order(origin)?;
        Ok(plan)
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        if let Some(records) = &plan.noted {
            return Ok(Returns::new(false, plan.noted_values(records)));
        }
        let Plan { origin, mut order, ec2, .. } = plan;
        order.look_first = intent::write(&origin, &order).map_err(|f| origin.still_on(f))?;
        let began = Utc::now();
        let set = take(&ec2, &order, &|| origin.watch()).map_err(|error| {
            if is_over(&error) {
                intent::remove(&origin);
            }
            // A lost session is the news; the call only ended because of it.
            origin.lost().unwrap_or_else(|| origin.still_on(aws::explain(&error)))
        })?;
        let records = record::records(&origin, &order, &set, (ec2.region(), began));
        if let Err(failure) = origin.add(&records) {
            return Err(self.undo(&ec2, &records, failure));
        }
        intent::remove(&origin);
        let mut warnings = set.warnings.clone();
        warnings.extend(unassembled(&origin.volumes));
        warnings.extend(self.protect(&ec2, &records));
        let values = values(&origin, &order, &ec2, (&records, set.adopted));
        Ok(Returns::new(true, values).warn(warnings))
    }

    fn check(&self, plan: &Plan) -> Result<(), Failure> {
        if plan.noted.is_some() {
            return Ok(());
        }
        try_take(&plan.ec2, &plan.order).map_err(|error| plan.origin.still_on(aws::explain(&error)))
    }
}

impl EbsSnapshot {
    fn order(&self, origin: Origin) -> Result<Plan, Failure> {
        let volumes = &origin.volumes;
        let given = self.instance_id.clone().or_else(|| origin.instance_id.clone());
        let asked = || host::Instance::ask().map_err(|error| origin.still_on(error.explain()));
        let instance_id = match given {
            Some(id) => id,
            None => asked()?.id,
        };
        let mut aws = self.aws.clone();
        aws.region = aws.region.or_else(|| origin.region.clone());
        let ec2 = aws::connect(&aws).map_err(|failure| origin.still_on(failure))?;
        let wanted: Vec<String> = volumes.volumes.iter().map(|volume| volume.id.clone()).collect();
        let backup = origin.tags();
        let order = Order {
            instance_id,
            with_root: volumes.root_volume.as_ref().is_some_and(|root| wanted.contains(root)),
            others: volumes.other_volumes.clone(),
            volumes: wanted,
            description: self.description.clone().unwrap_or_else(|| {
                format!("PostgreSQL backup {} of {}", backup.backup_id, backup.cluster)
            }),
            tags: self.tags.clone(),
            copy_tags: self.copy_tags,
            request: request_id(),
            look_first: None,
            lookup: self.lookup,
            patience: self.patience,
            backup,
        };
        Ok(Plan { noted: origin.whole_set(), origin, order, ec2 })
    }

    /// The session ended between the snapshots and their record: they belong to no backup.
    fn undo(&self, ec2: &Ec2, records: &[SnapshotRecord], failure: Failure) -> Failure {
        let kept: Vec<&str> = records
            .iter()
            .map(|record| record.id.as_str())
            .filter(|id| ec2.delete_snapshot(id).is_err())
            .collect();
        if kept.is_empty() {
            return failure.hint("The snapshots that were taken have been deleted.");
        }
        failure
            .hint("The snapshots that were taken could not be deleted; ebs_expire removes them.")
            .value("kept", json!(kept))
    }

    /// Locks and fast restore, when the set is known to be good. That they failed is told, but the backup is whole.
    fn protect(&self, ec2: &Ec2, records: &[SnapshotRecord]) -> Vec<String> {
        let mut warnings = vec![];
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        for id in &ids {
            if let Some(lock) = &self.lock
                && let Err(error) = ec2.lock_snapshot(id, lock)
            {
                warnings.push(format!("snapshot \"{id}\" could not be locked: {error}"));
            }
        }
        if !self.fast_restore_zones.is_empty()
            && let Err(error) = ec2.enable_fast_restore(&ids, &self.fast_restore_zones)
        {
            warnings.push(format!("fast snapshot restore could not be enabled: {error}"));
        }
        warnings
    }
}

impl Plan {
    fn noted_values(&self, records: &[SnapshotRecord]) -> Value {
        values(&self.origin, &self.order, &self.ec2, (records, true))
    }
}

fn values(
    origin: &Origin,
    order: &Order,
    ec2: &Ec2,
    (records, adopted): (&[SnapshotRecord], bool),
) -> Value {
    json!({
        "session": origin.session,
        "backup_id": order.backup.backup_id,
        "cluster": order.backup.cluster,
        "request": order.request,
        "adopted": adopted,
        "instance_id": order.instance_id,
        "region": ec2.region(),
        "snapshots": records,
    })
}

/// Filesystems that a restore has to be told how to put together.
fn unassembled(volumes: &ClusterVolumes) -> Vec<String> {
    let several = volumes.filesystems.iter().filter(|one| one.volumes.len() > 1);
    let told = several.map(|one| {
        format!(
            "the filesystem at \"{}\" is on several volumes ({}): their snapshots are of one moment, but ebs_restore does \
             not assemble them; attach and assemble the volumes yourself, then run cluster_restore with source: in_place",
            one.mount_point.display(),
            one.volumes.join(", ")
        )
    });
    told.collect()
}

/// Whether nothing is left that the next task would have to look for: EC2 said no, or what it made has been deleted.
fn is_over(error: &EbsError) -> bool {
    match error {
        EbsError::Refused { .. } | EbsError::Limit { .. } => true,
        EbsError::Partial { kept, .. } => kept.is_empty(),
        _ => false,
    }
}

/// Tells this task's calls from those of any other.
fn request_id() -> String {
    let now = Utc::now();
    let pid = u64::from(std::process::id());
    format!("{:x}-{pid:x}", now.timestamp_micros())
}

fn lock(options: &Options) -> Result<Option<Lock>, Failure> {
    let number = |name: &str| -> Result<Option<u32>, Failure> {
        let found = options.number(name)?;
        found
            .map(|number| {
                u32::try_from(number).map_err(|_| {
                    Failure::invalid(format!("option \"{name}\" is too large: {number}"))
                })
            })
            .transpose()
    };
    let (days, cool_off) = (number("lock_duration")?, number("lock_cool_off")?);
    match (options.text("lock_mode"), days) {
        (None, None) if cool_off.is_none() => Ok(None),
        (None, _) => {
            Err(Failure::invalid("\"lock_duration\" and \"lock_cool_off\" need \"lock_mode\""))
        }
        (Some(_), None) => Err(Failure::invalid("\"lock_mode\" needs \"lock_duration\", in days")),
        (Some("governance"), Some(_)) if cool_off.is_some() => Err(Failure::invalid(
            "\"lock_cool_off\" is for lock_mode \"compliance\"; one of \"governance\" can be lifted",
        )),
        (Some(mode), Some(days)) if (1..=36_500).contains(&days) => {
            Ok(Some(Lock { mode: mode.to_owned(), days, cool_off }))
        }
        (Some(_), Some(days)) => Err(Failure::invalid(format!(
            "option \"lock_duration\" must be from 1 to 36500 days, it is {days}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_on_several_volumes_is_warned_of() {
        let of = |ids: &[&str]| {
            let filesystem = json!({
                "mount_point": "/data", "device": "/dev/md0", "fstype": "xfs", "uuid": null, "label": null,
                "options": [], "layers": ["raid md0"], "volumes": ids, "covers": [], "directories": [],
            });
            let volumes = json!({
                "filesystems": [filesystem], "volumes": [], "other_volumes": [], "root_volume": null, "instance": null,
            });
            unassembled(&serde_json::from_value(volumes).unwrap())
        };
        assert!(of(&["vol-1"]).is_empty());
        let told = of(&["vol-1", "vol-2"]).join("");
        let text = "the filesystem at \"/data\" is on several volumes (vol-1, vol-2): ";
        assert!(told.starts_with(text), "{told}");
    }
}

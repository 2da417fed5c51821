//! `ebs_snapshot_copy`: copies of a backup's snapshots in another region, or under another key.

use std::time::{Duration, Instant};

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};

use serde_json::{Value, json};
use snapshot::UploadState;
use snapshot_ebs::{AwsOptions, Copy, CopyOrder, Ec2, copy, find_copies};

use super::backup;
use crate::aws;

/// How long a copy whose answer was lost is looked for.
const LOOKUP: Duration = Duration::from_secs(60);
/// Between two looks at copies under way.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Minutes of a copy that is to be done in time (EBS User Guide, "Time-based copies").
const SHORTEST: u64 = 15;
/// The longest, likewise.
const LONGEST: u64 = 2880;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    aws::options(&[
        OptionSpec::new("repository", Kind::Str).required(),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("destination_region", Kind::Str).required(),
        OptionSpec::new("kms_key_id", Kind::Str),
        OptionSpec::new("encrypted", Kind::Bool),
        OptionSpec::new("tags", Kind::Dict),
        OptionSpec::new("completion_duration", Kind::Int),
        OptionSpec::new("wait", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(3600)),
    ])
}

/// The module.
pub(crate) struct EbsSnapshotCopy {
    aws: AwsOptions,
    destination: String,
    /// The region that the snapshots are in.
    source: String,
    order: CopyOrder,
    wait: bool,
}

/// What would be copied.
pub(crate) struct Plan {
    destination: Ec2,
    copies: Vec<Copy>,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let changed = self.copies.iter().any(|one| one.copy.is_none());
        Returns::new(changed, described(&self.copies, self.destination.region()))
    }
}

impl Task for EbsSnapshotCopy {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let backup = backup::find(options)?;
        let manifest = backup.manifest();
        let mut volumes = manifest.snapshots.iter().filter_map(|record| record.volume.as_ref());
        let Some(first) = volumes.next() else {
            return Err(Failure::invalid(format!(
                "backup \"{}\" has no EBS snapshots",
                manifest.backup_id
            )));
        };
        let patience = Duration::from_secs(options.number("wait_timeout")?.unwrap_or_default());
        Ok(EbsSnapshotCopy {
            aws: aws::read(options)?,
            destination: options.text_or_default("destination_region"),
            source: first.region.clone(),
            order: CopyOrder {
                backup: backup::tags_of(manifest),
                snapshots: manifest.snapshots.clone(),
                kms_key: options.text("kms_key_id").map(str::to_owned),
                encrypted: options.truth("encrypted").then_some(true),
                completion_minutes: minutes(options)?,
                tags: aws::tags(options)?,
                lookup: LOOKUP,
                patience,
            },
            wait: options.truth("wait"),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let mut aws = self.aws.clone();
        aws.region = Some(self.source.clone());
        let source = aws::connect(&aws)?;
        let destination =
            source.in_region(&self.destination).map_err(|error| aws::explain(&error))?;
        let copies = find_copies(&source, &destination, &self.order)
            .map_err(|error| aws::explain(&error))?;
        Ok(Plan { destination, copies })
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let Plan { destination, mut copies } = plan;
        let region = destination.region().to_owned();
        let done = copy(&self.source, &destination, &self.order, &mut copies);
        let changed =
            done.map_err(|error| aws::explain(&error).value("snapshots", list(&copies, &region)))?;
        if self.wait {
            wait(&destination, &mut copies, self.order.patience);
        }
        match copies.iter().find_map(|one| one.copy.as_ref().filter(|copy| is_broken(copy))) {
            None => Ok(Returns::new(changed, described(&copies, &region))),
            Some(broken) => Err(failed(&broken.id, &region, broken.message.as_deref())
                .value("snapshots", list(&copies, &region))),
        }
    }
}

fn is_broken(copy: &snapshot_ebs::Snapshot) -> bool {
    copy.state == UploadState::Error
}

fn failed(id: &str, region: &str, message: Option<&str>) -> Failure {
    let why = message.unwrap_or("EC2 gives no reason");
    Failure::new(
        "snapshot_failed",
        format!("copy \"{id}\" in region \"{region}\" has failed: {why}"),
    )
    .hint("May the role use the key there? Run the task again to make another copy.")
}

/// Until all are done, one has failed, or the time is over, which is no failure.
fn wait(destination: &Ec2, copies: &mut [Copy], patience: Duration) {
    let begun = Instant::now();
    let is_pending =
        |one: &Copy| one.copy.as_ref().is_some_and(|copy| copy.state == UploadState::Pending);
    while copies.iter().any(is_pending) && begun.elapsed() < patience {
        destination.wait(LOOK_EVERY.min(patience.saturating_sub(begun.elapsed())));
        let ids: Vec<String> =
            copies.iter().filter_map(|one| one.copy.as_ref()).map(|copy| copy.id.clone()).collect();
        // One answer that does not come is no reason to give the wait up.
        let Ok(found) = destination.snapshots_by_id(&ids) else { continue };
        for copy in copies.iter_mut().filter_map(|one| one.copy.as_mut()) {
            if let Some(now) = found.iter().find(|now| now.id == copy.id) {
                copy.clone_from(now);
            }
        }
        if copies.iter().any(|one| one.copy.as_ref().is_some_and(is_broken)) {
            return;
        }
    }
}

fn minutes(options: &Options) -> Result<Option<u32>, Failure> {
    let Some(minutes) = options.number("completion_duration")? else { return Ok(None) };
    if !(SHORTEST..=LONGEST).contains(&minutes) || minutes % SHORTEST != 0 {
        return Err(Failure::invalid(format!(
            "option \"completion_duration\" must be a multiple of {SHORTEST} from {SHORTEST} to {LONGEST}, it is {minutes}"
        )));
    }
    Ok(u32::try_from(minutes).ok())
}

fn described(copies: &[Copy], region: &str) -> Value {
    json!({"snapshots": list(copies, region)})
}

fn list(copies: &[Copy], region: &str) -> Value {
    let one = |one: &Copy| {
        json!({
            "snapshot_id": one.copy.as_ref().map(|copy| &copy.id),
            "source_snapshot_id": one.source.id,
            "region": region,
            "state": one.copy.as_ref().map(|copy| copy.state),
        })
    };
    copies.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    #[test]
    fn the_time_of_a_copy_is_checked() {
        let parse = |value: Value| {
            let given: Map<String, Value> = [
                ("repository".to_owned(), json!("/backups")),
                ("destination_region".to_owned(), json!("eu-west-1")),
                ("completion_duration".to_owned(), value),
            ]
            .into_iter()
            .collect();
            minutes(&Options::parse(&options(), &given).unwrap())
        };
        assert_eq!(parse(json!(30)).unwrap(), Some(30));
        for wrong in [0, 20, 2895] {
            let text = format!(
                "option \"completion_duration\" must be a multiple of 15 from 15 to 2880, it is {wrong}"
            );
            assert_eq!(parse(json!(wrong)).unwrap_err().text(), text);
        }
    }

    #[test]
    fn a_failed_copy_is_named() {
        let text = "copy \"snap-2\" in region \"eu-west-1\" has failed: the key is disabled";
        let failure = failed("snap-2", "eu-west-1", Some("the key is disabled"));
        assert!(failure.text().starts_with(text), "{}", failure.text());
    }
}

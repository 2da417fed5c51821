//! `ebs_expire`: deletes the EBS snapshots of backups that are not wanted any more, and those that unfinished
//! backups left. The repository proposes, the snapshots' own tags decide.

use std::str::FromStr;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use chrono::{TimeDelta, Utc};
use frame::{Explain, manifest};
use repository::{BackupId, BackupState, ClusterName, Repository};
use serde_json::json;
use snapshot_ebs::expire::{self, Deletion, Expired, Spared, Unfinished};
use snapshot_ebs::{AwsOptions, Ec2};

use self::retention::{Listed, Retention};
use crate::aws;

mod retention;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    aws::options(&[
        OptionSpec::new("repository", Kind::Str).required(),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("keep", Kind::Int),
        OptionSpec::new("keep_days", Kind::Int),
        OptionSpec::new("backup_ids", Kind::StrList),
        OptionSpec::new("unfinished", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("grace", Kind::Int).default(Default::Int(86400)),
    ])
}

/// The module.
pub(crate) struct EbsExpire {
    aws: AwsOptions,
    repository: Repository,
    cluster: ClusterName,
    retention: Retention,
    unfinished: bool,
}

/// What is to go.
pub(crate) struct Plan {
    /// Not there when the repository knows of no backups.
    ec2: Option<Ec2>,
    expired: Vec<Expired>,
    /// Those of `expired` whose manifests do not say so yet.
    mark: Vec<BackupId>,
    kept: Vec<BackupId>,
    refused: Vec<Spared>,
    warnings: Vec<String>,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        reply(&self.expired, &self.kept, &self.refused, self.warnings.clone())
    }
}

impl Task for EbsExpire {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let keep = options.number("keep")?;
        if keep == Some(0) {
            return Err(Failure::invalid("option \"keep\" must be at least 1, it is 0"));
        }
        let parsed = |id: &String| BackupId::from_str(id).map_err(|error| error.explain());
        let named = options.list("backup_ids").iter().map(parsed).collect::<Result<_, _>>()?;
        let grace = options.number("grace")?.unwrap_or_default();
        let retention = Retention {
            keep,
            keep_for: options.number("keep_days")?.map(|days| seconds(days.saturating_mul(86400))),
            named,
            unfinished: options.truth("unfinished"),
            grace: seconds(grace),
            now: Utc::now(),
        };
        Ok(EbsExpire {
            aws: aws::read(options)?,
            repository: manifest::open(&options.text_or_default("repository"))?,
            cluster: ClusterName::from_str(&options.text_or_default("cluster"))
                .map_err(|error| error.explain())?,
            retention,
            unfinished: options.truth("unfinished"),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let identifier =
            self.repository.cluster_identifier(&self.cluster).map_err(|error| error.explain())?;
        let Some(identifier) = identifier else { return Ok(self.nothing()) };
        let list = self.repository.backups(&self.cluster).map_err(|error| error.explain())?;
        let listed = self.retention.apply(&self.cluster, &identifier.to_string(), list)?;
        let ec2 = aws::connect(&self.aws)?;
        let found = expire::find(&ec2, &listed.catalogue).map_err(|error| aws::explain(&error))?;
        let rule = Unfinished { grace: self.retention.grace, now: self.retention.now };
        let verdict = expire::judge(&listed.catalogue, self.unfinished.then_some(rule), &found);
        Ok(planned(Some(ec2), listed, verdict))
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let mut done = vec![];
        let mut refused = plan.refused;
        let Some(ec2) = &plan.ec2 else {
            return Ok(reply(&done, &plan.kept, &refused, plan.warnings));
        };
        for Expired { backup_id, snapshots } in plan.expired {
            // The manifest first: what a crash leaves is then a backup that nobody restores, and whose snapshots go
            // with the next run; never one that looks whole and is not.
            let marked = plan.mark.iter().find(|id| **id == backup_id.as_str());
            if let Some(Err(failure)) = marked.map(|id| self.mark(id)) {
                return Err(with_work(failure, &done, &refused));
            }
            let Deletion { deleted, refused: held, failed } = expire::delete(ec2, &snapshots);
            if marked.is_some() || !deleted.is_empty() {
                done.push(Expired { backup_id, snapshots: deleted });
            }
            refused.extend(held);
            // What keeps us from deleting this one's keeps us from deleting others': no more are given up.
            if let Some(error) = failed {
                return Err(with_work(aws::explain(&error), &done, &refused));
            }
        }
        Ok(reply(&done, &plan.kept, &refused, plan.warnings))
    }
}

impl EbsExpire {
    /// Without a record of whose cluster it is, no snapshot is proven to be its.
    fn nothing(&self) -> Plan {
        let warning = format!(
            "there is no cluster \"{}\" in the repository \"{}\": nothing was looked for",
            self.cluster,
            self.repository.local_path().display()
        );
        Plan {
            ec2: None,
            expired: vec![],
            mark: vec![],
            kept: vec![],
            refused: vec![],
            warnings: vec![warning],
        }
    }

    /// Has the manifest say that nothing restores it. One that failed or expired meanwhile says so already.
    fn mark(&self, backup: &BackupId) -> Result<(), Failure> {
        let folder = self.repository.backup(&self.cluster, backup);
        let mut manifest = folder.read().map_err(|error| error.explain())?;
        if matches!(manifest.state, BackupState::Failed | BackupState::Expired) {
            return Ok(());
        }
        manifest.state = BackupState::Expired;
        folder.update(&manifest).map_err(|error| error.explain())
    }
}

fn seconds(number: u64) -> TimeDelta {
    i64::try_from(number).ok().and_then(TimeDelta::try_seconds).unwrap_or(TimeDelta::MAX)
}

/// Brings together what the repository wants and what the snapshots allow.
fn planned(ec2: Option<Ec2>, listed: Listed, verdict: expire::Verdict) -> Plan {
    let Listed { unwanted, outdated, kept, warnings, .. } = listed;
    let mut expired = verdict.expired;
    let has = |expired: &[Expired], id: &BackupId| {
        expired.iter().any(|backup| *id == backup.backup_id.as_str())
    };
    // Named, but without a snapshot: it still is not to be restored.
    for id in &unwanted {
        if !has(&expired, id) {
            expired.push(Expired { backup_id: id.to_string(), snapshots: vec![] });
        }
    }
    let (gone, held): (Vec<_>, Vec<_>) = outdated.into_iter().partition(|id| has(&expired, id));
    let mark = unwanted.into_iter().chain(gone).collect();
    let kept = kept.into_iter().chain(held).collect();
    Plan { ec2, expired, mark, kept, refused: verdict.refused, warnings }
}

fn reply(
    expired: &[Expired],
    kept: &[BackupId],
    refused: &[Spared],
    mut warnings: Vec<String>,
) -> Returns {
    if let [first, more @ ..] = refused {
        let rest = match more.len() {
            0 => String::new(),
            number => format!("; {number} more are in refused"),
        };
        warnings.push(format!(
            "snapshot \"{}\" was not deleted: {}{rest}",
            first.snapshot_id, first.why
        ));
    }
    let values = json!({"expired": expired, "kept": kept, "refused": refused});
    Returns::new(!expired.is_empty(), values).warn(warnings)
}

fn with_work(failure: Failure, done: &[Expired], refused: &[Spared]) -> Failure {
    failure.value("expired", json!(done)).value("refused", json!(refused))
}

#[cfg(test)]
mod tests;

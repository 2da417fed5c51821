//! `ebs_snapshot_wait`: how far a backup's snapshots are, until they are completed.

mod earlier;

use std::str::FromStr;
use std::time::{Duration, Instant};

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use frame::{Explain, manifest, sessions};
use repository::{BackupFolder, BackupId, BackupManifest, BackupState, ClusterName};
use serde_json::{Value, json};
use snapshot::{SnapshotRecord, UploadState};
use snapshot_ebs::{AwsOptions, Ec2, Progress, TAKEN, Tags, UploadOf, look, tag};

use crate::aws;
use earlier::Cluster;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    aws::options(&[
        OptionSpec::new("repository", Kind::Str),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("session", Kind::Str),
        OptionSpec::new("snapshots", Kind::DictList),
        OptionSpec::new("wait", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(3600)),
        OptionSpec::new("delay", Kind::Int).default(Default::Int(15)),
        OptionSpec::new("earlier", Kind::Bool).default(Default::Bool(false)),
    ])
}

/// The module.
pub(crate) struct EbsSnapshotWait {
    aws: AwsOptions,
    subject: Subject,
    patience: Duration,
    delay: Duration,
    /// Whether the cluster's other backups are brought up to date.
    earlier: bool,
}

/// Which snapshots.
enum Subject {
    /// Those of a backup in its repository; and where its cluster's other backups are.
    Backup(BackupFolder, Cluster),
    /// These, where the repository is out of reach.
    Given(Vec<SnapshotRecord>),
}

/// What is waited for.
pub(crate) struct Plan {
    backup: Option<(BackupFolder, BackupManifest)>,
    snapshots: Vec<SnapshotRecord>,
    ec2: Ec2,
    now: Progress,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let state = self.backup.as_ref().map(|(_, manifest)| manifest.state);
        Returns::new(false, values(&self.now, state))
    }
}

impl Task for EbsSnapshotWait {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let patience = if options.truth("wait") {
            options.number("wait_timeout")?.unwrap_or_default()
        } else {
            0
        };
        Ok(EbsSnapshotWait {
            aws: aws::read(options)?,
            subject: subject(options)?,
            earlier: options.truth("earlier"),
            patience: Duration::from_secs(patience),
            delay: Duration::from_secs(options.number("delay")?.unwrap_or_default().max(1)),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let (backup, snapshots) = match &self.subject {
            Subject::Given(snapshots) => (None, snapshots.clone()),
            Subject::Backup(folder, _) => {
                let manifest = folder.read().map_err(|error| error.explain())?;
                let snapshots = manifest.snapshots.clone();
                (Some((folder.clone(), manifest)), snapshots)
            }
        };
        looked(&self.aws, backup, snapshots)
    }

    fn apply(&self, mut plan: Plan) -> Result<Returns, Failure> {
        let uploads = uploads(&plan.snapshots);
        let until = Instant::now() + self.patience;
        while plan.now.state == UploadState::Pending && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            plan.ec2.wait(self.delay.min(left));
            // One answer that does not come is no reason to give the wait up.
            if let Ok(now) = look(&plan.ec2, &uploads) {
                plan.now = now;
            }
        }
        let before = plan.backup.as_ref().map(|(_, manifest)| manifest.clone());
        let state = plan.mark()?;
        if let Some(problem) = &plan.now.problem {
            return Err(plan.broken(problem));
        }
        let changed = before != plan.backup.as_ref().map(|(_, manifest)| manifest.clone());
        let warnings = plan.retag();
        let mut returns = Returns::new(changed, values(&plan.now, state)).warn(warnings);
        if let (true, Subject::Backup(_, cluster), Some((_, manifest))) =
            (self.earlier, &self.subject, &plan.backup)
        {
            let others = cluster.bring_up_to_date(&self.aws, &manifest.backup_id);
            returns.changed |= others.changed;
            returns.warnings.extend(others.warnings);
            returns.values.insert("earlier".to_owned(), json!(others.backups));
        }
        Ok(returns)
    }
}

/// Asks EC2 once of these snapshots, in their own region.
fn looked(
    aws: &AwsOptions,
    backup: Option<(BackupFolder, BackupManifest)>,
    snapshots: Vec<SnapshotRecord>,
) -> Result<Plan, Failure> {
    let uploads = uploads(&snapshots);
    let region = snapshots.iter().find_map(|record| record.volume.as_ref());
    let Some(volume) = region else {
        return Err(Failure::invalid("the backup has no EBS snapshots")
            .hint("They are on record after ebs_snapshot and backup_stop."));
    };
    let mut aws = aws.clone();
    match &aws.region {
        Some(region) if *region != volume.region => {
            return Err(Failure::invalid(format!(
                "option \"region\" is \"{region}\", the snapshots were taken in \"{}\"",
                volume.region
            ))
            .hint("Copies in other regions are ebs_snapshot_copy's to wait for."));
        }
        _ => aws.region = Some(volume.region.clone()),
    }
    let ec2 = aws::connect(&aws)?;
    let now = look(&ec2, &uploads).map_err(|error| aws::explain(&error))?;
    Ok(Plan { backup, snapshots, ec2, now })
}

impl Plan {
    /// Brings the manifest up to date: each snapshot's state, and with them the backup's.
    fn mark(&mut self) -> Result<Option<BackupState>, Failure> {
        let Some((folder, manifest)) = &mut self.backup else { return Ok(None) };
        // Read again: wal_fetch may have worked on it meanwhile.
        let before = folder.read().map_err(|error| error.explain())?;
        let mut after = before.clone();
        for record in &mut after.snapshots {
            let found = self.now.snapshots.iter().find(|found| found.id == record.id);
            if let (Some(volume), Some(found)) = (&mut record.volume, found) {
                volume.state = found.state;
                volume.progress = Some(found.progress);
            }
        }
        let uploaded = after.snapshots.iter().all(SnapshotRecord::is_uploaded);
        match (after.state, &self.now.problem) {
            (BackupState::Complete | BackupState::Expired, _) => {}
            (_, Some(problem)) => {
                after.state = BackupState::Failed;
                after.reason.get_or_insert_with(|| problem.clone());
            }
            (BackupState::Uploading, None) if uploaded => after.state = BackupState::Complete,
            _ => {}
        }
        if after != before {
            folder.update(&after).map_err(|error| error.explain())?;
        }
        let state = after.state;
        *manifest = after;
        Ok(Some(state))
    }

    fn broken(&self, problem: &str) -> Failure {
        let others: Vec<&str> = self
            .now
            .snapshots
            .iter()
            .filter(|found| found.state != UploadState::Error)
            .map(|found| found.id.as_str())
            .collect();
        Failure::new("snapshot_failed", problem)
            .hint("The backup can never be restored. Take another; the other snapshots of it are kept until ebs_expire removes them.")
            .value("kept", json!(others))
            .value("snapshots", described(&self.now))
    }

    /// From now on the role that takes backups may not delete them any more.
    fn retag(&self) -> Vec<String> {
        let taking: Vec<String> = self
            .now
            .snapshots
            .iter()
            .filter(|found| found.tags.get(tag::STATE).is_some_and(|state| state != TAKEN))
            .map(|found| found.id.clone())
            .collect();
        if self.now.state != UploadState::Completed || taking.is_empty() {
            return vec![];
        }
        let tags: Tags = [(tag::STATE.to_owned(), TAKEN.to_owned())].into();
        match self.ec2.create_tags(&taking, &tags) {
            Ok(()) => vec![],
            Err(error) => vec![format!(
                "the tag {} of the snapshots could not be set to \"{TAKEN}\": {error}",
                tag::STATE
            )],
        }
    }
}

fn subject(options: &Options) -> Result<Subject, Failure> {
    if let Some(snapshots) = options.structure("snapshots")? {
        return Ok(Subject::Given(snapshots));
    }
    let record = match options.text("session") {
        Some(_) => {
            let session = sessions::handle(options)?;
            sessions::store(options)?.read(&session).ok()
        }
        None => None,
    };
    if let Some(record) = record {
        let repository = manifest::open(&record.repository)?;
        let cluster = ClusterName::from_str(&record.cluster).map_err(|error| error.explain())?;
        return Ok(Subject::Backup(manifest::folder(&record)?, Cluster { repository, cluster }));
    }
    let (Some(repository), Some(backup)) = (options.text("repository"), options.text("backup_id"))
    else {
        return Err(Failure::invalid(
            "which snapshots to wait for is not said: give session, or repository and backup_id, or snapshots",
        ));
    };
    let cluster = ClusterName::from_str(&options.text_or_default("cluster"))
        .map_err(|error| error.explain())?;
    let backup = BackupId::from_str(backup).map_err(|error| error.explain())?;
    let repository = manifest::open(repository)?;
    Ok(Subject::Backup(repository.backup(&cluster, &backup), Cluster { repository, cluster }))
}

fn uploads(snapshots: &[SnapshotRecord]) -> Vec<UploadOf> {
    let of_ebs = snapshots.iter().filter(|record| record.volume.is_some());
    let one = |record: &SnapshotRecord| UploadOf {
        id: record.id.clone(),
        started_at: record.started_at,
        account: record.volume.as_ref().and_then(|volume| volume.account.clone()),
    };
    of_ebs.map(one).collect()
}

fn values(now: &Progress, state: Option<BackupState>) -> Value {
    json!({
        "state": if now.state == UploadState::Completed { "completed" } else { "uploading" },
        "progress": now.percent,
        "estimate": now.estimate.map(|time| time.as_secs()),
        "manifest_state": state,
        "snapshots": described(now),
    })
}

fn described(now: &Progress) -> Value {
    let one = |found: &snapshot_ebs::Snapshot| {
        json!({
            "snapshot_id": found.id,
            "volume_id": found.volume_id,
            "state": found.state,
            "progress": found.progress,
            "start_time": found.started_at,
            "completion_time": found.completed_at,
        })
    };
    now.snapshots.iter().map(one).collect()
}

//! `snapshot_create`: takes the copy through a provider, inside the session.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use chrono::{DateTime, Utc};
use frame::{Explain, cluster, manifest, sessions};
use serde_json::{Value, json};
use session::{Client, SessionId, SessionRecord, Store};
use snapshot::{
    Btrfs, Command, Files, Reflink, SnapshotPlan, SnapshotProvider, SnapshotRecord, Sources, Taken,
};

/// How often the keeper is asked while a copy is under way. A copy of a
/// backup that is lost must end at once, not after its last gigabyte.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        sessions::SESSION,
        OptionSpec::new("provider", Kind::Str)
            .choices(&["btrfs", "files", "command", "ebs"])
            .default(Default::Str("files")),
        OptionSpec::new("snapshot_directory", Kind::Path),
        OptionSpec::new("jobs", Kind::Int),
        OptionSpec::new("reflink", Kind::Str)
            .choices(&["auto", "always", "never"])
            .default(Default::Str("auto")),
        OptionSpec::new("command", Kind::StrList),
        OptionSpec::new("snapshots", Kind::DictList),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(3600)),
    ])
}

/// The module.
pub(crate) struct SnapshotCreate {
    store: Store,
    session: SessionId,
    provider: Choice,
    patience: Duration,
}

/// What is asked for.
enum Choice {
    Btrfs {
        directory: Option<PathBuf>,
    },
    Files {
        jobs: usize,
        reflink: Reflink,
    },
    Command {
        argv: Vec<String>,
    },
    /// Taken elsewhere already.
    Ebs {
        snapshots: Vec<SnapshotRecord>,
    },
}

/// What would be copied.
pub(crate) struct Plan {
    client: Client,
    record: SessionRecord,
    provider: Box<dyn SnapshotProvider>,
    plan: SnapshotPlan,
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let parts = self.plan.parts.iter().map(|part| {
            json!({
                "provider": self.plan.provider,
                "source": part.source,
                "path": part.path,
                "mount_point": part.mount_point,
                "covers": part.covers,
            })
        });
        let mut values = sessions::describe(&self.record);
        values.insert("snapshots".into(), parts.collect());
        Returns { values, changed: true, ..Returns::default() }
    }
}

impl Task for SnapshotCreate {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let argv = options.list("command");
        let provider = match options.text("provider") {
            Some("btrfs") => {
                Choice::Btrfs { directory: options.absolute_path("snapshot_directory")? }
            }
            Some("command") if argv.is_empty() => {
                return Err(Failure::invalid(
                    "provider \"command\" needs the option \"command\": the program and its arguments",
                ));
            }
            Some("command") => Choice::Command { argv: argv.clone() },
            Some("ebs") => Choice::Ebs {
                snapshots: options.structure("snapshots")?.ok_or_else(|| {
                    Failure::invalid(
                        "provider \"ebs\" needs the option \"snapshots\": what ebs_snapshot returned where it ran",
                    )
                })?,
            },
            _ => Choice::Files { jobs: jobs(options)?, reflink: reflink(options) },
        };
        if options.text("provider") != Some("ebs")
            && options.structure::<Vec<Value>>("snapshots")?.is_some()
        {
            return Err(Failure::invalid("option \"snapshots\" is only for the provider \"ebs\""));
        }
        if !argv.is_empty() && !matches!(provider, Choice::Command { .. }) {
            return Err(Failure::invalid(
                "option \"command\" is only for the provider \"command\"",
            ));
        }
        Ok(SnapshotCreate {
            store: sessions::store(options)?,
            session: sessions::handle(options)?,
            provider,
            patience: Duration::from_secs(
                options.number("wait_timeout")?.unwrap_or_default().max(1),
            ),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let (client, record) = sessions::in_progress(&self.store, &self.session)?;
        let provider = self.provider_for(&record).map_err(still_on)?;
        let sources = self.sources(&record).map_err(still_on)?;
        let plan = provider.plan(&sources).map_err(|error| still_on(error.explain()))?;
        Ok(Plan { client, record, provider, plan })
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let Plan { client, provider, plan, .. } = plan;
        let taken = self.take(&client, provider.as_ref(), &plan)?;
        let noted: Vec<Value> = taken.iter().map(|snapshot| json!(snapshot)).collect();
        let record = client.add_snapshots(noted.clone()).map_err(|error| {
            error
                .explain()
                .hint("The snapshot was taken but does not belong to a backup: remove it.")
                .value("snapshots", json!(noted))
        })?;
        let mut values = sessions::describe(&record);
        values.insert("snapshots".into(), json!(taken));
        let warnings = taken.into_iter().flat_map(|snapshot| snapshot.notes).collect();
        Ok(Returns { values, changed: true, warnings, ..Returns::default() })
    }
}

impl SnapshotCreate {
    /// What a snapshot of whole volumes has is known by the server's names; what is copied must be reached.
    fn sources(&self, record: &SessionRecord) -> Result<Sources, Failure> {
        match self.provider {
            Choice::Ebs { .. } => Ok(Sources::new(cluster::sources(&record.server))),
            _ => cluster::on_host(record),
        }
    }

    fn provider_for(&self, record: &SessionRecord) -> Result<Box<dyn SnapshotProvider>, Failure> {
        let standby = record.server.in_recovery;
        Ok(match &self.provider {
            Choice::Btrfs { directory } => Box::new(Btrfs {
                snapshot_directory: directory.clone(),
                name: record.session.to_string(),
                standby,
            }),
            Choice::Files { jobs, reflink } => Box::new(Files {
                destination: manifest::folder(record)?.files_path(),
                jobs: *jobs,
                reflink: *reflink,
                standby,
            }),
            Choice::Ebs { snapshots } => Box::new(Taken {
                records: snapshots.clone(),
                since: began(record)?,
                system_identifier: record.server.system_identifier.to_string(),
                start_lsn: record
                    .start
                    .as_ref()
                    .map(|start| start.lsn.to_string())
                    .unwrap_or_default(),
            }),
            Choice::Command { argv } => Box::new(Command {
                argv: argv.clone(),
                label: record.label.clone(),
                backup_id: record.backup_id.clone(),
                cluster: record.cluster.clone(),
                timeout: self.patience,
            }),
        })
    }

    fn take(
        &self,
        client: &Client,
        provider: &dyn SnapshotProvider,
        plan: &SnapshotPlan,
    ) -> Result<Vec<SnapshotRecord>, Failure> {
        let (started, asked) = (Instant::now(), Cell::new(Instant::now()));
        let lost = Cell::new(None);
        let watch = || {
            if started.elapsed() > self.patience {
                let text =
                    format!("the snapshot was not finished within {} s", self.patience.as_secs());
                lost.set(Some(still_on(Failure::new("snapshot_timeout", text.clone()))));
                return Err(text);
            }
            if asked.get().elapsed() < WATCH_EVERY {
                return Ok(());
            }
            asked.set(Instant::now());
            client.status().map(drop).map_err(|error| {
                let failure = error.explain();
                let text = failure.message.clone();
                lost.set(Some(failure));
                text
            })
        };
        provider.take(plan, &watch).map_err(|error| match lost.take() {
            // That is the news; the provider only ended because of it.
            Some(failure) => failure,
            None => still_on(error.explain()),
        })
    }
}

/// A snapshot that fails leaves the session as it is: the play decides.
fn still_on(failure: Failure) -> Failure {
    failure
        .value("backup_mode", "on")
        .hint("The server is still in backup mode: try again, or end it with backup_abort.")
}

/// When the session began, by this host's clock.
fn began(record: &SessionRecord) -> Result<DateTime<Utc>, Failure> {
    DateTime::parse_from_rfc3339(&record.created_at).map(|time| time.to_utc()).map_err(|error| {
        Failure::new("internal", format!("\"{}\" is no time: {error}", record.created_at))
    })
}

/// How many files are copied at once: 4 at most unless asked for, since more
/// rarely helps a disk and always hurts the server beside it.
pub(crate) fn jobs(options: &Options) -> Result<usize, Failure> {
    let usual = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    match options.number("jobs")? {
        None => Ok(usual),
        Some(jobs @ 1..=64) => Ok(usize::try_from(jobs).unwrap_or(usual)),
        Some(jobs) => {
            Err(Failure::invalid(format!("option \"jobs\" must be from 1 to 64, it is {jobs}")))
        }
    }
}

/// The option `reflink`.
pub(crate) fn reflink(options: &Options) -> Reflink {
    match options.text("reflink") {
        Some("always") => Reflink::Always,
        Some("never") => Reflink::Never,
        _ => Reflink::Auto,
    }
}

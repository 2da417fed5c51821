//! `cluster_restore`: a backup into a data directory, ready for recovery or
//! already recovered.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ansible::reply::object;
use ansible::{Diff, Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use nix::unistd::{Group, User};
use pg::{Endpoint, Login, RecoveryTarget, Server, TargetAction, TargetTimeline};
use recovery::{
    ArchiveMode, EffectiveTarget, PlacedTablespace, Progress, Recovered, RecoveryError,
    RecoveryProbe, Restore, RestorePlan, Restored, Source, StartOptions, Target,
};
use repository::{ClusterName, CompleteBackup};
use serde_json::{Map, Value, json};

use super::snapshot_create;
use crate::login::{self, OsUser};
use frame::{backups, sessions};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("repository", Kind::Str).required(),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("data_directory", Kind::Path).required(),
        OptionSpec::new("source", Kind::Str)
            .choices(&["auto", "files", "btrfs", "in_place"])
            .default(Default::Str("auto")),
        OptionSpec::new("tablespace_mapping", Kind::Dict),
        OptionSpec::new("wal_directory", Kind::Path),
        OptionSpec::new("restore_command", Kind::Str),
        OptionSpec::new("recovery_target", Kind::Str).choices(&["immediate"]),
        OptionSpec::new("recovery_target_time", Kind::Str),
        OptionSpec::new("recovery_target_xid", Kind::Str),
        OptionSpec::new("recovery_target_lsn", Kind::Str),
        OptionSpec::new("recovery_target_name", Kind::Str),
        OptionSpec::new("recovery_target_inclusive", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("recovery_target_timeline", Kind::Str),
        OptionSpec::new("recovery_target_action", Kind::Str)
            .choices(&["pause", "promote", "shutdown"])
            .default(Default::Str("promote")),
        OptionSpec::new("archive_mode", Kind::Str)
            .choices(&["off", "preserve"])
            .default(Default::Str("off")),
        OptionSpec::new("settings", Kind::Dict),
        OptionSpec::new("config_file", Kind::Path),
        OptionSpec::new("owner", Kind::Str),
        OptionSpec::new("group", Kind::Str),
        OptionSpec::new("verify", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("reflink", Kind::Str)
            .choices(&["auto", "always", "never"])
            .default(Default::Str("auto")),
        OptionSpec::new("jobs", Kind::Int),
        OptionSpec::new("start", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(3600)),
        OptionSpec::new("bin_dir", Kind::Path),
    ])
}

/// The module.
pub(crate) struct ClusterRestore {
    restore: Restore,
    login: Login,
    patience: Duration,
}

/// What would be restored.
pub(crate) struct Plan(RestorePlan);

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let plan = &self.0;
        let mut values = describe_plan(plan);
        values.insert("started".into(), json!(false));
        Returns {
            values,
            changed: true,
            warnings: plan.notes.clone(),
            diff: vec![diff(&plan.data_directory, &plan.settings)],
        }
    }
}

impl Task for ClusterRestore {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let target = target(options)?;
        let mut restore = find_backup(options, &target.target)?;
        restore.target = target;
        restore.source = match options.text("source") {
            Some("files") => Source::Files,
            Some("btrfs") => Source::Btrfs,
            Some("in_place") => Source::InPlace,
            _ => Source::Auto,
        };
        let mapping = options.pairs("tablespace_mapping")?;
        restore.tablespace_mapping =
            mapping.into_iter().map(|(old, new)| (old.into(), new.into())).collect();
        restore.wal_directory = options.absolute_path("wal_directory")?;
        restore.restore_command = options.text("restore_command").map(str::to_owned);
        restore.archive_mode = if options.text("archive_mode") == Some("preserve") {
            ArchiveMode::Preserve
        } else {
            ArchiveMode::Off
        };
        restore.settings = options.pairs("settings")?.into_iter().collect::<BTreeMap<_, _>>();
        restore.config_file = options.absolute_path("config_file")?;
        restore.bin_dir = options.absolute_path("bin_dir")?;
        restore.owner = options.text("owner").map(user_id).transpose()?;
        restore.group = options.text("group").map(group_id).transpose()?;
        restore.verify = options.truth("verify");
        restore.reflink = snapshot_create::reflink(options);
        restore.jobs = snapshot_create::jobs(options)?;
        restore.start = options.truth("start");
        let patience =
            Duration::from_secs(options.number("wait_timeout")?.unwrap_or_default().max(1));
        // Set for every module by module_defaults it does no harm: restored is a directory of this host.
        Ok(ClusterRestore { restore, login: login::resolve(options, None)?, patience })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        recovery::plan(&self.restore).map(Plan).map_err(|error| explain(&error))
    }

    fn apply(&self, Plan(plan): Plan) -> Result<Returns, Failure> {
        let restored = recovery::apply(&plan).map_err(|error| explain(&error))?;
        let mut values = describe_plan(&plan);
        values.extend(describe_restored(&restored));
        let recovered = if self.restore.start { Some(self.recover(&restored)?) } else { None };
        values.extend(describe_recovered(recovered.as_ref()));
        let diff = vec![diff(&restored.data_directory, &restored.change)];
        Ok(Returns { values, changed: true, warnings: plan.notes.clone(), diff })
    }
}

impl ClusterRestore {
    fn recover(&self, restored: &Restored) -> Result<Recovered, Failure> {
        let user = User::from_uid(restored.ownership.uid.into()).ok().flatten().map(OsUser::from);
        let mut probe = Probe { login: self.login.clone(), user, server: None };
        recovery::start_and_wait(restored, &StartOptions::default(), &mut probe, self.patience)
            .map_err(|error| explain(&error))
    }
}

fn explain(error: &RecoveryError) -> Failure {
    frame::failure(error, error.kind(), error.hints(), error.retryable())
}

/// Asks the recovering server, as the owner of its files, over its socket.
struct Probe {
    login: Login,
    user: Option<OsUser>,
    server: Option<Server>,
}

impl RecoveryProbe for Probe {
    fn look(&mut self, socket_directory: &Path, port: u16) -> Result<Progress, String> {
        let mut server = match self.server.take() {
            Some(server) => server,
            None => {
                let mut login = self.login.clone();
                login.port = port;
                login.endpoint = if socket_directory.as_os_str().is_empty() {
                    Endpoint::Tcp("localhost".into())
                } else {
                    Endpoint::Socket(socket_directory.to_owned())
                };
                login.connect_timeout = 5;
                let user = self.user.filter(|_| nix::unistd::geteuid().is_root());
                login::connect(&login, user, "backstay cluster_restore")
                    .map_err(|failure| failure.message)?
            }
        };
        let progress = server.recovery_progress().map_err(|error| ansible::chain::chain(&error))?;
        self.server = Some(server);
        Ok(Progress {
            in_recovery: progress.in_recovery,
            paused: progress.paused,
            replay_lsn: progress.replay_lsn,
            timeline: Some(progress.timeline),
        })
    }
}

/// The backup asked for, or the newest one from which the target can be
/// reached: one that ended before it.
fn find_backup(options: &Options, target: &RecoveryTarget) -> Result<Restore, Failure> {
    let directory = options
        .absolute_path("data_directory")?
        .ok_or_else(|| Failure::invalid("option \"data_directory\" must not be empty"))?;
    let usable = |backup: &CompleteBackup| match target {
        RecoveryTarget::Time(time) => backup.stop().time < time.instant(),
        RecoveryTarget::Lsn(lsn) => backup.stop().lsn <= *lsn,
        _ => true,
    };
    let (folder, complete) = backups::complete(options, &usable, &no_backup)?;
    Ok(Restore::new(complete, folder, directory))
}

fn no_backup(cluster: &ClusterName, total: usize) -> Failure {
    if total == 0 {
        let text = format!("there is no backup of cluster \"{cluster}\" in the repository");
        return Failure::new("backup_not_found", text)
            .hint("Give the repository and the cluster that backup_start was given.");
    }
    let text = format!(
        "none of the {total} backups of cluster \"{cluster}\" is complete and ended before the target"
    );
    Failure::new("invalid_argument", text)
        .hint("The manifests in the repository, backup.json, say how far each backup got and why one failed.")
}

fn target(options: &Options) -> Result<Target, Failure> {
    let invalid = |error: pg::PgTypeError| Failure::from_error(&error, "invalid_argument", vec![]);
    let names = [
        "recovery_target",
        "recovery_target_time",
        "recovery_target_xid",
        "recovery_target_lsn",
        "recovery_target_name",
    ];
    let given: Vec<(&str, &str)> =
        names.into_iter().filter_map(|name| Some((name, options.text(name)?))).collect();
    let target = match given.as_slice() {
        [] => RecoveryTarget::Latest,
        [(name, value)] => recovery_target(name, value).map_err(invalid)?,
        [(first, _), (second, _), ..] => {
            return Err(Failure::invalid(format!(
                "\"{first}\" and \"{second}\" exclude each other; give one target"
            )));
        }
    };
    let timeline = options
        .text("recovery_target_timeline")
        .map(str::parse::<TargetTimeline>)
        .transpose()
        .map_err(invalid)?;
    let action = match options.text("recovery_target_action") {
        Some("pause") => TargetAction::Pause,
        Some("shutdown") => TargetAction::Shutdown,
        _ => TargetAction::Promote,
    };
    Ok(Target { target, inclusive: options.truth("recovery_target_inclusive"), timeline, action })
}

fn recovery_target(name: &str, value: &str) -> Result<RecoveryTarget, pg::PgTypeError> {
    match name {
        "recovery_target_time" => Ok(RecoveryTarget::Time(value.parse()?)),
        "recovery_target_xid" => Ok(RecoveryTarget::Xid(value.parse()?)),
        "recovery_target_lsn" => Ok(RecoveryTarget::Lsn(value.parse()?)),
        "recovery_target_name" => Ok(RecoveryTarget::Name(value.parse()?)),
        _ => Ok(RecoveryTarget::Immediate),
    }
}

fn user_id(name: &str) -> Result<u32, Failure> {
    let found = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    found
        .or_else(|| name.parse().ok())
        .ok_or_else(|| Failure::invalid(format!("owner \"{name}\" is no user of this host")))
}

fn group_id(name: &str) -> Result<u32, Failure> {
    let found = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    found
        .or_else(|| name.parse().ok())
        .ok_or_else(|| Failure::invalid(format!("group \"{name}\" is no group of this host")))
}

fn describe_plan(plan: &RestorePlan) -> Map<String, Value> {
    object(json!({
        "backup_id": plan.backup_id,
        "data_directory": plan.data_directory,
        "tablespaces": tablespaces(&plan.tablespaces),
        "source": source_name(plan.source),
        "recovery_target": describe_target(&plan.target),
        "settings": plan.settings.written(),
        "bytes": plan.bytes,
        "stop_lsn": plan.stop_lsn(),
    }))
}

fn describe_restored(restored: &Restored) -> Map<String, Value> {
    object(json!({"files": restored.files, "bytes": restored.bytes, "settings": restored.settings}))
}

fn describe_target(target: &EffectiveTarget) -> Value {
    let (name, value) = target.target.setting().unwrap_or(("recovery_target", "latest".into()));
    json!({
        (name): value,
        "recovery_target_inclusive": target.inclusive,
        "recovery_target_timeline": target.timeline.to_string(),
        "recovery_target_action": target.action.to_string(),
    })
}

fn tablespaces(placed: &[PlacedTablespace]) -> Value {
    placed.iter().map(|one| json!({"oid": one.oid, "location": one.location})).collect()
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Auto => "auto",
        Source::Files => "files",
        Source::Btrfs => "btrfs",
        Source::InPlace => "in_place",
    }
}

fn describe_recovered(recovered: Option<&Recovered>) -> Map<String, Value> {
    let said = match recovered {
        None => json!({"started": false, "in_recovery": null, "replay_lsn": null}),
        Some(found) => json!({
            "started": found.started,
            "in_recovery": found.in_recovery,
            "replay_lsn": found.replay_lsn,
            "timeline": found.timeline,
            "socket_directory": found.socket_directory,
            "port": found.port,
            "log": found.log,
        }),
    };
    object(said)
}

fn diff(data_directory: &Path, change: &recovery::SettingsChange) -> Diff {
    let path = data_directory.join("postgresql.auto.conf").display().to_string();
    Diff { before: change.before_text(), after: change.after_text(), path }
}

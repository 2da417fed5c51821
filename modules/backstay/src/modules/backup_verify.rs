//! `backup_verify`: a drill. The backup is restored in a sandbox, started, asked, timed and torn down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ansible::reply::object;
use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use repository::ClusterName;
use serde_json::{Map, Value, json};
use verification::{
    Demand, DrillPlan, Engine, Held, Input, Level, Mounted, Outcome, Report, Sandboxing, Stored,
    Verdict, VerificationError, Way,
};

use super::snapshot_create;
use crate::caller;
use frame::{backups, sessions};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("repository", Kind::Str),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("path", Kind::Path),
        OptionSpec::new("data_directory", Kind::Path),
        OptionSpec::new("tablespace_mapping", Kind::Dict),
        OptionSpec::new("level", Kind::Str)
            .choices(&["manifest", "recover", "read", "full"])
            .default(Default::Str("recover")),
        OptionSpec::new("materialize", Kind::Str)
            .choices(&["auto", "snapshot", "reflink", "overlay", "copy", "in_place"])
            .default(Default::Str("auto")),
        OptionSpec::new("work_directory", Kind::Path),
        OptionSpec::new("sandbox", Kind::Str)
            .choices(&[
                "auto",
                "namespaces",
                "lxc",
                "nspawn",
                "podman",
                "docker",
                "bubblewrap",
                "process",
            ])
            .default(Default::Str("auto")),
        OptionSpec::new("bin_dir", Kind::Path),
        OptionSpec::new("os_user", Kind::Str),
        OptionSpec::new("superuser", Kind::Str).default(Default::Str("postgres")),
        OptionSpec::new("restore_command", Kind::Str),
        OptionSpec::new("preload_libraries", Kind::StrList),
        OptionSpec::new("settings", Kind::Dict),
        OptionSpec::new("max_age", Kind::Str),
        OptionSpec::new("max_recovery_time", Kind::Str),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(300)),
        OptionSpec::new("timeout", Kind::Int).default(Default::Int(0)),
        OptionSpec::new("jobs", Kind::Int),
        OptionSpec::new("queries", Kind::DictList),
        OptionSpec::new("freshness", Kind::DictList),
        OptionSpec::new("self_test", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("report_only", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("keep", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("report_directory", Kind::Path),
    ])
}

/// The module.
pub(crate) struct BackupVerify {
    demand: Demand,
    report_only: bool,
    report_directory: Option<PathBuf>,
}

/// The drill to be held.
pub(crate) struct Plan(Box<DrillPlan>);

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let subject = self.0.subject();
        let values = json!({
            "backup_id": subject.backup_id,
            "subject": subject,
            "bin_dir": self.0.bin_dir(),
        });
        Returns { values: object(values), changed: false, ..Returns::default() }
    }
}

impl Task for BackupVerify {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let demand = Demand {
            input: input(options)?,
            level: level(options),
            way: way(options),
            work_directory: options.absolute_path("work_directory")?,
            default_work_directory: sessions::store(options)?.root().join("drills"),
            sandboxing: sandboxing(options),
            bin_dir: options.absolute_path("bin_dir")?,
            os_user: options.text("os_user").map(str::to_owned),
            login_user: options.text_or_default("superuser"),
            restore_command: options.text("restore_command").map(str::to_owned),
            preload_libraries: options.list("preload_libraries"),
            settings: options.pairs("settings")?.into_iter().collect::<BTreeMap<_, _>>(),
            max_age: duration(options, "max_age")?,
            max_recovery_time: duration(options, "max_recovery_time")?,
            patience: Duration::from_secs(options.number("wait_timeout")?.unwrap_or(300).max(1)),
            timeout: options
                .number("timeout")?
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            jobs: snapshot_create::jobs(options)?,
            queries: options.structure("queries")?.unwrap_or_default(),
            freshness: options.structure("freshness")?.unwrap_or_default(),
            self_test: options.truth("self_test"),
            keep: options.truth("keep"),
        };
        let report_directory = options.absolute_path("report_directory")?;
        Ok(BackupVerify { demand, report_only: options.truth("report_only"), report_directory })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        verification::plan(&self.demand)
            .map(|plan| Plan(Box::new(plan)))
            .map_err(|error| explain(&error))
    }

    fn apply(&self, Plan(plan): Plan) -> Result<Returns, Failure> {
        let held = verification::hold(*plan, &caller_waits).map_err(|error| explain(&error))?;
        self.reply(&held)
    }
}

/// Nobody would read the result of a drill whose caller is gone.
fn caller_waits() -> Result<(), String> {
    if caller::is_gone() {
        return Err("the connection to the controller was lost".to_owned());
    }
    Ok(())
}

impl BackupVerify {
    fn reply(&self, held: &Held) -> Result<Returns, Failure> {
        let report = &held.report;
        let mut values = describe(report);
        let mut warnings = warnings(held);
        let stored = self.store(report).unwrap_or_else(|error| {
            let text = frame::failure(&error, error.kind(), error.hints(), false).message;
            warnings.push(format!("The report could not be kept: {text}."));
            None
        });
        let (json, html) = stored.unzip();
        values.insert("report".into(), json!(json));
        values.insert("report_html".into(), json!(html));
        if let Some(kept) = &held.kept {
            let psql = format!(
                "psql -h {} -p 5432 -U {} -d postgres",
                kept.socket_directory.display(),
                self.demand.login_user
            );
            values.insert("psql".into(), json!(psql));
            values.insert("sandbox_pid".into(), json!(kept.pid));
        }
        if report.verdict == Verdict::Passed || self.report_only {
            return Ok(Returns::new(false, Value::Object(values)).warn(warnings));
        }
        let mut failure = Failure::new("verification_failed", what_failed(report));
        values.insert("warnings".into(), json!(warnings));
        failure.values = values;
        Err(failure)
    }

    /// Keeps the report where the option says, else beside the backup's manifest.
    fn store(&self, report: &Report) -> Result<Option<Stored>, VerificationError> {
        match (&self.report_directory, &self.demand.input) {
            (Some(directory), _) => verification::store_in(report, directory).map(Some),
            (None, Input::Repository { folder, .. }) => {
                verification::store_beside(report, folder).map(Some)
            }
            (None, Input::Directory(_)) => Ok(None),
        }
    }
}

/// What a person should know although nothing failed.
fn warnings(held: &Held) -> Vec<String> {
    let cleared = held
        .cleared
        .iter()
        .map(|path| format!("An earlier drill had left \"{}\"; it was removed.", path.display()));
    let checks = held.report.checks.iter();
    let findings = checks.flat_map(|check| &check.findings).map(|finding| finding.message.clone());
    cleared.chain(findings).collect()
}

/// The first check that failed, and how many more did.
fn what_failed(report: &Report) -> String {
    if report.self_test {
        let own = report.checks.iter().find(|check| check.name == "self_test");
        let message = own.map_or("it did not come so far", |check| check.message.as_str());
        return format!("the self-test failed: {message}");
    }
    let mut failed = report.with(Outcome::Failed);
    let first = failed.next().map(|check| format!("{}: {}", check.name, check.message));
    let more = match failed.count() {
        0 => String::new(),
        1 => " (and 1 check more)".to_owned(),
        number => format!(" (and {number} checks more)"),
    };
    format!("the backup failed the drill: {}{more}", first.unwrap_or_default())
}

fn explain(error: &VerificationError) -> Failure {
    frame::failure(error, error.kind(), error.hints(), error.retryable())
}

fn describe(report: &Report) -> Map<String, Value> {
    object(json!({
        "verdict": match report.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
        },
        "level": report.level,
        "backup_id": report.subject.backup_id,
        "subject": report.subject,
        "checks": report.checks,
        "not_proved": report.not_proved(),
        "recovery": report.recovery,
        "evidence": report.evidence,
        "materialized": report.materialized,
        "sandbox": report.sandbox,
        "phases": report.phases,
        "log": report.log,
    }))
}

fn level(options: &Options) -> Level {
    match options.text("level") {
        Some("manifest") => Level::Manifest,
        Some("read") => Level::Read,
        Some("full") => Level::Full,
        _ => Level::Recover,
    }
}

fn sandboxing(options: &Options) -> Sandboxing {
    Sandboxing::Engine(match options.text("sandbox") {
        Some("bubblewrap") => Engine::Bubblewrap,
        Some("nspawn") => Engine::Nspawn,
        Some("lxc") => Engine::Lxc,
        Some("podman") => Engine::Podman,
        Some("docker") => Engine::Docker,
        Some("process") => return Sandboxing::Process,
        _ => return Sandboxing::Isolated,
    })
}

fn way(options: &Options) -> Way {
    match options.text("materialize") {
        Some("snapshot") => Way::Snapshot,
        Some("reflink") => Way::Reflink,
        Some("overlay") => Way::Overlay,
        Some("copy") => Way::Copy,
        Some("in_place") => Way::InPlace,
        _ => Way::Auto,
    }
}

fn input(options: &Options) -> Result<Input, Failure> {
    let path = options.absolute_path("path")?;
    let repository = options.text("repository");
    let mounted = options.absolute_path("data_directory")?;
    match (path, repository) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid("\"path\" and \"repository\" exclude each other; give one"))
        }
        (None, None) => Err(Failure::invalid(
            "what is to be verified? give \"repository\" for a backup of backstay's, or \"path\" for the directory of a pg_basebackup",
        )),
        (Some(_), None) if mounted.is_some() => Err(Failure::invalid(
            "\"data_directory\" goes with \"repository\": it is where the volumes of a backup are mounted",
        )),
        (Some(path), None) => Ok(Input::Directory(path)),
        (None, Some(_)) => {
            let (folder, backup) = backups::complete(options, &|_| true, &no_backup)?;
            let mapping = options.pairs("tablespace_mapping")?;
            let tablespaces = mapping
                .into_iter()
                .map(|(old, new)| (PathBuf::from(old), PathBuf::from(new)))
                .collect();
            let mounted = mounted.map(|data_directory| Mounted { data_directory, tablespaces });
            Ok(Input::Repository { backup: Box::new(backup), folder, mounted })
        }
    }
}

fn no_backup(cluster: &ClusterName, _: usize) -> Failure {
    let text = format!("there is no complete backup of cluster \"{cluster}\" in the repository");
    Failure::new("backup_not_found", text)
        .hint("Give the repository and the cluster that backup_start was given.")
}

/// `90`, `90s`, `15m`, `26h`, `2d`, `1w`.
fn duration(options: &Options, name: &str) -> Result<Option<Duration>, Failure> {
    let Some(text) = options.text(name) else { return Ok(None) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => 0,
    };
    let seconds = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|_| unit > 0).map(Duration::from_secs).map(Some).ok_or_else(|| {
        Failure::invalid(format!(
            "option \"{name}\" must be a number of seconds, or one with s, m, h, d or w, such as \"26h\", not \"{text}\""
        ))
    })
}

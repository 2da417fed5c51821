//! `backup_start`: looks whether a backup can succeed, then launches the
//! keeper, which enters backup mode and holds it.

use std::path::PathBuf;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use frame::{Explain, manifest, sessions};
use pg::Login;
use repository::{BackupId, ClusterName};
use session::{SessionId, Store};

use super::start::{launch, preflight, preflight::Findings};
use crate::inside::{self, Named};
use crate::login;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("repository", Kind::Str).required(),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
        OptionSpec::new("backup_id", Kind::Str),
        OptionSpec::new("label", Kind::Str),
        OptionSpec::new("fast", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("max_duration", Kind::Int).default(Default::Int(3600)),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(3600)),
        OptionSpec::new("keep_wal", Kind::Bool).default(Default::Bool(true)),
        OptionSpec::new("archiver_check", Kind::Str)
            .choices(&["fail", "warn", "ignore"])
            .default(Default::Str("fail")),
        OptionSpec::new("concurrent", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("take_over", Kind::Bool).default(Default::Bool(false)),
        OptionSpec::new("os_user", Kind::Str),
        OptionSpec::new("runtime_directory", Kind::Path),
    ])
}

/// The module.
pub(crate) struct BackupStart {
    pub(super) login: Login,
    pub(super) store: Store,
    pub(super) session: SessionId,
    pub(super) repository: String,
    pub(super) cluster: ClusterName,
    pub(super) backup: BackupId,
    pub(super) label: String,
    pub(super) fast: bool,
    pub(super) max_duration: u64,
    pub(super) wait_timeout: u64,
    pub(super) keep_wal: bool,
    pub(super) archiver_check: String,
    pub(super) concurrent: bool,
    pub(super) take_over: bool,
    pub(super) inside: Option<Named>,
    pub(super) os_user: Option<String>,
    pub(super) runtime_directory: PathBuf,
}

impl Preview for Findings {
    fn preview(&self) -> Returns {
        let mut values = self.describe();
        values.insert("state".into(), "starting".into());
        Returns { values, changed: true, warnings: self.warnings.clone(), ..Returns::default() }
    }
}

impl Task for BackupStart {
    type Plan = Findings;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let cluster: ClusterName = parse(&options.text_or_default("cluster"))?;
        let backup: BackupId = match options.text("backup_id") {
            Some(text) => parse(text)?,
            None => launch::fresh_backup_id(),
        };
        let session = SessionId::new(&cluster.to_string(), &backup.to_string())
            .map_err(|error| error.explain())?;
        let max_duration = options.number("max_duration")?.unwrap_or_default();
        if max_duration == 0 {
            return Err(Failure::invalid("option \"max_duration\" must be at least 1 second"));
        }
        let inside = inside::named(options)?;
        Ok(BackupStart {
            login: login::resolve(options, inside.as_ref())?,
            inside,
            store: sessions::store(options)?,
            session,
            repository: options.text_or_default("repository"),
            label: label(options.text("label").map_or_else(|| backup.to_string(), str::to_owned))?,
            cluster,
            backup,
            fast: options.truth("fast"),
            max_duration,
            wait_timeout: options.number("wait_timeout")?.unwrap_or_default().max(1),
            keep_wal: options.truth("keep_wal"),
            archiver_check: options.text_or_default("archiver_check"),
            concurrent: options.truth("concurrent"),
            take_over: options.truth("take_over"),
            os_user: options.text("os_user").map(str::to_owned),
            runtime_directory: options
                .absolute_path("runtime_directory")?
                .unwrap_or_else(session::runtime_directory),
        })
    }

    fn plan(&self) -> Result<Findings, Failure> {
        manifest::open(&self.repository)?;
        // Nothing of a plan that failed has touched the server.
        preflight::examine(self).map_err(|failure| failure.value("backup_mode", "off"))
    }

    fn apply(&self, findings: Findings) -> Result<Returns, Failure> {
        launch::start(self, findings)
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: Explain,
{
    text.parse().map_err(|error: T::Err| error.explain())
}

/// PostgreSQL takes up to 1024 bytes, and a line end in the label would make
/// the label file one that PostgreSQL refuses.
fn label(text: String) -> Result<String, Failure> {
    if text.len() > 1024 || text.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "option \"label\" must be one line of at most 1024 bytes, it has {}",
            text.len()
        )));
    }
    Ok(text)
}

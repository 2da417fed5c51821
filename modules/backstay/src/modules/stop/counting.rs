//! Counting the rows that every restore of a backup must have: a look at the server before the stop, and the counting
//! afterwards. Whatever goes wrong with it is a warning, as the backup itself is good.

use std::time::{Duration, Instant};

use ansible::chain::chain;
use ansible::{Failure, Kind, OptionSpec, Options, spec::Default};
use chrono::Utc;
use frame::{Explain, manifest};
use pg::{Horizon, Login, Server, ServerError};
use repository::{
    BackupFolder, BackupManifest, BackupState, CountedFrom, DatabaseCounts, RowCounts,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session::{SessionRecord, Store};

use super::count;
use crate::inside;
use crate::login::{self, OsUser};

/// Beside the session record: what the server said before the stop.
const BEFORE: &str = "row_counts_from.json";
/// The look before the stop keeps the server in backup mode for so long at most.
const LOOK: Duration = Duration::from_secs(10);
/// A warning names so many of what could not be counted.
const NAMED: usize = 10;

/// Its options.
pub(crate) const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new("row_counts", Kind::Str)
        .choices(&["none", "exact"])
        .default(Default::Str("none")),
    OptionSpec::new("freshness", Kind::DictList),
    OptionSpec::new("row_counts_timeout", Kind::Int).default(Default::Int(300)),
];

/// A column whose newest value is to be noted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(super) database: String,
    #[serde(default = "public")]
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) column: String,
}

fn public() -> String {
    "public".into()
}

/// What is to be counted, and how to get at it.
pub(crate) struct Counting {
    /// Every table, not only those with a column of `freshness`.
    pub(super) all: bool,
    pub(super) freshness: Vec<Column>,
    timeout: Duration,
    login: Result<Login, String>,
}

#[derive(Serialize, Deserialize)]
struct Before {
    from: CountedFrom,
}

impl Counting {
    /// What the options ask for; `None` when nothing is to be counted.
    ///
    /// # Errors
    /// When they make no sense.
    pub(crate) fn parse(options: &Options) -> Result<Option<Counting>, Failure> {
        let all = options.text("row_counts") == Some("exact");
        let freshness: Vec<Column> = options.structure("freshness")?.unwrap_or_default();
        let timeout = Duration::from_secs(options.number("row_counts_timeout")?.unwrap_or(300));
        if !all && freshness.is_empty() {
            return Ok(None);
        }
        // The backup is stopped even if this login leads nowhere.
        let login = inside::named(options)
            .and_then(|inside| login::resolve(options, inside.as_ref()))
            .map_err(|failure| failure.message);
        Ok(Some(Counting { all, freshness, timeout, login }))
    }

    /// Before the stop: asks which transactions have ended, and keeps the answer, so that a second task can count when
    /// the connection of the first one breaks. Gives a warning when it cannot.
    pub(crate) fn look(&self, store: &Store, record: &SessionRecord) -> Option<String> {
        // What an earlier attempt left is older than it need be, and still right.
        self.try_look(store, record).err().map(|reason| {
            format!("rows cannot be counted, the backup is stopped without: {reason}")
        })
    }

    fn try_look(&self, store: &Store, record: &SessionRecord) -> Result<(), String> {
        let mut server = self.connect(None)?;
        let words = |error: ServerError| chain(&error);
        server.limit_statements(LOOK, LOOK).map_err(words)?;
        expect_same(&mut server, record)?;
        let Horizon { xmin, lsn } = server.horizon().map_err(words)?;
        let before = Before { from: CountedFrom { lsn, transaction: xmin, time: Utc::now() } };
        let json = serde_json::to_vec(&before).map_err(|error| error.to_string())?;
        store.save(&record.session, BEFORE, &json).map(drop).map_err(|error| chain(&error))
    }

    /// After the stop, and after the manifest says so: counts, and adds the file to the manifest. Gives what the reply
    /// has of it, and warnings.
    ///
    /// # Errors
    /// When the repository fails, in which the backup itself is already.
    pub(crate) fn finish(
        &self,
        store: &Store,
        record: &SessionRecord,
        folder: &BackupFolder,
    ) -> Result<(Value, Vec<String>), Failure> {
        let kept = manifest::read(folder, record)?;
        if let Some(counts) = RowCounts::read(folder, &kept).map_err(|error| error.explain())? {
            return Ok((describe(folder, &counts), vec![]));
        }
        // What is complete stays as it is.
        if !matches!(kept.state, BackupState::Stopped | BackupState::Uploading) {
            return Ok((
                Value::Null,
                vec![format!("rows were not counted: the backup is {}", kept.state)],
            ));
        }
        let counts = match self.count(store, record) {
            Ok(counts) => counts,
            Err(reason) => {
                return Ok((Value::Null, vec![format!("rows were not counted: {reason}")]));
            }
        };
        let entry = counts.write(folder).map_err(|error| error.explain())?;
        // Counting takes a while; meanwhile another task may have written the manifest.
        let mut kept = manifest::read(folder, record)?;
        kept.files.retain(|file| file.name != entry.name);
        kept.files.push(entry);
        folder.update(&kept).map_err(|error| error.explain())?;
        Ok((describe(folder, &counts), warnings(&counts)))
    }

    fn count(&self, store: &Store, record: &SessionRecord) -> Result<RowCounts, String> {
        let before = store.recall(&record.session, BEFORE).map_err(|error| chain(&error))?;
        let Some(before) = before else {
            return Err("the server was not looked at before the backup stopped".into());
        };
        let Before { from } = serde_json::from_slice(&before).map_err(|error| error.to_string())?;
        let mut server = self.connect(None)?;
        expect_same(&mut server, record)?;
        let until = Instant::now() + self.timeout;
        let mut databases: Vec<DatabaseCounts> = vec![];
        for database in server.databases().map_err(|error| chain(&error))? {
            if !database.accepts_connections || database.invalid {
                continue;
            }
            let found = match self.connect(Some(&database.name)) {
                Ok(mut server) => count::database(self, &mut server, &database.name, &from, until),
                Err(reason) => count::not_counted(&database.name, reason),
            };
            if !(found.tables.is_empty() && found.newest.is_empty() && found.not_counted.is_empty())
            {
                databases.push(found);
            }
        }
        databases.extend(self.absent(&mut server));
        Ok(RowCounts { schema: BackupManifest::SCHEMA, from, databases })
    }

    /// Databases that `freshness` names and the server does not have.
    fn absent(&self, server: &mut Server) -> Vec<DatabaseCounts> {
        let there: Vec<String> =
            server.databases().unwrap_or_default().into_iter().map(|found| found.name).collect();
        let absent = self.freshness.iter().filter(|column| !there.contains(&column.database));
        absent
            .map(|column| count::not_counted(&column.database, "there is no such database".into()))
            .collect()
    }

    fn connect(&self, database: Option<&str>) -> Result<Server, String> {
        let mut login = self.login.clone()?;
        if let Some(database) = database {
            database.clone_into(&mut login.database);
        }
        let user: Option<OsUser> =
            login::operating_system_user(None, &login).map_err(|failure| failure.message)?;
        login::connect(&login, user, "backstay backup_stop").map_err(|failure| failure.message)
    }
}

/// The login must lead to the server of the session: counted elsewhere, rows prove nothing.
fn expect_same(server: &mut Server, record: &SessionRecord) -> Result<(), String> {
    let found = server.identity().map_err(|error| chain(&error))?;
    if found.system_identifier != record.server.system_identifier {
        return Err(format!(
            "the login options lead to the database cluster {}, the session is with {}",
            found.system_identifier, record.server.system_identifier
        ));
    }
    let role = |in_recovery| if in_recovery { "a standby" } else { "a primary" };
    if found.in_recovery != record.server.in_recovery {
        return Err(format!(
            "the login options lead to {}, the session is with {}",
            role(found.in_recovery),
            role(record.server.in_recovery)
        ));
    }
    match &record.start {
        Some(start) if start.timeline != found.timeline => Err(format!(
            "the server is on timeline {}, the backup was started on {}",
            found.timeline, start.timeline
        )),
        _ => Ok(()),
    }
}

fn describe(folder: &BackupFolder, counts: &RowCounts) -> Value {
    let tables = || counts.databases.iter().flat_map(|database| &database.tables);
    json!({
        "path": folder.local_path().join(RowCounts::FILE),
        "tables": tables().count(),
        "rows": tables().map(|table| table.at_least).sum::<u64>(),
        "not_counted": counts.databases.iter().flat_map(|database| &database.not_counted).collect::<Vec<_>>(),
    })
}

fn warnings(counts: &RowCounts) -> Vec<String> {
    let all: Vec<String> = counts
        .databases
        .iter()
        .flat_map(|database| &database.not_counted)
        .map(|left| format!("\"{}\": {}", left.what, left.reason))
        .collect();
    if all.is_empty() {
        return vec![];
    }
    let named: Vec<String> = all.iter().take(NAMED).cloned().collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    vec![format!("not everything could be counted: {}{more}", named.join("; "))]
}

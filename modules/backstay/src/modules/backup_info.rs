//! `backup_info`: sessions, and where they stand. Changes nothing.

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task};
use serde_json::{Value, json};
use session::{Client, SessionId, SessionRecord, SessionState, Store};

use crate::failure::Explain;
use crate::sessions;

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[OptionSpec::new("session", Kind::Str)])
}

/// The module.
pub(crate) struct BackupInfo {
    store: Store,
    session: Option<SessionId>,
}

/// What was found.
pub(crate) struct Found {
    sessions: Vec<Value>,
    warnings: Vec<String>,
}

impl Preview for Found {
    fn preview(&self) -> Returns {
        let in_backup_mode = self.sessions.iter().any(|found| found["in_backup_mode"] == true);
        Returns::new(false, json!({"sessions": self.sessions, "in_backup_mode": in_backup_mode}))
            .warn(self.warnings.clone())
    }
}

impl Task for BackupInfo {
    type Plan = Found;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let session = options.text("session").map(|_| sessions::handle(options)).transpose()?;
        Ok(BackupInfo { store: sessions::store(options)?, session })
    }

    fn plan(&self) -> Result<Found, Failure> {
        let (records, warnings) = match &self.session {
            Some(session) => {
                (vec![self.store.read(session).map_err(|error| error.explain())?], vec![])
            }
            None => self.store.all().map_err(|error| error.explain())?,
        };
        let sessions = records
            .into_iter()
            .map(|record| Value::Object(sessions::describe(&self.fresh(record))))
            .collect();
        Ok(Found { sessions, warnings })
    }

    fn apply(&self, found: Found) -> Result<Returns, Failure> {
        Ok(found.preview())
    }
}

impl BackupInfo {
    /// A running session is asked for a fresh look at its server; when it has
    /// lost its backup just now, its record says so.
    fn fresh(&self, record: SessionRecord) -> SessionRecord {
        if record.state_now() != SessionState::InProgress {
            return record;
        }
        let client = Client::find(&self.store, &record.session, std::time::Duration::from_secs(5));
        match client.and_then(|client| client.status()) {
            Ok(fresh) => fresh,
            Err(_) => self.store.read(&record.session).unwrap_or(record),
        }
    }
}

//! `backup_info`: sessions, and where they stand. Changes nothing.

use std::time::Duration;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task};
use nix::unistd::geteuid;
use serde_json::{Value, json};
use session::{Client, SessionId, SessionRecord, SessionState, Store};

use frame::{Explain, sessions};

/// How long a keeper may take for its fresh look.
const PATIENCE: Duration = Duration::from_secs(5);

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[OptionSpec::new("session", Kind::Str)])
}

/// The module.
pub(crate) struct BackupInfo {
    store: Store,
    session: Option<SessionId>,
    /// Stores of other users, when root asks for all there is.
    others: Vec<Store>,
}

/// What was found.
pub(crate) struct Found {
    sessions: Vec<Value>,
    warnings: Vec<String>,
}

impl Preview for Found {
    fn preview(&self) -> Returns {
        let in_backup_mode = self.sessions.iter().any(|found| found["in_backup_mode"] == true);
        let values = json!({"sessions": self.sessions, "in_backup_mode": in_backup_mode});
        Returns::new(false, values).warn(self.warnings.clone())
    }
}

impl Task for BackupInfo {
    type Plan = Found;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let session = options.text("session").map(|_| sessions::handle(options)).transpose()?;
        let everything = session.is_none() && options.text("state_directory").is_none();
        let others =
            if everything && geteuid().is_root() { Store::of_other_users() } else { vec![] };
        Ok(BackupInfo { store: sessions::store(options)?, session, others })
    }

    fn plan(&self) -> Result<Found, Failure> {
        let mut found = Found { sessions: vec![], warnings: vec![] };
        match &self.session {
            Some(session) => {
                let record = self.store.read(session).map_err(|error| error.explain())?;
                found.add(&self.store, &self.fresh(record));
            }
            None => self.list(&mut found)?,
        }
        Ok(found)
    }

    fn apply(&self, found: Found) -> Result<Returns, Failure> {
        Ok(found.preview())
    }
}

impl Found {
    fn add(&mut self, store: &Store, record: &SessionRecord) {
        let mut described = sessions::describe(record);
        described.insert("state_directory".into(), json!(store.root()));
        self.sessions.push(Value::Object(described));
    }
}

impl BackupInfo {
    fn list(&self, found: &mut Found) -> Result<(), Failure> {
        let (records, unreadable) = self.store.all().map_err(|error| error.explain())?;
        found.warnings.extend(unreadable);
        records.into_iter().for_each(|record| found.add(&self.store, &self.fresh(record)));
        for store in &self.others {
            // Only what is on record: root does not talk to sockets that
            // another user's files name.
            let Ok((records, unreadable)) = store.all() else { continue };
            found.warnings.extend(unreadable);
            records.iter().for_each(|record| found.add(store, record));
        }
        Ok(())
    }

    /// A running session is asked for a fresh look at its server; when it has
    /// lost its backup just now, its record says so.
    fn fresh(&self, record: SessionRecord) -> SessionRecord {
        if record.state_now() != SessionState::InProgress {
            return record;
        }
        let client = Client::find(&self.store, &record.session, PATIENCE);
        match client.and_then(|client| client.status()) {
            Ok(fresh) => fresh,
            Err(_) => self.store.read(&record.session).unwrap_or(record),
        }
    }
}

//! `backup_info`: sessions, and where they stand; the backups in a repository, and when each was last proved. Changes
//! nothing.

mod backups;

use std::time::Duration;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use nix::unistd::geteuid;
use repository::{ClusterName, Repository, RepositoryError};
use serde_json::{Value, json};
use session::{Client, SessionId, SessionRecord, SessionState, Store};

use frame::{Explain, manifest, sessions};

/// How long a keeper may take for its fresh look.
const PATIENCE: Duration = Duration::from_secs(5);

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("session", Kind::Str),
        OptionSpec::new("repository", Kind::Str),
        OptionSpec::new("cluster", Kind::Str).default(Default::Str("main")),
    ])
}

/// The module.
pub(crate) struct BackupInfo {
    store: Store,
    session: Option<SessionId>,
    /// Stores of other users, when root asks for all there is.
    others: Vec<Store>,
    /// Whose backups are told of, if any.
    catalogue: Option<(Repository, ClusterName)>,
}

/// What was found.
pub(crate) struct Found {
    sessions: Vec<Value>,
    /// None when no repository was named.
    backups: Option<Vec<Value>>,
    warnings: Vec<String>,
}

impl Preview for Found {
    fn preview(&self) -> Returns {
        let in_backup_mode = self.sessions.iter().any(|found| found["in_backup_mode"] == true);
        let mut values = json!({"sessions": self.sessions, "in_backup_mode": in_backup_mode});
        if let (Some(backups), Some(values)) = (&self.backups, values.as_object_mut()) {
            values.insert("backups".into(), json!(backups));
        }
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
        let catalogue =
            options.text("repository").map(|url| catalogue(url, options)).transpose()?;
        Ok(BackupInfo { store: sessions::store(options)?, session, others, catalogue })
    }

    fn plan(&self) -> Result<Found, Failure> {
        let mut found = Found { sessions: vec![], backups: None, warnings: vec![] };
        match &self.session {
            Some(session) => {
                let record = self.store.read(session).map_err(|error| error.explain())?;
                found.add(&self.store, &self.fresh(record));
            }
            None => self.list(&mut found)?,
        }
        if let Some((repository, cluster)) = &self.catalogue {
            found.backups = Some(backups::all(repository, cluster, &mut found.warnings)?);
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

fn catalogue(url: &str, options: &Options) -> Result<(Repository, ClusterName), Failure> {
    let cluster = options.text_or_default("cluster").parse();
    Ok((manifest::open(url)?, cluster.map_err(|error: RepositoryError| error.explain())?))
}

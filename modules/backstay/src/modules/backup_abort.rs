//! `backup_abort`: leaves backup mode without a backup. For `rescue` blocks:
//! harmless when nothing is running. A backup that was stopped already is left
//! as it is, its WAL still held until the deadline: `wal_fetch` may yet make it
//! whole.

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task};
use serde_json::json;
use session::{SessionError, SessionId, SessionRecord, SessionState, Store};

use frame::{Explain, manifest, sessions};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("session", Kind::Str),
        OptionSpec::new("reason", Kind::Str),
    ])
}

/// The module.
pub(crate) struct BackupAbort {
    store: Store,
    session: Option<SessionId>,
    reason: String,
}

/// What was found.
pub(crate) enum Plan {
    /// No such session.
    Nothing,
    /// It holds the server in backup mode, or is just starting.
    Running(Box<SessionRecord>),
    /// It is over in one way or another.
    Over(Box<SessionRecord>),
}

impl Plan {
    fn record(&self) -> Option<&SessionRecord> {
        match self {
            Plan::Nothing => None,
            Plan::Running(record) | Plan::Over(record) => Some(record),
        }
    }
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let running = matches!(self, Plan::Running(_));
        reply(self.record(), running, running)
    }
}

impl Task for BackupAbort {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        Ok(BackupAbort {
            store: sessions::store(options)?,
            session: options.text("session").map(|_| sessions::handle(options)).transpose()?,
            reason: options.text("reason").unwrap_or("aborted by backup_abort").to_owned(),
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let Some(session) = &self.session else { return Ok(Plan::Nothing) };
        let record = match self.store.read(session) {
            Ok(record) => Box::new(record),
            Err(SessionError::NotFound { .. }) => return Ok(Plan::Nothing),
            Err(error) => return Err(error.explain()),
        };
        Ok(match record.state_now() {
            SessionState::InProgress | SessionState::Starting => Plan::Running(record),
            _ => Plan::Over(record),
        })
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        match plan {
            Plan::Nothing => Ok(reply(None, false, false)),
            Plan::Running(record) => self.end(&record),
            Plan::Over(record) => self.note(*record),
        }
    }
}

impl BackupAbort {
    fn end(&self, record: &SessionRecord) -> Result<Returns, Failure> {
        let after = end(&self.store, record, &self.reason)?;
        self.conclude(&after, true, record.state == SessionState::InProgress)
    }

    /// A session that was lost gets a record that says so.
    fn note(&self, record: SessionRecord) -> Result<Returns, Failure> {
        if record.state_now() != SessionState::Lost {
            return self.conclude(&record, false, false);
        }
        let record = note_loss(&self.store, record)?;
        self.conclude(&record, true, false)
    }

    /// The manifest says so, too.
    fn conclude(
        &self,
        record: &SessionRecord,
        changed: bool,
        was_in_backup_mode: bool,
    ) -> Result<Returns, Failure> {
        let mut returns = reply(Some(record), changed, was_in_backup_mode);
        if record.state == SessionState::Aborted {
            let reason = record.reason().unwrap_or_default();
            if let Err(failure) = manifest::fail(record, &reason) {
                let text =
                    format!("the manifest could not be marked as failed: {}", failure.message);
                returns.warnings.push(text);
            }
        }
        Ok(returns)
    }
}

/// Ends a session that is in backup mode or about to be, and gives its record afterwards.
///
/// The keeper is asked; one that cannot answer (the server hangs, or is still in its starting checkpoint) is killed,
/// which closes its connection and so ends backup mode as well.
pub(super) fn end(
    store: &Store,
    record: &SessionRecord,
    reason: &str,
) -> Result<SessionRecord, Failure> {
    if record.state == SessionState::InProgress {
        let client = sessions::client(store, &record.session, sessions::PATIENCE).ok();
        if let Some(after) = client.and_then(|client| client.abort(reason).ok()) {
            return Ok(after);
        }
    }
    store.kill_keeper(record);
    let record = store.read(&record.session).map_err(|error| error.explain())?;
    let reason = format!("{reason}; the keeper could not answer and was ended");
    rewrite(store, record.aborted("backup_aborted", reason))
}

/// Has the record of a session whose keeper is gone say so for good.
pub(super) fn note_loss(store: &Store, record: SessionRecord) -> Result<SessionRecord, Failure> {
    let reason = record.reason().unwrap_or_else(|| "the keeper is gone".to_owned());
    rewrite(store, record.aborted("backup_aborted", reason))
}

fn rewrite(store: &Store, record: SessionRecord) -> Result<SessionRecord, Failure> {
    store.write(&record).map_err(|error| error.explain())?;
    Ok(record)
}

fn reply(record: Option<&SessionRecord>, changed: bool, was_in_backup_mode: bool) -> Returns {
    let mut values = record.map(sessions::describe).unwrap_or_default();
    values.insert("was_in_backup_mode".into(), json!(was_in_backup_mode));
    values.insert("in_backup_mode".into(), json!(false));
    Returns { values, changed, ..Returns::default() }
}

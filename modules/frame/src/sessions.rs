//! The session options that every module of a backup has.

use std::path::PathBuf;
use std::time::Duration;

use ansible::reply::object;
use ansible::{Failure, Kind, OptionSpec, Options};
use serde_json::{Map, Value, json};
use session::{Client, SessionError, SessionId, SessionRecord, SessionState, Store};

use crate::{Explain, LOGIN_OPTIONS};

/// Where records are.
const STATE_DIRECTORY: OptionSpec = OptionSpec::new("state_directory", Kind::Path);
/// The handle, where a module cannot do without.
pub const SESSION: OptionSpec = OptionSpec::new("session", Kind::Str).required();

/// The options of a module: those that every module has, so that
/// `module_defaults` of the action group can set them once, and its own. A
/// module that works through a session does not connect; there the login
/// options are accepted and the keeper's connection is used.
pub fn options(own: &[OptionSpec]) -> Vec<OptionSpec> {
    [LOGIN_OPTIONS, &[STATE_DIRECTORY], own].concat()
}

/// How long a keeper may take for an answer that needs no work of the server,
/// in seconds.
pub const PATIENCE: u64 = 30;

/// The state directory of this user.
pub fn default_state_directory() -> PathBuf {
    session::state_directory(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The records these options point to.
///
/// # Errors
/// When `state_directory` is not an absolute path.
pub fn store(options: &Options) -> Result<Store, Failure> {
    Ok(Store::new(
        options.absolute_path("state_directory")?.unwrap_or_else(default_state_directory),
    ))
}

/// The handle these options name.
///
/// # Errors
/// When the option `session` is no handle.
pub fn handle(options: &Options) -> Result<SessionId, Failure> {
    options
        .text_or_default("session")
        .parse()
        .map_err(|error: session::SessionError| error.explain())
}

/// The keeper of the session.
///
/// # Errors
/// When there is no such session, or nobody holds it any more.
pub fn client(store: &Store, session: &SessionId, seconds: u64) -> Result<Client, Failure> {
    Client::find(store, session, Duration::from_secs(seconds)).map_err(|error| error.explain())
}

/// The keeper of a session that is in backup mode, and the record after it has looked at the server: what a snapshot
/// needs.
///
/// # Errors
/// When there is no such session, it was lost, or it is not in backup mode any more. A keeper that has let go of its
/// WAL is gone, so that of a stopped session nobody is asked.
pub fn in_progress(store: &Store, session: &SessionId) -> Result<(Client, SessionRecord), Failure> {
    let client = self::client(store, session, PATIENCE)?;
    let record = match client.record() {
        over if matches!(over.state, SessionState::Stopped | SessionState::Complete) => {
            over.clone()
        }
        _ => client.status().map_err(|error| error.explain())?,
    };
    if record.state == SessionState::InProgress {
        return Ok((client, record));
    }
    let error = SessionError::WrongState {
        session: session.clone(),
        state: record.state.as_str(),
        wanted: SessionState::InProgress.as_str(),
    };
    Err(error.explain().hint("A snapshot must be taken between backup_start and backup_stop."))
}

/// The failure with the operator's first answer: is the server still in backup
/// mode because of this session? What is said already stays, unless it is
/// "unknown" of a session that is known to be over.
pub fn with_backup_mode(failure: Failure, record: &SessionRecord) -> Failure {
    let said = failure.values.get("backup_mode").and_then(Value::as_str);
    let on = record.state_now() == SessionState::InProgress;
    match said {
        Some("unknown") if on => failure,
        Some("unknown") | None => failure.value("backup_mode", if on { "on" } else { "off" }),
        Some(_) => failure,
    }
}

/// What every reply about a session has.
pub fn describe(record: &SessionRecord) -> Map<String, Value> {
    let state = record.state_now();
    let described = json!({
        "session": record.session,
        "backup_id": record.backup_id,
        "cluster": record.cluster,
        "repository": record.repository,
        "label": record.label,
        "state": state.as_str(),
        "in_backup_mode": state == SessionState::InProgress,
        "age": record.age(),
        "remaining": if record.keeper_is_alive() { record.remaining() } else { 0 },
        "keeper_pid": record.keeper.as_ref().filter(|keeper| keeper.is_alive()).map(|keeper| keeper.pid),
        "server": record.server.address,
        "container": record.server.inside.as_ref().and_then(|inside| inside.container.as_ref()).map(|name| &name.name),
        "start_lsn": record.start.as_ref().map(|start| start.lsn),
        "stop_lsn": record.stop.as_ref().map(|stop| stop.lsn),
        "timeline": record.start.as_ref().map(|start| start.timeline),
        "deadline": record.deadline,
        "started_at": record.start.as_ref().map(|start| &start.time),
        "stopped_at": record.stop.as_ref().map(|stop| &stop.time),
        "reason": record.reason(),
        "snapshots": record.snapshots,
    });
    object(described)
}

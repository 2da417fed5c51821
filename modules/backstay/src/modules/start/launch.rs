//! From findings to a keeper in backup mode.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ansible::{Failure, Returns};
use chrono::{SecondsFormat, TimeDelta, Utc};
use pg::{SlotName, WalSegmentName};
use repository::{BackupId, BackupManifest, BackupState};
use serde_json::json;
use session::{
    LaunchWarning, Order, Ready, ServerRecord, SessionRecord, SessionState, StartRecord,
    WAL_SLOT_PREFIX,
};

use super::earlier;
use super::preflight::Findings;
use crate::modules::backup_start::BackupStart;
use crate::{caller, local};
use frame::Explain;
use frame::manifest;

/// An id for a backup that nobody named. The clock's nanoseconds mixed with the
/// process id keep two of one second apart.
pub(crate) fn fresh_backup_id() -> BackupId {
    let now = Utc::now();
    let mixed = now.timestamp_subsec_nanos().wrapping_mul(0x9E37_79B1) ^ std::process::id();
    BackupId::at(now, u16::try_from(mixed >> 16).unwrap_or_default())
}

/// Intent first, then the keeper, then the proof that it is the right server.
pub(crate) fn start(task: &BackupStart, mut findings: Findings) -> Result<Returns, Failure> {
    earlier::take_over(task, &mut findings)?;
    let record = record(task, &findings)?;
    write_intent(task, &findings, &record)
        .map_err(|failure| failure.value("backup_mode", "off"))?;
    if let Err(failure) = make_folder(task, &findings) {
        // Not give_up: a record that is there already is another session's.
        let _ = manifest::fail(&record, &failure.message);
        return Err(failure.value("backup_mode", "off"));
    }
    let order =
        make_directories(task, &record, &findings).and_then(|()| order(task, &findings, &record));
    let order = match order {
        Ok(order) => order,
        Err(failure) => return Err(give_up(task, record, failure)),
    };
    let gone = caller::is_gone;
    let ready = match session::launch(&order, Duration::from_secs(task.wait_timeout), &gone) {
        Ok(ready) => ready,
        Err(error) => return Err(give_up(task, record, error.explain())),
    };
    match confirm(&findings, &ready) {
        Ok(()) => reply(findings, &ready),
        Err(failure) => Err(leave(task, ready.record, failure)),
    }
}

/// That the files here are this server's, and that the repository knows of the
/// start.
fn confirm(findings: &Findings, ready: &Ready) -> Result<(), Failure> {
    let start = start_of(ready)?;
    local::confirm_start(&findings.control_file, start.lsn)?;
    note_start(&ready.record, start)
}

/// Out of backup mode again, because the start could not be confirmed.
fn leave(task: &BackupStart, record: SessionRecord, failure: Failure) -> Failure {
    let client = frame::sessions::client(&task.store, &task.session, frame::sessions::PATIENCE);
    let left = client.is_ok_and(|client| client.abort(&failure.message).is_ok());
    give_up(task, record, failure).value("backup_mode", if left { "off" } else { "unknown" })
}

fn note_start(record: &SessionRecord, start: &StartRecord) -> Result<(), Failure> {
    let folder = manifest::folder(record)?;
    let mut kept = manifest::read(&folder, record)?;
    let segment =
        WalSegmentName::containing(start.timeline, start.lsn, record.server.wal_segment_size);
    kept.start = manifest::point(start.lsn, &start.time, segment)?;
    kept.timeline = start.timeline;
    folder.update(&kept).map_err(|error| error.explain())
}

fn start_of(ready: &Ready) -> Result<&StartRecord, Failure> {
    ready.record.start.as_ref().ok_or_else(|| {
        Failure::new("internal", "the keeper is ready but did not say where the backup starts")
    })
}

fn record(task: &BackupStart, findings: &Findings) -> Result<SessionRecord, Failure> {
    let now = Utc::now();
    let seconds = i64::try_from(task.max_duration).unwrap_or(i64::MAX);
    let deadline = TimeDelta::try_seconds(seconds).and_then(|time| now.checked_add_signed(time));
    let deadline = deadline.ok_or_else(|| {
        Failure::invalid(format!("option \"max_duration\" is too large: {seconds}"))
    })?;
    let text = |time: chrono::DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    Ok(SessionRecord {
        schema: 1,
        session: task.session.clone(),
        backup_id: task.backup.to_string(),
        cluster: task.cluster.to_string(),
        repository: task.repository.clone(),
        label: task.label.clone(),
        state: SessionState::Starting,
        keeper: None,
        socket: session::socket_path(&task.runtime_directory, task.store.root(), &task.session),
        server: ServerRecord {
            address: task.login.describe(),
            system_identifier: findings.identity.system_identifier,
            version: findings.facts.version,
            data_directory: findings.facts.data_directory.clone(),
            wal_directory: findings.wal_directory.clone(),
            wal_segment_size: findings.facts.wal_segment_size,
            tablespaces: findings.tablespaces.clone(),
            in_recovery: findings.identity.in_recovery,
            inside: findings.inside.clone(),
        },
        created_at: text(now),
        deadline: text(deadline),
        start: None,
        stop: None,
        snapshots: vec![],
        ended: None,
    })
}

/// The manifest says `started` before anything is: a crash leaves a trace, not
/// a riddle.
fn write_intent(
    task: &BackupStart,
    findings: &Findings,
    record: &SessionRecord,
) -> Result<(), Failure> {
    let repository = manifest::open(&task.repository)?;
    repository
        .claim_cluster(&task.cluster, findings.identity.system_identifier)
        .map_err(|error| error.explain())?;
    let folder = repository.backup(&task.cluster, &task.backup);
    let facts = &findings.facts;
    let file = |name: &str| facts.config_files.get(name).cloned();
    let intent = BackupManifest {
        schema: BackupManifest::SCHEMA,
        backup_id: task.backup.clone(),
        cluster: task.cluster.clone(),
        label: task.label.clone(),
        state: BackupState::Started,
        reason: None,
        session: record.session.to_string(),
        system_identifier: findings.identity.system_identifier,
        server_version: facts.version,
        catalog_version: facts.catalog_version,
        timeline: findings.identity.timeline,
        wal_segment_size: facts.wal_segment_size,
        in_recovery: findings.identity.in_recovery,
        data_checksums: facts.data_checksums,
        block_size: facts.block_size,
        // The backup cannot start before the last checkpoint there is; the
        // true start follows as soon as the server has answered.
        start: manifest::point(
            facts.checkpoint_lsn,
            &record.created_at,
            WalSegmentName::containing(
                findings.identity.timeline,
                facts.checkpoint_lsn,
                facts.wal_segment_size,
            ),
        )?,
        stop: None,
        data_directory: facts.data_directory.clone(),
        wal_directory: findings.wal_directory.clone(),
        tablespaces: findings.tablespaces.clone(),
        settings: facts.recovery_settings.clone().into_iter().collect::<BTreeMap<_, _>>(),
        config_file: file("config_file"),
        hba_file: file("hba_file"),
        ident_file: file("ident_file"),
        snapshots: vec![],
        files: vec![],
        backstay_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    folder.create(&intent).map_err(|error| error.explain())
}

fn owner(findings: &Findings) -> Option<(u32, u32)> {
    findings.os_user.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

fn make_folder(task: &BackupStart, findings: &Findings) -> Result<(), Failure> {
    task.store.create(&task.session, owner(findings)).map_err(|error| error.explain())
}

fn make_directories(
    task: &BackupStart,
    record: &SessionRecord,
    findings: &Findings,
) -> Result<(), Failure> {
    task.store.write(record).map_err(|error| error.explain())?;
    let explain = |error: durable::DurableError| {
        Failure::from_error(&error, error.kind(), error.hints())
            .hint("The directory must belong to the keeper's user or root, and others must not be able to write to it.")
    };
    let folder: PathBuf = record.socket.parent().map(Path::to_path_buf).unwrap_or_default();
    durable::private_directory(&task.runtime_directory, None, 0o711).map_err(explain)?;
    session::sweep(&task.runtime_directory);
    durable::private_directory(&folder, owner(findings), 0o700).map_err(explain)
}

fn order(
    task: &BackupStart,
    findings: &Findings,
    record: &SessionRecord,
) -> Result<Order, Failure> {
    let mut order = Order::new(record.clone(), task.store.root(), task.login.clone());
    order.fast = task.fast;
    order.max_duration = task.max_duration;
    order.run_as = owner(findings);
    if task.keep_wal {
        let name = SlotName::nearest(&format!("{WAL_SLOT_PREFIX}{}", task.session));
        order.slot = Some(name.map_err(|error| Failure::from_error(&error, "internal", vec![]))?);
    }
    Ok(order)
}

/// Nothing half-done: record and manifest say that there is no backup.
fn give_up(task: &BackupStart, record: SessionRecord, failure: Failure) -> Failure {
    let ended = record.aborted(failure.kind, failure.message.clone());
    // Reported is the first cause; these marks are for whoever looks later.
    let _ = task.store.write(&ended);
    let _ = manifest::fail(&ended, &failure.message);
    if failure.values.contains_key("backup_mode") {
        failure
    } else {
        failure.value("backup_mode", "off")
    }
}

fn reply(findings: Findings, ready: &Ready) -> Result<Returns, Failure> {
    let (record, start) = (&ready.record, start_of(ready)?);
    let segment =
        WalSegmentName::containing(start.timeline, start.lsn, record.server.wal_segment_size);
    let mut values = findings.describe();
    let more = json!({
        "state": record.state.as_str(),
        "start_lsn": start.lsn,
        "start_time": start.time,
        "timeline": start.timeline,
        "wal_start_segment": segment.to_string(),
        "slot": start.slot,
        "keeper_pid": record.keeper.as_ref().map(|keeper| keeper.pid),
        "deadline": record.deadline,
    });
    if let serde_json::Value::Object(more) = more {
        values.extend(more);
    }
    let said = ready.warnings.iter().map(LaunchWarning::to_string);
    let warnings = findings.warnings.into_iter().chain(said).collect();
    Ok(Returns { values, changed: true, warnings, ..Returns::default() })
}

//! Whether a backup of this server can succeed. Only reads.

use std::path::PathBuf;

use ansible::Failure;
use ansible::reply::object;
use pg::{Endpoint, Facts, Identity, Server, Tablespace};
use serde_json::{Map, Value, json};
use session::Inside;

use crate::login::OsUser;
use crate::modules::backup_start::BackupStart;
use crate::modules::start::earlier;
use crate::{local, login};
use frame::{Explain, manifest};

/// What was found out.
pub(crate) struct Findings {
    pub(super) facts: Facts,
    pub(super) identity: Identity,
    pub(super) tablespaces: Vec<Tablespace>,
    pub(super) wal_directory: PathBuf,
    pub(super) control_file: PathBuf,
    pub(super) inside: Option<Inside>,
    pub(super) os_user: Option<OsUser>,
    pub(crate) warnings: Vec<String>,
    said: Map<String, Value>,
}

impl Findings {
    /// What a reply has of it.
    pub(crate) fn describe(&self) -> Map<String, Value> {
        self.said.clone()
    }
}

/// Every check in turn; the first that fails names the way out.
pub(crate) fn examine(task: &BackupStart) -> Result<Findings, Failure> {
    no_such_session(task)?;
    let os_user = login::operating_system_user(task.os_user.as_deref(), &task.login)?;
    let mut server = login::connect(&task.login, os_user, "backstay backup_start")?;
    let identity = server.identity().map_err(|error| error.explain())?;
    enough_privileges(task, &mut server, identity.in_recovery)?;
    let facts = server.facts().map_err(|error| error.explain())?;
    no_pooler(task, os_user, &identity, &facts)?;
    wal_level_suffices(&facts)?;
    full_pages_on_a_standby(&facts, &identity)?;
    a_slot_is_free(task, &facts)?;
    let mut warnings = vec![];
    warnings.extend(unflushed(&facts));
    archiving_works(task, &mut server, &facts, &mut warnings)?;
    earlier::check_alone(task, &identity)?;
    let tablespaces = server.tablespaces().map_err(|error| error.explain())?;
    let here = local::examine(&facts, &identity, &tablespaces, task.inside.as_ref())?;
    warnings.extend(here.warnings);
    local::expect_room(task.store.root())?;
    let repository = manifest::open(&task.repository)?;
    repository
        .check_cluster(&task.cluster, identity.system_identifier)
        .map_err(|error| error.explain())?;
    local::expect_room(repository.local_path())?;
    let said = describe(task, &facts, &identity, &tablespaces, &here.wal_directory);
    Ok(Findings {
        facts,
        identity,
        tablespaces,
        wal_directory: here.wal_directory,
        control_file: here.control_file,
        inside: here.inside,
        os_user,
        warnings,
        said,
    })
}

fn describe(
    task: &BackupStart,
    facts: &Facts,
    identity: &Identity,
    tablespaces: &[Tablespace],
    wal_directory: &std::path::Path,
) -> Map<String, Value> {
    let said = json!({
        "session": task.session,
        "backup_id": task.backup.to_string(),
        "cluster": task.cluster.to_string(),
        "label": task.label,
        "repository": task.repository,
        "timeline": identity.timeline,
        "system_identifier": identity.system_identifier,
        "server_version": facts.version,
        "data_directory": facts.data_directory,
        "wal_directory": wal_directory,
        "wal_segment_size": facts.wal_segment_size.bytes(),
        "tablespaces": tablespaces,
        "in_recovery": identity.in_recovery,
    });
    object(said)
}

fn no_such_session(task: &BackupStart) -> Result<(), Failure> {
    match task.store.read(&task.session) {
        Ok(_) => Err(session::SessionError::Exists { session: task.session.clone() }.explain()),
        Err(session::SessionError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.explain()),
    }
}

fn enough_privileges(
    task: &BackupStart,
    server: &mut Server,
    on_standby: bool,
) -> Result<(), Failure> {
    let found = server.privileges(task.keep_wal, on_standby).map_err(|error| error.explain())?;
    if found.missing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        "insufficient_privilege",
        format!(
            "role \"{}\" lacks privileges that a backup needs; a superuser gives them with: {}",
            found.role,
            found.missing.join(" ")
        ),
    )
    .value("missing_grants", found.missing.clone());
    if found.missing.iter().any(|statement| statement.ends_with("REPLICATION;")) {
        failure = failure.hint(
            "REPLICATION is for the temporary slot that holds the WAL until wal_fetch has it; with keep_wal: false \
             it is not needed, and the WAL must come from an archive.",
        );
    }
    Err(failure)
}

/// Two connections to one server are two backends. A pooler in transaction
/// mode serves both with the one that is free; and over a unix socket the
/// server's own port is part of the socket's name.
fn no_pooler(
    task: &BackupStart,
    os_user: Option<OsUser>,
    first: &Identity,
    facts: &Facts,
) -> Result<(), Failure> {
    let pooler =
        |proof: String| pg::ServerError::Pooler { server: task.login.describe(), proof }.explain();
    if matches!(task.login.endpoint, Endpoint::Socket(_)) && facts.port != task.login.port {
        return Err(pooler(format!("the server itself listens on port {}", facts.port)));
    }
    let mut second = login::connect(&task.login, os_user, "backstay backup_start")?;
    let second = second.identity().map_err(|error| error.explain())?;
    if second.backend_pid == first.backend_pid {
        return Err(pooler(format!(
            "two connections at once were served by the one backend {}",
            first.backend_pid
        )));
    }
    Ok(())
}

fn wal_level_suffices(facts: &Facts) -> Result<(), Failure> {
    if facts.wal_level != "minimal" {
        return Ok(());
    }
    let text = "wal_level is \"minimal\", but a backup needs \"replica\" or \"logical\"";
    Err(Failure::new("invalid_argument", text)
        .hint("Set wal_level = replica and restart the server."))
}

/// Rule R17: WAL replayed without full pages makes the stop fail on a standby.
fn full_pages_on_a_standby(facts: &Facts, identity: &Identity) -> Result<(), Failure> {
    if !identity.in_recovery || facts.full_page_writes {
        return Ok(());
    }
    let text =
        "the primary runs with full_page_writes = off, so a backup of its standby would be corrupt";
    Err(Failure::new("invalid_argument", text)
        .hint("Switch full_page_writes on at the primary and run CHECKPOINT there, or back up the primary itself."))
}

/// A copy of files has what the kernel holds, one of blocks has not: there the checkpoint of the start wrote nothing for
/// sure. A restore finds it out, which is late.
fn unflushed(facts: &Facts) -> Option<String> {
    let text = "the server runs with fsync = off: a snapshot of its volumes may lack what was written before the backup; \
                set fsync = on, or let the provider files copy it";
    (!facts.fsync).then(|| text.to_owned())
}

fn a_slot_is_free(task: &BackupStart, facts: &Facts) -> Result<(), Failure> {
    if !task.keep_wal || facts.free_slots > 0 {
        return Ok(());
    }
    Err(Failure::new("invalid_argument", "no replication slot is free to hold the WAL: max_replication_slots are in use")
        .hint("Raise max_replication_slots, drop an unused slot, or give keep_wal: false and fetch the WAL from an archive."))
}

fn archiving_works(
    task: &BackupStart,
    server: &mut Server,
    facts: &Facts,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    if facts.archive_mode == "off" || task.archiver_check == "ignore" {
        return Ok(());
    }
    let archiver = server.archiver().map_err(|error| error.explain())?;
    if !archiver.failing {
        return Ok(());
    }
    let text = format!(
        "archiving fails on this server: the last failure was \"{}\", the last success \"{}\"",
        archiver.last_failed.unwrap_or_default(),
        archiver.last_archived.unwrap_or_else(|| "none".into())
    );
    if task.archiver_check == "warn" {
        warnings.push(text);
        return Ok(());
    }
    Err(Failure::new("wal_archive_timeout", text).hint(
        "See pg_stat_archiver and the server's log. With archiver_check: warn the backup goes on, and wal_fetch can \
         take its WAL from pg_wal.",
    ))
}

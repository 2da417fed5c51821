//! Where the session is, and which volumes its cluster is on.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use ansible::Failure;
use chrono::{DateTime, Utc};
use frame::{Explain, cluster, sessions};
use host::Sysfs;
use serde::Deserialize;
use serde_json::json;
use session::{Client, SessionId, SessionRecord, Store};
use snapshot::{ClusterVolumes, SnapshotRecord};
use snapshot_ebs::BackupTags;

use super::EbsSnapshot;

/// How often the keeper is asked while EC2 keeps us waiting.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// What `volume_info` returned on the database host.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Given {
    #[serde(flatten)]
    volumes: ClusterVolumes,
    session: Option<String>,
    backup_id: Option<String>,
    cluster: Option<String>,
    system_identifier: Option<String>,
    start_lsn: Option<String>,
    in_backup_mode: Option<bool>,
}

/// A session and its volumes.
pub(super) struct Origin {
    pub(super) session: String,
    pub(super) volumes: ClusterVolumes,
    pub(super) instance_id: Option<String>,
    pub(super) region: Option<String>,
    /// What is on record with the session already.
    pub(super) noted: Vec<SnapshotRecord>,
    backup: BackupTags,
    here: Option<Here>,
}

impl Given {
    fn is_of(&self, record: &SessionRecord) -> bool {
        let ours = tags_of(record);
        self.system_identifier.as_ref() == Some(&ours.system_identifier)
            && self.start_lsn.as_ref() == Some(&ours.start_lsn)
    }
}

/// A session on this host.
struct Here {
    store: Store,
    id: SessionId,
    client: Client,
    asked: Cell<Instant>,
    lost: RefCell<Option<Failure>>,
}

/// A session of the same name on this host is another one when the volumes were found on another host.
pub(super) fn find(task: &EbsSnapshot) -> Result<Origin, Failure> {
    match (task.store.read(&task.session), &task.volumes) {
        (Ok(record), Some(given)) if !given.is_of(&record) => of_another_host(task, given),
        (Ok(_), _) => of_this_host(task),
        (Err(session::SessionError::NotFound { .. }), Some(given)) => of_another_host(task, given),
        (Err(error @ session::SessionError::NotFound { .. }), None) => Err(error.explain().hint(
            "To run this task on another host than the session's (delegate_to), give volumes: what volume_info \
             returned there with this session.",
        )),
        (Err(error), _) => Err(error.explain()),
    }
}

fn of_this_host(task: &EbsSnapshot) -> Result<Origin, Failure> {
    let (client, record) = sessions::in_progress(&task.store, &task.session)?;
    let here = Here {
        store: task.store.clone(),
        id: task.session.clone(),
        client,
        asked: Cell::new(Instant::now()),
        lost: RefCell::new(None),
    };
    let process = record.server.inside.as_ref().map(|inside| &inside.process);
    let sources = cluster::sources(&record.server);
    let volumes = ClusterVolumes::discover(&sources, process, &Sysfs::default())
        .map_err(|error| still_on(error.explain()))?;
    Ok(Origin {
        session: record.session.to_string(),
        volumes,
        instance_id: None,
        region: None,
        noted: noted(&record),
        backup: tags_of(&record),
        here: Some(here),
    })
}

fn of_another_host(task: &EbsSnapshot, given: &Given) -> Result<Origin, Failure> {
    let invalid = |text: String| {
        Err(Failure::invalid(text).hint(
            "Give what volume_info returned on the database host when it was given this session.",
        ))
    };
    let wanted = task.session.to_string();
    if given.session.as_deref() != Some(wanted.as_str()) {
        return invalid(format!(
            "option \"volumes\" is of session \"{}\", this task of \"{wanted}\"",
            given.session.as_deref().unwrap_or("none")
        ));
    }
    if given.in_backup_mode != Some(true) {
        return invalid(format!("session \"{wanted}\" is not in backup mode"));
    }
    let (Some(backup_id), Some(cluster), Some(system_identifier)) =
        (given.backup_id.clone(), given.cluster.clone(), given.system_identifier.clone())
    else {
        return invalid("option \"volumes\" does not say which backup it is for".to_owned());
    };
    let instance = given.volumes.instance.as_ref();
    Ok(Origin {
        session: wanted.clone(),
        instance_id: instance.map(|instance| instance.id.clone()),
        region: instance.map(|instance| instance.region.clone()),
        volumes: given.volumes.clone(),
        noted: vec![],
        backup: BackupTags {
            cluster,
            backup_id,
            system_identifier,
            start_lsn: given.start_lsn.clone().unwrap_or_default(),
            session: wanted,
        },
        here: None,
    })
}

/// The EBS snapshots of the session.
fn noted(record: &SessionRecord) -> Vec<SnapshotRecord> {
    let all = record.snapshots.iter().cloned();
    let records = all.filter_map(|value| serde_json::from_value::<SnapshotRecord>(value).ok());
    records.filter(|snapshot| snapshot.volume.is_some()).collect()
}

fn tags_of(record: &SessionRecord) -> BackupTags {
    let start = record.start.as_ref().map(|start| start.lsn.to_string());
    BackupTags {
        cluster: record.cluster.clone(),
        backup_id: record.backup_id.clone(),
        system_identifier: record.server.system_identifier.to_string(),
        start_lsn: start.unwrap_or_default(),
        session: record.session.to_string(),
    }
}

impl Origin {
    pub(super) fn tags(&self) -> BackupTags {
        self.backup.clone()
    }

    /// The session's records, if it is one of this host.
    pub(super) fn store(&self) -> Option<(&Store, &SessionId)> {
        self.here.as_ref().map(|here| (&here.store, &here.id))
    }

    /// Whether the session is still in backup mode, asked now and then. From another host nobody can be asked: there
    /// the snapshots are adopted by `snapshot_create`, which does.
    pub(super) fn watch(&self) -> Result<(), String> {
        let Some(here) = &self.here else { return Ok(()) };
        if here.asked.get().elapsed() < WATCH_EVERY {
            return Ok(());
        }
        here.asked.set(Instant::now());
        here.client.status().map(drop).map_err(|error| {
            let failure = error.explain();
            let text = failure.message.clone();
            here.lost.replace(Some(failure));
            text
        })
    }

    /// Why the session was lost meanwhile, if it was.
    pub(super) fn lost(&self) -> Option<Failure> {
        self.here.as_ref().and_then(|here| here.lost.take())
    }

    /// The set that is on record, in the order of the volumes, if it is whole.
    pub(super) fn whole_set(&self) -> Option<Vec<SnapshotRecord>> {
        let of = |id: &str| {
            let is_its = |record: &&SnapshotRecord| {
                record.volume.as_ref().is_some_and(|volume| volume.volume_id == id)
            };
            self.noted.iter().find(is_its).cloned()
        };
        self.volumes.volumes.iter().map(|volume| of(&volume.id)).collect()
    }

    /// Notes the snapshots with the session.
    pub(super) fn add(&self, records: &[SnapshotRecord]) -> Result<(), Failure> {
        let Some(here) = &self.here else { return Ok(()) };
        let noted = records.iter().map(|record| json!(record)).collect();
        here.client.add_snapshots(noted).map(drop).map_err(|error| error.explain())
    }

    /// A snapshot that fails leaves the session as it is: the play decides.
    pub(super) fn still_on(&self, failure: Failure) -> Failure {
        match self.here {
            Some(_) => still_on(failure),
            None => failure.value("backup_mode", "unknown"),
        }
    }
}

fn still_on(failure: Failure) -> Failure {
    failure
        .value("backup_mode", "on")
        .hint("The server is still in backup mode: try again, or end it with backup_abort.")
}

/// Just before the call, or, of an adopted set, when EC2 took it.
pub(super) fn earlier(began: DateTime<Utc>, taken: DateTime<Utc>) -> DateTime<Utc> {
    began.min(taken)
}

//! What a restore would do, found out without changing anything.

mod destination;
mod evidence;
mod in_place;
mod material;
mod places;
mod recovery_settings;
mod tablespaces;
mod wal_directory;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pg::{Lsn, MajorVersion, TablespaceMapFile, TimelineId};
use repository::{BackupFolder, FileEntry};

use crate::RecoveryError;
use crate::apply::Ownership;
use crate::marker::Marker;
use crate::request::{Restore, Source};
use crate::settings::SettingsChange;
use crate::target::{self, EffectiveTarget, End};
use crate::timeline;

pub(crate) use evidence::{Evidence, wal_file_name};
pub(crate) use material::{Material, Means, Piece};
pub use tablespaces::PlacedTablespace;

/// `postgresql.auto.conf` holds a line for each ALTER SYSTEM; this is far more than anybody has.
const SETTINGS_LIMIT: u64 = 16 << 20;

/// A restore that nothing is known to stand in the way of.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The backup.
    pub backup_id: String,
    /// Where the cluster goes.
    pub data_directory: PathBuf,
    /// Where its files come from; never [`Source::Auto`].
    pub source: Source,
    /// The tablespaces and where they go, without those that lie inside the data directory.
    pub tablespaces: Vec<PlacedTablespace>,
    /// Where WAL goes, when not into the data directory.
    pub wal_directory: Option<PathBuf>,
    /// What the server will be told.
    pub target: EffectiveTarget,
    /// What happens to `postgresql.auto.conf`.
    pub settings: SettingsChange,
    /// Who will own the cluster.
    pub ownership: Ownership,
    /// Bytes to be copied, where that is known beforehand; WAL is not counted.
    pub bytes: Option<u64>,
    /// Whether an earlier restore broke off here and will be cleaned away first.
    pub begins_anew: bool,
    /// What the operator should know, as whole sentences.
    pub notes: Vec<String>,
    pub(crate) folder: BackupFolder,
    pub(crate) evidence: Evidence,
    /// The map for the new locations; no file when there are no tablespaces.
    pub(crate) map: Option<TablespaceMapFile>,
    pub(crate) material: Material,
    pub(crate) unfinished: Option<Marker>,
    pub(crate) options: Options,
}

/// Options that are only handed on.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) reflink: snapshot::Reflink,
    pub(crate) jobs: usize,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) pg_ctl: Option<PathBuf>,
}

impl RestorePlan {
    /// The backup's stop LSN, which recovery has to pass.
    #[must_use]
    pub fn stop_lsn(&self) -> Lsn {
        self.evidence.stop_lsn
    }

    pub(crate) fn major(&self) -> MajorVersion {
        self.evidence.major
    }

    pub(crate) fn wal(&self) -> &[FileEntry] {
        &self.evidence.wal
    }
}

/// Finds out what the restore would do. Reads the backup (label, map, WAL and the list of files are checked against their
/// SHA-256) and the places it would go to; writes nothing. `restore_command`, if given, is run to ask for timeline
/// history files, into a temporary directory.
///
/// # Errors
/// Every [`RecoveryError`] that can be known beforehand: the backup is not complete or damaged, a place is not free, a
/// server is running, what is in place is not of this backup, the target cannot be reached, space is short.
pub fn plan(restore: &Restore) -> Result<RestorePlan, RecoveryError> {
    restore.check()?;
    let evidence = evidence::gather(restore)?;
    let source = material::source(restore)?;
    let tablespaces =
        tablespaces::place(&restore.backup.manifest().tablespaces, &restore.tablespace_mapping)?;
    let unfinished = places::check(restore, source, &evidence, &tablespaces)?;
    let material = material::find(restore, source, &tablespaces)?;
    let cluster = copied_data_directory(restore, &material);
    let ownership = ownership(restore, &cluster, unfinished.as_ref())?;
    let (config_file, pg_ctl) = what_starts_it(restore, &evidence, &cluster)?;
    let target = settle_target(restore, &evidence, ownership)?;
    let before = auto_conf(restore, &material, &cluster)?;
    let settings = recovery_settings::compose(restore, &target, &before);
    let map = moved_map(restore, &evidence, &tablespaces)?;
    let notes = notes(restore, &target, &evidence, &cluster, unfinished.as_ref());
    Ok(RestorePlan {
        backup_id: restore.backup.manifest().backup_id.to_string(),
        data_directory: restore.data_directory.clone(),
        source,
        tablespaces,
        wal_directory: restore.separate_wal().map(Path::to_path_buf),
        target,
        settings,
        ownership,
        bytes: material.bytes,
        begins_anew: unfinished.is_some(),
        notes,
        folder: restore.folder.clone(),
        evidence,
        map,
        material,
        unfinished,
        options: Options {
            reflink: restore.reflink,
            jobs: restore.jobs.max(1),
            config_file,
            pg_ctl,
        },
    })
}

/// The data directory whose settings and owner will be those of the restored one: the copy, or what is in place.
fn copied_data_directory(restore: &Restore, material: &Material) -> PathBuf {
    material
        .pieces
        .first()
        .map_or_else(|| restore.data_directory.clone(), |piece| piece.from.clone())
}

fn ownership(
    restore: &Restore,
    cluster: &Path,
    unfinished: Option<&Marker>,
) -> Result<Ownership, RecoveryError> {
    let found = std::fs::metadata(cluster).map_err(RecoveryError::io("examine", cluster))?;
    // Of a restore in place that broke off only the marker knows whom the directory belonged to.
    let in_place = unfinished.filter(|_| restore.source == Source::InPlace);
    let (uid, gid, mode) = in_place.map_or((found.uid(), found.gid(), found.mode()), |marker| {
        (marker.uid, marker.gid, marker.mode)
    });
    let mode = if mode & 0o077 == 0o050 { 0o750 } else { 0o700 };
    let ownership =
        Ownership { uid: restore.owner.unwrap_or(uid), gid: restore.group.unwrap_or(gid), mode };
    let us = nix::unistd::geteuid();
    let problem = if us.is_root() && ownership.uid == 0 {
        "is root, and the server refuses to run as root".to_owned()
    } else if !us.is_root() && ownership.uid != us.as_raw() {
        format!(
            "is user {}, but only root can give files away and this is user {us}",
            ownership.uid
        )
    } else {
        return Ok(ownership);
    };
    Err(RecoveryError::InvalidArgument { option: "owner".to_owned(), problem })
}

/// The configuration and the program that a start needs; looked for before hours are spent on copying.
fn what_starts_it(
    restore: &Restore,
    evidence: &Evidence,
    cluster: &Path,
) -> Result<(Option<PathBuf>, Option<PathBuf>), RecoveryError> {
    let config_file = restore.config_file.clone();
    if let Some(path) = config_file.as_ref().filter(|path| !path.is_file()) {
        return Err(RecoveryError::InvalidArgument {
            option: "config_file".to_owned(),
            problem: format!("\"{}\" is not a file", path.display()),
        });
    }
    if !restore.start {
        return Ok((config_file, None));
    }
    if config_file.is_none() && !cluster.join("postgresql.conf").exists() {
        return Err(RecoveryError::ConfigurationMissing {
            backup_id: restore.backup.manifest().backup_id.to_string(),
            source_config_file: restore.backup.manifest().config_file.clone(),
        });
    }
    let major = evidence.major;
    let pg_ctl = pg::bin::find_server_program("pg_ctl", major, restore.bin_dir.as_deref(), None)
        .ok_or_else(|| RecoveryError::ProgramMissing {
            name: "pg_ctl",
            major: major.to_string(),
        })?;
    Ok((config_file, Some(pg_ctl)))
}

fn settle_target(
    restore: &Restore,
    evidence: &Evidence,
    ownership: Ownership,
) -> Result<EffectiveTarget, RecoveryError> {
    let manifest = restore.backup.manifest();
    let end = End {
        lsn: evidence.stop_lsn,
        time: evidence.stop_time,
        wal: evidence.wal_end,
        from_standby: evidence.from_standby,
    };
    let has_command = restore.restore_command.is_some();
    // Before the archive is asked for timelines: what is wrong without it needs no answer from it.
    let wanted = target::wanted_timeline(restore);
    let mut settled = target::settle(&restore.target, end, has_command, wanted)?;
    let histories = |id: TimelineId| match &restore.restore_command {
        Some(command) => {
            timeline::fetch(command, &id.history_file(), (ownership.uid, ownership.gid))
        }
        None => manifest
            .file(&format!("wal/{}", id.history_file()))
            .map(|entry| evidence::read(restore, entry))
            .transpose(),
    };
    settled.timeline =
        timeline::choose(&settled.timeline, manifest.timeline, evidence.stop_lsn, &histories)?;
    Ok(settled)
}

/// The backup's `postgresql.auto.conf`; an absent one is an empty one.
fn auto_conf(
    restore: &Restore,
    material: &Material,
    cluster: &Path,
) -> Result<Vec<u8>, RecoveryError> {
    const NAME: &str = "postgresql.auto.conf";
    let path = cluster.join(NAME);
    let owner = std::fs::metadata(cluster).map_or(0, |found| found.uid());
    let trusted = [nix::unistd::geteuid().as_raw(), owner, restore.owner.unwrap_or(owner)];
    let bytes = match durable::read_owned(&path, &trusted, SETTINGS_LIMIT) {
        Err(error) if error.kind() == "file_not_found" => return Ok(Vec::new()),
        other => other?,
    };
    if let Some(listed) =
        material.listing.as_ref().and_then(|files| files.get(&format!("data/{NAME}")))
    {
        crate::apply::same_content(&path, &bytes, &listed.sha256)?;
    }
    Ok(bytes)
}

/// The map with the new locations, byte for byte the old one where nothing moves.
fn moved_map(
    restore: &Restore,
    evidence: &Evidence,
    tablespaces: &[PlacedTablespace],
) -> Result<Option<TablespaceMapFile>, RecoveryError> {
    let Some(map) = &evidence.map else { return Ok(None) };
    let moved = tablespaces
        .iter()
        .filter(|one| one.is_moved())
        .map(|one| (one.oid, one.location.clone()))
        .collect();
    map.remapped(&moved, evidence.major).map(Some).map_err(|source| RecoveryError::Content {
        name: "tablespace_map".to_owned(),
        backup_id: restore.backup.manifest().backup_id.to_string(),
        source,
    })
}

fn notes(
    restore: &Restore,
    target: &EffectiveTarget,
    evidence: &Evidence,
    cluster: &Path,
    unfinished: Option<&Marker>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(marker) = unfinished {
        notes.push(format!(
            "An earlier restore of backup \"{}\" into \"{}\" broke off; it begins anew.",
            marker.backup_id,
            restore.data_directory.display()
        ));
    }
    if target.target != restore.target.target {
        notes.push(format!(
            "The backup was taken from a standby: recovery goes on to {}, so that it passes the stop LSN {}.",
            target.target,
            evidence.stop_lsn
        ));
    }
    if restore.config_file.is_none() && !cluster.join("postgresql.conf").exists() {
        notes.push(
            "The backup holds no \"postgresql.conf\": the source kept it outside the data directory. The restored server needs one of its own.".to_owned(),
        );
    }
    notes
}

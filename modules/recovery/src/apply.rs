//! Putting a cluster in its place, so that at no moment a server can start on half of it.

pub(crate) mod clean;
mod layout;
mod materialise;
pub(crate) mod ownership;
mod wal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pg::{Lsn, MajorVersion};
use sha2::{Digest, Sha256};

use crate::RecoveryError;
use crate::control;
use crate::marker::Marker;
use crate::plan::{PlacedTablespace, RestorePlan};
use crate::request::Source;
use crate::settings::SettingsChange;
use crate::target::EffectiveTarget;

pub use ownership::Ownership;

/// A cluster in its place, ready to recover.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup.
    pub backup_id: String,
    /// Its data directory.
    pub data_directory: PathBuf,
    /// Its tablespaces and where they are now.
    pub tablespaces: Vec<PlacedTablespace>,
    /// Where the files came from.
    pub source: Source,
    /// Files copied, WAL segments not counted; 0 for a snapshot or a cluster in place.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// What was written to `postgresql.auto.conf`, with secrets hidden.
    pub settings: BTreeMap<String, String>,
    /// `postgresql.auto.conf` before and after.
    pub change: SettingsChange,
    /// What the server will do.
    pub target: EffectiveTarget,
    /// The backup's stop LSN, which recovery has to pass.
    pub stop_lsn: Lsn,
    /// Who owns the cluster.
    pub ownership: Ownership,
    pub(crate) major: MajorVersion,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) pg_ctl: Option<PathBuf>,
}

/// How much was copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Copied {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Does what the plan says. When it returns `Ok`, everything is on disk and the server can be started; the database
/// becomes consistent by the recovery that its first start does.
///
/// # Errors
/// [`RecoveryError::Unfinished`] with the cause. What is then in the data directory cannot be started: `global/pg_control`
/// is put there as the very last step. The same restore run again begins anew; for [`Source::InPlace`] it goes on, as
/// nothing of the copy is lost.
pub fn apply(plan: &RestorePlan) -> Result<Restored, RecoveryError> {
    let copied = steps(plan).map_err(|error| RecoveryError::Unfinished {
        path: plan.data_directory.clone(),
        leftovers: std::iter::once(&plan.data_directory)
            .filter(|_| plan.source != Source::InPlace)
            .chain(places(plan))
            .cloned()
            .collect(),
        source: Box::new(error),
    })?;
    Ok(Restored {
        backup_id: plan.backup_id.clone(),
        data_directory: plan.data_directory.clone(),
        tablespaces: plan.tablespaces.clone(),
        source: plan.source,
        files: copied.files,
        bytes: copied.bytes,
        settings: plan.settings.written(),
        change: plan.settings.clone(),
        target: plan.target.clone(),
        stop_lsn: plan.stop_lsn(),
        ownership: plan.ownership,
        major: plan.major(),
        config_file: plan.options.config_file.clone(),
        pg_ctl: plan.options.pg_ctl.clone(),
    })
}

fn steps(plan: &RestorePlan) -> Result<Copied, RecoveryError> {
    // Ours alone, marked as unfinished, and emptied of what an earlier attempt left.
    materialise::take_the_place(plan)?;
    // The files, with the control file under another name.
    let copied = materialise::bring(plan)?;
    // Nothing of the server that ran on the source.
    clean::stale(&plan.data_directory)?;
    layout::directories(&plan.data_directory, plan.ownership.mode)?;
    link_tablespaces(plan)?;
    place_wal(plan)?;
    // From here on a start would recover from the right checkpoint, with the right settings.
    write_label_and_settings(plan)?;
    hand_over(plan)?;
    sync(plan)?;
    // Only now is there a control file to start with.
    control::release(&plan.data_directory)?;
    Marker::remove(&plan.data_directory)?;
    Ok(copied)
}

/// The places outside the data directory that this restore fills; in place the tablespaces are not its own.
pub(crate) fn places(plan: &RestorePlan) -> Vec<&PathBuf> {
    let tablespaces = plan.tablespaces.iter().map(|one| &one.location);
    let tablespaces = tablespaces.filter(|_| plan.source != Source::InPlace);
    tablespaces.chain(plan.wal_directory.iter()).collect()
}

fn link_tablespaces(plan: &RestorePlan) -> Result<(), RecoveryError> {
    layout::remove_tablespace_links(&plan.data_directory)?;
    plan.tablespaces
        .iter()
        .try_for_each(|one| layout::tablespace_link(&plan.data_directory, one.oid, &one.location))
}

fn place_wal(plan: &RestorePlan) -> Result<(), RecoveryError> {
    let elsewhere = plan.wal_directory.as_deref();
    layout::wal_directory(&plan.data_directory, elsewhere, plan.ownership.mode, plan.major())?;
    let pg_wal = elsewhere.map_or_else(|| plan.data_directory.join("pg_wal"), Path::to_path_buf);
    wal::place(&plan.folder, plan.wal(), &pg_wal, plan.ownership.file_mode())
}

/// The label byte for byte: one changed line ending and the server refuses it.
fn write_label_and_settings(plan: &RestorePlan) -> Result<(), RecoveryError> {
    let mode = plan.ownership.file_mode();
    let write =
        |name: &str, bytes: &[u8]| durable::write(plan.data_directory.join(name), bytes, mode);
    write("backup_label", plan.evidence.label.bytes())?;
    if let Some(map) = &plan.map {
        write("tablespace_map", map.bytes())?;
    }
    write("postgresql.auto.conf", plan.settings.after())?;
    write("recovery.signal", b"")?;
    Ok(())
}

/// Everything to its owner; the data directory itself comes last, as its mode is what keeps others out.
fn hand_over(plan: &RestorePlan) -> Result<(), RecoveryError> {
    let owned_places = plan.tablespaces.iter().map(|one| one.location.as_path());
    for place in owned_places.chain(plan.wal_directory.as_deref()) {
        ownership::hand_over(place, plan.ownership)?;
        ownership::open_up(place, Ownership { mode: 0o700, ..plan.ownership })?;
    }
    ownership::hand_over(&plan.data_directory, plan.ownership)?;
    ownership::open_up(&plan.data_directory, plan.ownership)
}

/// Waits until the filesystems of the cluster have everything on disk. One call a filesystem is far cheaper than one a
/// file; since Linux 5.8 it reports failures of writes too.
fn sync(plan: &RestorePlan) -> Result<(), RecoveryError> {
    let tablespaces = plan.tablespaces.iter().map(|one| one.location.as_path());
    let places = std::iter::once(plan.data_directory.as_path())
        .chain(tablespaces)
        .chain(plan.wal_directory.as_deref());
    for place in places {
        let directory =
            std::fs::File::open(place).map_err(RecoveryError::io("open directory", place))?;
        rustix::fs::syncfs(&directory)
            .map_err(|error| RecoveryError::io("sync the filesystem of", place)(error.into()))?;
        // The name of the place itself, if it was made by us, is in its parent.
        if let Some(parent) = place.parent() {
            durable::sync_directory(parent)?;
        }
    }
    Ok(())
}

/// Compares content already read with a recorded SHA-256.
pub(crate) fn same_content(path: &Path, bytes: &[u8], expected: &str) -> Result<(), RecoveryError> {
    same_sum(path, &wal::hex(&Sha256::digest(bytes)), expected)
}

fn same_sum(path: &Path, found: &str, expected: &str) -> Result<(), RecoveryError> {
    if found == expected {
        return Ok(());
    }
    Err(RecoveryError::ChecksumMismatch {
        path: path.to_path_buf(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    })
}

//! Bringing the files to their places.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use snapshot::{Choice, CopyOptions, EntryKind, ListedFile, SnapshotRecord};

use crate::RecoveryError;
use crate::apply::{self, Copied, clean, ownership, wal};
use crate::control::{self, CONTROL, HELD};
use crate::marker::{MARKER, Marker};
use crate::plan::{Means, Piece, RestorePlan};
use crate::request::Source;

/// Inside the data directory: where its files are copied to before they are moved up. The copy wants an empty directory,
/// and the data directory holds the marker already.
const STAGING: &str = "backstay_restore.d";

/// Beside the data directory: the name of a writable snapshot until its control file is put away.
const SNAPSHOT_SUFFIX: &str = ".backstay_restore";

/// Makes the data directory ours alone, marks it as unfinished, and removes what an earlier attempt has left.
pub(crate) fn take_the_place(plan: &RestorePlan) -> Result<(), RecoveryError> {
    let data = &plan.data_directory;
    if let Some(marker) = &plan.unfinished {
        empty_known_places(plan, marker)?;
    }
    match plan.source {
        Source::InPlace => {
            ownership::close(data)?;
            marker(plan).write(data)?;
            control::hold(data)
        }
        _ if becomes_snapshot(plan) => Ok(()),
        _ => {
            make_parents(data)?;
            make_or_close(data)?;
            marker(plan).write(data)
        }
    }
}

/// Brings every piece to its place; the control file ends up under its held name.
pub(crate) fn bring(plan: &RestorePlan) -> Result<Copied, RecoveryError> {
    let mut copied = Copied::default();
    for (index, piece) in plan.material.pieces.iter().enumerate() {
        let is_data = index == 0;
        match &piece.means {
            Means::Snapshot(record) if is_data => snapshot_of_data(plan, record)?,
            Means::Snapshot(record) => snapshot_of_tablespace(record, &piece.to)?,
            Means::Copy if is_data => {
                let staging = plan.data_directory.join(STAGING);
                copied.add(copy(plan, piece, &staging)?);
                move_up(&staging, &plan.data_directory)?;
            }
            Means::Copy => {
                make_parents(&piece.to)?;
                copied.add(copy(plan, piece, &piece.to)?);
            }
        }
    }
    Ok(copied)
}

impl Copied {
    fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

fn marker(plan: &RestorePlan) -> Marker {
    Marker {
        backup_id: plan.backup_id.clone(),
        places: apply::places(plan).into_iter().cloned().collect(),
        uid: plan.ownership.uid,
        gid: plan.ownership.gid,
        mode: plan.ownership.mode,
    }
}

/// Empties what the unfinished restore had begun to fill and this one wants to fill again. What it had begun to fill
/// elsewhere is left: a marker alone is no order to delete.
fn empty_known_places(plan: &RestorePlan, marker: &Marker) -> Result<(), RecoveryError> {
    for place in apply::places(plan) {
        if marker.places.contains(place) && clean::is_directory(place) {
            ownership::close(place)?;
            clean::empty(place)?;
        }
    }
    if plan.source == Source::InPlace {
        return Ok(());
    }
    let data = &plan.data_directory;
    ownership::close(data)?;
    clean::empty_except(data, MARKER)?;
    if becomes_snapshot(plan) {
        clean::empty(data)?;
    }
    Ok(())
}

/// Whether the data directory is to become a writable snapshot.
fn becomes_snapshot(plan: &RestorePlan) -> bool {
    plan.material.pieces.first().is_some_and(|piece| matches!(piece.means, Means::Snapshot(_)))
}

/// A writable snapshot is complete at once, its control file included. So it is made under another name, where nobody looks
/// for a cluster, and gets its own name when the control file is away and the marker is there.
fn snapshot_of_data(plan: &RestorePlan, record: &SnapshotRecord) -> Result<(), RecoveryError> {
    let data = &plan.data_directory;
    let beside = beside(data);
    if fs::symlink_metadata(&beside).is_ok() {
        return Err(RecoveryError::LocationNotEmpty { what: "left-over snapshot", path: beside });
    }
    make_parents(data)?;
    restore_writable(record, &beside)?;
    let prepared = ownership::close(&beside)
        .and_then(|()| control::hold(&beside))
        .and_then(|()| marker(plan).write(&beside))
        .and_then(|()| remove_empty(data))
        .and_then(|()| fs::rename(&beside, data).map_err(RecoveryError::io("rename", &beside)));
    if prepared.is_err() {
        // The first error is the one worth telling; what is left has a name that says what it is.
        let _ = clean::remove(&beside);
    }
    prepared
}

fn beside(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(SNAPSHOT_SUFFIX);
    PathBuf::from(name)
}

fn snapshot_of_tablespace(record: &SnapshotRecord, to: &Path) -> Result<(), RecoveryError> {
    make_parents(to)?;
    remove_empty(to)?;
    restore_writable(record, to)
}

fn restore_writable(record: &SnapshotRecord, to: &Path) -> Result<(), RecoveryError> {
    snapshot::restore_writable(record, to)
        .map(drop)
        .map_err(|source| RecoveryError::Copy { path: to.to_path_buf(), source })
}

/// A snapshot cannot be made over a directory, not even an empty one.
fn remove_empty(path: &Path) -> Result<(), RecoveryError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RecoveryError::io("replace the empty directory", path)(error))
        }
        _ => Ok(()),
    }
}

/// Copies one piece. Everything belongs to us until the hand-over, so that nobody can work inside it meanwhile.
fn copy(plan: &RestorePlan, piece: &Piece, to: &Path) -> Result<Copied, RecoveryError> {
    let is_data = piece.name == "data";
    let us = nix::unistd::geteuid();
    let select = |path: &Path, _: EntryKind| choose(path, is_data);
    let options = CopyOptions {
        jobs: plan.options.jobs,
        reflink: plan.options.reflink,
        owner: us.is_root().then(|| (us.as_raw(), nix::unistd::getegid().as_raw())),
        select: Some(&select),
        throw_away: false,
    };
    let report = snapshot::copy_tree(&piece.from, to, &options, &|| Ok(()))
        .map_err(|source| RecoveryError::Copy { path: to.to_path_buf(), source })?;
    let mut files = report.files;
    let mut bytes = report.bytes;
    if is_data {
        let control = hold_a_copy(piece, to)?;
        bytes = bytes.saturating_add(control.size);
        files.push(control);
    }
    if let Some(listing) = &plan.material.listing {
        same_files(plan, piece, listing, &files)?;
    }
    Ok(Copied { files: u64::try_from(files.len()).unwrap_or(u64::MAX), bytes })
}

/// The control file is copied apart, under its held name; what a cleaning would remove anyway need not come, and a
/// `postmaster.pid` must not: it could name a process that runs.
fn choose(path: &Path, is_data: bool) -> Choice {
    if is_data && (path == Path::new(CONTROL) || clean::is_stale(path)) {
        Choice::Skip
    } else if is_data && path == Path::new("pg_wal") {
        Choice::Empty
    } else {
        Choice::Copy
    }
}

/// Whether a listed file has to be among the copied ones.
fn is_wanted(path: &Path, is_data: bool) -> bool {
    !is_data || !(path.starts_with("pg_wal") || clean::is_stale(path))
}

fn hold_a_copy(piece: &Piece, to: &Path) -> Result<ListedFile, RecoveryError> {
    let from = piece.from.join(CONTROL);
    let found = fs::metadata(&from).map_err(RecoveryError::io("examine", &from))?;
    let sha256 = wal::copy(&from, &to.join(HELD), 0o600)?;
    Ok(ListedFile { path: CONTROL.to_owned(), size: found.len(), mode: 0o600, sha256, link: None })
}

/// Compares what was copied with the backup's list of files: nothing missing, nothing changed, nothing more.
fn same_files(
    plan: &RestorePlan,
    piece: &Piece,
    listing: &BTreeMap<String, ListedFile>,
    copied: &[ListedFile],
) -> Result<(), RecoveryError> {
    let is_data = piece.name == "data";
    let mut seen = std::collections::BTreeSet::new();
    for file in copied {
        let name = format!("{}/{}", piece.name, file.path);
        let path = piece.from.join(&file.path);
        let Some(expected) = listing.get(&name) else {
            return Err(RecoveryError::BackupUnusable {
                backup_id: plan.backup_id.clone(),
                problem: format!("file \"{}\" is not in its list of files", path.display()),
            });
        };
        apply::same_sum(&path, &file.sha256, &expected.sha256)?;
        seen.insert(name);
    }
    let prefix = format!("{}/", piece.name);
    for (name, _) in listing.range(prefix.clone()..) {
        let Some(path) = name.strip_prefix(&prefix) else { break };
        if is_wanted(Path::new(path), is_data) && !seen.contains(name) {
            return Err(RecoveryError::FileMissing { path: piece.from.join(path) });
        }
    }
    Ok(())
}

/// Moves everything in `from` one level up. A crash in between leaves the marker and no control file, as before.
fn move_up(from: &Path, to: &Path) -> Result<(), RecoveryError> {
    let entries = fs::read_dir(from).map_err(RecoveryError::io("read directory", from))?;
    for entry in entries {
        let entry = entry.map_err(RecoveryError::io("read directory", from))?;
        let path = entry.path();
        if entry.file_name() == MARKER {
            // Left by an old version of a restore inside the source; ours is already there.
            clean::remove(&path)?;
            continue;
        }
        fs::rename(&path, to.join(entry.file_name())).map_err(RecoveryError::io("move", &path))?;
    }
    fs::remove_dir(from).map_err(RecoveryError::io("remove directory", from))
}

fn make_parents(path: &Path) -> Result<(), RecoveryError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(RecoveryError::io("make directory", parent))
}

fn make_or_close(path: &Path) -> Result<(), RecoveryError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(RecoveryError::io("make directory", path))?,
    }
    ownership::close(path)
}

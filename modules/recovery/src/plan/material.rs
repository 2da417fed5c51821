//! Where the files come from and how they get to their places.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use repository::BackupManifest;
use snapshot::{ListedFile, Reflink, Role, SnapshotRecord};

use crate::RecoveryError;
use crate::plan::destination;
use crate::plan::evidence;
use crate::plan::tablespaces::PlacedTablespace;
use crate::request::{Restore, Source};

/// How one directory gets to its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Means {
    /// Its files are copied.
    Copy,
    /// It is a subvolume: a writable snapshot of this read-only one is made.
    Snapshot(Box<SnapshotRecord>),
}

/// One directory of the cluster, the data directory or a tablespace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    /// Its name in `files.json`: `data`, `tablespaces/<oid>`.
    pub(crate) name: String,
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) means: Means,
}

/// All that has to be brought to its place; nothing for a cluster that is in place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Material {
    pub(crate) pieces: Vec<Piece>,
    /// What each file has to be, by its path below the copy; `None` when nothing was recorded or nothing is verified.
    pub(crate) listing: Option<BTreeMap<String, ListedFile>>,
    /// Bytes to be copied, if known.
    pub(crate) bytes: Option<u64>,
}

/// What `auto` means for this backup.
pub(crate) fn source(restore: &Restore) -> Result<Source, RecoveryError> {
    let has = |provider: &str| {
        restore.backup.manifest().snapshots.iter().any(|record| {
            record.provider == provider && covers(record, Role::DataDirectory).is_some()
        })
    };
    let missing = |wanted| {
        let mut providers: Vec<_> = restore
            .backup
            .manifest()
            .snapshots
            .iter()
            .map(|record| record.provider.clone())
            .collect();
        providers.dedup();
        let providers =
            if providers.is_empty() { "nobody".to_owned() } else { providers.join(", ") };
        RecoveryError::NoSource {
            backup_id: restore.backup.manifest().backup_id.to_string(),
            wanted,
            providers,
        }
    };
    match restore.source {
        Source::InPlace => Ok(Source::InPlace),
        Source::Files | Source::Auto if has("files") => Ok(Source::Files),
        Source::Btrfs | Source::Auto if has("btrfs") => Ok(Source::Btrfs),
        Source::Files => Err(missing("files")),
        Source::Btrfs => Err(missing("btrfs snapshot")),
        Source::Auto => Err(missing("files or btrfs snapshot")),
    }
}

/// Finds every directory of the cluster in the source.
pub(crate) fn find(
    restore: &Restore,
    source: Source,
    tablespaces: &[PlacedTablespace],
) -> Result<Material, RecoveryError> {
    match source {
        Source::Files => files(restore, tablespaces),
        Source::Btrfs => btrfs(restore, tablespaces),
        Source::InPlace | Source::Auto => Ok(Material::default()),
    }
}

fn files(restore: &Restore, tablespaces: &[PlacedTablespace]) -> Result<Material, RecoveryError> {
    let manifest = restore.backup.manifest();
    let entry = manifest
        .file("files.json")
        .ok_or_else(|| unusable(manifest, "its manifest names no \"files.json\"".to_owned()))?;
    let listed = snapshot::parse_listing(&evidence::read(restore, entry)?).map_err(|error| {
        unusable(manifest, format!("its files.json is not understood: {error}"))
    })?;
    let piece = |name: String, to: &Path| {
        let from = restore.folder.files_path().join(&name);
        if !from.is_dir() {
            return Err(RecoveryError::FileMissing { path: from });
        }
        Ok(Piece { name, from, to: to.to_path_buf(), means: Means::Copy })
    };
    let mut pieces = vec![piece("data".to_owned(), &restore.data_directory)?];
    for tablespace in tablespaces {
        pieces.push(piece(format!("tablespaces/{}", tablespace.oid), &tablespace.location)?);
    }
    let bytes = listed.iter().map(|file| file.size).sum();
    let listing = listed.into_iter().map(|file| (file.path.clone(), file)).collect();
    enough_space(restore, &pieces, &listing)?;
    let listing = restore.verify.then_some(listing);
    Ok(Material { pieces, listing, bytes: Some(bytes) })
}

/// In a btrfs snapshot a directory that is the subvolume itself comes back as a writable snapshot; one further down
/// as a copy that shares its blocks, because a snapshot has always the subvolume at its root.
fn btrfs(restore: &Restore, tablespaces: &[PlacedTablespace]) -> Result<Material, RecoveryError> {
    let mut pieces =
        vec![btrfs_piece(restore, Role::DataDirectory, "data", &restore.data_directory)?];
    for tablespace in tablespaces {
        let name = format!("tablespaces/{}", tablespace.oid);
        pieces.push(btrfs_piece(
            restore,
            Role::Tablespace(tablespace.oid),
            &name,
            &tablespace.location,
        )?);
    }
    Ok(Material { pieces, listing: None, bytes: None })
}

fn btrfs_piece(
    restore: &Restore,
    role: Role,
    name: &str,
    to: &Path,
) -> Result<Piece, RecoveryError> {
    let found = restore
        .backup
        .manifest()
        .snapshots
        .iter()
        .filter(|record| record.provider == "btrfs")
        .find_map(|record| Some((covers(record, role)?, record)));
    let (below, record) = found.ok_or_else(|| {
        unusable(restore.backup.manifest(), format!("no btrfs snapshot of it holds the {role}"))
    })?;
    let root = record.path.as_ref().ok_or_else(|| {
        unusable(restore.backup.manifest(), format!("its snapshot {} has no path", record.id))
    })?;
    let whole = below.as_os_str().is_empty();
    let from = if whole { root.clone() } else { root.join(below) };
    if !from.is_dir() {
        return Err(RecoveryError::FileMissing { path: from });
    }
    let means = if whole { Means::Snapshot(Box::new(record.clone())) } else { Means::Copy };
    Ok(Piece { name: name.to_owned(), from, to: to.to_path_buf(), means })
}

/// The path of this role's directory below the snapshot's root, when the snapshot holds it.
fn covers(record: &SnapshotRecord, role: Role) -> Option<PathBuf> {
    let source = record.covers.iter().find(|source| source.role == role)?;
    Some(source.path.strip_prefix(&record.source).unwrap_or(Path::new("")).to_path_buf())
}

/// Adds up what goes to each filesystem. Files that the backup shares with its original will share their blocks with the
/// restored ones too, when they stay on that filesystem.
fn enough_space(
    restore: &Restore,
    pieces: &[Piece],
    listing: &BTreeMap<String, ListedFile>,
) -> Result<(), RecoveryError> {
    let mut needed: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let device = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.dev());
    let shared = restore.reflink != Reflink::Never
        && restore.backup.manifest().snapshots.iter().any(|record| record.reflinked == Some(true));
    for piece in pieces {
        let place = destination::nearest_existing(&piece.to);
        if shared && device(&place) == device(&piece.from) {
            continue;
        }
        let prefix = format!("{}/", piece.name);
        let bytes: u64 = listing
            .values()
            .filter(|file| file.path.starts_with(&prefix))
            .map(|file| file.size)
            .sum();
        let entry = needed.entry(device(&place)).or_insert((place, 0));
        entry.1 = entry.1.saturating_add(bytes);
    }
    let wal: u64 = restore
        .backup
        .manifest()
        .files
        .iter()
        .filter(|file| evidence::wal_file_name(file).is_some())
        .map(|file| file.size)
        .sum();
    let place = destination::nearest_existing(
        restore.wal_directory.as_ref().unwrap_or(&restore.data_directory),
    );
    let entry = needed.entry(device(&place)).or_insert((place, 0));
    entry.1 = entry.1.saturating_add(wal);
    needed.values().try_for_each(|(place, bytes)| destination::space(place, *bytes))
}

fn unusable(manifest: &BackupManifest, problem: String) -> RecoveryError {
    RecoveryError::BackupUnusable { backup_id: manifest.backup_id.to_string(), problem }
}

//! Copies the files themselves.

mod selection;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::Utc;
use host::Mounts;
use selection::Selection;
use sha2::{Digest, Sha256};

use crate::error::stopped;
use crate::layout::{CONTROL_FILE, VERSION_FILE};
use crate::listing::{hex, write_listing};
use crate::provider::Watch;
use crate::sources::{Resolved, Role, Source, Sources};
use crate::tree::pool::Pace;
use crate::tree::root::Root;
use crate::tree::scan::{Tree, scan};
use crate::tree::{CopyOptions, CopyReport, Reflink, TreeCopy};
use crate::view::View;
use crate::{
    ListedFile, PlannedPart, SnapshotError, SnapshotPlan, SnapshotProvider, SnapshotRecord,
};

const PROVIDER: &str = "files";
/// The name of the list of files, beside the copy.
const LISTING: &str = "files.json";

/// Filesystems that can share the blocks of two files.
const SHARING: [&str; 3] = ["btrfs", "xfs", "bcachefs"];

/// Copies the files of data directory and tablespaces into a directory: `data/…` and `tablespaces/<oid>/…` in it,
/// and the list of all files with their checksums beside it, in `files.json`.
///
/// Left out is what PostgreSQL says a backup does not need; above all the content of `pg_wal`. So the WAL
/// directory is not among what the record says is covered, and the backup needs its WAL from elsewhere. Symbolic
/// links are copied as links and mentioned in the record's notes, except those of tablespaces, which are made anew
/// when the files are restored. Of a tablespace only the directories of this major version are copied, as other
/// servers may keep theirs beside them.
///
/// The files are copied while the server writes to them. The control file is copied last, after all tablespaces: on a
/// standby recovery ends where the control file in the backup says, which must not be before any page copied.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where the copy goes: a directory that is made, or is there, empty and ours alone.
    pub destination: PathBuf,
    /// How many threads copy.
    pub jobs: usize,
    /// Whether blocks are shared with the original.
    pub reflink: Reflink,
    /// Whether the server is a standby, which the record then notes; the order of copying is the same.
    pub standby: bool,
}

impl SnapshotProvider for Files {
    fn plan(&self, sources: &Sources) -> Result<SnapshotPlan, SnapshotError> {
        let sources = sources.resolve()?;
        let parent = self.check_destination(&sources)?;
        let mounts = Mounts::read()?;
        let data = sources.data_directory()?;
        let mount = mounts.of(&data.path)?;
        let mut bytes = 0;
        for source in covered(&sources) {
            let found = self.look(&sources, source)?.bytes();
            if !self.will_share(&mounts, &source.path, &parent)? {
                bytes += found;
            }
        }
        check_space(&parent, bytes)?;
        let part = PlannedPart {
            source: data.path.clone(),
            path: Some(self.destination.clone()),
            mount_point: mount.point.clone(),
            device: mount.device.clone(),
            covers: covered(&sources).cloned().collect(),
        };
        Ok(SnapshotPlan { provider: PROVIDER, parts: vec![part], bytes })
    }

    fn take(
        &self,
        plan: &SnapshotPlan,
        watch: Watch<'_>,
    ) -> Result<Vec<SnapshotRecord>, SnapshotError> {
        let [part] = plan.parts.as_slice() else {
            return Err(SnapshotError::InvalidSetup("this plan is not one of provider files"));
        };
        durable::private_directory(&self.destination, None, 0o700)?;
        if fs::read_dir(&self.destination).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(SnapshotError::NotEmpty { path: self.destination.clone() });
        }
        let record = self.copy(part, watch).and_then(|record| {
            watch().map_err(stopped)?;
            Ok(record)
        });
        if record.is_err() {
            // What cannot be removed is litter beside an error that is already on its way.
            let _ = fs::remove_dir_all(&self.destination);
            let _ = fs::remove_file(self.listing());
        }
        Ok(vec![record?])
    }
}

/// What is copied: the tablespaces first, so that the data directory with the control file is the last.
fn covered(sources: &Resolved) -> impl Iterator<Item = &Source> {
    let is_space = |source: &&Source| matches!(source.role, Role::Tablespace(_));
    let is_data = |source: &&Source| source.role == Role::DataDirectory;
    sources.all().iter().filter(is_space).chain(sources.all().iter().filter(is_data))
}

impl Files {
    fn listing(&self) -> PathBuf {
        self.destination.with_file_name(LISTING)
    }

    /// Checks where the copy is to go, and returns the nearest directory above it that is there.
    fn check_destination(&self, sources: &Resolved) -> Result<PathBuf, SnapshotError> {
        let path = &self.destination;
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(SnapshotError::InvalidSetup("the destination must be an absolute path"));
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(SnapshotError::Exists { path: path.clone() });
            }
            Ok(_) if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) => {
                return Err(SnapshotError::NotEmpty { path: path.clone() });
            }
            _ => {}
        }
        let existing = nearest_existing(path)?;
        if let Some(within) = sources.containing(&existing) {
            return Err(SnapshotError::Inside { path: path.clone(), within: within.clone() });
        }
        Ok(existing)
    }

    /// Looks what there is to copy of one source, and whether it is what it should be.
    fn look(&self, sources: &Resolved, source: &Source) -> Result<Tree, SnapshotError> {
        let select = Selection::new(sources, source)?;
        let root =
            Root::open(&source.path).map_err(SnapshotError::io("open directory", &source.path))?;
        let tree =
            scan(&root, &|path, kind| select.choose(path, kind), &mut Pace::new(&|| Ok(())))?;
        if source.role == Role::DataDirectory {
            for name in [VERSION_FILE, CONTROL_FILE] {
                // The control file is not among what is copied at first.
                let there = if name == CONTROL_FILE {
                    source.path.join(name).is_file()
                } else {
                    tree.has_file(name)
                };
                if !there {
                    return Err(SnapshotError::Missing { path: source.path.join(name) });
                }
            }
        } else if tree.directories.len() < 2 {
            let expected = select.version_prefix;
            return Err(SnapshotError::NoTablespaceVersion { what: source.clone(), expected });
        }
        Ok(tree)
    }

    fn will_share(&self, mounts: &Mounts, from: &Path, to: &Path) -> Result<bool, SnapshotError> {
        let (from, to) = (mounts.of(from)?, mounts.of(to)?);
        Ok(self.reflink != Reflink::Never
            && SHARING.contains(&from.fstype.as_str())
            && from.device == to.device)
    }

    fn copy(&self, part: &PlannedPart, watch: Watch<'_>) -> Result<SnapshotRecord, SnapshotError> {
        let started_at = Utc::now();
        let sources = Resolved::new(&part.covers, View::Host)?;
        let mut report = CopyReport::default();
        let selections = covered(&sources)
            .map(|source| Ok((source, Selection::new(&sources, source)?)))
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        let chosen: Vec<_> = selections
            .iter()
            .map(|(source, selection)| (*source, |path: &Path, kind| selection.choose(path, kind)))
            .collect();
        let mut copies = Vec::new();
        for (source, choose) in &chosen {
            let options = CopyOptions {
                jobs: self.jobs,
                reflink: self.reflink,
                owner: None,
                select: Some(choose),
                throw_away: false,
            };
            let below = place(source.role);
            let to = self.destination.join(&below);
            make_parent(&self.destination, &to)?;
            let mut copy = TreeCopy::begin(&source.path, &to, options, watch)?;
            copy.copy_files(watch)?;
            copies.push((below, copy));
        }
        for ((below, mut copy), (source, _)) in copies.into_iter().zip(&chosen) {
            if source.role == Role::DataDirectory {
                copy.copy_stable(Path::new(CONTROL_FILE), watch)?;
            }
            add(&mut report, &below, copy.finish(watch)?);
        }
        durable::sync_directory(&self.destination)?;
        let listing = self.store_listing(&report)?;
        Ok(self.record(part, report, listing, started_at))
    }

    fn store_listing(&self, report: &CopyReport) -> Result<ListedFile, SnapshotError> {
        let bytes = write_listing(&report.files).map_err(SnapshotError::Listing)?;
        durable::write(self.listing(), &bytes, 0o600)?;
        Ok(ListedFile {
            path: LISTING.to_owned(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            mode: 0o600,
            sha256: hex(&Sha256::digest(&bytes)),
            link: None,
        })
    }

    fn record(
        &self,
        part: &PlannedPart,
        report: CopyReport,
        listing: ListedFile,
        started_at: chrono::DateTime<Utc>,
    ) -> SnapshotRecord {
        SnapshotRecord {
            id: format!("sha256:{}", listing.sha256),
            provider: PROVIDER.to_owned(),
            source: part.source.clone(),
            path: Some(self.destination.clone()),
            mount_point: part.mount_point.clone(),
            covers: part.covers.clone(),
            started_at,
            finished_at: Utc::now(),
            bytes: Some(report.bytes),
            files: Some(u64::try_from(report.files.len()).unwrap_or(u64::MAX)),
            reflinked: Some(report.all_reflinked()),
            listing: Some(listing),
            notes: self.notes(&report),
            volume: None,
        }
    }

    fn notes(&self, report: &CopyReport) -> Vec<String> {
        let mut notes = Vec::new();
        if self.standby {
            notes.push(format!("Copied from a standby; {CONTROL_FILE} was copied last."));
        }
        for file in &report.files {
            if let Some(target) = &file.link {
                notes.push(format!(
                    "\"{}\" is a symbolic link to \"{target}\" and was copied as a link; what it points to is not in the copy.",
                    file.path
                ));
            }
        }
        notes
    }
}

/// Where the copy of a source is below the destination.
fn place(role: Role) -> PathBuf {
    match role {
        Role::DataDirectory => PathBuf::from("data"),
        Role::Wal => PathBuf::from("wal"),
        Role::Tablespace(oid) => Path::new("tablespaces").join(oid.to_string()),
    }
}

/// Makes `tablespaces` when it is needed.
fn make_parent(destination: &Path, to: &Path) -> Result<(), SnapshotError> {
    match to.parent() {
        Some(parent) if parent != destination => {
            Ok(durable::private_directory(parent, None, 0o700)?)
        }
        _ => Ok(()),
    }
}

fn add(report: &mut CopyReport, below: &Path, part: CopyReport) {
    report.bytes += part.bytes;
    report.reflinked += part.reflinked;
    for mut file in part.files {
        file.path = format!("{}/{}", below.display(), file.path);
        report.files.push(file);
    }
    report.files.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The nearest directory at or above `path` that is there, its symbolic links resolved.
pub(crate) fn nearest_existing(path: &Path) -> Result<PathBuf, SnapshotError> {
    for ancestor in path.ancestors() {
        match fs::canonicalize(ancestor) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(SnapshotError::io("find directory", ancestor)),
        }
    }
    Err(SnapshotError::NoMount { path: path.to_path_buf() })
}

fn check_space(path: &Path, needed: u64) -> Result<(), SnapshotError> {
    let found = rustix::fs::statvfs(path)
        .map_err(|errno| SnapshotError::io("ask for the free space of", path)(errno.into()))?;
    let available = found.f_bavail.saturating_mul(found.f_frsize);
    if needed > available {
        return Err(SnapshotError::NoSpace { path: path.to_path_buf(), needed, available });
    }
    Ok(())
}

//! A writable copy of a backup's files, made as fast as the storage allows.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{ioctl_ficlone, statvfs};
use sandbox::{Bind, Overlay, Place, RunAs};
use snapshot::{Choice, CopyOptions, EntryKind, Reflink, Select};

use crate::Level;
use crate::clone::{DATA_INSIDE, TABLESPACES_INSIDE};
use crate::material::{Directories, open_regular};
use crate::report::Materialized;
use crate::request::Way;
use crate::words::counted;

/// Where the pieces of the copy are in a work directory.
const COPY: &str = "copy";

/// How the copy gets there, and who it is for.
pub(crate) struct Making<'a> {
    pub(crate) place: &'a Place,
    pub(crate) run_as: RunAs,
    pub(crate) way: Way,
    pub(crate) level: Level,
    pub(crate) jobs: usize,
    /// Whether mounts can be made, which an overlay needs.
    pub(crate) isolated: bool,
    /// Whether WAL in the copy is of use: not when the backup's own comes from elsewhere.
    pub(crate) with_wal: bool,
    /// Says when to stop.
    pub(crate) watch: &'a dyn Fn() -> Result<(), String>,
}

/// A copy, and how the sandbox gets to see it.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) way: Way,
    pub(crate) data: PathBuf,
    pub(crate) tablespaces: Vec<(u32, PathBuf)>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) bytes: u64,
    pub(crate) notes: Vec<String>,
    /// Bytes free on the work directory's filesystem before anything was made.
    free_before: Option<u64>,
}

/// Makes the copy.
///
/// # Errors
/// Why it could not be made, as a phrase; for [`Way::Auto`] only when even copying fails.
pub(crate) fn make(from: &Directories, making: &Making<'_>) -> Result<Made, String> {
    if let Some((oid, path)) = from.tablespaces.iter().find(|(_, path)| !path.is_dir()) {
        return Err(format!("tablespace {oid} is not at \"{}\"", path.display()));
    }
    let free_before = free(making.place.path());
    let (way, notes) = choose(from, making);
    let mut made = match way {
        Way::InPlace => in_place(from),
        Way::Snapshot => snapshots(from, making)?,
        Way::Overlay => overlays(from, making)?,
        // A part of the cluster may be on a filesystem of its own, and then is copied, unless that was not wanted.
        Way::Reflink if making.way == Way::Auto => copies(from, making, Reflink::Auto)?,
        Way::Reflink => copies(from, making, Reflink::Always)?,
        Way::Copy | Way::Auto => copies(from, making, Reflink::Never)?,
    };
    made.way = way;
    made.notes.splice(0..0, notes);
    made.free_before = free_before;
    Ok(made)
}

impl Made {
    /// A copy that lies as ordinary directories at these places.
    pub(crate) fn at(data: PathBuf, tablespaces: Vec<(u32, PathBuf)>) -> Self {
        let mut binds = vec![Bind::writable(&data, DATA_INSIDE)];
        for (oid, path) in &tablespaces {
            binds.push(Bind::writable(path, format!("{TABLESPACES_INSIDE}/{oid}")));
        }
        Self {
            way: Way::Copy,
            data,
            tablespaces,
            binds,
            overlays: Vec::new(),
            bytes: 0,
            notes: Vec::new(),
            free_before: None,
        }
    }

    /// For the report, when the drill is over.
    pub(crate) fn describe(&self, place: &Path, unpacked: bool) -> Materialized {
        let way = match self.way {
            _ if unpacked => "unpack",
            Way::Snapshot => "snapshot",
            Way::Reflink => "reflink",
            Way::Overlay => "overlay",
            Way::InPlace => "in_place",
            Way::Copy | Way::Auto => "copy",
        };
        let bytes_taken = match self.way {
            Way::InPlace => None,
            // What is shared cannot be told file by file; what the filesystem has lost meanwhile can.
            Way::Snapshot | Way::Reflink => {
                self.free_before.zip(free(place)).map(|(before, now)| before.saturating_sub(now))
            }
            _ => Some(total(&place.join(COPY), &|found| found.blocks().saturating_mul(512))),
        };
        let bytes = match self.bytes {
            // Nothing was copied, so nothing was counted.
            0 => std::iter::once(&self.data)
                .chain(self.tablespaces.iter().map(|(_, path)| path))
                .map(|path| total(path, &fs::Metadata::len))
                .sum(),
            counted => counted,
        };
        Materialized { way: way.to_owned(), bytes, bytes_taken, notes: self.notes.clone() }
    }
}

/// Where a copy is made in a work directory; the directory is made.
pub(crate) fn copy_place(place: &Place) -> Result<PathBuf, String> {
    let path = place.path().join(COPY);
    directory(&path, None).map(|()| path)
}

fn choose(from: &Directories, making: &Making<'_>) -> (Way, Vec<String>) {
    if making.way != Way::Auto {
        return (making.way, Vec::new());
    }
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let mut notes = vec![];
    let whole = from.snapshots.iter().filter_map(|record| record.path.as_ref());
    if !from.snapshots.is_empty()
        && whole.into_iter().all(|path| same_btrfs(path, making.place.path()))
    {
        return (Way::Snapshot, notes);
    }
    match can_clone(&from.data.join("PG_VERSION"), making.place.path()) {
        Ok(()) => return (Way::Reflink, notes),
        Err(error) => notes.push(format!(
            "no reflink: \"{}\" and \"{}\" do not share blocks ({error})",
            from.data.display(),
            making.place.path().display()
        )),
    }
    if device(&from.data).is_some() && making.level <= Level::Recover {
        match why_no_overlay(from, making) {
            None => return (Way::Overlay, notes),
            Some(reason) => notes.push(format!("no overlay: {reason}")),
        }
    } else {
        notes.push(
            "no overlay: at this level every file is read, and each file that the server opens would be copied whole".to_owned(),
        );
    }
    (Way::Copy, notes)
}

fn why_no_overlay(from: &Directories, making: &Making<'_>) -> Option<String> {
    if !making.isolated {
        return Some("the sandbox cannot mount".to_owned());
    }
    if making.with_wal && is_link(&from.data.join("pg_wal")) {
        return Some("pg_wal is a link, which leads nowhere in the sandbox".to_owned());
    }
    let owner = fs::metadata(&from.data).map(|found| found.uid()).ok()?;
    (owner != making.run_as.uid).then(|| {
        format!("the files belong to user {owner}, and the server runs as {}", making.run_as.uid)
    })
}

/// Two subvolumes of one btrfs have device numbers of their own, so it is tried: a file is cloned between them.
fn same_btrfs(snapshot: &Path, place: &Path) -> bool {
    let version = ["PG_VERSION", "data/PG_VERSION"].map(|name| snapshot.join(name));
    let file = version.into_iter().find(|path| path.is_file());
    let file = file.or_else(|| first_file(snapshot));
    file.is_some_and(|file| can_clone(&file, place).is_ok())
}

fn first_file(directory: &Path) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().collect();
    let is = |entry: &fs::DirEntry| entry.file_type().ok();
    let file = entries.iter().find(|entry| is(entry).is_some_and(|kind| kind.is_file()));
    file.map(fs::DirEntry::path).or_else(|| {
        let mut directories =
            entries.iter().filter(|entry| is(entry).is_some_and(|kind| kind.is_dir()));
        directories.find_map(|entry| first_file(&entry.path()))
    })
}

/// Whether a copy of the file in this directory can share its blocks: tried, since nothing tells it beforehand.
pub(crate) fn can_clone(file: &Path, directory: &Path) -> std::io::Result<()> {
    let probe = directory.join(format!("clone-probe-{}", std::process::id()));
    let cloned =
        open_regular(file).and_then(|original| Ok(ioctl_ficlone(File::create(&probe)?, original)?));
    let _ = fs::remove_file(&probe);
    cloned
}

fn in_place(from: &Directories) -> Made {
    Made::at(from.data.clone(), from.tablespaces.clone())
}

/// A writable snapshot of each subvolume, as a whole; the data directory may be a part of it.
fn snapshots(from: &Directories, making: &Making<'_>) -> Result<Made, String> {
    let copy = copy_place(making.place)?;
    let mut moved = vec![];
    for (index, record) in from.snapshots.iter().enumerate() {
        let target = copy.join(format!("snapshot{index}"));
        snapshot::restore_writable(record, &target).map_err(|error| crate::chain(&error))?;
        moved.push((record.path.clone().unwrap_or_default(), target));
    }
    let place = |path: &Path| {
        moved.iter().find_map(|(old, new)| {
            let below = path.strip_prefix(old).ok()?;
            Some(if below.as_os_str().is_empty() { new.clone() } else { new.join(below) })
        })
    };
    let missing = |path: &Path| format!("no snapshot holds \"{}\"", path.display());
    let data = place(&from.data).ok_or_else(|| missing(&from.data))?;
    let mut tablespaces = vec![];
    for (oid, path) in &from.tablespaces {
        tablespaces.push((*oid, place(path).ok_or_else(|| missing(path))?));
    }
    Ok(Made::at(data, tablespaces))
}

fn overlays(from: &Directories, making: &Making<'_>) -> Result<Made, String> {
    if making.with_wal && is_link(&from.data.join("pg_wal")) {
        return Err("an overlay cannot show the directory that the link pg_wal leads to".to_owned());
    }
    let copy = copy_place(making.place)?;
    let mut made = Made::at(from.data.clone(), from.tablespaces.clone());
    let binds = std::mem::take(&mut made.binds);
    for (index, bind) in binds.into_iter().enumerate() {
        let upper = copy.join(format!("changes{index}"));
        let work = copy.join(format!("work{index}"));
        for path in [&upper, &work] {
            directory(path, Some(making.run_as))?;
        }
        made.overlays.push(Overlay { lower: bind.from, upper, work, to: bind.to });
    }
    Ok(made)
}

fn copies(from: &Directories, making: &Making<'_>, reflink: Reflink) -> Result<Made, String> {
    let copy = copy_place(making.place)?;
    let root = nix::unistd::geteuid().is_root();
    let owner = root.then_some((making.run_as.uid, making.run_as.gid));
    let data = copy.join("data");
    let (bytes, unshared) = (Cell::new(0_u64), Cell::new(0_u64));
    let copy_one = |from: &Path, to: &Path, select: Select<'_>| {
        let options = CopyOptions {
            jobs: making.jobs,
            reflink,
            owner,
            select: Some(select),
            throw_away: true,
        };
        let report = snapshot::copy_tree(from, to, &options, making.watch)
            .map_err(|error| crate::chain(&error))?;
        let files = report.files.iter().filter(|file| file.link.is_none()).count();
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        bytes.set(bytes.get().saturating_add(report.bytes));
        unshared.set(unshared.get() + files.saturating_sub(report.reflinked));
        Ok(())
    };
    let needed = |path: &Path, _: EntryKind| match path.to_str() {
        Some("postmaster.pid" | "postmaster.opts") => Choice::Skip,
        Some("pg_wal") if !making.with_wal => Choice::Empty,
        _ => Choice::Copy,
    };
    copy_one(&from.data, &data, &needed)?;
    if making.with_wal {
        separate_wal(&from.data, &data, &|from, to| copy_one(from, to, &wal_only))?;
    }
    let mut tablespaces = vec![];
    for (oid, path) in &from.tablespaces {
        let to = copy.join(format!("tablespace{oid}"));
        copy_one(path, &to, &tablespace_only)?;
        tablespaces.push((*oid, to));
    }
    let mut made = Made::at(data, tablespaces);
    made.bytes = bytes.get();
    if reflink == Reflink::Auto && unshared.get() > 0 {
        made.notes.push(format!(
            "{} copied, as their filesystem cannot share blocks with \"{}\"",
            counted(unshared.get(), "file"),
            copy.display()
        ));
    }
    Ok(made)
}

/// A link in a backup may lead anywhere: to the home of somebody whose files only we may read. Of what it leads to, only
/// what a server puts there is copied.
fn tablespace_only(path: &Path, _: EntryKind) -> Choice {
    let of_servers = path.to_str().is_some_and(|path| path.starts_with("PG_"));
    if of_servers { Choice::Copy } else { Choice::Skip }
}

/// The same for WAL; `archive_status` and `summaries` are of the server that ran there.
fn wal_only(path: &Path, kind: EntryKind) -> Choice {
    let name = path.to_str().unwrap_or_default();
    let is_wal = kind == EntryKind::File && name.parse::<pg::WalFileName>().is_ok();
    if is_wal { Choice::Copy } else { Choice::Skip }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// `pg_basebackup --waldir` leaves a link in the place of `pg_wal`: what it leads to belongs to the backup.
fn separate_wal(
    from: &Path,
    to: &Path,
    copy_one: &dyn Fn(&Path, &Path) -> Result<(), String>,
) -> Result<(), String> {
    let (link, copy) = (from.join("pg_wal"), to.join("pg_wal"));
    if !is_link(&link) || !link.is_dir() {
        return Ok(());
    }
    fs::remove_file(&copy).map_err(|error| format!("\"{}\": {error}", copy.display()))?;
    let target = link.canonicalize().map_err(|error| format!("\"{}\": {error}", link.display()))?;
    copy_one(&target, &copy)
}

fn directory(path: &Path, owner: Option<RunAs>) -> Result<(), String> {
    let mode = if owner.is_some() { 0o700 } else { 0o711 };
    let made = DirBuilder::new().mode(mode).create(path).and_then(|()| match owner {
        Some(run_as) if nix::unistd::geteuid().is_root() => {
            chown(path, Some(run_as.uid), Some(run_as.gid))
        }
        _ => Ok(()),
    });
    made.map_err(|error| format!("could not make \"{}\": {error}", path.display()))
}

/// Bytes free for anybody but root.
fn free(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// A number of everything below a directory, added up: links count for themselves.
fn total(path: &Path, of: &dyn Fn(&fs::Metadata) -> u64) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return of(&found);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.fold(0, |sum, entry| sum.saturating_add(total(&entry.path(), of)))
}

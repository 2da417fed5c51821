//! Archives unpacked and held against the manifest in one pass.

mod directories;
mod entry;
mod missing;
mod one;

use std::path::PathBuf;

use pg::WalSegmentName;

use crate::{Archive, BasebackupError, Manifest, Problem, TarBackup, workers};
use directories::Owner;
use one::One;

/// Where a base backup is unpacked to.
pub struct Unpack<'a> {
    /// The data directory: made, or there and empty.
    pub data: PathBuf,
    /// Where a tablespace goes: made, or there and empty. Its parent must be there.
    pub tablespace: &'a dyn Fn(u32) -> PathBuf,
    /// User and group of all that is written; only root can give it away. None: the caller's.
    pub owner: Option<(u32, u32)>,
    /// How many archives are unpacked at the same time. Each takes two threads: one decompresses, one hashes and
    /// writes.
    pub jobs: usize,
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// How many files were written, WAL included.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// What is wrong; none when all is well. Without a manifest only archives that are cut off or damaged are found.
    pub problems: Vec<Problem>,
    /// The WAL segments that came with the backup, in order.
    pub wal_segments: Vec<WalSegmentName>,
}

/// Unpacks a base backup: the data directory, `pg_wal`, and the tablespaces, to which links are made in `pg_tblspc`.
/// Every file is held against the manifest on its way. `stop` is asked about five times a second.
///
/// Directories get mode 0700, files 0600. No entry leaves its directory; links, devices and the like are left out and
/// told as [`Problem::Refused`]. Nothing is synced to disk. `tablespace_map` stays as it is in the archive: with the
/// places that the tablespaces had on the server, to which recovery would set the links again.
///
/// # Errors
/// [`BasebackupError::DataDirectoryNotEmpty`] and [`BasebackupError::LocationNotEmpty`] before anything is written;
/// [`BasebackupError::Io`] when something cannot be written or an archive cannot be opened;
/// [`BasebackupError::Stopped`]. What was written stays there. Damage is no error: it is in [`Unpacked::problems`].
pub fn unpack(
    tar: &TarBackup,
    to: &Unpack<'_>,
    manifest: Option<&Manifest>,
    stop: &dyn Fn() -> bool,
) -> Result<Unpacked, BasebackupError> {
    let jobs = prepare(tar, to)?;
    let owner = Owner(to.owner);
    let results =
        workers::run(&jobs, to.jobs, stop, &|job, stop| One::new(job, manifest, owner).run(stop))?;
    let mut unpacked =
        Unpacked { files: 0, bytes: 0, problems: Vec::new(), wal_segments: Vec::new() };
    unpacked.problems.extend(missing::problems(&results, manifest, &to.data));
    for result in results {
        unpacked.files += result.files;
        unpacked.bytes = unpacked.bytes.saturating_add(result.bytes);
        unpacked.problems.extend(result.problems);
        unpacked.wal_segments.extend(result.wal_segments);
    }
    unpacked.wal_segments.sort();
    Problem::sort(&mut unpacked.problems);
    Ok(unpacked)
}

/// One archive to unpack.
pub(crate) struct Job<'a> {
    archive: &'a Archive,
    /// The directory its entries go below.
    to: PathBuf,
    /// That directory relative to the data directory, as the manifest has it.
    prefix: PathBuf,
    /// The tablespace it is of.
    tablespace: Option<u32>,
}

/// Makes the directories that archives go to, and the links to tablespaces.
fn prepare<'a>(tar: &'a TarBackup, to: &Unpack<'_>) -> Result<Vec<Job<'a>>, BasebackupError> {
    let owner = Owner(to.owner);
    let locations: Vec<_> =
        tar.tablespaces.keys().map(|oid| (*oid, (to.tablespace)(*oid))).collect();
    // All looked at before the first is made.
    if directories::is_in_use(&to.data)? {
        return Err(BasebackupError::DataDirectoryNotEmpty { path: to.data.clone() });
    }
    for (oid, path) in &locations {
        if directories::is_in_use(path)? {
            return Err(BasebackupError::LocationNotEmpty { oid: *oid, path: path.clone() });
        }
    }
    owner.make_private(&to.data)?;
    let job = |archive: &'a Archive, to: &PathBuf, prefix: &str, tablespace| Job {
        archive,
        to: to.clone(),
        prefix: PathBuf::from(prefix),
        tablespace,
    };
    // The base first: it is mostly the largest.
    let mut jobs = vec![job(&tar.base, &to.data, "", None)];
    if !locations.is_empty() {
        owner.make_private(&to.data.join("pg_tblspc"))?;
    }
    for (oid, location) in &locations {
        owner.make_private(location)?;
        owner.link(location, &to.data.join(format!("pg_tblspc/{oid}")))?;
        if let Some(archive) = tar.tablespaces.get(oid) {
            jobs.push(job(archive, location, &format!("pg_tblspc/{oid}"), Some(*oid)));
        }
    }
    if let Some(wal) = &tar.wal {
        let directory = to.data.join("pg_wal");
        owner.make_private(&directory)?;
        jobs.push(job(wal, &directory, "pg_wal", None));
    }
    Ok(jobs)
}

//! The directory that WAL goes to: empty; or, for a cluster in place, the copy of the `pg_wal` that the source had outside
//! its data directory. Such a copy is emptied, since recovery takes the backup's own WAL; so it must prove that it is one.

use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pg::{SystemIdentifier, WalFileName, WalPageHeader};
use repository::BackupManifest;
use snapshot::{ClusterFilesystem, Role};

use crate::RecoveryError;
use crate::apply::clean;
use crate::marker::Marker;
use crate::plan::destination;
use crate::request::{Restore, Source};

/// Refuses a WAL directory that is neither free nor the copy of the source's own.
pub(crate) fn check(
    restore: &Restore,
    source: Source,
    unfinished: Option<&Marker>,
) -> Result<(), RecoveryError> {
    let Some(path) = restore.separate_wal() else { return Ok(()) };
    let manifest = restore.backup.manifest();
    match destination::location_is_free("WAL directory", path, unfinished) {
        Err(RecoveryError::LocationNotEmpty { .. })
            if source == Source::InPlace && was_separate(manifest) =>
        {
            unused(path, &restore.data_directory, manifest)
                .and_then(|()| copied(path, manifest.system_identifier))
                .map_err(|problem| RecoveryError::NotTheWal { path: path.to_path_buf(), problem })
        }
        other => other,
    }
}

/// Whether the source had its WAL outside the data directory, or on a filesystem of its own inside it.
fn was_separate(manifest: &BackupManifest) -> bool {
    let covers = |filesystem: &ClusterFilesystem, role: Role| {
        filesystem.covers.iter().any(|source| source.role == role)
    };
    let volumes = manifest.snapshots.iter().filter_map(|record| record.volume.as_ref());
    let mut filesystems = volumes.flat_map(|volume| &volume.filesystems);
    !manifest.wal_directory.starts_with(&manifest.data_directory)
        || filesystems.any(|one| covers(one, Role::Wal) && !covers(one, Role::DataDirectory))
}

/// Refuses what a server writes its WAL into: that of the source, started or not, and any that runs here.
fn unused(path: &Path, data: &Path, manifest: &BackupManifest) -> Result<(), String> {
    let source = &manifest.data_directory;
    let is_other = destination::real(source) != destination::real(data);
    if is_other && destination::version_of(source).is_some() && is_wal_of(source, path) {
        return Err(format!("it is that of the source, \"{}\"", source.display()));
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut servers = numbers.filter(|pid| is_wal_of_process(*pid, path));
    match servers.next() {
        Some(pid) => Err(format!("process {pid} is of a server that uses it")),
        None => Ok(()),
    }
}

/// Whether this process, if it is a server, whose working directory is its data directory, writes its WAL there. In a
/// container its links lead through its own root, not through ours.
fn is_wal_of_process(pid: i32, path: &Path) -> bool {
    let working = PathBuf::from(format!("/proc/{pid}/cwd"));
    let inside = || {
        let seen = fs::read_link(&working).ok()?;
        // of a process that is only in a chroot the kernel tells the path as it is outside
        let root = fs::read_link(format!("/proc/{pid}/root")).ok()?;
        let below = seen.strip_prefix(&root).unwrap_or(&seen);
        let process = host::Process::find(pid).ok()?;
        let resolved = process.resolve(&Path::new("/").join(below).join("pg_wal")).ok()?;
        identity(&process.reach(&resolved))
    };
    let own = identity(path);
    own.is_some() && (inside() == own || identity(&working.join("pg_wal")) == own)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether `path` is the very directory that `pg_wal` in this data directory is or points to.
fn is_wal_of(data_directory: &Path, path: &Path) -> bool {
    let of = identity(&data_directory.join("pg_wal"));
    of.is_some() && of == identity(path)
}

/// Refuses everything but what a server of this cluster keeps in `pg_wal`, naming it.
fn copied(path: &Path, cluster: SystemIdentifier) -> Result<(), String> {
    if !clean::is_directory(path) {
        return Err("it is a symbolic link".to_owned());
    }
    // Every server's has it, and no archive, which may hold the same segments and nothing else.
    if !clean::is_directory(&path.join("archive_status")) {
        return Err("it has no directory \"archive_status\", as every pg_wal has".to_owned());
    }
    for entry in entries(path)? {
        let name = entry.file_name();
        let known = match name.to_str().unwrap_or_default() {
            "archive_status" => directory_of(&entry, is_status)?,
            "summaries" => directory_of(&entry, is_summary)?,
            // Of a filesystem whose root the directory is.
            "lost+found" => directory_of(&entry, |_| false)?,
            name if is_segment_being_made(name) => is_file(&entry),
            name => match name.parse() {
                Ok(WalFileName::Segment(_)) => is_file(&entry) && belongs(&entry.path(), cluster)?,
                Ok(_) => is_file(&entry),
                Err(_) => false,
            },
        };
        if !known {
            return Err(foreign(&entry));
        }
    }
    Ok(())
}

fn foreign(entry: &DirEntry) -> String {
    format!("a server does not keep \"{}\" there", entry.path().display())
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>, String> {
    fs::read_dir(directory)
        .and_then(Iterator::collect)
        .map_err(|error| format!("could not read directory \"{}\": {error}", directory.display()))
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Whether the entry is a directory with nothing but files of such names in it.
fn directory_of(entry: &DirEntry, is_known: fn(&str) -> bool) -> Result<bool, String> {
    if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        return Ok(false);
    }
    let all = entries(&entry.path())?;
    let is_one =
        |entry: &&DirEntry| is_file(entry) && entry.file_name().to_str().is_some_and(is_known);
    match all.iter().find(|entry| !is_one(entry)) {
        Some(other) => Err(foreign(other)),
        None => Ok(true),
    }
}

/// `000000010000000000000003.ready`
fn is_status(name: &str) -> bool {
    let file = name.strip_suffix(".ready").or_else(|| name.strip_suffix(".done"));
    file.is_some_and(|file| file.parse::<WalFileName>().is_ok())
}

/// Timeline, start and end LSN: `0000000100000000010000280000000001000100.summary`; `temp.summary` while it is written.
fn is_summary(name: &str) -> bool {
    let Some(range) = name.strip_suffix(".summary") else { return false };
    range == "temp" || range.len() == 40 && range.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `xlogtemp.4711`
fn is_segment_being_made(name: &str) -> bool {
    let pid = name.strip_prefix("xlogtemp.");
    pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the segment is of this cluster, or nothing was written into it yet.
fn belongs(segment: &Path, cluster: SystemIdentifier) -> Result<bool, String> {
    let mut beginning = [0; WalPageHeader::LENGTH];
    let read = File::open(segment).and_then(|mut file| file.read(&mut beginning));
    read.map_err(|error| format!("could not read file \"{}\": {error}", segment.display()))?;
    if beginning.iter().all(|byte| *byte == 0) {
        return Ok(true);
    }
    let header = WalPageHeader::parse(&beginning).map_err(|error| error.to_string())?;
    if header.system_identifier == cluster {
        return Ok(true);
    }
    Err(format!(
        "WAL segment \"{}\" has system identifier {}, the backup has {cluster}",
        segment.display(),
        header.system_identifier
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SEGMENT: &str = "000000010000000000000003";

    fn segment(system_identifier: u64) -> Vec<u8> {
        let mut bytes = vec![1; 64];
        bytes[24..32].copy_from_slice(&system_identifier.to_le_bytes());
        bytes
    }

    /// A directory as a server leaves it.
    fn wal() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        for name in ["archive_status", "summaries", "lost+found"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        fs::write(path.join(SEGMENT), segment(7)).unwrap();
        fs::write(path.join("000000010000000000000004"), [0; 64]).unwrap();
        for name in [
            "00000002.history",
            "000000010000000000000003.00000028.backup",
            "000000010000000000000003.partial",
            "xlogtemp.4711",
            "archive_status/000000010000000000000003.ready",
            "archive_status/00000002.history.done",
            "summaries/0000000100000000010000280000000001000100.summary",
        ] {
            fs::write(path.join(name), "").unwrap();
        }
        place
    }

    fn of(cluster: u64, place: &tempfile::TempDir) -> Result<(), String> {
        copied(place.path(), SystemIdentifier::from(cluster))
    }

    #[test]
    fn what_a_server_of_the_cluster_left_may_go() {
        assert_eq!(of(7, &wal()), Ok(()));
        let place = wal();
        assert_eq!(
            of(8, &place).unwrap_err(),
            format!(
                "WAL segment \"{}\" has system identifier 7, the backup has 8",
                place.path().join(SEGMENT).display()
            )
        );
    }

    #[test]
    fn anything_else_is_named() {
        for name in ["mine", "archive_status/mine", "summaries/mine.summary", "lost+found/1"] {
            let place = wal();
            let path = place.path().join(name);
            fs::write(&path, "").unwrap();
            let text = format!("a server does not keep \"{}\" there", path.display());
            assert_eq!(of(7, &place).unwrap_err(), text);
        }
        let place = wal();
        symlink("/etc", place.path().join("000000010000000000000009")).unwrap();
        assert!(of(7, &place).unwrap_err().ends_with("000000010000000000000009\" there"));
        let link = place.path().join("link");
        symlink(place.path(), &link).unwrap();
        assert_eq!(copied(&link, 7_u64.into()).unwrap_err(), "it is a symbolic link");
    }

    #[test]
    fn an_archive_is_not_emptied() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(SEGMENT), segment(7)).unwrap();
        let text = "it has no directory \"archive_status\", as every pg_wal has";
        assert_eq!(of(7, &place).unwrap_err(), text);
    }

    #[test]
    fn a_directory_that_a_server_uses_is_known_by_its_link() {
        let (place, data) = (wal(), tempfile::tempdir().unwrap());
        assert!(!is_wal_of(data.path(), place.path()));
        symlink(place.path(), data.path().join("pg_wal")).unwrap();
        assert!(is_wal_of(data.path(), place.path()));
        assert!(!is_wal_of(data.path(), data.path()));
    }
}

//! The directories that a server expects and a backup may lack: base backups leave them out when they are empty or
//! of no use to another server.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;

use pg::MajorVersion;

use crate::RecoveryError;
use crate::apply::{clean, ownership};

/// Directories that may be empty in a working cluster. Those with the data itself (`base`, `global`, `pg_xact`,
/// `pg_multixact`) are not here on purpose: making them up would hide that the copy is broken.
const DIRECTORIES: &[&str] = &[
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
];

/// Makes the missing directories of the data directory, without `pg_wal`.
pub(crate) fn directories(data_directory: &Path, mode: u32) -> Result<(), RecoveryError> {
    DIRECTORIES.iter().try_for_each(|name| directory(&data_directory.join(name), mode))
}

/// Makes `pg_wal` empty, in place or, with `elsewhere`, as a symbolic link to that directory.
///
/// Before it is emptied it becomes ours, so that nobody can plant links where we are about to write.
///
/// A `pg_wal` that is a link in the copy points to the source's WAL: only the link is removed, never what it points to.
pub(crate) fn wal_directory(
    data_directory: &Path,
    elsewhere: Option<&Path>,
    mode: u32,
    major: MajorVersion,
) -> Result<(), RecoveryError> {
    let path = data_directory.join("pg_wal");
    match elsewhere {
        Some(elsewhere) => {
            clean::remove(&path)?;
            directory(elsewhere, mode)?;
            ownership::close(elsewhere)?;
            clean::empty(elsewhere)?;
            symlink(elsewhere, &path).map_err(RecoveryError::io("make symbolic link", &path))?;
        }
        None if clean::is_directory(&path) => {
            ownership::close(&path)?;
            clean::empty(&path)?;
        }
        None => {
            clean::remove(&path)?;
            directory(&path, mode)?;
        }
    }
    directory(&path.join("archive_status"), mode)?;
    if major.has_wal_summaries() { directory(&path.join("summaries"), mode) } else { Ok(()) }
}

/// Makes one directory unless it is there.
pub(crate) fn directory(path: &Path, mode: u32) -> Result<(), RecoveryError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && clean::is_directory(path) => {
            Ok(())
        }
        other => other.map_err(RecoveryError::io("make directory", path)),
    }
}

/// Points `pg_tblspc/<oid>` to the tablespace's location. Recovery does the same from `tablespace_map`; this is for
/// those who look before it runs, and removes the copied link, which points to the source's tablespace.
pub(crate) fn tablespace_link(
    data_directory: &Path,
    oid: u32,
    location: &Path,
) -> Result<(), RecoveryError> {
    let path = data_directory.join("pg_tblspc").join(oid.to_string());
    clean::remove(&path)?;
    symlink(location, &path).map_err(RecoveryError::io("make symbolic link", &path))
}

/// Removes every symbolic link in `pg_tblspc`; directories in it are tablespaces in place and stay.
pub(crate) fn remove_tablespace_links(data_directory: &Path) -> Result<(), RecoveryError> {
    let directory = data_directory.join("pg_tblspc");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(RecoveryError::io("read directory", &directory)(error)),
    };
    for entry in entries {
        let path = entry.map_err(RecoveryError::io("read directory", &directory))?.path();
        if !clean::is_directory(&path) {
            clean::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn missing_directories_are_made_and_present_ones_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path();
        fs::create_dir(data.join("pg_stat")).unwrap();
        fs::write(data.join("pg_stat/pgstat.stat"), b"x").unwrap();
        directories(data, 0o700).unwrap();
        directories(data, 0o700).unwrap();
        assert!(data.join("pg_logical/snapshots").is_dir());
        assert!(data.join("pg_stat/pgstat.stat").is_file());
        assert_eq!(fs::metadata(data.join("pg_notify")).unwrap().mode() & 0o777, 0o700);
        assert!(!data.join("base").exists());
        fs::remove_dir(data.join("pg_serial")).unwrap();
        fs::write(data.join("pg_serial"), b"").unwrap();
        let error = directories(data, 0o700).unwrap_err();
        assert!(error.to_string().contains("could not make directory"), "{error}");
    }

    #[test]
    fn a_linked_wal_directory_of_the_source_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let source = temporary.path().join("source_wal");
        let data = temporary.path().join("data");
        fs::create_dir(&source).unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(source.join("000000010000000000000001"), b"live").unwrap();
        symlink(&source, data.join("pg_wal")).unwrap();
        wal_directory(&data, None, 0o700, "15".parse().unwrap()).unwrap();
        assert!(source.join("000000010000000000000001").exists());
        assert!(clean::is_directory(&data.join("pg_wal/archive_status")));
        assert!(!data.join("pg_wal/summaries").exists());
    }

    #[test]
    fn wal_can_live_elsewhere() {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("data");
        let elsewhere = temporary.path().join("wal");
        fs::create_dir_all(data.join("pg_wal/old")).unwrap();
        wal_directory(&data, Some(&elsewhere), 0o700, "17".parse().unwrap()).unwrap();
        assert_eq!(fs::read_link(data.join("pg_wal")).unwrap(), elsewhere);
        assert!(elsewhere.join("archive_status").is_dir());
        assert!(elsewhere.join("summaries").is_dir());
        assert!(!elsewhere.join("old").exists());
    }

    #[test]
    fn tablespace_links_are_replaced() {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path();
        fs::create_dir_all(data.join("pg_tblspc/20000")).unwrap();
        symlink("/live/ts", data.join("pg_tblspc/16400")).unwrap();
        symlink("/live/gone", data.join("pg_tblspc/16401")).unwrap();
        remove_tablespace_links(data).unwrap();
        tablespace_link(data, 16400, Path::new("/new/ts")).unwrap();
        assert_eq!(fs::read_link(data.join("pg_tblspc/16400")).unwrap(), Path::new("/new/ts"));
        assert!(fs::symlink_metadata(data.join("pg_tblspc/16401")).is_err());
        assert!(data.join("pg_tblspc/20000").is_dir());
        remove_tablespace_links(&data.join("absent")).unwrap();
    }
}

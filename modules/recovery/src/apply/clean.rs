//! Removing what belonged to the server that ran on the source (rule: exclude nothing from a snapshot, clean after).

use std::fs;
use std::io;
use std::path::Path;

use crate::RecoveryError;

/// Files at the top of the data directory that a restored cluster must not begin with.
///
/// The label and the map are here because those of the backup are written afterwards; a left-over log of an
/// earlier restore would be taken for the log of this one.
const STALE_FILES: &[&str] = &[
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "recovery.done",
    "current_logfiles",
    crate::start::LOG,
];

/// Directories whose content means something to a running server only; PostgreSQL's own base backup leaves the same
/// ones empty. A replication slot of the source would hold WAL back for ever.
const EMPTIED_DIRECTORIES: &[&str] = &[
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
];

/// Whether this path below the data directory is one of the stale files.
pub(crate) fn is_stale(path: &Path) -> bool {
    STALE_FILES.iter().any(|name| path == Path::new(name))
}

/// Cleans the top of the data directory. Symbolic links are never followed.
pub(crate) fn stale(data_directory: &Path) -> Result<(), RecoveryError> {
    for name in STALE_FILES {
        remove_file(&data_directory.join(name))?;
    }
    for name in EMPTIED_DIRECTORIES {
        let path = data_directory.join(name);
        if is_directory(&path) {
            empty(&path)?;
        }
    }
    Ok(())
}

/// Whether a file or directory of this name, anywhere in the cluster, is rubbish: temporary files of queries and the
/// cached catalogue descriptors, which must not outlive the catalogue they were made from.
pub(crate) fn is_debris(name: &str) -> bool {
    name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init")
}

/// Empties a directory. The directory itself stays: it may be a mount point.
pub(crate) fn empty(directory: &Path) -> Result<(), RecoveryError> {
    empty_but(directory, None)
}

/// Empties a directory but for the file `kept`.
pub(crate) fn empty_except(directory: &Path, kept: &str) -> Result<(), RecoveryError> {
    empty_but(directory, Some(kept))
}

fn empty_but(directory: &Path, kept: Option<&str>) -> Result<(), RecoveryError> {
    let entries =
        fs::read_dir(directory).map_err(RecoveryError::io("read directory", directory))?;
    for entry in entries {
        let entry = entry.map_err(RecoveryError::io("read directory", directory))?;
        if kept.is_none_or(|kept| entry.file_name() != kept) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, a symbolic link (not what it points to) or a directory with all that is in it.
pub(crate) fn remove(path: &Path) -> Result<(), RecoveryError> {
    if !is_directory(path) {
        return remove_file(path);
    }
    // remove_dir_all opens each level without following links, so nobody can lead it elsewhere.
    fs::remove_dir_all(path).map_err(RecoveryError::io("remove directory", path))
}

fn remove_file(path: &Path) -> Result<(), RecoveryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RecoveryError::io("remove file", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether `path` is a directory and not a link to one.
pub(crate) fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_the_stale_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["postmaster.pid", "standby.signal", "PG_VERSION", "postgresql.conf"] {
            fs::write(path.join(name), b"x").unwrap();
        }
        fs::create_dir_all(path.join("pg_replslot/s/state")).unwrap();
        fs::create_dir_all(path.join("pg_twophase")).unwrap();
        fs::write(path.join("pg_twophase/1"), b"x").unwrap();
        stale(path).unwrap();
        stale(path).unwrap();
        let mut left: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["PG_VERSION", "pg_replslot", "pg_twophase", "postgresql.conf"]);
        assert_eq!(fs::read_dir(path.join("pg_replslot")).unwrap().count(), 0);
        assert!(path.join("pg_twophase/1").exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("keep"), b"x").unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        symlink(&victim, data.join("pg_replslot")).unwrap();
        symlink(&victim, data.join("other")).unwrap();
        stale(&data).unwrap();
        assert!(victim.join("keep").exists());
        empty(&data).unwrap();
        assert!(victim.join("keep").exists());
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        let error = empty(&directory.path().join("absent")).unwrap_err();
        assert!(error.to_string().starts_with("could not read directory \""));
    }

    #[test]
    fn debris_is_told_by_name() {
        for name in ["pgsql_tmp", "pgsql_tmp123.4", "pg_internal.init", "pg_internal.init.77"] {
            assert!(is_debris(name), "{name}");
        }
        assert!(!is_debris("pg_control"));
    }
}

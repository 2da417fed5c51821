//! What PostgreSQL says of the files in a data directory: "Backing Up the Data Directory" in its documentation of
//! low-level base backups, and `excludeDirContents` and `excludeFiles` in its src/backend/backup/basebackup.c.

use std::path::{Component, Path};

/// Directories of which a backup needs the directory, but nothing in it.
const CONTENT_NOT_NEEDED: [&str; 8] = [
    "pg_wal", // comes from the server or the WAL archive, in the order in which it was written
    "pg_replslot", // a copy's slots would keep WAL for receivers that never come
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
];

/// Files directly in the data directory that must not be in a backup, or are of no use there.
const FILES_NOT_NEEDED: [&str; 7] = [
    "postmaster.pid",
    "postmaster.opts",
    // Of an earlier backup, from which the server was restored: they would start recovery at the wrong place.
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    // Half-written by the server; the whole file is beside it.
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
];

/// Directories that hold the database cluster's own data, and which PostgreSQL expects to be real directories.
const REAL_DIRECTORIES: [&str; 9] = [
    "base",
    "global",
    "pg_commit_ts",
    "pg_logical",
    "pg_multixact",
    "pg_stat",
    "pg_tblspc",
    "pg_twophase",
    "pg_xact",
];

/// The data directory's files without which it is none.
pub(crate) const VERSION_FILE: &str = "PG_VERSION";
/// The file that is copied last.
pub(crate) const CONTROL_FILE: &str = "global/pg_control";
pub(crate) const WAL_DIRECTORY: &str = "pg_wal";
pub(crate) const TABLESPACE_LINKS: &str = "pg_tblspc";

/// Whether of the directory `path`, below the data directory, only the directory itself is needed.
pub(crate) fn content_not_needed(path: &Path) -> bool {
    path.to_str().is_some_and(|path| CONTENT_NOT_NEEDED.contains(&path))
}

/// Whether `path`, below the data directory, is in a directory whose content is not needed, or is one.
pub(crate) fn in_content_not_needed(path: &Path) -> bool {
    CONTENT_NOT_NEEDED.iter().any(|directory| path.starts_with(directory))
}

/// Whether the file or directory `path`, below the data directory or a tablespace's, is not needed at all.
pub(crate) fn not_needed(path: &Path) -> bool {
    if path.to_str().is_some_and(|path| FILES_NOT_NEEDED.contains(&path)) {
        return true;
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    // Temporary files of queries, and caches that every server makes anew.
    name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init")
}

/// Whether `path`, below the data directory, is in one of the directories that hold the cluster's data, or is one.
pub(crate) fn holds_data(path: &Path) -> bool {
    match path.components().next() {
        Some(Component::Normal(first)) => {
            REAL_DIRECTORIES.iter().any(|directory| first == *directory)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out() {
        for path in [
            "postmaster.pid",
            "backup_label",
            "base/pgsql_tmp",
            "base/pgsql_tmp/pgsql_tmp123.0",
            "global/pg_internal.init",
            "base/5/pg_internal.init.123",
            "PG_15_202209061/pgsql_tmp",
        ] {
            assert!(not_needed(Path::new(path)), "{path}");
        }
        for path in ["base/1/postmaster.pid", "postgresql.auto.conf", "pg_xact/0000", "PG_VERSION"]
        {
            assert!(!not_needed(Path::new(path)), "{path}");
        }
        assert!(content_not_needed(Path::new("pg_wal")));
        assert!(!content_not_needed(Path::new("pg_wal/archive_status")));
        assert!(in_content_not_needed(Path::new("pg_wal/archive_status")));
        assert!(!content_not_needed(Path::new("base/pg_wal")));
        assert!(!content_not_needed(Path::new("pg_xact")));
    }

    #[test]
    fn what_holds_data() {
        assert!(holds_data(Path::new("base")));
        assert!(holds_data(Path::new("base/16384")));
        assert!(!holds_data(Path::new("log")));
        assert!(!holds_data(Path::new("pg_hba.conf")));
        assert!(!holds_data(Path::new("")));
    }
}

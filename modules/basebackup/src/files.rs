//! Opening files that might be anything.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::BasebackupError;

/// Bytes read and written at once: large enough that calls do not count, small enough that what was read is still in
/// the processor's cache when it is hashed and written.
pub(crate) const CHUNK: usize = 256 << 10;

/// Opens a regular file for reading. A pipe would wait for its writer, hence without blocking.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), BasebackupError> {
    let (file, length) = open(path).map_err(BasebackupError::io("open file", path))?;
    match length {
        Some(length) => Ok((file, length)),
        None => Err(BasebackupError::NotRegular { path: path.to_path_buf() }),
    }
}

fn open(path: &Path) -> io::Result<(File, Option<u64>)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    Ok((file, found.is_file().then_some(found.len())))
}

/// A path that stays where it begins, without what does not matter (`./`); none when it does not stay there, or
/// names nothing.
pub(crate) fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}

/// Whether nothing is said of this path because it may have been changed on purpose: what `pg_verifybackup` leaves
/// out. WAL is not in the manifest, and `pg_basebackup --write-recovery-conf` writes the others.
pub(crate) fn is_ignored(path: &Path) -> bool {
    let ignored =
        ["backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];
    ignored.iter().any(|ignored| path.starts_with(ignored))
}

/// The tablespace that a path of the data directory is in: 16400 for `pg_tblspc/16400` and everything below.
pub(crate) fn tablespace_of(path: &Path) -> Option<u32> {
    let mut components = path.strip_prefix("pg_tblspc").ok()?.components();
    components.next().and_then(|component| oid(component.as_os_str().to_str()?))
}

/// An object identifier, written as the server does.
pub(crate) fn oid(text: &str) -> Option<u32> {
    let oid: u32 = text.parse().ok()?;
    (oid > 0 && oid.to_string() == text).then_some(oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_stay_inside() {
        let inside = |path: &str| inside(Path::new(path));
        assert_eq!(inside("./base//5/./1259"), Some(PathBuf::from("base/5/1259")));
        for path in ["", ".", "/etc/passwd", "..", "base/../../x", "base/.."] {
            assert_eq!(inside(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_ignored() {
        for path in ["backup_manifest", "pg_wal", "pg_wal/0", "standby.signal"] {
            assert!(is_ignored(Path::new(path)), "{path}");
        }
        for path in ["pg_wal2", "base/pg_wal", "PG_VERSION", "recovery.signal2"] {
            assert!(!is_ignored(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn tablespaces() {
        for (path, oid) in [
            ("pg_tblspc/16400", Some(16400)),
            ("pg_tblspc/16400/PG_15_202209061/5/16401", Some(16400)),
            ("pg_tblspc", None),
            ("pg_tblspc/016400", None),
            ("pg_tblspc/0", None),
            ("pg_tblspc/+1", None),
            ("base/16400", None),
        ] {
            assert_eq!(tablespace_of(Path::new(path)), oid, "{path}");
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let error = open_regular(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.to_string(), "\"/dev/null\" is not a regular file");
        let error = open_regular(Path::new("/nowhere/file")).unwrap_err();
        assert_eq!(error.to_string(), "could not open file \"/nowhere/file\"");
    }
}

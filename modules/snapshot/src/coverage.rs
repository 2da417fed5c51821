//! Whether the sources are all there is: what they point to, and what is mounted inside of them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use host::Mounts;

use crate::SnapshotError;
use crate::layout::{self, TABLESPACE_LINKS, WAL_DIRECTORY};
use crate::sources::{Resolved, Role, Source};
use crate::view::View;

/// The inode number that the root of every btrfs subvolume has (BTRFS_FIRST_FREE_OBJECTID in the kernel).
pub(crate) const SUBVOLUME_ROOT: u64 = 256;

/// Checks that every symbolic link by which PostgreSQL leaves the data directory leads into one of the sources, and
/// that there are none where PostgreSQL does not expect them: a copy of such a link would lead back to the original.
pub(crate) fn check_links(sources: &Resolved, view: View<'_>) -> Result<(), SnapshotError> {
    let data = sources.data_directory()?;
    check_wal(sources, data, view)?;
    check_tablespaces(sources, data, view)?;
    for entry in read_directory(&view.reach(&data.path))? {
        let path = data.path.join(entry);
        let relative = path.strip_prefix(&data.path).unwrap_or(&path);
        if layout::holds_data(relative) && is_link(&view.reach(&path)) {
            return Err(nested("symbolic link", path, data));
        }
    }
    Ok(())
}

fn check_wal(sources: &Resolved, data: &Source, view: View<'_>) -> Result<(), SnapshotError> {
    let path = data.path.join(WAL_DIRECTORY);
    let real = view.resolve(&path)?;
    if sources.containing(&real).is_some() {
        return Ok(());
    }
    let what = Source::new(Role::Wal, real);
    Err(SnapshotError::NotCovered {
        what,
        why: format!("\"{}\" points to it, and it was not given as WAL directory", path.display()),
    })
}

fn check_tablespaces(
    sources: &Resolved,
    data: &Source,
    view: View<'_>,
) -> Result<(), SnapshotError> {
    let links = data.path.join(TABLESPACE_LINKS);
    for name in read_directory(&view.reach(&links))? {
        let path = links.join(&name);
        let Some(oid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if !is_link(&view.reach(&path)) {
            // An in-place tablespace: a directory like any other.
            continue;
        }
        // A link that dropping a tablespace has left behind leads to no data.
        let Some(real) = view.resolve_existing(&path)? else { continue };
        let role = Role::Tablespace(oid);
        if sources.role(role).is_none_or(|source| source.path != real) {
            let why = format!("\"{}\" points to it, and it was not given", path.display());
            return Err(SnapshotError::NotCovered { what: Source::new(role, real), why });
        }
    }
    Ok(())
}

/// Checks that no other filesystem or subvolume begins inside a source, unless it is itself a source, or is where
/// the content is not needed. Mounts are known from the kernel's list, which also has files and directories of
/// the same filesystem that are mounted; subvolumes show only in the directories themselves.
pub(crate) fn check_nested(sources: &Resolved, mounts: &Mounts) -> Result<(), SnapshotError> {
    check_mounts(sources, mounts)?;
    sources.all().iter().try_for_each(|source| check_directories(sources, source))
}

/// The part of [`check_nested`] that matters when whole volumes are copied: a subvolume is in such a copy.
pub(crate) fn check_mounts(sources: &Resolved, mounts: &Mounts) -> Result<(), SnapshotError> {
    for source in sources.all() {
        for mount in mounts.below(&source.path) {
            if !is_fine(sources, source, &mount.point) {
                return Err(nested("mount point", mount.point.clone(), source));
            }
        }
    }
    Ok(())
}

fn check_directories(sources: &Resolved, source: &Source) -> Result<(), SnapshotError> {
    let top = examine(&source.path)?;
    let mut open = vec![source.path.clone()];
    while let Some(directory) = open.pop() {
        for name in read_directory(&directory)? {
            let path = directory.join(name);
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            if !found.is_dir() {
                continue;
            }
            if !begins_another(&top, &found) {
                open.push(path);
            } else if !is_fine(sources, source, &path) {
                let what =
                    if found.ino() == SUBVOLUME_ROOT { "subvolume" } else { "other filesystem" };
                return Err(nested(what, path, source));
            }
        }
    }
    Ok(())
}

/// Every btrfs subvolume has a device number of its own, and so has every mounted filesystem.
fn begins_another(top: &Metadata, found: &Metadata) -> bool {
    found.dev() != top.dev()
}

fn is_fine(sources: &Resolved, within: &Source, path: &Path) -> bool {
    sources.all().iter().any(|source| source.path == path)
        // What is inside another source is that source's affair.
        || sources.containing(path).is_some_and(|source| source != within)
        || (within.role == Role::DataDirectory
            && path.strip_prefix(&within.path).is_ok_and(|relative| {
                layout::in_content_not_needed(relative) && !relative.starts_with(WAL_DIRECTORY)
            }))
}

fn nested(what: &'static str, path: PathBuf, within: &Source) -> SnapshotError {
    SnapshotError::Nested { what, path, within: within.clone() }
}

fn examine(path: &Path) -> Result<Metadata, SnapshotError> {
    fs::symlink_metadata(path).map_err(SnapshotError::io("examine directory", path))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// The names in a directory. One that has vanished, or that this user may not read (lost+found, for example, which
/// the server cannot read either), has none.
fn read_directory(path: &Path) -> Result<Vec<std::ffi::OsString>, SnapshotError> {
    let error = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(Vec::new()),
        _ => Err(SnapshotError::io("read directory", path)(error)),
    };
    match fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .or_else(error),
        Err(failure) => error(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A data directory of the bare minimum, its WAL elsewhere, and a tablespace 16400.
    fn cluster() -> (tempfile::TempDir, Vec<Source>) {
        let temporary = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(temporary.path()).unwrap();
        let (data, wal, space) = (top.join("data"), top.join("wal"), top.join("space"));
        for directory in [data.join("base"), data.join("pg_tblspc"), wal.clone(), space.clone()] {
            fs::create_dir_all(directory).unwrap();
        }
        symlink(&wal, data.join("pg_wal")).unwrap();
        symlink(&space, data.join("pg_tblspc/16400")).unwrap();
        let sources = vec![
            Source::new(Role::DataDirectory, data),
            Source::new(Role::Wal, wal),
            Source::new(Role::Tablespace(16400), space),
        ];
        (temporary, sources)
    }

    #[test]
    fn all_that_is_pointed_to_must_have_been_given() {
        let (_keep, sources) = cluster();
        let check = |sources: &[Source]| {
            check_links(&Resolved::new(sources, View::Host).unwrap(), View::Host)
        };
        check(&sources).unwrap();
        let data = sources[0].path.display();
        assert_eq!(
            check(&[sources[0].clone(), sources[2].clone()]).unwrap_err().to_string(),
            format!(
                "WAL directory \"{}\" would not be in the snapshot: \"{data}/pg_wal\" points to it, and it was not given as WAL directory",
                sources[1].path.display()
            )
        );
        assert_eq!(
            check(&sources[..2]).unwrap_err().to_string(),
            format!(
                "directory of tablespace 16400 \"{}\" would not be in the snapshot: \"{data}/pg_tblspc/16400\" points to it, and it was not given",
                sources[2].path.display()
            )
        );
    }

    #[test]
    fn a_dangling_tablespace_link_is_passed_over() {
        let (_keep, sources) = cluster();
        symlink("/no/such/directory", sources[0].path.join("pg_tblspc/16401")).unwrap();
        fs::create_dir(sources[0].path.join("pg_tblspc/16402")).unwrap();
        check_links(&Resolved::new(&sources, View::Host).unwrap(), View::Host).unwrap();
    }

    #[test]
    fn data_behind_a_link_is_refused() {
        let (_keep, sources) = cluster();
        let data = &sources[0].path;
        symlink("/tmp", data.join("log")).unwrap();
        check_links(&Resolved::new(&sources, View::Host).unwrap(), View::Host).unwrap();
        symlink("/tmp", data.join("pg_xact")).unwrap();
        assert_eq!(
            check_links(&Resolved::new(&sources, View::Host).unwrap(), View::Host)
                .unwrap_err()
                .to_string(),
            format!(
                "symbolic link \"{0}/pg_xact\" inside the data directory \"{0}\" would not be in the snapshot",
                data.display()
            )
        );
    }

    #[test]
    fn plain_directories_hold_nothing_nested() {
        let (_keep, sources) = cluster();
        let sources = Resolved::new(&sources, View::Host).unwrap();
        check_nested(&sources, &Mounts::read().unwrap()).unwrap();
    }

    #[test]
    fn what_may_be_nested() {
        let (_keep, sources) = cluster();
        let data = sources[0].path.clone();
        let sources = Resolved::new(&sources, View::Host).unwrap();
        let fine =
            |path: &str| is_fine(&sources, sources.data_directory().unwrap(), &data.join(path));
        assert!(fine("pg_stat_tmp"));
        assert!(!fine("pg_wal"));
        assert!(!fine("base"));
        assert!(is_fine(&sources, sources.data_directory().unwrap(), &sources.all()[1].path));
    }
}

//! The place a cluster goes to: empty, safe and large enough.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pg::PostmasterPid;

use crate::RecoveryError;
use crate::apply::clean;
use crate::marker::Marker;

/// Refuses a data directory on which a server runs. Also for directories that will be refused for not being empty:
/// the operator should hear the graver reason.
pub(crate) fn no_server(data_directory: &Path) -> Result<(), RecoveryError> {
    // A file that is no postmaster.pid belongs to no server; that the place is not empty is found out elsewhere.
    match PostmasterPid::read(data_directory).ok().flatten().filter(PostmasterPid::is_running) {
        Some(server) => Err(RecoveryError::ServerRunning {
            path: data_directory.to_path_buf(),
            pid: server.pid,
        }),
        None => Ok(()),
    }
}

/// Refuses a data directory with files in it, but for those of our own unfinished restore; answers its marker.
pub(crate) fn empty_or_unfinished(
    data_directory: &Path,
    trusted: &[u32],
) -> Result<Option<Marker>, RecoveryError> {
    if let Some(marker) = Marker::unfinished(data_directory, trusted)? {
        return Ok(Some(marker));
    }
    if is_empty_or_absent(data_directory)? {
        return Ok(None);
    }
    Err(RecoveryError::DataDirectoryNotEmpty { path: data_directory.to_path_buf() })
}

/// Refuses a place with files in it, unless the unfinished restore had begun to fill it.
pub(crate) fn location_is_free(
    what: &'static str,
    location: &Path,
    unfinished: Option<&Marker>,
) -> Result<(), RecoveryError> {
    let ours = unfinished.is_some_and(|marker| marker.places.iter().any(|place| place == location));
    if ours || is_empty_or_absent(location)? {
        return Ok(());
    }
    Err(RecoveryError::LocationNotEmpty { what, path: location.to_path_buf() })
}

/// Whether nothing is there, or an empty directory. The `lost+found` of a fresh filesystem counts, as it does for
/// `initdb`: a mount point is no good data directory, a directory below it is.
pub(crate) fn is_empty_or_absent(path: &Path) -> Result<bool, RecoveryError> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(RecoveryError::io("read directory", path)(error)),
    };
    if entries.next().is_some() {
        return Ok(false);
    }
    // A link to an empty directory would be taken for the directory itself; make the operator name it.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Ok(false);
    }
    Ok(true)
}

/// Refuses places that lie in the repository or hold it: a restore would damage the backup, a later backup would copy
/// the repository.
pub(crate) fn apart_from(repository: &Path, places: &[&Path]) -> Result<(), RecoveryError> {
    let repository_path = real(repository);
    for path in places {
        let place = real(path);
        if place.starts_with(&repository_path) || repository_path.starts_with(&place) {
            return Err(RecoveryError::InsideRepository {
                path: path.to_path_buf(),
                repository: repository.to_path_buf(),
            });
        }
    }
    Ok(())
}

/// Refuses two places of one restore that lie inside each other.
pub(crate) fn apart_from_each_other(places: &[(&'static str, &Path)]) -> Result<(), RecoveryError> {
    for (index, (option, path)) in places.iter().enumerate() {
        for (other_option, other) in places.iter().take(index) {
            let (a, b) = (real(path), real(other));
            if a.starts_with(&b) || b.starts_with(&a) {
                return Err(RecoveryError::InvalidArgument {
                    option: (*option).to_owned(),
                    problem: format!(
                        "\"{}\" and the {other_option} \"{}\" lie inside each other",
                        path.display(),
                        other.display()
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Refuses when the filesystem of `path` has less than `needed` bytes free for us.
pub(crate) fn space(path: &Path, needed: u64) -> Result<(), RecoveryError> {
    let existing = nearest_existing(path);
    let found = rustix::fs::statvfs(&existing)
        .map_err(|error| RecoveryError::io("examine the filesystem of", &existing)(error.into()))?;
    let available = found.f_bavail.saturating_mul(found.f_frsize);
    if available >= needed {
        return Ok(());
    }
    Err(RecoveryError::NoSpace { path: existing, needed, available })
}

/// The path itself or its nearest ancestor that exists.
pub(crate) fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

/// The path without symbolic links, as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    let existing = nearest_existing(path);
    let rest = path.strip_prefix(&existing).unwrap_or(Path::new(""));
    let base = fs::canonicalize(&existing).unwrap_or(existing);
    if rest.as_os_str().is_empty() { base } else { base.join(rest) }
}

/// Whether this is a real directory of a cluster: it has a `PG_VERSION`.
pub(crate) fn version_of(data_directory: &Path) -> Option<String> {
    if !clean::is_directory(data_directory) {
        return None;
    }
    fs::read_to_string(data_directory.join("PG_VERSION")).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_empty_or_unfinished_places() {
        let temporary = tempfile::tempdir().unwrap();
        let us = [nix::unistd::geteuid().as_raw()];
        let data = temporary.path().join("data");
        assert_eq!(empty_or_unfinished(&data, &us).unwrap(), None);
        fs::create_dir_all(&data).unwrap();
        assert_eq!(empty_or_unfinished(&data, &us).unwrap(), None);
        fs::write(data.join("x"), b"").unwrap();
        let error = empty_or_unfinished(&data, &us).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("data directory \"{}\" is not empty", data.display())
        );
        let other = temporary.path().join("ts");
        let marker = Marker {
            backup_id: "b".to_owned(),
            places: vec![other.clone()],
            uid: 0,
            gid: 0,
            mode: 0o700,
        };
        marker.write(&data).unwrap();
        assert_eq!(empty_or_unfinished(&data, &us).unwrap(), Some(marker.clone()));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("x"), b"").unwrap();
        assert!(location_is_free("tablespace location", &other, Some(&marker)).is_ok());
        let error = location_is_free("tablespace location", &other, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("tablespace location \"{}\" is not empty", other.display())
        );
        let link = temporary.path().join("link");
        let empty = temporary.path().join("empty");
        fs::create_dir(&empty).unwrap();
        symlink(&empty, &link).unwrap();
        assert!(is_empty_or_absent(&empty).unwrap());
        assert!(!is_empty_or_absent(&link).unwrap());
        assert!(is_empty_or_absent(&data.join("x")).is_err());
    }

    #[test]
    fn places_lie_apart() {
        let temporary = tempfile::tempdir().unwrap();
        let repository = temporary.path().join("repository");
        fs::create_dir(&repository).unwrap();
        let link = temporary.path().join("link");
        symlink(&repository, &link).unwrap();
        assert!(apart_from(&repository, &[&temporary.path().join("repository2")]).is_ok());
        for bad in [link.join("a/b"), repository.join("x"), temporary.path().to_path_buf()] {
            let error = apart_from(&repository, &[&bad]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "\"{}\" and the repository \"{}\" lie inside each other",
                    bad.display(),
                    repository.display()
                )
            );
        }
        let (a, b) = (Path::new("/a/data"), Path::new("/a/data/ts"));
        let error =
            apart_from_each_other(&[("data_directory", a), ("tablespace_mapping", b)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid tablespace_mapping: \"/a/data/ts\" and the data_directory \"/a/data\" lie inside each other"
        );
        assert!(apart_from_each_other(&[("x", a), ("y", Path::new("/a/data2"))]).is_ok());
    }

    #[test]
    fn space_is_counted() {
        assert!(space(Path::new("/tmp/not/there/yet"), 1).is_ok());
        let error = space(Path::new("/"), u64::MAX).unwrap_err();
        assert!(error.to_string().starts_with(
            "the restore needs 18446744073709551615 bytes on the filesystem of \"/\", "
        ));
        assert_eq!(error.kind(), "disk_full");
    }

    #[test]
    fn a_running_server_is_found() {
        let temporary = tempfile::tempdir().unwrap();
        assert!(no_server(temporary.path()).is_ok());
        let pid = temporary.path().join("postmaster.pid");
        fs::write(&pid, "999999999\n/x\n1\n").unwrap();
        assert!(no_server(temporary.path()).is_ok());
        assert_eq!(version_of(temporary.path()), None);
        fs::write(temporary.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(version_of(temporary.path()).as_deref(), Some("15"));
    }
}

//! Writing, syncing and removing so that the result survives a crash.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};

use crate::DurableError;

/// Makes two writers of one process use different temporary names.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Puts `bytes` into the file `path`, so that after this returns `Ok` they survive a power failure, and so
/// that at every moment the file is either the old one, whole, or the new one, whole.
///
/// `mode` is the new file's permission bits; the umask does not change them. The owner is the caller.
///
/// The steps are those of PostgreSQL's `durable_rename()` (src/backend/storage/file/fd.c) on a temporary file
/// of the same directory: write, sync it, rename, sync the directory. Left out against PostgreSQL:
/// - syncing an already existing target before the rename. PostgreSQL does so in order that either the old
///   or the new content is there after a crash; our old file was written by this function, so it is synced.
/// - syncing the target again under its new name. That is for filesystems that tie durability to the name
///   a file was opened by, which no Linux filesystem that we accept does; the directory's sync covers it.
/// - the `fsync` GUC: there is no way to switch this off.
///
/// # Errors
/// [`DurableError::Io`] with the step that failed (a full disk included), and then the old file is untouched and
/// the temporary file is gone. Only when the very last step fails, the directory's sync, is the new file
/// already visible, but not known to be durable.
pub fn write(path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    let path = path.as_ref();
    let temporary = temporary_name(path)?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| {
        fs::rename(&temporary, path).map_err(DurableError::io("rename a file to", path))
    });
    if let Err(error) = written {
        // The first error is the one worth telling; a file that cannot be removed is only litter.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(parent(path))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    // O_EXCL refuses whatever is already there, a planted symbolic link included.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode & 0o700)
        .custom_flags(O_NOFOLLOW)
        .open(path)
        .map_err(DurableError::io("create file", path))?;
    file.write_all(bytes).map_err(DurableError::io("write file", path))?;
    // Set on the open file because the mode of open() is subject to the umask.
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(DurableError::io("set the mode of file", path))?;
    file.sync_all().map_err(DurableError::io("sync file", path))
}

/// Waits until the content and the metadata of the file `path` are on disk. A symbolic link is not followed.
///
/// # Errors
/// [`DurableError::Io`] when it cannot be opened or the disk reports a failure.
pub fn sync_file(path: impl AsRef<Path>) -> Result<(), DurableError> {
    let path = path.as_ref();
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW)
        .open(path)
        .and_then(|file| file.sync_all())
        .map_err(DurableError::io("sync file", path))
}

/// Waits until the names inside the directory `path` are on disk.
///
/// # Errors
/// [`DurableError::Io`] when it cannot be opened, is not a directory, or the disk reports a failure.
pub fn sync_directory(path: impl AsRef<Path>) -> Result<(), DurableError> {
    let path = path.as_ref();
    OpenOptions::new()
        .read(true)
        .custom_flags(O_DIRECTORY)
        .open(path)
        .and_then(|directory: File| directory.sync_all())
        .map_err(DurableError::io("sync directory", path))
}

/// Removes the file `path`, and waits until that is on disk. A file that is not there is fine.
///
/// # Errors
/// [`DurableError::Io`] when it is there and cannot be removed, or when the directory cannot be synced.
pub fn remove(path: impl AsRef<Path>) -> Result<(), DurableError> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(DurableError::io("remove file", path)(error)),
    }
    // Also after "not there": an earlier removal may have been interrupted before its sync.
    match sync_directory(parent(path)) {
        Err(DurableError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name beside `path`, hidden, and of this process alone; O_EXCL settles the rest.
fn temporary_name(path: &Path) -> Result<PathBuf, DurableError> {
    let Some(name) = path.file_name() else {
        return Err(DurableError::NoFileName { path: path.to_path_buf() });
    };
    // The clock keeps a file left by a killed process with a reused id from being in the way for ever.
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{count}-{nanos:x}.tmp", std::process::id()));
    Ok(parent(path).join(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_replaces_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(names(directory.path()), ["record.json"]);
    }

    #[test]
    fn a_link_at_the_target_is_replaced_and_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        let path = directory.path().join("record.json");
        fs::write(&victim, b"keep").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"keep");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_failure_keeps_the_old_file_and_removes_the_temporary_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("occupied");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"new", 0o600).unwrap_err();
        assert_eq!(error.to_string(), format!("could not rename a file to \"{}\"", path.display()));
        assert_eq!(names(directory.path()), ["occupied"]);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write("/nonexistent-directory/x", b"", 0o600).unwrap_err();
        assert_eq!(error.kind(), "file_not_found");
        assert!(write("/", b"", 0o600).unwrap_err().kind() == "invalid_argument");
    }

    #[test]
    fn a_full_disk_keeps_the_old_file() {
        // /dev/full answers every write with "no space left on device".
        let error = fs::write("/dev/full", b"x")
            .map_err(DurableError::io("write file", Path::new("/dev/full")));
        assert_eq!(error.unwrap_err().kind(), "disk_full");
    }

    #[test]
    fn remove_is_calm_about_absence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        remove(&path).unwrap();
        fs::write(&path, b"").unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        remove("/nonexistent-directory/x").unwrap();
        assert!(remove(directory.path()).is_err());
    }

    #[test]
    fn syncing_does_not_follow_links() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(sync_file(&link).is_err());
        assert!(sync_directory(link).is_err());
        sync_directory(directory.path()).unwrap();
    }
}

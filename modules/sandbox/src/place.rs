//! Work directories: made, held while they are used, and removed whatever happens to their maker.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::order::RunAs;
use crate::{SWEEP_COMMAND, SandboxError};

/// In a work directory: who uses it holds a shared lock on this.
pub(crate) const LOCK: &str = "lock";
/// Where the sandbox's root is mounted; empty for everybody else.
pub(crate) const ROOT: &str = "root";
/// What the caller and the programs inside both see.
pub(crate) const SHARED: &str = "shared";

const PREFIX: &str = "drill-";

/// The inode number of the root of every btrfs subvolume.
const SUBVOLUME: u64 = 256;

/// One without a lock may be just being made.
const GRACE: Duration = Duration::from_secs(600);

/// A work directory of our own. A process of its own, the sweeper, removes it when we and the sandbox are gone, also
/// after SIGKILL. What a power cut left is removed when the next one is made in the same directory.
pub struct Place {
    path: PathBuf,
    lock: File,
    lifeline: ChildStdin,
    sweeper: Child,
    /// Left-over work directories that were removed when this one was made.
    pub cleared: Vec<PathBuf>,
}

impl Place {
    /// Makes one in the directory `parent`, which is made too. Its name begins with `drill-`.
    ///
    /// # Errors
    /// [`SandboxError::Directory`] when somebody else may write to `parent`; [`SandboxError::Io`] when it cannot be made;
    /// [`SandboxError::Start`] without a sweeper.
    pub fn create(parent: &Path, run_as: RunAs) -> Result<Self, SandboxError> {
        durable::private_directory(parent, None, 0o711)
            .map_err(|source| SandboxError::Directory { path: parent.to_path_buf(), source })?;
        let cleared = clear(parent);
        let (path, lock) = claim(parent)?;
        for name in [ROOT, SHARED] {
            let at = path.join(name);
            DirBuilder::new().mode(0o700).create(&at).map_err(SandboxError::io("make", &at))?;
            if nix::unistd::geteuid().is_root() {
                chown(&at, Some(run_as.uid), Some(run_as.gid))
                    .map_err(SandboxError::io("give away", &at))?;
            }
        }
        let (sweeper, lifeline) = start_sweeper(&path)?;
        Ok(Self { path, lock, lifeline, sweeper, cleared })
    }

    /// The directory. Everything below it may be used, but for `lock` and `root`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that the programs inside see as [`crate::SHARED_INSIDE`].
    #[must_use]
    pub fn shared(&self) -> PathBuf {
        self.path.join(SHARED)
    }

    /// Without isolation: where the programs find this executable.
    #[must_use]
    pub fn executable(&self) -> PathBuf {
        self.path.join("executable")
    }

    /// Removes the directory, by the sweeper, and returns when it is gone.
    ///
    /// # Errors
    /// [`SandboxError::Io`] when something of it could not be removed.
    pub fn remove(self) -> Result<(), SandboxError> {
        let Self { path, lock, lifeline, mut sweeper, .. } = self;
        drop((lock, lifeline));
        sweeper.wait().map_err(SandboxError::io("remove", &path))?;
        // The sweeper may have been killed.
        match fs::symlink_metadata(&path) {
            Ok(_) => remove(&path).map_err(SandboxError::io("remove", &path)),
            Err(_) => Ok(()),
        }
    }

    /// Leaves it to the sandbox in it: it goes when that does.
    pub fn leave(self) {
        drop(self);
    }
}

/// A new directory and the lock on it. Somebody who clears up may come between the two: then once more.
fn claim(parent: &Path) -> Result<(PathBuf, File), SandboxError> {
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = format!("{PREFIX}{}-{:x}", std::process::id(), now.as_nanos() & 0xffff_ffff);
        let path = parent.join(name);
        match DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(SandboxError::io("make", &path))?,
        }
        let at = path.join(LOCK);
        let lock = File::create(&at).map_err(SandboxError::io("make", &at))?;
        // Another user may have to hold it too, in a sandbox of its own.
        lock.set_permissions(Permissions::from_mode(0o644))
            .map_err(SandboxError::io("open up", &at))?;
        lock.lock_shared().map_err(SandboxError::io("lock", &at))?;
        if at.exists() {
            return Ok((path, lock));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the sweeper is this program re-executed")]
fn start_sweeper(path: &Path) -> Result<(Child, ChildStdin), SandboxError> {
    let failed = |source| SandboxError::Start { what: "sweeper", source };
    let mut sweeper = Command::new("/proc/self/exe")
        .arg(SWEEP_COMMAND)
        .arg(path)
        .env_clear()
        .env("PATH", program::SEARCH_PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    match sweeper.stdin.take() {
        Some(lifeline) => Ok((sweeper, lifeline)),
        None => Err(failed(io::Error::from(io::ErrorKind::BrokenPipe))),
    }
}

/// Removes every work directory in `parent` that nobody holds; answers which.
fn clear(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| entry.path())
        .filter(|path| clear_one(path))
        .collect()
}

/// Removes one that nobody holds, and holds it meanwhile: whoever is just making it sees then that it is gone.
fn clear_one(path: &Path) -> bool {
    match File::open(path.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok() && remove(path).is_ok(),
        Err(_) => is_old(path) && remove(path).is_ok(),
    }
}

fn is_old(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .and_then(|found| found.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > GRACE))
}

/// Removes a work directory with the copies in it, whichever way they were made. The lock goes last: until then nobody
/// takes the rest for a directory that is just being made.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let entries: Vec<PathBuf> = fs::read_dir(path)?.flatten().map(|entry| entry.path()).collect();
    for entry in entries.iter().filter(|entry| !entry.ends_with(LOCK)) {
        remove_entry(entry)?;
    }
    fs::remove_dir_all(path)
}

fn remove_entry(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return fs::remove_file(path);
    }
    if found.ino() == SUBVOLUME && delete_subvolume(path) {
        return Ok(());
    }
    // Copies are one level below, and a subvolume removed as a whole spares looking at every file of it.
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.metadata().is_ok_and(|found| found.is_dir() && found.ino() == SUBVOLUME) {
            delete_subvolume(&entry.path());
        }
    }
    fs::remove_dir_all(path).or_else(|_| {
        open_up(path)?;
        fs::remove_dir_all(path)
    })
}

/// Whether it is gone. What is none, or cannot be removed so, is removed file by file.
fn delete_subvolume(path: &Path) -> bool {
    program::Program::new("btrfs").args(["subvolume", "delete"]).arg(path).run().is_ok()
}

/// An overlay leaves a directory that not even its owner may look into.
fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let (held, lock) = claim(parent.path()).unwrap();
        let (left, gone) = claim(parent.path()).unwrap();
        drop(gone);
        fs::create_dir_all(left.join("upper/work")).unwrap();
        fs::set_permissions(left.join("upper/work"), Permissions::from_mode(0o000)).unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();
        assert_eq!(clear(parent.path()), std::slice::from_ref(&left));
        assert!(held.exists() && !left.exists() && parent.path().join("other").exists());
        drop(lock);
    }

    #[test]
    fn one_that_is_just_being_made_stays() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("drill-1-1")).unwrap();
        assert!(clear(parent.path()).is_empty());
    }
}

//! Paths of other processes, whose root and mounts are not ours.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::mounts::join;
use crate::{HostError, Mounts, Process};

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

impl Process {
    /// How we reach `path`, which must be resolved ([`Process::resolve`]): the same path below [`Process::root`]. An
    /// absolute symbolic link in it would be followed in *our* root.
    #[must_use]
    pub fn reach(&self, path: &Path) -> PathBuf {
        reach(&self.root(), path)
    }

    /// `path` as the process sees it with every symbolic link resolved inside its root.
    ///
    /// # Errors
    /// [`HostError::NotAbsolute`]; [`HostError::Inside`] when a part of it is missing; [`HostError::TooManyLinks`];
    /// [`HostError::NeedsRoot`]; [`HostError::NoProcess`] when the process ended meanwhile.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, HostError> {
        if !path.is_absolute() {
            return Err(HostError::NotAbsolute { path: path.to_path_buf() });
        }
        self.check_alive()?;
        let resolved = resolve_in(&self.root(), path);
        // A path that was followed through a process id that now belongs to somebody else leads nowhere.
        self.check_alive()?;
        resolved.map_err(|obstacle| match obstacle {
            Obstacle::Links => HostError::TooManyLinks {
                path: path.to_path_buf(),
                pid: self.pid,
                limit: MOST_LINKS,
            },
            Obstacle::Io(at, source) => self.refused("find", at, source),
        })
    }

    /// Where the directory that the process sees at `path` is for us.
    ///
    /// # Errors
    /// As [`Process::resolve`], and [`HostError::NotVisible`] when its filesystem is mounted nowhere on this host, or
    /// only another part of it; [`HostError::NoMount`]; [`HostError::Io`].
    pub fn on_host(&self, path: &Path) -> Result<PathBuf, HostError> {
        let resolved = self.resolve(path)?;
        if self.shares_our_mounts()? {
            // Its root may still be another one: chroot(2) needs no namespace.
            let root = self.link("root")?;
            return Ok(join(&root, resolved.strip_prefix("/").unwrap_or(&resolved)));
        }
        let theirs = Mounts::of_process(self)?;
        let mount = theirs.of(&resolved)?;
        let inner = mount.path_in_filesystem(&resolved).unwrap_or_default();
        let wanted = identity(&self.reach(&resolved))
            .map_err(|source| self.refused("examine", resolved.clone(), source))?;
        self.check_alive()?;
        let ours = Mounts::read()?;
        ours.iter()
            .filter(|candidate| candidate.number == mount.number)
            .filter_map(|candidate| candidate.path_seen(&inner))
            // Something else may be mounted over it here.
            .find(|candidate| identity(candidate).is_ok_and(|found| found == wanted))
            .ok_or_else(|| HostError::NotVisible {
                pid: self.pid,
                mount_point: mount.point.clone(),
                fstype: mount.fstype.clone(),
                device: mount.device.clone(),
                path: resolved,
            })
    }

    /// Whether it sees the same mounts as we do.
    fn shares_our_mounts(&self) -> Result<bool, HostError> {
        let own = Path::new("/proc/self/ns/mnt");
        let own = fs::read_link(own).map_err(HostError::io("read", own))?;
        Ok(self.link("ns/mnt")? == own)
    }

    fn link(&self, name: &str) -> Result<PathBuf, HostError> {
        let path = self.proc(name);
        fs::read_link(&path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => HostError::NeedsRoot { pid: self.pid, source },
            io::ErrorKind::NotFound => HostError::NoProcess { pid: self.pid },
            _ => HostError::Io { action: "read", path, source },
        })
    }

    pub(crate) fn refused(
        &self,
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    ) -> HostError {
        let pid = self.pid;
        match source.kind() {
            io::ErrorKind::PermissionDenied => HostError::NeedsRoot { pid, source },
            _ => HostError::Inside { action, path, pid, source },
        }
    }
}

enum Obstacle {
    Links,
    Io(PathBuf, io::Error),
}

/// For `/` this ends in a slash, without which `/proc/<pid>/root` would be taken for the link that it is.
fn reach(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What tells one directory from another.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Follows `path` as if `root` were the root directory. What the standard library offers would follow absolute links,
/// and `..`, out of it.
fn resolve_in(root: &Path, path: &Path) -> Result<PathBuf, Obstacle> {
    let mut resolved = PathBuf::from("/");
    let mut ahead = Vec::new();
    put_ahead(&mut ahead, path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        let place = reach(root, &next);
        let obstacle = |source| Obstacle::Io(next.clone(), source);
        if !fs::symlink_metadata(&place).map_err(obstacle)?.is_symlink() {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Obstacle::Links);
        }
        let target = fs::read_link(&place).map_err(obstacle)?;
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        put_ahead(&mut ahead, &target);
    }
    Ok(resolved)
}

/// Puts the names of `path` on top of those that are still to be followed, its first name uppermost.
fn put_ahead(ahead: &mut Vec<OsString>, path: &Path) {
    let names = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    ahead.extend(names.rev().map(|part| part.as_os_str().to_owned()));
}

#[cfg(test)]
mod tests;

//! A directory that is held open, and everything in it reached from there.
//!
//! We often work as root in directories that belong to the server's user. Were paths looked up from `/` each
//! time, that user could exchange a directory for a symbolic link between two steps and have root read or write
//! elsewhere. So the top is opened once and links below it are never followed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::fs::{
    chownat, fstat, mkdirat, openat, openat2, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Not to wait for the writer of a pipe that has taken a file's place.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);
const CREATE: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL);

/// A directory held open. Relative paths in all methods are below it; `""` is the directory itself.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory `path`, which must not be a symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_path_buf(), fd })
    }

    /// The whole path of `relative`, for messages.
    pub(crate) fn full(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.path.clone() } else { self.path.join(relative) }
    }

    fn at(&self, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let relative = or_dot(relative);
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.fd, relative, flags, mode, resolve) {
            // Kernels before 5.6, and containers whose filter does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => Ok(openat(&self.fd, relative, flags, mode)?),
            other => Ok(other?),
        }
    }

    pub(crate) fn directory(&self, relative: &Path) -> io::Result<OwnedFd> {
        self.at(relative, DIRECTORY, Mode::empty())
    }

    pub(crate) fn entries(&self, relative: &Path) -> io::Result<Dir> {
        Ok(Dir::new(self.directory(relative)?)?)
    }

    pub(crate) fn file(&self, relative: &Path) -> io::Result<File> {
        Ok(self.at(relative, READ, Mode::empty())?.into())
    }

    /// Makes a file that nobody else can open yet; one that is there, or a link, is an error.
    pub(crate) fn create(&self, relative: &Path) -> io::Result<File> {
        Ok(self.at(relative, CREATE, Mode::RUSR | Mode::WUSR)?.into())
    }

    pub(crate) fn make_directory(&self, relative: &Path) -> io::Result<()> {
        Ok(mkdirat(&self.fd, relative, Mode::RWXU)?)
    }

    pub(crate) fn make_link(&self, relative: &Path, target: &str) -> io::Result<()> {
        Ok(symlinkat(target, &self.fd, relative)?)
    }

    pub(crate) fn link_target(&self, relative: &Path) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.fd, relative, Vec::new())?.into_bytes())
    }

    pub(crate) fn link_owner(&self, relative: &Path, owner: (u32, u32)) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        Ok(chownat(&self.fd, relative, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What `relative` is; a link is not followed.
    pub(crate) fn stat(&self, relative: &Path) -> io::Result<Stat> {
        if relative.as_os_str().is_empty() {
            return Ok(fstat(&self.fd)?);
        }
        Ok(statat(&self.fd, relative, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn remove_file(&self, relative: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.fd, relative, AtFlags::empty())?)
    }

    pub(crate) fn remove_directory(&self, relative: &Path) -> io::Result<()> {
        Ok(unlinkat(&self.fd, relative, AtFlags::REMOVEDIR)?)
    }

    /// Waits until everything on this filesystem is on disk. A failure to write anything since this directory was
    /// opened is an error, see [`super::sync`].
    pub(crate) fn sync_filesystem(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        for entry in self.entries(Path::new(""))? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn or_dot(relative: &Path) -> &Path {
    if relative.as_os_str().is_empty() { Path::new(".") } else { relative }
}

/// Owner, permission bits and modification time of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    modified: Timespec,
}

impl Attributes {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            modified: Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
        }
    }

    /// The owner as user id and group id.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    pub(crate) fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owned_by(self, owner: Option<(u32, u32)>) -> Self {
        let (uid, gid) = owner.unwrap_or(self.owner());
        Self { uid, gid, ..self }
    }

    /// Gives them to an open file or directory; the owner only if we are root, as nobody else may.
    pub(crate) fn set(&self, file: &impl std::os::fd::AsFd) -> io::Result<()> {
        if is_root() {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        // After the owner, whose change clears the set-user-id bits.
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        let keep = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: keep, last_modification: self.modified };
        Ok(rustix::fs::futimens(file, &times)?)
    }
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_nowhere() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path();
        fs::create_dir(top.join("real")).unwrap();
        fs::write(top.join("real/file"), "x").unwrap();
        symlink("real", top.join("dir-link")).unwrap();
        symlink("real/file", top.join("file-link")).unwrap();
        let root = Root::open(top).unwrap();
        assert!(root.file(Path::new("real/file")).is_ok());
        for refused in ["file-link", "dir-link/file", "../etc/passwd", "/etc/passwd"] {
            assert!(root.file(Path::new(refused)).is_err(), "{refused}");
        }
        assert!(root.entries(Path::new("dir-link")).is_err());
        assert!(root.create(Path::new("file-link")).is_err());
        assert!(root.create(Path::new("dir-link/new")).is_err());
        assert!(Root::open(&top.join("dir-link")).is_err());
    }

    #[test]
    fn the_open_directory_is_meant_and_not_its_name() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().join("top");
        fs::create_dir(&top).unwrap();
        let root = Root::open(&top).unwrap();
        fs::rename(&top, temporary.path().join("moved")).unwrap();
        fs::create_dir(&top).unwrap();
        root.create(Path::new("file")).unwrap();
        assert!(temporary.path().join("moved/file").exists());
        assert!(root.is_empty().is_ok_and(|empty| !empty));
    }
}

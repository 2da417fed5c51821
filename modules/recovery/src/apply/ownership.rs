//! The last walk over what was restored: owner, and the rubbish that lies in every database's directory.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::RecoveryError;
use crate::apply::clean;
use crate::marker::MARKER;

/// Who owns the restored files, and the data directory's permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// `0700`, or `0750` when the group may read the cluster, as at the source. The server accepts no other.
    pub mode: u32,
}

impl Ownership {
    /// The bits of a file in the cluster.
    #[must_use]
    pub(crate) fn file_mode(self) -> u32 {
        if self.mode & 0o050 == 0 { 0o600 } else { 0o640 }
    }
}

/// Directories in a cluster are a handful deep; more would be somebody's trap.
const DEEPEST: usize = 100;

/// Gives everything below `root` to its owner and removes the rubbish. `root` itself is left for [`open_up`].
///
/// Symbolic links get their owner and are not followed: they may point to the source. Every step starts from an open
/// directory, not from a path, so that nobody who could still write somewhere below can lead us elsewhere meanwhile.
pub(crate) fn hand_over(root: &Path, ownership: Ownership) -> Result<(), RecoveryError> {
    let directory = rustix::fs::openat(rustix::fs::CWD, root, DIRECTORY, Mode::empty())
        .map_err(|errno| failed("open directory", root, errno))?;
    Walk { ownership }.below(&directory, root, false, 0)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Walk {
    ownership: Ownership,
}

impl Walk {
    /// Visits everything in `directory`, whose path is for error messages; with `rubbish` everything is removed.
    fn below(
        &self,
        directory: &OwnedFd,
        path: &Path,
        rubbish: bool,
        depth: usize,
    ) -> Result<(), RecoveryError> {
        if depth > DEEPEST {
            return Err(failed("descend so deep into directory", path, Errno::NAMETOOLONG));
        }
        let names = names(directory, path)?;
        for name in names {
            let inner = path.join(&name);
            let keep = depth == 0 && name == MARKER;
            if !keep {
                self.visit(directory, &name, &inner, (rubbish, depth))?;
            }
        }
        Ok(())
    }

    fn visit(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        (rubbish, depth): (bool, usize),
    ) -> Result<(), RecoveryError> {
        let rubbish = rubbish || name.to_str().is_some_and(clean::is_debris);
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("examine", path, errno))?;
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if !rubbish {
            self.give(directory, name, path, (found.st_uid, found.st_gid))?;
        }
        if is_directory {
            let inner = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())
                .map_err(|errno| failed("open directory", path, errno))?;
            self.below(&inner, path, rubbish, depth + 1)?;
        }
        if rubbish {
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(directory, name, flags)
                .map_err(|errno| failed("remove", path, errno))?;
        }
        Ok(())
    }

    fn give(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        now: (u32, u32),
    ) -> Result<(), RecoveryError> {
        let Ownership { uid, gid, .. } = self.ownership;
        if now == (uid, gid) {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("change the owner of", path, errno))
    }
}

fn names(directory: &OwnedFd, path: &Path) -> Result<Vec<OsString>, RecoveryError> {
    let entries = rustix::fs::Dir::read_from(directory)
        .map_err(|errno| failed("read directory", path, errno))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|errno| failed("read directory", path, errno))?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> RecoveryError {
    RecoveryError::io(action, path)(errno.into())
}

/// Closes a directory to everybody but the user of this process, who owns it until [`open_up`]. While root writes into
/// it, its later owner can neither start a server there nor plant links.
pub(crate) fn close(directory: &Path) -> Result<(), RecoveryError> {
    let us = nix::unistd::geteuid();
    let owner = us.is_root().then(|| (us.as_raw(), nix::unistd::getegid().as_raw()));
    set(directory, owner, 0o700)
}

/// Gives a closed directory to its owner, with the mode the server expects.
pub(crate) fn open_up(directory: &Path, ownership: Ownership) -> Result<(), RecoveryError> {
    set(directory, Some((ownership.uid, ownership.gid)), ownership.mode)
}

/// Through an open directory, so that both changes hit the same one.
fn set(path: &Path, owner: Option<(u32, u32)>, mode: u32) -> Result<(), RecoveryError> {
    let directory = rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty())
        .map_err(|errno| failed("open directory", path, errno))?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))
        .map_err(|errno| failed("set the mode of", path, errno))?;
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|errno| failed("change the owner of", path, errno))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn ownership(mode: u32) -> Ownership {
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        // Only root can give files away.
        if uid == 0 {
            Ownership { uid: 12345, gid: 12346, mode }
        } else {
            Ownership { uid, gid, mode }
        }
    }

    #[test]
    fn everything_gets_its_owner_and_rubbish_goes() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("data");
        let outside = temporary.path().join("outside");
        fs::write(&outside, b"").unwrap();
        fs::create_dir_all(root.join("base/1")).unwrap();
        fs::create_dir_all(root.join("base/pgsql_tmp")).unwrap();
        fs::write(root.join("base/pgsql_tmp/pgsql_tmp1.0"), b"").unwrap();
        fs::write(root.join("base/1/pg_internal.init"), b"").unwrap();
        fs::write(root.join("base/1/1259"), b"").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let before = fs::metadata(&outside).unwrap().uid();
        close(&root).unwrap();
        hand_over(&root, ownership(0o750)).unwrap();
        open_up(&root, ownership(0o750)).unwrap();
        assert!(!root.join("base/pgsql_tmp").exists());
        assert!(!root.join("base/1/pg_internal.init").exists());
        for path in ["", "base", "base/1", "base/1/1259", "link"] {
            let found = fs::symlink_metadata(root.join(path)).unwrap();
            assert_eq!(found.uid(), ownership(0).uid, "{path}");
            assert_eq!(found.gid(), ownership(0).gid, "{path}");
        }
        assert_eq!(fs::metadata(&outside).unwrap().uid(), before);
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o750);
    }

    #[test]
    fn file_modes_follow_the_directory() {
        assert_eq!(ownership(0o700).file_mode(), 0o600);
        assert_eq!(ownership(0o750).file_mode(), 0o640);
        let error = open_up(Path::new("/nonexistent"), ownership(0o700)).unwrap_err();
        assert_eq!(error.to_string(), "could not open directory \"/nonexistent\"");
    }
}

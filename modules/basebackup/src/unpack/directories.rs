//! Making files, directories and links of the right owner.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink,
};
use std::path::Path;

use crate::BasebackupError;

/// User and group of what is written; none: the caller's.
#[derive(Clone, Copy)]
pub(crate) struct Owner(pub(crate) Option<(u32, u32)>);

/// Whether something is in the directory; not when it does not exist.
pub(crate) fn is_in_use(path: &Path) -> Result<bool, BasebackupError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BasebackupError::io("read directory", path)(error)),
    }
}

impl Owner {
    /// Makes a directory, or takes over the one that is there, so that nobody else can enter it.
    pub(crate) fn make_private(self, path: &Path) -> Result<(), BasebackupError> {
        self.directory(path).map_err(BasebackupError::io("create directory", path))?;
        let mode = fs::set_permissions(path, Permissions::from_mode(0o700));
        mode.map_err(BasebackupError::io("set the mode of directory", path))?;
        self.give(path).map_err(BasebackupError::io("set the owner of directory", path))
    }

    /// Makes a directory of mode 0700; one that is there is fine. A link there is one of ours, to a tablespace.
    pub(crate) fn directory(self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.give(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes what is missing of the directories from `top` down to `path`, which is below.
    pub(crate) fn directories(self, top: &Path, path: &Path) -> io::Result<()> {
        let mut at = top.to_path_buf();
        for component in path.strip_prefix(top).unwrap_or(Path::new("")).components() {
            at.push(component);
            self.directory(&at)?;
        }
        Ok(())
    }

    /// Makes a new file of mode 0600 below `top`, with the directories it is in. An error when it is there.
    pub(crate) fn file(self, top: &Path, path: &Path) -> io::Result<File> {
        let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.directories(top, path.parent().unwrap_or(top))?;
                create()?
            }
            made => made?,
        };
        if let Some((uid, gid)) = self.0 {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// Makes the symbolic link `path`.
    pub(crate) fn link(self, target: &Path, path: &Path) -> Result<(), BasebackupError> {
        let made = symlink(target, path).and_then(|()| match self.0 {
            Some((uid, gid)) => lchown(path, Some(uid), Some(gid)),
            None => Ok(()),
        });
        made.map_err(BasebackupError::io("create symbolic link", path))
    }

    fn give(self, path: &Path) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

//! Ways into the namespaces of another process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

use crate::{HostError, Process};

impl Process {
    /// The directory that the process sees at `path`, opened so that it can be entered by
    /// `/proc/self/fd/<number>/…` later, as another user and whatever happens to the path meanwhile. The kernel
    /// resolves symbolic links inside the process's root (openat2(2) with `RESOLVE_IN_ROOT`; before Linux 5.6 our
    /// own loop does).
    ///
    /// # Errors
    /// [`HostError::NeedsRoot`], [`HostError::Inside`] when it is not there, [`HostError::NoProcess`].
    pub fn open_directory(&self, path: &Path) -> Result<OwnedFd, HostError> {
        self.check_alive()?;
        let refused = |errno: Errno| {
            self.refused("open", path.to_path_buf(), io::Error::from_raw_os_error(errno as i32))
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&self.root(), flags, Mode::empty()).map_err(refused)?;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let opened = match openat2(root.as_fd(), path, how) {
            Err(Errno::ENOSYS) => {
                let resolved = self.resolve(path)?;
                open(&self.reach(&resolved), flags | OFlag::O_NOFOLLOW, Mode::empty())
            }
            opened => opened,
        };
        // An id that was given to another process meanwhile led elsewhere.
        self.check_alive()?;
        opened.map_err(refused)
    }

    /// Its network namespace, to be given to [`enter_network`].
    ///
    /// # Errors
    /// [`HostError::NeedsRoot`], [`HostError::NoProcess`].
    pub fn open_network(&self) -> Result<File, HostError> {
        self.check_alive()?;
        let path = self.proc("ns/net");
        let file = File::open(&path).map_err(|source| self.refused("open", path, source))?;
        self.check_alive()?;
        Ok(file)
    }
}

/// Moves this thread, and no other, into a network namespace. A connection made in it stays usable anywhere.
///
/// # Errors
/// As setns(2); without root, "Operation not permitted".
pub fn enter_network(network: &File) -> io::Result<()> {
    setns(network, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_this_process_is_opened_and_a_missing_one_named() {
        let this = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(this.open_directory(Path::new("/tmp")).is_ok());
        let error = this.open_directory(Path::new("/no/such/place")).unwrap_err();
        assert!(error.to_string().contains("\"/no/such/place\""), "{error}");
        assert!(this.open_network().is_ok());
    }
}

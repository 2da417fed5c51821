//! The way to a server in namespaces of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use host::{HostError, Process};
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use crate::Endpoint;

/// What root has opened of another process's namespaces, so that the connection can be made as any user.
#[derive(Debug)]
pub enum Entrance {
    /// The directory of the server's socket.
    Socket(OwnedFd),
    /// The network namespace the server listens in.
    Network(File),
}

impl Entrance {
    pub(crate) fn open(
        process: &Process,
        endpoint: &Endpoint,
        port: u16,
    ) -> Result<Self, HostError> {
        Ok(match endpoint {
            Endpoint::Socket(directory) => {
                let opened = process.open_directory(directory)?;
                expect_no_link(&opened, directory, port)?;
                Self::Socket(opened)
            }
            Endpoint::Tcp(_) => Self::Network(process.open_network()?),
        })
    }

    /// The directory of the socket as this process reaches it. A path through `/proc/<pid>/root` would be open to
    /// root and the server's user alone, and might be longer than the 107 bytes a socket's path may have.
    #[must_use]
    pub fn socket_directory(&self) -> Option<PathBuf> {
        match self {
            Self::Socket(directory) => {
                Some(Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()))
            }
            Self::Network(_) => None,
        }
    }

    pub(crate) fn network(&self) -> Option<&File> {
        match self {
            Self::Socket(_) => None,
            Self::Network(network) => Some(network),
        }
    }
}

/// A socket that is a symbolic link in the container would be followed by the host, to a server of the host maybe, who
/// would be given the password. A server makes no links there.
fn expect_no_link(opened: &OwnedFd, directory: &Path, port: u16) -> Result<(), HostError> {
    let name = format!(".s.PGSQL.{port}");
    // one that is not there is for the connection to tell
    let Ok(found) = fstatat(opened, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
        return Ok(());
    }
    let source = io::Error::other("it is a symbolic link, which would lead out of the container");
    Err(HostError::Io { action: "connect to the socket", path: directory.join(name), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_a_link_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let this = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        let endpoint = Endpoint::Socket(place.path().to_path_buf());
        assert!(Entrance::open(&this, &endpoint, 5432).is_ok());
        std::os::unix::fs::symlink("/run/elsewhere", place.path().join(".s.PGSQL.5432")).unwrap();
        let error = Entrance::open(&this, &endpoint, 5432).unwrap_err();
        let text = "could not connect to the socket \"";
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(Entrance::open(&this, &endpoint, 5433).is_ok());
    }
}

//! The way to a server in namespaces of its own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use host::{HostError, Process};

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
    pub(crate) fn open(process: &Process, endpoint: &Endpoint) -> Result<Self, HostError> {
        Ok(match endpoint {
            Endpoint::Socket(directory) => Self::Socket(process.open_directory(directory)?),
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

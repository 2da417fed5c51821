//! What a sandbox is to be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What keeps the programs from everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces made with the privileges we have: as root.
    Namespaces,
    /// Namespaces inside a user namespace: any user, where the host allows it.
    UserNamespaces,
    /// Nothing: the programs run on the host.
    None,
}

/// The user that the programs run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id, never 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A directory or file of the host that is to be seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where it is on the host.
    pub from: PathBuf,
    /// Where it will be inside, absolute.
    pub to: PathBuf,
    /// Whether it may be written to.
    pub writable: bool,
}

impl Bind {
    /// A directory or file that can only be read.
    #[must_use]
    pub fn read_only(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into(), writable: false }
    }

    /// A directory that can be written to.
    #[must_use]
    pub fn writable(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Self {
        Self { from: from.into(), to: to.into(), writable: true }
    }
}

/// A directory that can be written to inside while the original stays as it is: the changes go elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The original, on the host.
    pub lower: PathBuf,
    /// Where changed files go; an empty directory.
    pub upper: PathBuf,
    /// An empty directory on the same filesystem as `upper`.
    pub work: PathBuf,
    /// Where it will be inside, absolute.
    pub to: PathBuf,
}

/// A sandbox to be built.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// What isolates it.
    pub isolation: Isolation,
    /// Whom its programs run as.
    pub run_as: RunAs,
    /// What is seen inside besides the system's programs and libraries (`/usr` and its like, read only).
    pub binds: Vec<Bind>,
    /// What is seen inside and only seems to be changed.
    pub overlays: Vec<Overlay>,
}

//! What is to be proved, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use repository::{BackupFolder, CompleteBackup};

use crate::Level;
use crate::checks::{FreshnessQuery, UserQuery};

/// The backup.
#[derive(Debug, Clone)]
pub enum Input {
    /// One of a repository.
    Repository {
        /// The backup.
        backup: Box<CompleteBackup>,
        /// Its folder.
        folder: BackupFolder,
        /// Where the files of its volumes are mounted, for snapshots that this host cannot reach by itself.
        mounted: Option<Mounted>,
    },
    /// What `pg_basebackup` wrote into this directory.
    Directory(PathBuf),
}

/// A database cluster's files on volumes that were made from snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The data directory.
    pub data_directory: PathBuf,
    /// Where tablespaces are now, by where they were.
    pub tablespaces: BTreeMap<PathBuf, PathBuf>,
}

/// How the writable copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The fastest that works here.
    Auto,
    /// A writable snapshot of a btrfs snapshot.
    Snapshot,
    /// Files that share their blocks with the originals.
    Reflink,
    /// The originals with the changes laid over them.
    Overlay,
    /// Copied bytes.
    Copy,
    /// None: the files are a throw-away already.
    InPlace,
}

/// Where the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandboxing {
    /// In namespaces, made as root or in a user namespace.
    Isolated,
    /// On this host, with nothing between.
    Process,
}

/// A drill as asked for.
#[derive(Debug, Clone)]
pub struct Demand {
    /// What is proved.
    pub input: Input,
    /// How much of it.
    pub level: Level,
    /// How the writable copy is made.
    pub way: Way,
    /// Where work directories are made.
    pub work_directory: Option<PathBuf>,
    /// Where they are made when nothing speaks for another place.
    pub default_work_directory: PathBuf,
    /// Where the server runs.
    pub sandboxing: Sandboxing,
    /// Where the server's programs are.
    pub bin_dir: Option<PathBuf>,
    /// Name of the user that the server runs as.
    pub os_user: Option<String>,
    /// A superuser of the restored cluster.
    pub login_user: String,
    /// Fetches WAL that the backup itself does not hold; run on this host, with `%f` and `%p`.
    pub restore_command: Option<String>,
    /// `shared_preload_libraries` of the sandbox's server.
    pub preload_libraries: Vec<String>,
    /// More settings for it.
    pub settings: BTreeMap<String, String>,
    /// How old the newest data may be.
    pub max_age: Option<Duration>,
    /// How long recovery may take.
    pub max_recovery_time: Option<Duration>,
    /// Questions of the user's own.
    pub queries: Vec<UserQuery>,
    /// Questions for the newest data.
    pub freshness: Vec<FreshnessQuery>,
    /// How long recovery may make no progress.
    pub patience: Duration,
    /// How long the whole drill may take.
    pub timeout: Option<Duration>,
    /// How many files are read or copied at the same time, and indexes checked.
    pub jobs: usize,
    /// Whether the clone is damaged on purpose.
    pub self_test: bool,
    /// Whether the sandbox stays when the drill is over.
    pub keep: bool,
}

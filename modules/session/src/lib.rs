//! The live backup.
//!
//! A **session** is a connection that holds backup mode; its **keeper** is the
//! process that owns the connection, because every Ansible task is a new
//! process and a backup ends with the session that started it. Tasks talk to
//! the keeper through a unix socket; what happened is in the **session
//! record**, which survives the keeper, its host's reboot included.

mod client;
mod directories;
mod error;
mod id;
mod keeper;
mod launch;
mod process;
mod protocol;
mod record;
mod store;

pub use client::{Client, KeeperFailure};
pub use directories::{runtime_directory, socket_path, state_directory, sweep};
pub use error::{BackupState, SessionError};
pub use id::SessionId;
pub use keeper::run as run_keeper;
pub use launch::{LaunchWarning, Order, Ready, WAL_SLOT_PREFIX, launch};
pub use process::KeeperProcess;
pub use record::{
    ContainerName, Ended, HostDirectories, Inside, Saved, ServerRecord, SessionRecord,
    SessionState, StartRecord, StopRecord,
};
pub use store::{LABEL, Store, TABLESPACE_MAP};

/// The hidden command that is the keeper.
pub const KEEPER_COMMAND: &str = "keeper";
/// The hidden command that detaches and then becomes the keeper.
pub const DETACH_COMMAND: &str = "keeper-detach";

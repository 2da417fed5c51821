//! Files that are on disk before anything is said of them, and directories nobody else may plant.
//!
//! - [`write`], [`remove`], [`sync_file`], [`sync_directory`]: what is still there after the power fails.
//! - [`private_directory`], [`read_owned`]: what another user of the machine cannot have put there.
//!
//! Every function names the path it failed on; the operating system's reason is the error's source.

mod error;
mod file;
mod owned;

pub use error::DurableError;
pub use file::{remove, sync_directory, sync_file, write};
pub use owned::{private_directory, read_owned};

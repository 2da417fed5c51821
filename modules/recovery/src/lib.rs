//! From a backup to a running server.
//!
//! [`plan`] reads and refuses, [`apply`] puts the files there, [`start_and_wait`] starts the server and waits until recovery
//! has come to the end that was asked for. There is no SQL here: a [`RecoveryProbe`] of the caller's asks the server.
//!
//! What holds at every moment of [`apply`], a crash or a full disk included:
//! - Nothing can start the server before the backup label, the WAL and the settings are in place and on disk. Until then
//!   the control file is not at `global/pg_control`, and, when root restores, the directory belongs to root.
//! - Nothing outside the places of the request is written to or deleted: symbolic links of the copied cluster (`pg_wal`,
//!   `pg_tblspc/*`) point to the source's files and are never followed.
//! - A restore that broke off has left `backstay_restore.json` in the data directory. The same restore run again finds it,
//!   empties what it had begun to fill, and begins anew. Without that file a directory that is not empty is refused.

mod apply;
mod control;
mod error;
mod hints;
mod marker;
mod plan;
mod request;
mod server_log;
mod settings;
mod start;
mod target;
mod timeline;
mod wait;

pub use apply::{Ownership, Restored, apply};
pub use error::RecoveryError;
pub use plan::{PlacedTablespace, RestorePlan, plan};
pub use request::{ArchiveMode, Restore, Source, Target};
pub use settings::SettingsChange;
pub use start::{StartOptions, start_and_wait};
pub use target::EffectiveTarget;
pub use wait::{Progress, Recovered, RecoveryProbe};

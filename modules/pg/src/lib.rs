//! PostgreSQL's words as types, and the only SQL in the tree.
//!
//! Every type parses what PostgreSQL writes and writes what PostgreSQL parses; nothing here panics on
//! outside input. Comparisons of versions stand in [`MajorVersion`] alone.

mod backup_label;
pub mod bin;
mod bytes;
mod conf;
mod control_file;
mod crc32c;
mod entrance;
mod error;
mod login;
mod lsn;
mod page_header;
mod password;
mod pgpass;
mod postmaster_pid;
mod recovery_target;
mod segment_name;
mod segment_size;
mod server;
mod server_error;
mod server_file;
mod slot;
mod system_identifier;
mod tablespace;
mod tablespace_map;
mod text;
mod timeline;
mod tls;
mod version;
mod wal_error;
mod wal_file_name;
pub mod waldump;

pub use backup_label::{BackupFrom, BackupLabel, BackupLabelFile};
pub use conf::conf_quote;
pub use control_file::{ControlFile, DbState, RecoveryLimits};
pub use entrance::Entrance;
pub use error::PgTypeError;
pub use login::{Endpoint, Login, LoginError, LoginOptions, SslMode};
pub use lsn::{Lsn, LsnRange};
pub use page_header::{ExpectedWal, WalPageHeader};
pub use password::Password;
pub use postmaster_pid::PostmasterPid;
pub use recovery_target::{
    RecoveryTarget, RecoveryTime, RestorePointName, TargetAction, TargetTimeline, TransactionId,
};
pub use segment_name::WalSegmentName;
pub use segment_size::WalSegmentSize;
pub use server::{
    Answer, Archiver, BackupStop, BtreeIndex, CollationChange, Counted, Database, Extension, Facts,
    Horizon, Identity, Library, Privileges, RecoveryEnd, RecoveryProgress, Server, Table,
    TableFile,
};
pub use server_error::{Cause, ServerError};
pub use server_file::ServerFileError;
pub use slot::SlotName;
pub use system_identifier::SystemIdentifier;
pub use tablespace::Tablespace;
pub use tablespace_map::TablespaceMapFile;
pub use timeline::TimelineId;
pub use tls::TlsError;
pub use version::{MajorVersion, ServerVersion};
pub use wal_error::WalError;
pub use wal_file_name::WalFileName;

//! PostgreSQL's words as types, and the only SQL in the tree.
//!
//! Every type parses what PostgreSQL writes and writes what PostgreSQL parses; nothing here panics on
//! outside input. Comparisons of versions stand in [`MajorVersion`] alone.

mod error;
mod login;
mod lsn;
mod pgpass;
mod password;
mod segment_name;
mod segment_size;
mod server;
mod server_error;
mod slot;
mod system_identifier;
mod tablespace;
mod text;
mod timeline;
mod tls;
mod version;

pub use error::PgTypeError;
pub use login::{Endpoint, Login, LoginError, LoginOptions, SslMode};
pub use lsn::{Lsn, LsnRange};
pub use password::Password;
pub use segment_name::WalSegmentName;
pub use segment_size::WalSegmentSize;
pub use server::{Archiver, BackupStop, Facts, Identity, Privileges, RecoveryProgress, Server};
pub use server_error::{Cause, ServerError};
pub use slot::SlotName;
pub use system_identifier::SystemIdentifier;
pub use tablespace::Tablespace;
pub use timeline::TimelineId;
pub use tls::TlsError;
pub use version::{MajorVersion, ServerVersion};

//! Where backups live: clusters, manifests, WAL.
//!
//! ```text
//! <repository>/                                a directory; its owner and mode are the operator's affair
//!   <cluster>/                                 0700
//!     cluster.json                             whose folder this is, by system identifier
//!     backups/                                 0700
//!       <backup id>/                           0700
//!         backup.json                          the backup manifest: first file written, last one changed
//!         backup_label  tablespace_map         what the stop of the backup returned, verbatim
//!         row_counts.json                      the rows every restore must have, if they were counted
//!         wal/<segment>                        the WAL from the backup's start to its stop
//!         files.json  files/data/…  files/tablespaces/<oid>/…     when files were copied
//!         verifications/<time>.json  .html             reports of drills, one of each for every drill
//! ```
//!
//! Invariants:
//! - A backup folder begins with its manifest, made only where none is: two backups never share an id.
//! - A file is on disk, and its directory too, before its [`FileEntry`] is given out; the manifest that names it
//!   is written afterwards. So what a manifest names is there, whenever a machine crashes.
//! - Reports are added and never change anything: no manifest names them.
//! - [`CompleteBackup`] is the only way to a backup that may be restored, and checks that nothing is missing.
//! - Nothing read from a repository leads out of it: names are checked when they are parsed.
//! - We write only into directories that belong to root or to us and that nobody else may write to.
//!
//! Files are written through `object_store`, as those of other kinds of repositories will be; its asynchronous
//! functions stay behind this crate's door.

mod complete;
mod error;
mod folder;
mod manifest;
mod name;
mod repository;
mod row_counts;
mod store;
mod sum;
mod url;
mod verification;
pub mod wal;

pub use complete::CompleteBackup;
pub use error::{RepositoryError, StoreFailure};
pub use folder::BackupFolder;
pub use manifest::{BackupManifest, BackupPoint, BackupState, FileEntry};
pub use name::{BackupId, ClusterName, EntryName};
pub use repository::{BackupList, Claim, Repository, UnreadableBackup};
pub use row_counts::{ColumnValue, CountedFrom, DatabaseCounts, NotCounted, RowCounts, TableCount};
pub use sum::Sha256Sum;
pub use url::RepositoryUrl;
pub use verification::StoredVerification;

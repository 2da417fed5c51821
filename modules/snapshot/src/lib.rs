//! Snapshots of volumes and files: providers that need no cloud.
//!
//! A provider is given the directories a database cluster consists of ([`Source`]), says in
//! [`SnapshotProvider::plan`] how it would copy them or why it cannot, and copies them in
//! [`SnapshotProvider::take`]. What it answers is a [`SnapshotRecord`] for each copy. The crate knows the layout
//! of a data directory, because that decides what must be copied, but no server, no SQL and no Ansible: whether
//! the server is in backup mode all the while is the caller's to know, and to say through the `watch`.
//!
//! | provider | copy | all of one instant |
//! |---|---|---|
//! | [`Btrfs`] | a read-only snapshot of each subvolume | each subvolume by itself |
//! | [`Files`] | a directory, blocks shared where the filesystem can | no; backup mode makes up for it |
//! | [`Command`] | whatever the operator's program makes | the program's affair |
//!
//! [`copy_tree`] and [`restore_writable`] are the way back.

mod btrfs;
mod command;
mod coverage;
mod error;
mod files;
mod hints;
mod layout;
mod listing;
mod provider;
mod record;
mod sources;
mod taken;
mod tree;
mod view;
mod volumes;

pub use btrfs::{Btrfs, restore_writable};
pub use command::Command;
pub use error::SnapshotError;
pub use files::Files;
pub use listing::{ListedFile, parse_listing};
pub use provider::{PlannedPart, SnapshotPlan, SnapshotProvider, Watch};
pub use record::{SnapshotRecord, UploadState, VolumeRecord};
pub use sources::{Role, Source, Sources};
pub use taken::Taken;
pub use tree::{Choice, CopyOptions, CopyReport, EntryKind, Reflink, Select, copy_tree};
pub use volumes::{ClusterFilesystem, ClusterVolume, ClusterVolumes, check_covered};

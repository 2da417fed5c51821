//! EBS snapshots and the volumes made of them. The only crate that knows the AWS SDK, and tokio under it: everything
//! public here is synchronous and of our own types.
//!
//! | procedure | does |
//! |---|---|
//! | [`take`] | one `CreateSnapshots` for all volumes of a cluster, whatever becomes of the answer |
//! | [`look`] | how far the snapshots of a backup are |
//!
//! A set of snapshots is found by its tags ([`Tags`]): `CreateSnapshots` has no client token, so that a call whose
//! answer was lost must not be made again blindly.

mod copy;
mod door;
mod error;
pub mod expire;
mod model;
mod restore;
mod tags;
mod take;
mod wait;

pub use copy::{Copy, CopyOrder, copy, find_copies};
pub use door::{AwsOptions, CopyCall, Ec2, NewVolume};
pub use error::EbsError;
pub use model::{Attachment, Filter, Lock, Snapshot, Volume};
pub use restore::{
    Piece, Removable, Removal, RestoreFailure, RestoreOrder, Restored, RestoredFilesystem,
    RestoredVolume, check_restore, removable, remove, restore, zone_of,
};
pub use tags::{BackupTags, TAKEN, TAKING, Tags, tag};
pub use take::{Order, TakenSet, Watch, take, try_take};
pub use wait::{Progress, UploadOf, look};

//! What tasks and the keeper say to each other: one JSON document a line, one
//! request a connection.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{KeeperFailure, SessionRecord};

/// The version both sides must speak.
pub(crate) const PROTOCOL: u32 = 1;
/// The longest line, in bytes. The largest thing said is a record with many
/// snapshots and tablespaces.
pub(crate) const LINE_LIMIT: u64 = 4 << 20;

/// What a task may ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub(crate) enum Verb {
    /// The record, after a fresh look at the server.
    Status,
    /// Notes snapshots, after a fresh look at the server.
    AddSnapshots {
        /// As the provider describes them.
        snapshots: Vec<Value>,
    },
    /// Leaves backup mode; asked again, gives the same answer.
    Stop,
    /// Leaves backup mode without a backup.
    Abort {
        /// Why, for the record.
        reason: String,
    },
    /// How far WAL is on the server's disk.
    WalOnDisk,
    /// The WAL has been fetched: the slot may go, and the keeper with it.
    Release,
}

/// One request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`PROTOCOL`].
    pub(crate) protocol: u32,
    /// What is asked.
    #[serde(flatten)]
    pub(crate) verb: Verb,
}

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    /// [`PROTOCOL`].
    pub(crate) protocol: u32,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The record as it stands now.
    Record(Box<SessionRecord>),
    /// An LSN.
    Lsn(pg::Lsn),
    /// It failed.
    Failed(KeeperFailure),
}

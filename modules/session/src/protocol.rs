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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_its_protocol_and_its_verb() {
        let verbs = [
            (Verb::Status, json!({"protocol": 1, "verb": "status"})),
            (
                Verb::AddSnapshots { snapshots: vec![json!({"id": "a"})] },
                json!({"protocol": 1, "verb": "add_snapshots", "snapshots": [{"id": "a"}]}),
            ),
            (Verb::Stop, json!({"protocol": 1, "verb": "stop"})),
            (
                Verb::Abort { reason: "why".into() },
                json!({"protocol": 1, "verb": "abort", "reason": "why"}),
            ),
            (Verb::WalOnDisk, json!({"protocol": 1, "verb": "wal_on_disk"})),
            (Verb::Release, json!({"protocol": 1, "verb": "release"})),
        ];
        for (verb, shape) in verbs {
            let said = serde_json::to_value(Request { protocol: PROTOCOL, verb }).unwrap();
            assert_eq!(said, shape);
            let heard: Request = serde_json::from_value(said).unwrap();
            assert_eq!(serde_json::to_value(heard).unwrap(), shape);
        }
        let unknown = json!({"protocol": 1, "verb": "dance"});
        assert!(serde_json::from_value::<Request>(unknown).is_err());
    }

    #[test]
    fn an_answer_is_its_protocol_and_what_came_of_it() {
        let lsn = Outcome::Lsn("0/3000028".parse().unwrap());
        let said = serde_json::to_value(Response { protocol: PROTOCOL, outcome: lsn }).unwrap();
        assert_eq!(said, json!({"protocol": 1, "outcome": {"lsn": "0/3000028"}}));
        let record = Outcome::Record(Box::new(crate::record::tests::sample()));
        let said = serde_json::to_value(Response { protocol: PROTOCOL, outcome: record }).unwrap();
        let heard: Response = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(serde_json::to_value(heard).unwrap(), said);
    }
}

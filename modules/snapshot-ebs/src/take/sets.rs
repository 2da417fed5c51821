//! Snapshots that one call made.

use std::collections::{BTreeMap, BTreeSet};

use snapshot::UploadState;

use crate::{Snapshot, tag};

/// The snapshots of one call.
#[derive(Debug, Clone)]
pub(super) struct Set(Vec<Snapshot>);

/// A set held against the volumes wanted.
#[derive(Debug)]
pub(super) struct Judged {
    /// Those of wanted volumes, in the order of the volumes.
    pub(super) ours: Vec<Snapshot>,
    /// Those of others, and second ones of the same volume.
    pub(super) extra: Vec<Snapshot>,
    /// What is missing or broken.
    pub(super) problem: Option<String>,
}

impl Set {
    pub(super) fn new(snapshots: Vec<Snapshot>) -> Self {
        Self(snapshots)
    }

    /// Parts what was found by the call that made it, the earliest set first.
    pub(super) fn by_request(found: Vec<Snapshot>) -> Vec<Self> {
        let mut sets: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
        for snapshot in found {
            let request = snapshot.tags.get(tag::REQUEST).cloned().unwrap_or_default();
            sets.entry(request).or_default().push(snapshot);
        }
        let mut sets: Vec<Self> = sets.into_values().map(Self).collect();
        sets.sort_by_key(|set| set.0.iter().map(|snapshot| snapshot.started_at).min());
        sets
    }

    pub(super) fn into_snapshots(self) -> Vec<Snapshot> {
        self.0
    }

    /// Whether one of them at least is of these volumes.
    pub(super) fn has_any(&self, volumes: &[String]) -> bool {
        self.0.iter().any(|found| volumes.contains(&found.volume_id))
    }

    pub(super) fn is_whole(&self, volumes: &[String]) -> bool {
        self.clone().judge(volumes).problem.is_none()
    }

    pub(super) fn judge(self, volumes: &[String]) -> Judged {
        // one of each volume: a second one of the same is too much
        let mut seen = BTreeSet::new();
        let (ours, extra): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|found| {
            volumes.contains(&found.volume_id) && seen.insert(found.volume_id.clone())
        });
        let of = |id: &String| ours.iter().find(|found| found.volume_id == *id);
        let missing: Vec<&str> =
            volumes.iter().filter(|id| of(id).is_none()).map(String::as_str).collect();
        let broken = ours.iter().find(|found| found.state == UploadState::Error);
        let problem = match (missing.as_slice(), broken) {
            ([], None) => None,
            ([], Some(broken)) => Some(format!(
                "snapshot \"{}\" of volume \"{}\" is in error: {}",
                broken.id,
                broken.volume_id,
                broken.message.as_deref().unwrap_or("no reason is given")
            )),
            (missing, _) => Some(format!(
                "EC2 took {} snapshots of {} volumes; there is none of {}",
                ours.len(),
                volumes.len(),
                missing.join(", ")
            )),
        };
        let mut ours = ours;
        ours.sort_by_key(|found| volumes.iter().position(|id| *id == found.volume_id));
        Judged { ours, extra, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn of(volume: &str, request: &str, second: i64) -> Snapshot {
        Snapshot {
            id: format!("snap-{volume}-{request}"),
            volume_id: volume.to_owned(),
            state: UploadState::Pending,
            progress: 0,
            started_at: DateTime::from_timestamp(second, 0).unwrap(),
            completed_at: None,
            gibibytes: 8,
            encrypted: false,
            kms_key: None,
            owner: "1".into(),
            message: None,
            tags: [(tag::REQUEST.to_owned(), request.to_owned())].into(),
        }
    }

    fn volumes() -> Vec<String> {
        vec!["b".into(), "a".into()]
    }

    #[test]
    fn a_whole_set_comes_in_the_order_of_the_volumes() {
        let judged = Set::new(vec![of("a", "r", 1), of("b", "r", 1)]).judge(&volumes());
        assert!(judged.problem.is_none() && judged.extra.is_empty());
        let order: Vec<_> = judged.ours.iter().map(|found| found.volume_id.as_str()).collect();
        assert_eq!(order, ["b", "a"]);
    }

    #[test]
    fn what_is_missing_broken_or_too_much_is_told() {
        let judged = Set::new(vec![of("a", "r", 1), of("c", "r", 1)]).judge(&volumes());
        let text = "EC2 took 1 snapshots of 2 volumes; there is none of b";
        assert_eq!(judged.problem.as_deref(), Some(text));
        assert_eq!(judged.extra.len(), 1);
        let twice = vec![of("a", "r", 1), of("a", "r", 1), of("b", "r", 1)];
        let judged = Set::new(twice).judge(&volumes());
        assert!(judged.problem.is_none());
        assert_eq!((judged.ours.len(), judged.extra.len()), (2, 1));
        let mut broken = of("b", "r", 1);
        broken.state = UploadState::Error;
        broken.message = Some("the key is disabled".into());
        let judged = Set::new(vec![of("a", "r", 1), broken]).judge(&volumes());
        let text = "snapshot \"snap-b-r\" of volume \"b\" is in error: the key is disabled";
        assert_eq!(judged.problem.as_deref(), Some(text));
    }

    #[test]
    fn sets_are_told_apart_by_their_call_the_earliest_first() {
        let found = vec![of("a", "r.2", 9), of("b", "r.2", 9), of("a", "r.1", 5)];
        let sets = Set::by_request(found);
        assert_eq!(sets.len(), 2);
        assert!(!sets[0].is_whole(&volumes()) && sets[1].is_whole(&volumes()));
        assert!(sets[0].has_any(&volumes()));
        assert!(!Set::new(vec![of("c", "r.1", 5)]).has_any(&volumes()));
        assert_eq!(sets[0].clone().into_snapshots()[0].id, "snap-a-r.1");
    }
}

//! How far the snapshots of a backup are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use snapshot::UploadState;

use crate::{EbsError, Ec2, Snapshot};

/// One snapshot's upload, as it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadOf {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub started_at: DateTime<Utc>,
    /// The account that it was taken in, if that is known.
    pub account: Option<String>,
}

/// How far a set is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What EC2 says of each that it knows.
    pub snapshots: Vec<Snapshot>,
    /// `Error` if one has failed, `Completed` if all are, else `Pending`.
    pub state: UploadState,
    /// Percent of all bytes, weighted by the volumes' sizes.
    pub percent: u8,
    /// How long the rest takes at the rate so far; unknown at the beginning.
    pub estimate: Option<Duration>,
    /// Why it has failed.
    pub problem: Option<String>,
}

/// EC2 may not show a new snapshot at once; one that is still missing after this is gone.
const VISIBLE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// Asks EC2 once.
///
/// # Errors
/// [`EbsError::Refused`], [`EbsError::Lost`]; [`EbsError::SnapshotMissing`] when of snapshots that are not new none is
/// there: that is another account than theirs, or somebody has deleted them all, and nothing is known of them.
pub fn look(ec2: &Ec2, wanted: &[UploadOf]) -> Result<Progress, EbsError> {
    let ids: Vec<String> = wanted.iter().map(|upload| upload.id.clone()).collect();
    let (found, now) = (ec2.snapshots_by_id(&ids)?, Utc::now());
    let is_old = |upload: &&UploadOf| now - upload.started_at > VISIBLE;
    if found.is_empty()
        && let Some(missing) = wanted.iter().find(is_old)
    {
        let (id, region) = (missing.id.clone(), ec2.region().to_owned());
        return Err(EbsError::SnapshotMissing { id, region, account: missing.account.clone() });
    }
    Ok(judge(wanted, found, now))
}

fn judge(wanted: &[UploadOf], snapshots: Vec<Snapshot>, now: DateTime<Utc>) -> Progress {
    let known = |upload: &&UploadOf| snapshots.iter().any(|found| found.id == upload.id);
    let missing: Vec<&UploadOf> = wanted.iter().filter(|upload| !known(upload)).collect();
    let gone = missing.iter().find(|upload| now - upload.started_at > VISIBLE);
    let broken = snapshots.iter().find(|found| found.state == UploadState::Error);
    let problem = match (broken, gone) {
        (Some(broken), _) => Some(format!(
            "snapshot \"{}\" of volume \"{}\" has failed: {}",
            broken.id,
            broken.volume_id,
            broken.message.as_deref().unwrap_or("EC2 gives no reason")
        )),
        (None, Some(gone)) => Some(format!("snapshot \"{}\" does not exist any more", gone.id)),
        (None, None) => None,
    };
    let done =
        missing.is_empty() && snapshots.iter().all(|found| found.state == UploadState::Completed);
    let state = match (&problem, done) {
        (Some(_), _) => UploadState::Error,
        (None, true) => UploadState::Completed,
        (None, false) => UploadState::Pending,
    };
    let percent = if done { 100 } else { percent(&snapshots, missing.len()) };
    let estimate = if done { None } else { estimate(wanted, percent, now) };
    Progress { snapshots, state, percent, estimate, problem }
}

/// A snapshot that is not visible yet counts as the largest that is.
fn percent(snapshots: &[Snapshot], missing: usize) -> u8 {
    let size = |found: &Snapshot| u64::from(found.gibibytes.max(1));
    let done = |found: &Snapshot| match found.state {
        UploadState::Completed => 100,
        _ => u64::from(found.progress.min(99)),
    };
    let largest = snapshots.iter().map(size).max().unwrap_or(1);
    let all = snapshots.iter().map(size).sum::<u64>()
        + largest * u64::try_from(missing).unwrap_or_default();
    let sum: u64 = snapshots.iter().map(|found| size(found) * done(found)).sum();
    u8::try_from(sum.checked_div(all).unwrap_or_default()).unwrap_or(100).min(99)
}

fn estimate(wanted: &[UploadOf], percent: u8, now: DateTime<Utc>) -> Option<Duration> {
    let begun = wanted.iter().map(|upload| upload.started_at).min()?;
    let elapsed = (now - begun).to_std().ok()?;
    if percent == 0 {
        return None;
    }
    Some(elapsed.mul_f64(f64::from(100 - percent.min(100)) / f64::from(percent)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tags;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn found(id: &str, gibibytes: u32, state: UploadState, progress: u8) -> Snapshot {
        Snapshot {
            id: id.into(),
            volume_id: format!("vol-{id}"),
            state,
            progress,
            started_at: at(0),
            completed_at: None,
            gibibytes,
            encrypted: false,
            kms_key: None,
            owner: "1".into(),
            message: None,
            tags: Tags::new(),
        }
    }

    fn wanted(ids: &[&str]) -> Vec<UploadOf> {
        let one = |id: &&str| UploadOf { id: (*id).to_owned(), started_at: at(0), account: None };
        ids.iter().map(one).collect()
    }

    #[test]
    fn progress_is_weighted_and_estimated() {
        let snapshots = vec![
            found("a", 30, UploadState::Pending, 40),
            found("b", 10, UploadState::Completed, 100),
        ];
        let progress = judge(&wanted(&["a", "b"]), snapshots, at(55));
        assert_eq!((progress.state, progress.percent), (UploadState::Pending, 55));
        assert_eq!(progress.estimate, Some(Duration::from_secs(45)));
        let beginning = judge(&wanted(&["a"]), vec![], at(9));
        assert_eq!((beginning.percent, beginning.estimate), (0, None));
        assert_eq!(beginning.state, UploadState::Pending);
    }

    #[test]
    fn all_completed_is_all() {
        let snapshots = vec![found("a", 30, UploadState::Completed, 0)];
        let progress = judge(&wanted(&["a"]), snapshots, at(9));
        assert_eq!((progress.state, progress.percent), (UploadState::Completed, 100));
        assert_eq!(progress.estimate, None);
    }

    #[test]
    fn a_failed_and_a_vanished_one_are_problems() {
        let mut broken = found("a", 8, UploadState::Error, 9);
        broken.message = Some("the key is disabled".into());
        let text = "snapshot \"a\" of volume \"vol-a\" has failed: the key is disabled";
        let progress = judge(&wanted(&["a"]), vec![broken], at(9));
        assert_eq!((progress.state, progress.problem.as_deref()), (UploadState::Error, Some(text)));
        let rest = vec![found("b", 8, UploadState::Completed, 100)];
        let progress = judge(&wanted(&["a", "b"]), rest, at(301));
        let text = "snapshot \"a\" does not exist any more";
        assert_eq!(progress.problem.as_deref(), Some(text));
    }
}

//! One `CreateSnapshots` for all volumes of a cluster, whatever becomes of the answer.

mod sets;

use std::time::{Duration, Instant};

use crate::door::SnapshotCall;
use crate::{BackupTags, EbsError, Ec2, Filter, Snapshot, Tags, Volume, tag};
use sets::{Judged, Set};

/// Refusals for too many snapshots under way, which last as long as those do.
const LIMITS: [&str; 3] =
    ["ConcurrentSnapshotLimitExceeded", "SnapshotLimitExceeded", "PendingSnapshotLimitExceeded"];
/// Refusals before anything was looked at: there is nothing to look for.
const THROTTLED: [&str; 3] = ["RequestLimitExceeded", "Throttling", "ThrottlingException"];
/// Refusals after which the call may have had its effect all the same.
const DOUBTFUL: [&str; 3] = ["InternalError", "InternalFailure", "ServiceUnavailable"];
/// A volume takes one snapshot in 15 s (EBS quotas).
const PER_VOLUME: (&str, Duration) =
    ("SnapshotCreationPerVolumeRateExceeded", Duration::from_secs(15));
/// Between two look-ups of a set whose answer was lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest that the first pause between two calls may be, and the longest of all: as the SDK has it for calls that
/// it repeats by itself.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What is to be taken.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which backup it is for.
    pub backup: BackupTags,
    /// The instance the volumes are attached to.
    pub instance_id: String,
    /// The volumes wanted.
    pub volumes: Vec<String>,
    /// The instance's other volumes, its root volume not among them.
    pub others: Vec<String>,
    /// Whether the root volume is one of `volumes`.
    pub with_root: bool,
    /// What the snapshots are described as.
    pub description: String,
    /// The user's own tags.
    pub tags: Tags,
    /// Whether the volumes' tags are copied.
    pub copy_tags: bool,
    /// Begins the tag of each call; other than that of any other task.
    pub request: String,
    /// How long to look first for a set that an earlier, interrupted task of this session may have taken; `None` when
    /// there was none.
    pub look_first: Option<Duration>,
    /// How long a set whose answer was lost is looked for.
    pub lookup: Duration,
    /// How long to go on when EC2 refuses for now.
    pub patience: Duration,
}

/// A whole set.
#[derive(Debug, Clone)]
pub struct TakenSet {
    /// One for each volume, in the order of [`Order::volumes`].
    pub snapshots: Vec<Snapshot>,
    /// What is known of the volumes, for a restore elsewhere. Empty when it could not be found out.
    pub volumes: Vec<Volume>,
    /// Whether the set was found by its tags, because the call's own answer was lost.
    pub adopted: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Says whether to go on; a reason not to ends the work.
pub type Watch<'a> = &'a dyn Fn() -> Result<(), String>;

/// Takes the set. Returns as soon as EC2 has answered: that is its point in time, whatever the upload takes.
///
/// A refusal that may pass is followed by a pause and another call; a lost answer by a look-up of the tags, and by
/// another call only when nothing has turned up within [`Order::lookup`]. Of several sets the earliest whole one is
/// kept. What is not part of the answer is deleted.
///
/// # Errors
/// [`EbsError::Refused`] at once for what does not pass; [`EbsError::Limit`]; [`EbsError::Partial`];
/// [`EbsError::Timeout`]; [`EbsError::Unknown`]; [`EbsError::Ended`].
pub fn take(ec2: &Ec2, order: &Order, watch: Watch<'_>) -> Result<TakenSet, EbsError> {
    Taking { ec2, order, watch, begun: Instant::now() }.run()
}

/// Whether the call would be allowed.
///
/// # Errors
/// What EC2 would refuse it with.
pub fn try_take(ec2: &Ec2, order: &Order) -> Result<(), EbsError> {
    ec2.try_create_snapshots(&call(order, 0))
}

fn call(order: &Order, attempt: u32) -> SnapshotCall {
    SnapshotCall {
        instance_id: order.instance_id.clone(),
        exclude: order.others.clone(),
        exclude_root: !order.with_root,
        description: order.description.clone(),
        copy_tags: order.copy_tags,
        tags: order.backup.of_call(&format!("{}.{attempt}", order.request), &order.tags),
    }
}

struct Taking<'a> {
    ec2: &'a Ec2,
    order: &'a Order,
    watch: Watch<'a>,
    begun: Instant,
}

impl Taking<'_> {
    fn run(&self) -> Result<TakenSet, EbsError> {
        if let Some(time) = self.order.look_first
            && let Some(set) = self.find(time)?
        {
            return Ok(set);
        }
        let (mut lost, mut facts) = (0, None);
        for attempt in 1_u32.. {
            self.go_on()?;
            // Hosts that have been refused ask for what matters first: their calls share one limit.
            let (made, seen) = self.ec2.create_snapshots(&call(self.order, attempt), attempt == 1);
            facts = facts.or(seen);
            let error = match made {
                Ok(made) => {
                    let facts = facts.map_or_else(|| self.facts(), Ok);
                    return self.judge(Set::new(made), facts, false);
                }
                Err(error) => error,
            };
            if let Some(set) = self.after(&error, &mut lost)? {
                return Ok(set);
            }
            let left = self.order.patience.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                let seconds = self.order.patience.as_secs();
                return Err(EbsError::Timeout { seconds, last: Box::new(error) });
            }
            if !error.is_lost() {
                self.pause(pause_after(&error, attempt).min(left))?;
            }
        }
        Err(EbsError::Ended("more attempts than can be counted".to_owned()))
    }

    /// What to do about an error: `Some` when the set is there all the same, `None` to call again.
    fn after(&self, error: &EbsError, lost: &mut u32) -> Result<Option<TakenSet>, EbsError> {
        if error.is_lost() {
            *lost += 1;
            if let Some(set) = self.find(self.order.lookup)? {
                return Ok(Some(set));
            }
            if *lost > 1 {
                return Err(EbsError::Unknown {
                    why: format!(
                        "two calls were not answered, and within {} s no snapshots of them have turned up",
                        self.order.lookup.as_secs()
                    ),
                    last: Box::new(error.again()),
                });
            }
            return Ok(None);
        }
        let code = error.code().unwrap_or_default();
        if LIMITS.contains(&code) {
            return Err(self.limit(code));
        }
        if !error.retryable() {
            return Err(error.again());
        }
        if THROTTLED.contains(&code) {
            return Ok(None);
        }
        self.find(if DOUBTFUL.contains(&code) { self.order.lookup } else { Duration::ZERO })
    }

    fn limit(&self, code: &str) -> EbsError {
        let pending = self.ec2.describe_snapshots(&[Filter::Status("pending".to_owned())]);
        let ours = |found: &Snapshot| self.order.volumes.contains(&found.volume_id);
        let pending = pending.unwrap_or_default().into_iter().filter(ours).map(|found| found.id);
        EbsError::Limit { code: code.to_owned(), pending: pending.collect() }
    }

    /// Looks for sets of this session by their tags, for so long as none is whole: what was made is not visible at
    /// once.
    ///
    /// Sessions of other hosts may have the same name, where each has a repository of its own. Theirs are of another
    /// database cluster or begin elsewhere, and in any case of other volumes.
    fn find(&self, time: Duration) -> Result<Option<TakenSet>, EbsError> {
        let backup = &self.order.backup;
        let filters = [
            Filter::Tag(tag::CLUSTER.to_owned(), backup.cluster.clone()),
            Filter::Tag(tag::BACKUP_ID.to_owned(), backup.backup_id.clone()),
            Filter::Tag(tag::SESSION.to_owned(), backup.session.clone()),
            Filter::Tag(tag::SYSTEM_IDENTIFIER.to_owned(), backup.system_identifier.clone()),
            Filter::Tag(tag::START_LSN.to_owned(), backup.start_lsn.clone()),
        ];
        let begun = Instant::now();
        loop {
            // A read that fails here has been tried often enough by itself.
            let found = self.ec2.describe_snapshots(&filters)?;
            let mut sets = Set::by_request(found);
            sets.retain(|set| set.has_any(&self.order.volumes));
            let whole = sets.iter().position(|set| set.is_whole(&self.order.volumes));
            if let Some(index) = whole {
                let kept = sets.remove(index);
                let rest: Vec<_> = sets.into_iter().flat_map(Set::into_snapshots).collect();
                let remain = self.delete(&rest);
                let mut set = self.judge(kept, self.facts(), true)?;
                set.warnings.extend(orphans(&remain));
                return Ok(Some(set));
            }
            if begun.elapsed() >= time {
                let parts: Vec<_> = sets.into_iter().flat_map(Set::into_snapshots).collect();
                return if parts.is_empty() { Ok(None) } else { Err(self.torn(&parts)) };
            }
            self.pause(LOOK_EVERY.min(time))?;
        }
    }

    fn facts(&self) -> Result<Vec<Volume>, EbsError> {
        self.ec2.describe_volumes(&[Filter::Instance(self.order.instance_id.clone())])
    }

    /// Failure mode F10: a set of which something is missing or broken is one failed snapshot.
    fn judge(
        &self,
        set: Set,
        facts: Result<Vec<Volume>, EbsError>,
        adopted: bool,
    ) -> Result<TakenSet, EbsError> {
        let Judged { ours, extra, problem } = set.judge(&self.order.volumes);
        let remain = self.delete(&extra);
        if let Some(why) = problem {
            let mut kept = self.delete(&ours);
            kept.extend(remain);
            return Err(EbsError::Partial { why, kept });
        }
        let mut warnings = orphans(&remain);
        if !extra.is_empty() {
            warnings.push(format!(
                "EC2 took more snapshots than were asked for (of {}); those were deleted",
                extra.iter().map(|found| found.volume_id.as_str()).collect::<Vec<_>>().join(", ")
            ));
        }
        let volumes = facts.unwrap_or_else(|error| {
            warnings.push(format!(
                "what the volumes are (type, IOPS, key) could not be recorded: {error}"
            ));
            vec![]
        });
        Ok(TakenSet { snapshots: ours, volumes, adopted, warnings })
    }

    fn torn(&self, parts: &[Snapshot]) -> EbsError {
        let found: Vec<&str> = parts.iter().map(|part| part.volume_id.as_str()).collect();
        let why = format!(
            "of {} volumes only {} were found to have one, after the answer was lost",
            self.order.volumes.len(),
            found.join(", ")
        );
        EbsError::Partial { why, kept: self.delete(parts) }
    }

    /// Deletes snapshots, and gives the ids of those that could not be.
    fn delete(&self, snapshots: &[Snapshot]) -> Vec<String> {
        snapshots
            .iter()
            .filter(|found| self.ec2.delete_snapshot(&found.id).is_err())
            .map(|found| found.id.clone())
            .collect()
    }

    fn go_on(&self) -> Result<(), EbsError> {
        (self.watch)().map_err(EbsError::Ended)
    }

    /// A backup that is lost meanwhile must not be waited for.
    fn pause(&self, time: Duration) -> Result<(), EbsError> {
        let until = Instant::now() + time;
        loop {
            self.go_on()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.ec2.wait(left.min(LOOK_EVERY));
        }
    }
}

fn orphans(ids: &[String]) -> Vec<String> {
    if ids.is_empty() {
        return vec![];
    }
    vec![format!(
        "these snapshots belong to no backup and could not be deleted: {}; ebs_expire removes them",
        ids.join(", ")
    )]
}

/// Anything from nothing to a bound that doubles, so that many hosts that were refused together spread out, however
/// few calls there are for them.
fn pause_after(error: &EbsError, attempt: u32) -> Duration {
    if error.code() == Some(PER_VOLUME.0) {
        return PER_VOLUME.1;
    }
    let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE).mul_f64(chance())
}

/// From 0 to 1, other for each process and moment; nothing depends on its quality.
fn chance() -> f64 {
    let nanos = chrono::Utc::now().timestamp_subsec_nanos();
    let mixed = nanos.wrapping_mul(0x9E37_79B1) ^ std::process::id().wrapping_mul(0x85EB_CA6B);
    f64::from(mixed) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_bounds() {
        let refused = |code: &str| EbsError::Refused {
            action: "CreateSnapshots",
            code: code.into(),
            message: String::new(),
        };
        let throttled = refused("RequestLimitExceeded");
        for (attempt, most) in [(1, 1), (2, 2), (5, 16), (6, 20), (40, 20)] {
            let pauses: Vec<_> = (0..100).map(|_| pause_after(&throttled, attempt)).collect();
            let most = Duration::from_secs(most);
            assert!(pauses.iter().all(|pause| *pause <= most), "{attempt}: {pauses:?}");
            // near the bound and far from it: hosts that come together do not stay together
            assert!(pauses.iter().any(|pause| *pause > most / 2), "{attempt}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause < most / 2), "{attempt}: {pauses:?}");
        }
        let volume = refused("SnapshotCreationPerVolumeRateExceeded");
        assert_eq!(pause_after(&volume, 1), Duration::from_secs(15));
    }

    #[test]
    fn what_remains_is_named() {
        assert!(orphans(&[]).is_empty());
        let text = "these snapshots belong to no backup and could not be deleted: snap-1, snap-2; ebs_expire removes them";
        assert_eq!(orphans(&["snap-1".into(), "snap-2".into()]), [text]);
    }
}

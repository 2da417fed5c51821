//! Recovery targets: which ones the backup and its WAL can reach, and what the server is told.
//!
//! PostgreSQL refuses a target before the end of the backup only when a transaction committed during the backup; otherwise
//! it recovers to the backup's end and says nothing. So the refusal happens here, with both values.

use chrono::{DateTime, Utc};
use pg::{Lsn, RecoveryTarget, TargetAction, TargetTimeline};

use crate::RecoveryError;
use crate::request::{Restore, Target};

/// The target as the server gets it, with the timeline chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveTarget {
    /// The recovery target; for a backup from a standby `immediate` has become the stop LSN, or the end of the
    /// backup's WAL.
    pub target: RecoveryTarget,
    /// Whether the transaction or record at the target is replayed too.
    pub inclusive: bool,
    /// `current` or a number, never `latest`.
    pub timeline: TargetTimeline,
    /// What the server does at the target.
    pub action: TargetAction,
}

/// What of a backup the target is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The stop LSN: from here on the backup is consistent.
    pub(crate) lsn: Lsn,
    /// The stop time.
    pub(crate) time: DateTime<Utc>,
    /// The end of the last WAL segment in the backup.
    pub(crate) wal: Lsn,
    /// Whether the backup was taken from a standby.
    pub(crate) from_standby: bool,
}

/// The timeline to look for when the request names none.
pub(crate) fn wanted_timeline(restore: &Restore) -> TargetTimeline {
    let stays = restore.restore_command.is_none()
        || matches!(restore.target.target, RecoveryTarget::Immediate);
    match &restore.target.timeline {
        Some(timeline) => *timeline,
        None if stays => TargetTimeline::Current,
        None => TargetTimeline::Latest,
    }
}

/// Refuses what cannot be reached, and settles what the server will be told, but for the timeline.
pub(crate) fn settle(
    wanted: &Target,
    end: End,
    has_restore_command: bool,
    timeline: TargetTimeline,
) -> Result<EffectiveTarget, RecoveryError> {
    let target = match &wanted.target {
        RecoveryTarget::Immediate if end.from_standby => {
            of_standby(wanted.action, end, has_restore_command)
        }
        other => other.clone(),
    };
    not_before_the_end(&target, end)?;
    if !has_restore_command {
        within_the_backup(&target, end)?;
    }
    if matches!(target, RecoveryTarget::Latest) && wanted.action != TargetAction::Promote {
        // The server ignores the action when there is no target, and promotes.
        return Err(RecoveryError::InvalidArgument {
            option: "recovery_target_action".to_owned(),
            problem: format!("\"{}\" needs a recovery target", wanted.action),
        });
    }
    Ok(EffectiveTarget { target, inclusive: wanted.inclusive, timeline, action: wanted.action })
}

/// `immediate` for a backup from a standby. Its end is no record in WAL: the server takes it from the copied control
/// file, which may be a little older than the stop LSN, and would stop there. With its own WAL alone the backup is replayed
/// to the end of it; an archive goes on past that, so there the stop LSN becomes the target.
fn of_standby(action: TargetAction, end: End, has_restore_command: bool) -> RecoveryTarget {
    if action == TargetAction::Promote && !has_restore_command {
        RecoveryTarget::Latest
    } else {
        RecoveryTarget::Lsn(end.lsn)
    }
}

fn not_before_the_end(target: &RecoveryTarget, end: End) -> Result<(), RecoveryError> {
    let before = |text: String| {
        Err(RecoveryError::TargetBeforeBackupEnd { target: target.to_string(), end: text })
    };
    match target {
        RecoveryTarget::Lsn(lsn) if *lsn < end.lsn => before(end.lsn.to_string()),
        RecoveryTarget::Time(time) if time.instant() <= end.time => before(end.time.to_rfc3339()),
        _ => Ok(()),
    }
}

fn within_the_backup(target: &RecoveryTarget, end: End) -> Result<(), RecoveryError> {
    let within = match target {
        RecoveryTarget::Latest | RecoveryTarget::Immediate => true,
        RecoveryTarget::Lsn(lsn) => *lsn < end.wal,
        // After the stop nothing but the switch to the next segment is in the backup's WAL. A transaction or a
        // restore point in it is either before the stop, and then out of reach, or not there.
        RecoveryTarget::Time(_) | RecoveryTarget::Xid(_) | RecoveryTarget::Name(_) => false,
    };
    if within {
        return Ok(());
    }
    Err(RecoveryError::TargetBeyondBackup { target: target.to_string(), end: end.wal.to_string() })
}

#[cfg(test)]
mod tests {
    use pg::TransactionId;

    use super::*;

    fn end(from_standby: bool) -> End {
        End {
            lsn: "0/3000100".parse().unwrap(),
            time: "2026-11-21T03:00:00Z".parse().unwrap(),
            wal: "0/4000000".parse().unwrap(),
            from_standby,
        }
    }

    fn wanted(target: RecoveryTarget, action: TargetAction) -> Target {
        Target { target, inclusive: true, timeline: None, action }
    }

    fn promote(target: RecoveryTarget, has_command: bool) -> Result<RecoveryTarget, String> {
        let wanted = wanted(target, TargetAction::Promote);
        settle(&wanted, end(false), has_command, TargetTimeline::Current)
            .map(|settled| settled.target)
            .map_err(|error| error.to_string())
    }

    fn lsn(text: &str) -> RecoveryTarget {
        RecoveryTarget::Lsn(text.parse().unwrap())
    }

    fn time(text: &str) -> RecoveryTarget {
        RecoveryTarget::Time(text.parse().unwrap())
    }

    #[test]
    fn nothing_before_the_end_of_the_backup() {
        assert_eq!(
            promote(lsn("0/30000FF"), true).unwrap_err(),
            "recovery target LSN 0/30000FF is before the end of the backup, 0/3000100"
        );
        assert!(promote(lsn("0/3000100"), false).is_ok());
        assert_eq!(
            promote(time("2026-11-21T04:00:00+01:00"), true).unwrap_err(),
            "recovery target 2026-11-21T03:00:00Z is before the end of the backup, 2026-11-21T03:00:00+00:00"
        );
        assert!(promote(time("2026-11-21T03:00:00.000001Z"), true).is_ok());
    }

    #[test]
    fn nothing_beyond_the_wal_without_an_archive() {
        let xid = RecoveryTarget::Xid(TransactionId::new(700).unwrap());
        let name = RecoveryTarget::Name("here".parse().unwrap());
        for target in [xid, name, lsn("0/4000000"), time("2026-11-21T03:01:00Z")] {
            let error = promote(target.clone(), false).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "recovery target {target} is beyond the WAL of the backup, which ends at 0/4000000"
                )
            );
            assert_eq!(promote(target.clone(), true), Ok(target));
        }
        assert!(promote(RecoveryTarget::Latest, false).is_ok());
        assert!(promote(RecoveryTarget::Immediate, false).is_ok());
    }

    #[test]
    fn an_action_needs_a_target() {
        let wanted = wanted(RecoveryTarget::Latest, TargetAction::Pause);
        let error = settle(&wanted, end(false), true, TargetTimeline::Current).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid recovery_target_action: \"pause\" needs a recovery target"
        );
    }

    #[test]
    fn immediate_of_a_standby_passes_the_stop() {
        let settled = |action, has_command| {
            settle(
                &wanted(RecoveryTarget::Immediate, action),
                end(true),
                has_command,
                TargetTimeline::Current,
            )
            .unwrap()
            .target
        };
        assert_eq!(settled(TargetAction::Promote, false), RecoveryTarget::Latest);
        assert_eq!(settled(TargetAction::Promote, true), lsn("0/3000100"));
        assert_eq!(settled(TargetAction::Pause, false), lsn("0/3000100"));
    }
}

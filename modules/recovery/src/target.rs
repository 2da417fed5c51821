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

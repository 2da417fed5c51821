//! Earlier sessions of the same database cluster: those that run, and what others left.

use ansible::Failure;
use frame::{Explain, manifest};
use pg::Identity;
use session::{SessionRecord, SessionState};

use super::preflight::Findings;
use crate::modules::backup_abort;
use crate::modules::backup_start::BackupStart;

/// Two sessions of one cluster do not disturb each other in PostgreSQL, but
/// mostly the second is a mistake: a play started twice, a cron job that
/// overtook itself.
pub(super) fn check_alone(task: &BackupStart, identity: &Identity) -> Result<(), Failure> {
    if task.concurrent {
        return Ok(());
    }
    let Some(other) = others(task, identity)?.into_iter().next() else { return Ok(()) };
    if task.take_over {
        // Ended when the plan is carried out.
        return Ok(());
    }
    Err(Failure::new(
        "session_mismatch",
        format!(
            "session \"{}\" has held this database cluster in backup mode since {}",
            other.session, other.created_at
        ),
    )
    .hint(
        "Wait for it, end it with backup_abort or by take_over: true, or give concurrent: true to have both.",
    ))
}

/// The sessions that hold this database cluster in backup mode.
fn others(task: &BackupStart, identity: &Identity) -> Result<Vec<SessionRecord>, Failure> {
    of_cluster(task, identity, &[SessionState::InProgress, SessionState::Starting])
}

fn of_cluster(
    task: &BackupStart,
    identity: &Identity,
    states: &[SessionState],
) -> Result<Vec<SessionRecord>, Failure> {
    let (mut records, _) = task.store.all().map_err(|error| error.explain())?;
    records.retain(|record| {
        record.server.system_identifier == identity.system_identifier
            && states.contains(&record.state_now())
    });
    Ok(records)
}

/// Ends what an earlier play has left in backup mode, if that is asked for. What it was is on record then.
pub(super) fn take_over(task: &BackupStart, findings: &mut Findings) -> Result<(), Failure> {
    note_losses(task, &findings.identity);
    if !task.take_over {
        return Ok(());
    }
    for other in others(task, &findings.identity)? {
        let reason = format!("session \"{}\" took over", task.session);
        let ended = backup_abort::end(&task.store, &other, &reason)?;
        // The session is over; that its backup failed is for whoever looks later.
        let _ = manifest::fail(&ended, &reason);
        findings.warnings.push(format!(
            "session \"{}\" of {} was still in backup mode, and was ended",
            other.session, other.created_at
        ));
    }
    Ok(())
}

/// Has the manifests of backups that came to nothing, and that nobody has aborted, say so: they would be "started" for
/// ever, and ebs_expire could not tell what they left behind. One that cannot be written is no reason to take no new
/// backup.
fn note_losses(task: &BackupStart, identity: &Identity) {
    for lost in of_cluster(task, identity, &[SessionState::Lost]).unwrap_or_default() {
        let _ = backup_abort::note_loss(&task.store, lost);
    }
    // those, and those that ended by themselves, as at their deadline
    for over in of_cluster(task, identity, &[SessionState::Aborted]).unwrap_or_default() {
        let _ = manifest::fail(&over, &over.reason().unwrap_or_default());
    }
}

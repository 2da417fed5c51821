//! Volumes from snapshots, each made once.

use std::time::{Duration, Instant};

use super::{Piece, Restored, Steps, wishes};
use crate::restore::undo::Undo;
use crate::{EbsError, NewVolume, Tags, Volume, tag};

/// How long a volume that was just made may not be shown.
const SHOWN: Duration = Duration::from_secs(15);

/// The id of the volume of this piece: the one that is there, or a new one.
pub(super) fn volume(
    steps: &Steps<'_>,
    piece: &Piece,
    there: &[Volume],
    undo: &mut Undo<'_>,
    restored: &mut Restored,
) -> Result<String, EbsError> {
    let of = |volume: &&Volume| volume.tags.get(tag::SNAPSHOT) == Some(&piece.snapshot_id);
    if let Some(volume) = there.iter().find(of) {
        return Ok(volume.id.clone());
    }
    restored.changed = true;
    if !steps.stale_tokens.get() {
        let token = format!("{}-{}", steps.order.restore_id, piece.snapshot_id);
        match steps.ec2.create_volume(&new_volume(steps, piece, token)) {
            Ok(id) => {
                undo.made(&id);
                if is_shown(steps, &id)? {
                    return Ok(id);
                }
                undo.gone(&id);
            }
            // A restore that was undone asked for a volume of another kind under this token.
            Err(error) if error.code() == Some("IdempotentParameterMismatch") => {}
            Err(error) => return Err(error),
        }
        steps.stale_tokens.set(true);
    }
    let id = steps.ec2.create_volume(&new_volume(steps, piece, fresh_token(piece)))?;
    undo.made(&id);
    Ok(id)
}

/// A token of this run only. The one that all runs share finds the volume of a run that was killed before it was shown;
/// but EC2 goes on answering a token with the volume that it stood for, also when an undo has deleted that.
fn fresh_token(piece: &Piece) -> String {
    let now = chrono::Utc::now().timestamp_micros();
    format!("{}-{now:x}-{:x}", piece.snapshot_id, std::process::id())
}

fn new_volume(steps: &Steps<'_>, piece: &Piece, client_token: String) -> NewVolume {
    let order = steps.order;
    let mut tags: Tags = order.like.tags.clone();
    // Only a restore that is whole has it.
    tags.remove(tag::RESTORED);
    tags.entry(tag::NAME.to_owned())
        .or_insert_with(|| format!("{} {} restored", order.backup.cluster, order.backup.backup_id));
    for (key, value) in [
        (tag::RESTORE, &order.restore_id),
        (tag::CLUSTER, &order.backup.cluster),
        (tag::BACKUP_ID, &order.backup.backup_id),
        (tag::SNAPSHOT, &piece.snapshot_id),
    ] {
        tags.insert(key.to_owned(), value.clone());
    }
    NewVolume {
        snapshot_id: piece.snapshot_id.clone(),
        zone: order.zone.clone(),
        client_token,
        tags,
        ..wishes::like(&order.like, &piece.was)
    }
}

/// Whether the volume is there. One that is deleted is shown as such for a while, and then no more.
fn is_shown(steps: &Steps<'_>, id: &str) -> Result<bool, EbsError> {
    let begun = Instant::now();
    loop {
        match steps.ec2.volume(id)? {
            Some(volume) => return Ok(!is_going(&volume)),
            None if begun.elapsed() >= SHOWN.min(steps.order.patience) => return Ok(false),
            None => steps.ec2.wait(super::LOOK_EVERY),
        }
    }
}

/// Whether a volume is deleted, or about to be.
pub(super) fn is_going(volume: &Volume) -> bool {
    matches!(volume.state.as_str(), "deleting" | "deleted")
}

/// Waits until a volume can be attached, or is. What EBS finds out only while it makes the volume, as that it may not
/// use the key, ends in an error or in the volume's disappearance.
pub(super) fn wait_usable(steps: &Steps<'_>, piece: &Piece, id: &str) -> Result<Volume, EbsError> {
    let begun = Instant::now();
    let mut last: Option<Volume> = None;
    loop {
        let found = steps.ec2.volume(id)?;
        if let Some(became) = fate(last.as_ref(), found.as_ref()) {
            return Err(failed(piece, id, became, found.or(last).as_ref()));
        }
        match found {
            Some(volume) if is_usable(&volume) => return Ok(volume),
            found => last = found.or(last),
        }
        steps.wait(begun, || format!("volume \"{id}\" did not become available"))?;
    }
}

/// A volume that an interrupted undo is detaching will be available, but is not yet.
fn is_usable(volume: &Volume) -> bool {
    let leaving = volume.attachments.iter().any(|attachment| attachment.state == "detaching");
    matches!(volume.state.as_str(), "available" | "in-use") && !leaving
}

/// What became of a volume that will never be usable. One that was never seen may not be shown yet.
fn fate(last: Option<&Volume>, now: Option<&Volume>) -> Option<&'static str> {
    match (last, now) {
        (_, Some(volume)) if volume.state == "error" => Some("went to state \"error\""),
        (_, Some(volume)) if is_going(volume) => Some("disappeared"),
        (Some(_), None) => Some("disappeared"),
        _ => None,
    }
}

fn failed(piece: &Piece, id: &str, became: &'static str, known: Option<&Volume>) -> EbsError {
    let key = known.and_then(|volume| volume.kms_key.clone());
    let encryption = match (key, known.is_some_and(|volume| volume.encrypted)) {
        (Some(key), _) => format!("encrypted with \"{key}\""),
        (None, true) => "encrypted".to_owned(),
        (None, false) => "not encrypted".to_owned(),
    };
    EbsError::VolumeFailed {
        volume: id.to_owned(),
        snapshot: piece.snapshot_id.clone(),
        became,
        encryption,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::piece;
    use super::*;
    use crate::Attachment;

    fn volume(state: &str) -> Volume {
        Volume {
            id: "vol-1".into(),
            state: state.into(),
            zone: "z".into(),
            gibibytes: 1,
            volume_type: None,
            iops: None,
            throughput: None,
            encrypted: true,
            kms_key: Some("arn:k".into()),
            snapshot_id: None,
            attachments: vec![],
            tags: Tags::new(),
        }
    }

    #[test]
    fn what_will_never_be_usable_is_not_waited_for() {
        let creating = volume("creating");
        assert_eq!(fate(None, None), None);
        assert_eq!(fate(None, Some(&creating)), None);
        assert_eq!(fate(Some(&creating), None), Some("disappeared"));
        assert_eq!(fate(None, Some(&volume("deleting"))), Some("disappeared"));
        assert_eq!(fate(None, Some(&volume("error"))), Some("went to state \"error\""));
        let text = failed(&piece("snap-1"), "vol-1", "disappeared", Some(&creating)).to_string();
        assert_eq!(
            text,
            "volume \"vol-1\" from snapshot \"snap-1\" disappeared while it was made; it is encrypted with \"arn:k\""
        );
    }

    #[test]
    fn what_is_being_detached_is_not_usable_yet() {
        assert!(is_usable(&volume("available")) && !is_usable(&volume("creating")));
        let attached = |state: &str| Attachment {
            instance_id: "i-1".into(),
            device: "/dev/sdf".into(),
            state: state.into(),
        };
        let of = |state| Volume { attachments: vec![attached(state)], ..volume("in-use") };
        assert!(is_usable(&of("attached")) && !is_usable(&of("detaching")));
    }
}

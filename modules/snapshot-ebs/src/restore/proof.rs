//! What is known of a restore before anything is made: its snapshots, its mount points, its zone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use snapshot::UploadState;

use super::{Piece, RestoreOrder, here};
use crate::{EbsError, Ec2, Filter, Snapshot, Volume};

/// The availability zone to make volumes in: that of the instance, since a volume can be attached in its own zone only.
/// `known` is what the instance's metadata service said; without it, the instance's attached volumes tell.
///
/// # Errors
/// [`EbsError::Option`] when `wanted` is another zone, or no zone is known; what EC2 refuses.
pub fn zone_of(
    ec2: &Ec2,
    instance: &str,
    known: Option<String>,
    wanted: Option<&str>,
) -> Result<String, EbsError> {
    let found = match known {
        Some(zone) => Some(zone),
        None => {
            let attached = ec2.describe_volumes(&[Filter::Instance(instance.to_owned())])?;
            attached.into_iter().next().map(|volume| volume.zone)
        }
    };
    settle_zone(instance, found, wanted)
}

fn settle_zone(
    instance: &str,
    found: Option<String>,
    wanted: Option<&str>,
) -> Result<String, EbsError> {
    let no = |problem: String| Err(EbsError::Option { option: "zone", problem });
    match (found, wanted) {
        (Some(found), Some(wanted)) if found != wanted => no(format!(
            "it is \"{wanted}\", but instance \"{instance}\" is in \"{found}\", and a volume can only be attached in \
             its own zone"
        )),
        (Some(found), _) => Ok(found),
        (None, Some(wanted)) => Ok(wanted.to_owned()),
        (None, None) => {
            no(format!("it is needed, since no volume tells the zone of instance \"{instance}\""))
        }
    }
}

/// Refuses a snapshot that is missing, not of this backup by its own tags, of another size, or not completed.
pub(super) fn prove(
    order: &RestoreOrder,
    region: &str,
    piece: &Piece,
    snapshot: Option<&Snapshot>,
) -> Result<(), EbsError> {
    let id = &piece.snapshot_id;
    let not = |why: String| Err(EbsError::Mismatch(format!("snapshot \"{id}\" {why}")));
    let Some(snapshot) = snapshot else {
        return Err(EbsError::SnapshotMissing {
            id: id.clone(),
            region: region.to_owned(),
            account: piece.account.clone(),
        });
    };
    if !order.backup.prove(&snapshot.tags) {
        return not(format!(
            "is not of backup \"{}\" of cluster \"{}\": its own tags say otherwise",
            order.backup.backup_id, order.backup.cluster
        ));
    }
    let state = |state| {
        Err(EbsError::SnapshotState { id: id.clone(), state, message: snapshot.message.clone() })
    };
    match snapshot.state {
        UploadState::Completed => {}
        UploadState::Pending => return state("pending"),
        UploadState::Error => return state("error"),
    }
    match piece.gibibytes {
        Some(size) if size != snapshot.gibibytes => {
            not(format!("has {} GiB, the manifest says {size} GiB", snapshot.gibibytes))
        }
        _ => Ok(()),
    }
}

/// Refuses a volume of this restore that is attached to another instance than `instance`.
pub(super) fn expect_here(volume: &Volume, instance: &str) -> Result<(), EbsError> {
    match volume.attachments.iter().find(|there| there.instance_id != *instance) {
        Some(there) => Err(EbsError::Mismatch(format!(
            "volume \"{}\" of this restore is attached to instance \"{}\", not to \"{instance}\"",
            volume.id, there.instance_id
        ))),
        None => Ok(()),
    }
}

/// Refuses mount points that are given twice, or in use for something else than what an earlier run has `mounted`.
pub(super) fn expect_free(order: &RestoreOrder, mounted: &[PathBuf]) -> Result<(), EbsError> {
    let mut seen: BTreeMap<&Path, &Path> = BTreeMap::new();
    for (filesystem, point) in order.filesystems() {
        if let Some(other) = seen.insert(point, &filesystem.mount_point) {
            return Err(EbsError::Option {
                option: "mount_points",
                problem: format!(
                    "both \"{}\" and \"{}\" would be mounted at \"{}\"",
                    other.display(),
                    filesystem.mount_point.display(),
                    point.display()
                ),
            });
        }
    }
    seen.into_keys().try_for_each(|point| here::expect_free(point, mounted))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{filesystem, order, piece};
    use super::*;

    #[test]
    fn volumes_are_made_where_the_instance_is() {
        let zone =
            |found: Option<&str>, wanted| settle_zone("i-1", found.map(str::to_owned), wanted);
        assert_eq!(zone(Some("a"), None).unwrap(), "a");
        assert_eq!(zone(Some("a"), Some("a")).unwrap(), "a");
        assert_eq!(zone(None, Some("b")).unwrap(), "b");
        assert_eq!(
            zone(Some("a"), Some("b")).unwrap_err().to_string(),
            "invalid zone: it is \"b\", but instance \"i-1\" is in \"a\", and a volume can only be attached in its own \
             zone"
        );
        assert_eq!(
            zone(None, None).unwrap_err().to_string(),
            "invalid zone: it is needed, since no volume tells the zone of instance \"i-1\""
        );
    }

    #[test]
    fn two_filesystems_need_two_mount_points() {
        let mut order = order();
        order.pieces = vec![piece("snap-1"), piece("snap-2")];
        order.pieces[0].filesystems = vec![(filesystem("/old/a"), "/no/such/place".into())];
        order.pieces[1].filesystems = vec![(filesystem("/old/b"), "/no/such/other".into())];
        assert!(expect_free(&order, &[]).is_ok());
        order.pieces[1].filesystems = vec![(filesystem("/old/b"), "/no/such/place".into())];
        assert_eq!(
            expect_free(&order, &[]).unwrap_err().to_string(),
            "invalid mount_points: both \"/old/a\" and \"/old/b\" would be mounted at \"/no/such/place\""
        );
    }
}

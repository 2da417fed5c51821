//! Which snapshots may be deleted, and deleting them.
//!
//! What the repository says is a proposal only: whoever can write there must not gain the power to delete what else
//! the account has. A snapshot is deleted when our own account owns it and its own tags name the cluster, the
//! database cluster's system identifier, and the backup.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{EbsError, Ec2, Filter, Snapshot, TAKING, tag};

/// Refusals that are about the one snapshot and will pass, or are somebody's wish: it is locked, or an image uses it.
const HELD: [&str; 2] = ["SnapshotLocked", "InvalidSnapshot.InUse"];

/// What the repository says of one cluster's backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// The cluster's name in the repository.
    pub cluster: String,
    /// Its system identifier, as decimal digits.
    pub system_identifier: String,
    /// Its backups by their ids.
    pub backups: BTreeMap<String, Proposal>,
    /// The volumes that its backups were taken of. A backup that is not in the repository may be in another one, of a
    /// standby or a clone: there the volumes are others.
    pub volumes: BTreeSet<String>,
}

/// What the repository says of a backup's snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What is to become of them.
    pub standing: Standing,
    /// Where the backup starts; one of the same name in another repository starts elsewhere.
    pub start_lsn: String,
    /// Their ids.
    pub snapshots: Vec<String>,
}

/// What is to become of a backup's snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They go, provided that one of them at least is found. Otherwise this is another region or account than
    /// theirs, and the backup is not to be given up because of that.
    Outdated,
    /// They go, as far as they are there.
    Unwanted,
    /// Those go that are still tagged as being taken: the backup failed.
    Failed,
    /// They stay. What an interrupted task left of the same backup, still tagged as being taken and not named by the
    /// repository, goes like a snapshot of a backup that is unknown.
    Kept,
    /// What they are is not known, so that nothing of the backup goes.
    Unreadable,
}

impl Standing {
    /// Whether the snapshots that the repository names stay.
    fn stays(self) -> bool {
        matches!(self, Self::Kept | Self::Unreadable)
    }
}

/// Which snapshots of unfinished backups go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// How old a snapshot of a backup must be that the repository does not know: it may be of one that is just being
    /// taken.
    pub grace: TimeDelta,
    /// The time now.
    pub now: DateTime<Utc>,
}

/// A backup and its snapshots that are deleted, or are to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// The backup.
    pub backup_id: String,
    /// The ids of its snapshots; copies in the region are among them.
    pub snapshots: Vec<String>,
}

/// A snapshot that somebody proposed, and that is not deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spared {
    /// `snap-…`.
    pub snapshot_id: String,
    /// Why not.
    pub why: String,
}

/// What may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// This may, by backup. One with [`Standing::Outdated`] is here only if its snapshots were found; one with
    /// [`Standing::Unwanted`] only if some are left.
    pub expired: Vec<Expired>,
    /// This may not.
    pub refused: Vec<Spared>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Deletion {
    /// The ids of the snapshots that are gone.
    pub deleted: Vec<String>,
    /// Those that EC2 refused to delete.
    pub refused: Vec<Spared>,
    /// The first error that is not about one snapshot only. Without an answer from EC2 the rest was not tried.
    pub failed: Option<EbsError>,
}

/// Everything that may be of the cluster's backups in this region: what is tagged so, and what the repository names.
///
/// # Errors
/// [`EbsError::Refused`], [`EbsError::Lost`].
pub fn find(ec2: &Ec2, catalogue: &Catalogue) -> Result<Vec<Snapshot>, EbsError> {
    let tagged = |key: &str, value: &str| Filter::Tag(key.to_owned(), value.to_owned());
    let mut found = ec2.describe_snapshots(&[
        tagged(tag::CLUSTER, &catalogue.cluster),
        tagged(tag::SYSTEM_IDENTIFIER, &catalogue.system_identifier),
    ])?;
    let known: BTreeSet<&str> = found.iter().map(|snapshot| snapshot.id.as_str()).collect();
    // Without those that are only kept: nothing is to be said of them.
    let named = catalogue.backups.values().filter(|backup| !backup.standing.stays());
    let others: Vec<String> = named
        .flat_map(|backup| &backup.snapshots)
        .filter(|id| !known.contains(id.as_str()))
        .cloned()
        .collect();
    if !others.is_empty() {
        found.extend(ec2.snapshots_by_id(&others)?);
    }
    Ok(found)
}

/// Decides, without asking anybody. `found` is what [`find`] gave; without `unfinished` what failed or is unknown
/// stays.
#[must_use]
pub fn judge(catalogue: &Catalogue, unfinished: Option<Unfinished>, found: &[Snapshot]) -> Verdict {
    let found: BTreeMap<&str, &Snapshot> =
        found.iter().map(|snapshot| (snapshot.id.as_str(), snapshot)).collect();
    let mut verdict = Verdict::default();
    let mut lost = BTreeSet::new();
    for (backup_id, proposal) in &catalogue.backups {
        verdict.refused.extend(catalogue.unproven(backup_id, proposal, &found));
        if proposal.standing == Standing::Outdated && !catalogue.any(backup_id, proposal, &found) {
            lost.insert(backup_id.as_str());
            let absent = proposal.snapshots.iter().filter(|id| !found.contains_key(id.as_str()));
            verdict.refused.extend(absent.map(|id| Spared {
                snapshot_id: id.clone(),
                why: format!(
                    "no snapshot of backup \"{backup_id}\" was found in this region and account"
                ),
            }));
        }
    }
    let mut doomed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for snapshot in found.values() {
        let Ok(backup_id) = catalogue.backup_of(snapshot) else { continue };
        if !lost.contains(backup_id) && catalogue.is_over(backup_id, snapshot, unfinished) {
            doomed.entry(backup_id).or_default().push(snapshot.id.clone());
        }
    }
    verdict.expired = doomed
        .into_iter()
        .map(|(backup_id, snapshots)| Expired { backup_id: backup_id.to_owned(), snapshots })
        .collect();
    verdict
}

impl Catalogue {
    /// The backup that a snapshot's own tags prove it to be of; or what is wrong with them.
    fn backup_of<'a>(&self, snapshot: &'a Snapshot) -> Result<&'a str, String> {
        let said = |key: &str| {
            let value = snapshot.tags.get(key).map(String::as_str);
            value.ok_or_else(|| format!("it has no tag \"{key}\""))
        };
        for (key, ours) in
            [(tag::CLUSTER, &self.cluster), (tag::SYSTEM_IDENTIFIER, &self.system_identifier)]
        {
            let theirs = said(key)?;
            if theirs != ours {
                return Err(format!("its tag \"{key}\" is \"{theirs}\", not \"{ours}\""));
            }
        }
        let backup = said(tag::BACKUP_ID)?;
        if let Some(known) = self.backups.get(backup)
            && known.standing != Standing::Unreadable
        {
            let (key, ours) = (tag::START_LSN, &known.start_lsn);
            let theirs = said(key)?;
            if theirs != ours {
                return Err(format!("its tag \"{key}\" is \"{theirs}\", not \"{ours}\""));
            }
        }
        Ok(backup)
    }

    /// The snapshots that the repository would have deleted as this backup's, and whose tags say otherwise.
    fn unproven(
        &self,
        backup_id: &str,
        proposal: &Proposal,
        found: &BTreeMap<&str, &Snapshot>,
    ) -> Vec<Spared> {
        if proposal.standing.stays() {
            return vec![];
        }
        let there = proposal.snapshots.iter().filter_map(|id| found.get(id.as_str()));
        there
            .filter_map(|snapshot| {
                let why = match self.backup_of(snapshot) {
                    Ok(theirs) if theirs == backup_id => return None,
                    Ok(theirs) => {
                        let key = tag::BACKUP_ID;
                        format!("its tag \"{key}\" is \"{theirs}\", not \"{backup_id}\"")
                    }
                    Err(why) => why,
                };
                Some(Spared { snapshot_id: snapshot.id.clone(), why })
            })
            .collect()
    }

    /// Whether one of the snapshots that the repository names was found, and is this backup's.
    fn any(&self, backup_id: &str, proposal: &Proposal, found: &BTreeMap<&str, &Snapshot>) -> bool {
        let mut there = proposal.snapshots.iter().filter_map(|id| found.get(id.as_str()));
        there.any(|snapshot| self.backup_of(snapshot) == Ok(backup_id))
    }

    /// Whether a snapshot that is proven to be of this backup goes.
    fn is_over(&self, backup: &str, snapshot: &Snapshot, unfinished: Option<Unfinished>) -> bool {
        let taking = snapshot.tags.get(tag::STATE).is_some_and(|state| state == TAKING);
        let old = |rule: Unfinished| rule.now - snapshot.started_at > rule.grace;
        let proposal = self.backups.get(backup);
        match proposal.map(|proposal| proposal.standing) {
            Some(Standing::Outdated | Standing::Unwanted) => true,
            Some(Standing::Unreadable) => false,
            Some(Standing::Failed) => taking && unfinished.is_some(),
            Some(Standing::Kept) => {
                let named = proposal.is_some_and(|known| known.snapshots.contains(&snapshot.id));
                // its tags are those of its source, which may have been copied early
                let copied = snapshot.tags.contains_key(tag::SOURCE_SNAPSHOT);
                taking && !named && !copied && unfinished.is_some_and(old)
            }
            None => {
                let ours = self.volumes.contains(&snapshot.volume_id);
                taking && ours && unfinished.is_some_and(old)
            }
        }
    }
}

/// Deletes these snapshots, each whatever becomes of the others.
#[must_use]
pub fn delete(ec2: &Ec2, ids: &[String]) -> Deletion {
    delete_by(ids, |id| ec2.delete_snapshot(id))
}

fn delete_by(ids: &[String], mut one: impl FnMut(&str) -> Result<(), EbsError>) -> Deletion {
    let mut done = Deletion::default();
    for id in ids {
        let Err(error) = one(id) else {
            done.deleted.push(id.clone());
            continue;
        };
        done.refused.push(Spared { snapshot_id: id.clone(), why: error.to_string() });
        let refused = matches!(error, EbsError::Refused { .. });
        if !error.code().is_some_and(|code| HELD.contains(&code)) {
            done.failed.get_or_insert(error);
        }
        if !refused {
            break;
        }
    }
    done
}

#[cfg(test)]
mod tests;

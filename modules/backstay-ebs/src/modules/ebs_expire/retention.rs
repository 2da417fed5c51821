//! Which backups are not wanted any more, by what the repository says of them.

use std::collections::{BTreeMap, BTreeSet};

use ansible::Failure;
use chrono::{DateTime, TimeDelta, Utc};
use frame::Explain;
use repository::{BackupId, BackupList, BackupManifest, BackupState, ClusterName, RepositoryError};
use snapshot_ebs::expire::{Catalogue, Proposal, Standing};

/// What is kept.
pub(super) struct Retention {
    /// So many of the newest complete backups.
    pub(super) keep: Option<u64>,
    /// Complete backups that are not older.
    pub(super) keep_for: Option<TimeDelta>,
    /// These go in any case.
    pub(super) named: Vec<BackupId>,
    /// Whether those go that were stopped and never got their WAL.
    pub(super) unfinished: bool,
    /// How long a backup may take: until then it may be under way.
    pub(super) grace: TimeDelta,
    /// The time now.
    pub(super) now: DateTime<Utc>,
}

/// The repository's proposal.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) catalogue: Catalogue,
    /// Backups that somebody named, and whose manifests do not say yet that nothing restores them.
    pub(super) unwanted: Vec<BackupId>,
    /// Complete ones that are not kept.
    pub(super) outdated: Vec<BackupId>,
    /// Those with EBS snapshots that stay; also such as are not complete yet.
    pub(super) kept: Vec<BackupId>,
    pub(super) warnings: Vec<String>,
}

impl Retention {
    /// What is to become of each backup.
    ///
    /// # Errors
    /// When a named backup is not there, has other snapshots than those of EBS, or may be under way.
    pub(super) fn apply(
        &self,
        cluster: &ClusterName,
        identifier: &str,
        list: BackupList,
    ) -> Result<Listed, Failure> {
        self.check_named(cluster, &list.manifests)?;
        let mut listed = Listed {
            catalogue: Catalogue {
                cluster: cluster.to_string(),
                system_identifier: identifier.to_owned(),
                backups: BTreeMap::new(),
                volumes: volumes_of(&list.manifests),
            },
            unwanted: vec![],
            outdated: vec![],
            kept: vec![],
            warnings: vec![],
        };
        for backup in list.unreadable {
            listed.warnings.push(format!(
                "backup \"{}\" cannot be read, its snapshots are left alone: {}",
                backup.id,
                ansible::chain::chain(&backup.error)
            ));
            listed.propose(backup.id, Standing::Unreadable, (String::new(), vec![]));
        }
        let mut newer = 0;
        for manifest in list.manifests.iter().rev() {
            let standing = if manifest.system_identifier.to_string() == identifier {
                self.standing(manifest, &mut newer)
            } else {
                listed.warnings.push(format!(
                    "backup \"{}\" is of the database cluster {}, not of {identifier}: its snapshots are left alone",
                    manifest.backup_id, manifest.system_identifier
                ));
                Standing::Unreadable
            };
            listed.add(manifest, standing);
        }
        Ok(listed)
    }

    fn check_named(
        &self,
        cluster: &ClusterName,
        manifests: &[BackupManifest],
    ) -> Result<(), Failure> {
        for id in &self.named {
            let Some(manifest) = manifests.iter().find(|manifest| manifest.backup_id == *id) else {
                let (cluster, backup) = (cluster.clone(), id.clone());
                return Err(RepositoryError::NotFound { cluster, backup }.explain());
            };
            if manifest.snapshots.iter().any(|snapshot| snapshot.volume.is_none()) {
                return Err(Failure::invalid(format!(
                    "backup \"{id}\" has other snapshots than those of EBS"
                )));
            }
            let under_way = matches!(
                manifest.state,
                BackupState::Started | BackupState::Stopped | BackupState::Uploading
            );
            let age = self.now - manifest.start.time;
            if under_way && age <= self.grace {
                return Err(Failure::invalid(format!(
                    "backup \"{id}\" is {} and began {} s ago: until it is {} s old it may be under way",
                    manifest.state,
                    age.num_seconds(),
                    self.grace.num_seconds()
                ))
                .hint("Give a smaller grace when you know that it is not."));
            }
        }
        Ok(())
    }

    /// `newer` counts the complete backups so far; they come newest first.
    fn standing(&self, manifest: &BackupManifest, newer: &mut u64) -> Standing {
        if self.named.contains(&manifest.backup_id) {
            return Standing::Unwanted;
        }
        match manifest.state {
            BackupState::Expired => Standing::Unwanted,
            BackupState::Failed => Standing::Failed,
            // nobody has fetched its WAL, which the server has long given up
            BackupState::Stopped
                if self.unfinished
                    && is_ebs(manifest)
                    && self.now - manifest.start.time > self.grace =>
            {
                Standing::Unwanted
            }
            BackupState::Complete if is_ebs(manifest) => {
                *newer += 1;
                if self.keeps(manifest, *newer) { Standing::Kept } else { Standing::Outdated }
            }
            _ => Standing::Kept,
        }
    }

    /// Either rule is enough, and the newest stays whatever the rules.
    fn keeps(&self, manifest: &BackupManifest, place: u64) -> bool {
        if self.keep.is_none() && self.keep_for.is_none() {
            return true;
        }
        let end = manifest.stop.as_ref().unwrap_or(&manifest.start);
        place <= self.keep.unwrap_or(1)
            || self.keep_for.is_some_and(|longest| self.now - end.time <= longest)
    }
}

impl Listed {
    /// `holds` is where the backup starts, and its snapshots.
    fn propose(&mut self, id: String, standing: Standing, holds: (String, Vec<String>)) {
        let (start_lsn, snapshots) = holds;
        self.catalogue.backups.insert(id, Proposal { standing, start_lsn, snapshots });
    }

    fn add(&mut self, manifest: &BackupManifest, standing: Standing) {
        let id = manifest.backup_id.clone();
        let of_ebs = manifest.snapshots.iter().filter(|snapshot| snapshot.volume.is_some());
        let mut snapshots: Vec<String> = of_ebs.map(|snapshot| snapshot.id.clone()).collect();
        let over = matches!(manifest.state, BackupState::Failed | BackupState::Expired);
        if over {
            // What is left of it is found by its tags. Its ids would be asked for, and those that are not its own
            // be told of, at every run from now on.
            snapshots.clear();
        }
        match standing {
            Standing::Unwanted if !over => self.unwanted.push(id),
            Standing::Outdated => self.outdated.push(id),
            Standing::Kept if !snapshots.is_empty() => self.kept.push(id),
            _ => {}
        }
        let holds = (manifest.start.lsn.to_string(), snapshots);
        self.propose(manifest.backup_id.to_string(), standing, holds);
    }
}

fn volumes_of(manifests: &[BackupManifest]) -> BTreeSet<String> {
    let snapshots = manifests.iter().flat_map(|manifest| &manifest.snapshots);
    let volumes = snapshots.filter_map(|snapshot| snapshot.volume.as_ref());
    volumes.map(|volume| volume.volume_id.clone()).collect()
}

fn is_ebs(manifest: &BackupManifest) -> bool {
    let mut snapshots = manifest.snapshots.iter();
    !manifest.snapshots.is_empty() && snapshots.all(|snapshot| snapshot.volume.is_some())
}

#[cfg(test)]
mod tests;

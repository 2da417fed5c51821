//! The repository as a whole, and the folder of each cluster in it.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use durable::private_directory;
use pg::SystemIdentifier;
use serde::{Deserialize, Serialize};

use crate::folder::{from_json, to_json};
use crate::store::{Failure, Store};
use crate::{BackupFolder, BackupId, BackupManifest, ClusterName, RepositoryError, RepositoryUrl};

/// A repository in a directory. Layout and invariants stand in the crate's documentation.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Arc<Store>,
}

/// `cluster.json`: whose folder it is in.
#[derive(Debug, Serialize, Deserialize)]
struct ClusterRecord {
    /// The layout of this record: 1.
    schema: u64,
    /// The folder's name.
    cluster: ClusterName,
    /// The database cluster, as a string of digits.
    system_identifier: SystemIdentifier,
    /// When the folder was made, RFC 3339 in UTC.
    created_at: DateTime<Utc>,
}

/// Whether a cluster's folder may be used for backups of a database cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// There is no such folder yet.
    Free,
    /// It is that cluster's already.
    Ours,
}

/// The backups of one cluster.
#[derive(Debug)]
pub struct BackupList {
    /// Those whose manifests could be read, oldest first.
    pub manifests: Vec<BackupManifest>,
    /// Those whose manifests could not be read.
    pub unreadable: Vec<UnreadableBackup>,
}

/// A backup's folder without a manifest that can be read.
#[derive(Debug)]
pub struct UnreadableBackup {
    /// The folder's name.
    pub id: String,
    /// Why.
    pub error: RepositoryError,
}

impl Repository {
    /// The repository at this address. Changes nothing; the directory need not exist, but what does exist under its
    /// name must be a directory.
    ///
    /// # Errors
    /// [`RepositoryError::Store`] when it is something else or cannot be looked at.
    pub fn open(url: &RepositoryUrl) -> Result<Self, RepositoryError> {
        let path = url.path();
        let unusable = |error: &std::io::Error| RepositoryError::Store {
            action: "open repository",
            path: path.to_owned(),
            source: crate::StoreFailure::new(error),
        };
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(unusable(&std::io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(&error)),
        }
        Ok(Self::in_store(Arc::new(Store::new(path)?)))
    }

    pub(crate) fn in_store(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Its directory on this machine.
    #[must_use]
    pub fn local_path(&self) -> &Path {
        self.store.root()
    }

    /// Makes the cluster's folder this database cluster's, or makes sure it is. Makes the repository's directory as
    /// well (0700) when it is not there.
    ///
    /// Of two clusters that do this at once, one gets the folder and the other the error.
    ///
    /// # Errors
    /// [`RepositoryError::SystemIdentifier`] when it is another cluster's; [`RepositoryError::Directory`] and
    /// [`RepositoryError::Store`] when it cannot be made or read.
    pub fn claim_cluster(
        &self,
        cluster: &ClusterName,
        identifier: SystemIdentifier,
    ) -> Result<(), RepositoryError> {
        self.make_root()?;
        make_directory(&self.store, cluster.as_str())?;
        let name = record_name(cluster);
        let record = ClusterRecord {
            schema: 1,
            cluster: cluster.clone(),
            system_identifier: identifier,
            created_at: Utc::now(),
        };
        match self.store.create(&name, to_json(&self.store.path(&name), &record)?) {
            Ok(()) => Ok(()),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::AlreadyExists | Failure::NotFound) => {
                self.check_cluster(cluster, identifier).map(drop)
            }
        }
    }

    /// Looks whether the cluster's folder may be used for backups of this database cluster. Changes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::SystemIdentifier`] when it is another cluster's; [`RepositoryError::Store`],
    /// [`RepositoryError::Damaged`] or [`RepositoryError::UnknownSchema`] when that cannot be seen.
    pub fn check_cluster(
        &self,
        cluster: &ClusterName,
        identifier: SystemIdentifier,
    ) -> Result<Claim, RepositoryError> {
        match self.cluster_identifier(cluster)? {
            None => Ok(Claim::Free),
            Some(found) if found == identifier => Ok(Claim::Ours),
            Some(found) => Err(RepositoryError::SystemIdentifier {
                cluster: cluster.clone(),
                found,
                expected: identifier,
            }),
        }
    }

    /// Whose folder it is; `None` when there is none.
    ///
    /// # Errors
    /// [`RepositoryError::Store`], [`RepositoryError::Damaged`] or [`RepositoryError::UnknownSchema`].
    pub fn cluster_identifier(
        &self,
        cluster: &ClusterName,
    ) -> Result<Option<SystemIdentifier>, RepositoryError> {
        let name = record_name(cluster);
        match self.store.get(&name) {
            Ok(bytes) => {
                let record: ClusterRecord = from_json(&self.store.path(&name), &bytes)?;
                Ok(Some(record.system_identifier))
            }
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::NotFound | Failure::AlreadyExists) => Ok(None),
        }
    }

    /// The folder of one backup, whether it is there or not.
    #[must_use]
    pub fn backup(&self, cluster: &ClusterName, backup: &BackupId) -> BackupFolder {
        BackupFolder::new(Arc::clone(&self.store), cluster.clone(), backup.clone())
    }

    /// The backups of a cluster, oldest first; none when the cluster has no folder. A backup whose manifest cannot
    /// be read does not hide the others.
    ///
    /// # Errors
    /// [`RepositoryError::Store`] when the folder cannot be listed.
    pub fn backups(&self, cluster: &ClusterName) -> Result<BackupList, RepositoryError> {
        let ids = match self.store.directories(&format!("{cluster}/backups")) {
            Ok(ids) => ids,
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::NotFound | Failure::AlreadyExists) => Vec::new(),
        };
        let mut list = BackupList { manifests: Vec::new(), unreadable: Vec::new() };
        for id in ids {
            let read = id.parse().and_then(|backup| self.backup(cluster, &backup).read());
            match read {
                Ok(manifest) => list.manifests.push(manifest),
                Err(error) => list.unreadable.push(UnreadableBackup { id, error }),
            }
        }
        list.manifests
            .sort_by(|a, b| (a.start.time, &a.backup_id).cmp(&(b.start.time, &b.backup_id)));
        Ok(list)
    }

    /// The repository's directory itself may be shared with others, and may be a symbolic link: it is the
    /// operator's choice. So one that is there is taken as it is.
    fn make_root(&self) -> Result<(), RepositoryError> {
        let path = self.store.root();
        if path.is_dir() {
            return Ok(());
        }
        private_directory(path, None, 0o700)
            .map_err(|source| RepositoryError::Directory { path: path.to_owned(), source })
    }
}

fn record_name(cluster: &ClusterName) -> String {
    format!("{cluster}/cluster.json")
}

/// Makes a directory below the repository's that only its owner may enter, as it holds all of a cluster's data;
/// or makes sure that one that is there is safe to write into. Not more than one level at a time.
pub(crate) fn make_directory(store: &Store, name: &str) -> Result<(), RepositoryError> {
    let path = store.path(name);
    private_directory(&path, None, 0o700)
        .map_err(|source| RepositoryError::Directory { path, source })
}

#[cfg(test)]
mod tests;

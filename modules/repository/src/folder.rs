//! The folder of one backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::repository::make_directory;
use crate::store::{Failure, Store};
use crate::{
    BackupId, BackupManifest, ClusterName, EntryName, FileEntry, Repository, RepositoryError,
};

/// No manifest is longer: even 100 000 WAL segments need less. Whatever is longer is no manifest.
const LONGEST_MANIFEST: u64 = 64 << 20;

/// The folder of one backup in a repository, whether it is there or not.
#[derive(Debug, Clone)]
pub struct BackupFolder {
    store: Arc<Store>,
    cluster: ClusterName,
    backup: BackupId,
}

impl BackupFolder {
    pub(crate) fn new(store: Arc<Store>, cluster: ClusterName, backup: BackupId) -> Self {
        Self { store, cluster, backup }
    }

    /// The folder on this machine.
    #[must_use]
    pub fn local_path(&self) -> PathBuf {
        self.store.path(&self.folder())
    }

    /// The place of one of its files on this machine.
    #[must_use]
    pub fn path(&self, name: &EntryName) -> PathBuf {
        self.store.path(&self.name(name.as_str()))
    }

    /// The place of its manifest on this machine.
    #[must_use]
    pub fn manifest_path(&self) -> PathBuf {
        self.store.path(&self.manifest_name())
    }

    /// Where copied files go: the directory `files` in it, which need not exist.
    #[must_use]
    pub fn files_path(&self) -> PathBuf {
        self.local_path().join("files")
    }

    /// Makes the folder and writes its manifest, the first file of every backup. The cluster's folder is claimed
    /// for the manifest's database cluster, if it was not before.
    ///
    /// # Errors
    /// As [`Repository::claim_cluster`] when the folder is another cluster's.
    /// [`RepositoryError::Exists`] when there is a manifest already: of two callers only one succeeds.
    /// [`RepositoryError::Misplaced`] for the manifest of another backup; [`RepositoryError::Directory`] and
    /// [`RepositoryError::Store`] when it cannot be made.
    pub fn create(&self, manifest: &BackupManifest) -> Result<(), RepositoryError> {
        let json = self.manifest_json(manifest)?;
        let repository = Repository::in_store(Arc::clone(&self.store));
        repository.claim_cluster(&self.cluster, manifest.system_identifier)?;
        self.make_directories()?;
        self.store.create(&self.manifest_name(), json).map_err(|failure| match failure {
            Failure::AlreadyExists => RepositoryError::Exists {
                cluster: self.cluster.clone(),
                backup: self.backup.clone(),
            },
            other => self.absent_or(other),
        })
    }

    /// Reads its manifest.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`], [`RepositoryError::UnknownSchema`], [`RepositoryError::Damaged`],
    /// [`RepositoryError::Misplaced`] when it is that of another backup, [`RepositoryError::Store`].
    pub fn read(&self) -> Result<BackupManifest, RepositoryError> {
        let name = self.manifest_name();
        let bytes =
            self.get_small(&name, LONGEST_MANIFEST).map_err(|failure| self.absent_or(failure))?;
        let manifest = from_json(&self.store.path(&name), &bytes)?;
        self.check_place(&manifest)?;
        Ok(manifest)
    }

    /// Replaces its manifest. At every moment the old or the new one is there, whole; when this returns `Ok` the
    /// new one is on disk.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`RepositoryError::StateChange`] when the backup is already further than
    /// `manifest` says, or complete or failed for good.
    pub fn update(&self, manifest: &BackupManifest) -> Result<(), RepositoryError> {
        let json = self.manifest_json(manifest)?;
        let (from, to) = (self.read()?.state, manifest.state);
        if !from.may_become(to) {
            return Err(RepositoryError::StateChange { backup: self.backup.clone(), from, to });
        }
        self.make_directories()?;
        self.store.replace(&self.manifest_name(), json).map_err(|failure| self.absent_or(failure))
    }

    /// Writes one of its files, in the place of one of that name, and returns the entry for the manifest. When
    /// this returns `Ok` it is on disk.
    ///
    /// # Errors
    /// [`RepositoryError::Invalid`] for a name that leads elsewhere or is the manifest's;
    /// [`RepositoryError::Directory`] and [`RepositoryError::Store`] when it cannot be written.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<FileEntry, RepositoryError> {
        let name = entry_name(name)?;
        self.make_directories()?;
        for (at, _) in name.as_str().match_indices('/') {
            let parent = name.as_str().get(..at).unwrap_or_default();
            make_directory(&self.store, &self.name(parent))?;
        }
        let entry = FileEntry::new(name, &bytes);
        self.store
            .replace(&self.name(entry.name.as_str()), bytes)
            .map_err(|failure| self.missing_or(&entry.name, failure))?;
        Ok(entry)
    }

    /// The entry for the manifest of a file somebody else wrote into the folder.
    ///
    /// # Errors
    /// [`RepositoryError::Invalid`] for a name that leads elsewhere, [`RepositoryError::Missing`],
    /// [`RepositoryError::Store`].
    pub fn entry(&self, name: &str) -> Result<FileEntry, RepositoryError> {
        let name = entry_name(name)?;
        let sum = self.store.sum(&self.name(name.as_str()));
        let (size, sha256) = sum.map_err(|failure| self.missing_or(&name, failure))?;
        Ok(FileEntry { name, size, sha256 })
    }

    /// Reads one of its files, and makes sure it is what the manifest says.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Size`], [`RepositoryError::Checksum`],
    /// [`RepositoryError::Store`].
    pub fn get(&self, entry: &FileEntry) -> Result<Vec<u8>, RepositoryError> {
        let name = self.name(entry.name.as_str());
        // The size first: a file that is not ours may be larger than memory.
        let size =
            self.store.size(&name).map_err(|failure| self.missing_or(&entry.name, failure))?;
        self.check_size(entry, size)?;
        let bytes =
            self.store.get(&name).map_err(|failure| self.missing_or(&entry.name, failure))?;
        self.check(entry, &FileEntry::new(entry.name.clone(), &bytes))?;
        Ok(bytes)
    }

    /// Makes sure one of its files is what the manifest says, without holding it in memory.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn verify(&self, entry: &FileEntry) -> Result<(), RepositoryError> {
        self.check(entry, &self.entry(entry.name.as_str())?)
    }

    fn check(&self, expected: &FileEntry, found: &FileEntry) -> Result<(), RepositoryError> {
        self.check_size(expected, found.size)?;
        if found.sha256 != expected.sha256 {
            return Err(RepositoryError::Checksum {
                backup: self.backup.clone(),
                name: expected.name.clone(),
                found: found.sha256,
                expected: expected.sha256,
            });
        }
        Ok(())
    }

    fn check_size(&self, entry: &FileEntry, found: u64) -> Result<(), RepositoryError> {
        if found != entry.size {
            let (backup, name) = (self.backup.clone(), entry.name.clone());
            return Err(RepositoryError::Size { backup, name, found, expected: entry.size });
        }
        Ok(())
    }

    /// Reads a file of at most so many bytes: whatever is longer is not what it should be, and might be larger than
    /// memory.
    fn get_small(&self, name: &str, longest: u64) -> Result<Vec<u8>, Failure> {
        let size = self.store.size(name)?;
        if size > longest {
            let source = serde::de::Error::custom(format!("it has {size} bytes"));
            let path = self.store.path(name);
            return Err(Failure::Other(RepositoryError::Damaged { path, source }));
        }
        self.store.get(name)
    }

    /// Reads one of its files that no manifest tells the size of.
    pub(crate) fn read_small(
        &self,
        name: &EntryName,
        longest: u64,
    ) -> Result<Vec<u8>, RepositoryError> {
        self.get_small(&self.name(name.as_str()), longest)
            .map_err(|failure| self.missing_or(name, failure))
    }

    /// Makes sure that the backup is there.
    pub(crate) fn require(&self) -> Result<(), RepositoryError> {
        self.store.size(&self.manifest_name()).map(drop).map_err(|failure| self.absent_or(failure))
    }

    /// Makes a folder in it, or makes sure that it is safe to write into.
    pub(crate) fn make_folder(&self, name: &str) -> Result<(), RepositoryError> {
        self.make_directories()?;
        make_directory(&self.store, &self.name(name))
    }

    /// Writes a file in it where none is.
    pub(crate) fn create_file(&self, name: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        self.store.create(&self.name(name), bytes)
    }

    /// The names of the files in a folder of it; none when there is no such folder.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, RepositoryError> {
        self.store.files(&self.name(name)).map_err(|failure| self.absent_or(failure))
    }

    fn check_place(&self, manifest: &BackupManifest) -> Result<(), RepositoryError> {
        if manifest.backup_id != self.backup || manifest.cluster != self.cluster {
            let found = format!("{}/{}", manifest.cluster, manifest.backup_id);
            return Err(RepositoryError::Misplaced { path: self.manifest_path(), found });
        }
        Ok(())
    }

    fn manifest_json(&self, manifest: &BackupManifest) -> Result<Vec<u8>, RepositoryError> {
        self.check_place(manifest)?;
        to_json(&self.manifest_path(), manifest)
    }

    /// Every level is looked at before each writing: a symbolic link in the place of one would have us write
    /// somewhere else.
    fn make_directories(&self) -> Result<(), RepositoryError> {
        make_directory(&self.store, self.cluster.as_str())?;
        make_directory(&self.store, &format!("{}/backups", self.cluster))?;
        make_directory(&self.store, &self.folder())
    }

    fn folder(&self) -> String {
        format!("{}/backups/{}", self.cluster, self.backup)
    }

    fn name(&self, entry: &str) -> String {
        format!("{}/{entry}", self.folder())
    }

    fn manifest_name(&self) -> String {
        self.name("backup.json")
    }

    pub(crate) fn absent_or(&self, failure: Failure) -> RepositoryError {
        match failure {
            Failure::Other(error) => error,
            Failure::NotFound | Failure::AlreadyExists => RepositoryError::NotFound {
                cluster: self.cluster.clone(),
                backup: self.backup.clone(),
            },
        }
    }

    fn missing_or(&self, name: &EntryName, failure: Failure) -> RepositoryError {
        match failure {
            Failure::Other(error) => error,
            Failure::NotFound | Failure::AlreadyExists => {
                RepositoryError::Missing { backup: self.backup.clone(), name: name.clone() }
            }
        }
    }
}

/// A file's name; the manifest is not one of the files it names.
fn entry_name(name: &str) -> Result<EntryName, RepositoryError> {
    if name == "backup.json" {
        let expected = "another name than the manifest's";
        return Err(RepositoryError::Invalid {
            what: "file name",
            value: name.to_owned(),
            expected,
        });
    }
    name.parse()
}

pub(crate) fn to_json<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>, RepositoryError> {
    let mut json = serde_json::to_vec_pretty(record)
        .map_err(|source| RepositoryError::Damaged { path: path.to_owned(), source })?;
    json.push(b'\n');
    Ok(json)
}

/// Looks at the schema before anything else: a record of another schema may have other fields.
pub(crate) fn from_json<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<T, RepositoryError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u64,
    }
    let damaged = |source| RepositoryError::Damaged { path: path.to_owned(), source };
    let Schema { schema: found } = serde_json::from_slice(bytes).map_err(damaged)?;
    if found != BackupManifest::SCHEMA {
        return Err(RepositoryError::UnknownSchema { path: path.to_owned(), found });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests;

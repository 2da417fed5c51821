//! The synchronous door to `object_store`.
//!
//! Its functions are asynchronous; we wait for each on a runtime of our own, which lives on the calling thread.
//! (Nobody above may run one: the synchronous `postgres` client refuses to work inside a runtime.)

use std::path::{Path, PathBuf};

use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ListResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::{Builder, Runtime};

use crate::error::StoreFailure;
use crate::{RepositoryError, Sha256Sum};
use sha2::{Digest, Sha256};

/// How much is read at once when only a checksum is wanted.
const CHUNK: u64 = 8 << 20;

/// A directory as an object store. With `fsync`: a file that was put is on disk, and so are the names that lead to
/// it, before the call returns. Putting writes a temporary file beside the target (name and `#` and a number) and
/// renames it, or hard-links it where none may be replaced; so the filesystem must have hard links.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    runtime: Runtime,
}

/// What was asked for is not there, or something else went wrong.
pub(crate) enum Failure {
    NotFound,
    AlreadyExists,
    Other(RepositoryError),
}

type Answer<T> = Result<T, Failure>;

impl Store {
    /// A store in this directory, which need not exist yet.
    pub(crate) fn new(root: &Path) -> Result<Self, RepositoryError> {
        let runtime = Builder::new_current_thread().build().map_err(|error| {
            let source = StoreFailure::new(&error);
            RepositoryError::Store { action: "open repository", path: root.to_owned(), source }
        })?;
        Ok(Self { root: root.to_owned(), runtime })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file's place on this machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a whole file where none is.
    pub(crate) fn create(&self, name: &str, bytes: Vec<u8>) -> Answer<()> {
        self.put(name, bytes, PutMode::Create)
    }

    /// Writes a whole file, in the place of one that may be there.
    pub(crate) fn replace(&self, name: &str, bytes: Vec<u8>) -> Answer<()> {
        self.put(name, bytes, PutMode::Overwrite)
    }

    fn put(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> Answer<()> {
        self.call("write file", name, async |store, location| {
            store.put_opts(&location, bytes.into(), PutOptions::from(mode)).await.map(drop)
        })
    }

    /// Reads a whole file.
    pub(crate) fn get(&self, name: &str) -> Answer<Vec<u8>> {
        self.call("read file", name, async |store, location| {
            store.get(&location).await?.bytes().await.map(Vec::from)
        })
    }

    /// The size of a file in bytes.
    pub(crate) fn size(&self, name: &str) -> Answer<u64> {
        self.call("read file", name, async |store, location| {
            store.head(&location).await.map(|found| found.size)
        })
    }

    /// Size and checksum of a file, reading it piece by piece.
    pub(crate) fn sum(&self, name: &str) -> Answer<(u64, Sha256Sum)> {
        self.call("read file", name, async |store, location| {
            let size = store.head(&location).await?.size;
            let mut hasher = Sha256::new();
            let mut at = 0;
            while at < size {
                let end = size.min(at + CHUNK);
                hasher.update(&store.get_range(&location, at..end).await?);
                at = end;
            }
            Ok((size, Sha256Sum::finish(hasher)))
        })
    }

    /// The names of the directories in a directory, without those of files; none when it does not exist.
    pub(crate) fn directories(&self, name: &str) -> Answer<Vec<String>> {
        let listed = self.list(name)?;
        Ok(names(listed.iter().flat_map(|listed| &listed.common_prefixes)))
    }

    /// The names of the files in a directory, without those of directories; none when it does not exist.
    pub(crate) fn files(&self, name: &str) -> Answer<Vec<String>> {
        let listed = self.list(name)?;
        Ok(names(listed.iter().flat_map(|listed| &listed.objects).map(|object| &object.location)))
    }

    fn list(&self, name: &str) -> Answer<Option<ListResult>> {
        let listed = self.call("list directory", name, async |store, location| {
            store.list_with_delimiter(Some(&location)).await
        });
        match listed {
            Err(Failure::NotFound) => Ok(None),
            other => other.map(Some),
        }
    }

    fn call<T>(
        &self,
        action: &'static str,
        name: &str,
        ask: impl AsyncFnOnce(LocalFileSystem, Location) -> object_store::Result<T>,
    ) -> Answer<T> {
        let answer = self.runtime.block_on(async {
            let store = LocalFileSystem::new_with_prefix(&self.root)?.with_fsync(true);
            ask(store, Location::parse(name)?).await
        });
        answer.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Failure::NotFound,
            object_store::Error::AlreadyExists { .. } => Failure::AlreadyExists,
            other => self.other(action, name, &other),
        })
    }

    fn other(&self, action: &'static str, name: &str, error: &object_store::Error) -> Failure {
        let source = StoreFailure::new(error);
        // The repository's own directory not being there is told apart from a file not being there by nothing
        // but its reason.
        if source.is_not_found() {
            return Failure::NotFound;
        }
        Failure::Other(RepositoryError::Store { action, path: self.path(name), source })
    }
}

/// The last part of each path.
fn names<'a>(paths: impl Iterator<Item = &'a Location>) -> Vec<String> {
    paths.filter_map(|path| path.filename()).map(str::to_owned).collect()
}

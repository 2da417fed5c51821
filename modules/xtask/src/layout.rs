//! Where things are: the workspace, cargo's target directory and what is laid
//! out in it.

use std::path::{Path, PathBuf};

use crate::error::XtaskError;

/// The directories that the commands work with, all absolute.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The workspace: the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the workspace.
    pub(crate) target: PathBuf,
}

impl Layout {
    /// Finds the workspace from the directory cargo named or from the current one.
    pub(crate) fn find() -> Result<Layout, XtaskError> {
        let here = std::env::current_dir().map_err(XtaskError::file("find", "."))?;
        let start =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| here.clone(), PathBuf::from);
        let root = start
            .ancestors()
            .find(|dir| dir.join("galaxy.yml").is_file() && dir.join("Cargo.toml").is_file())
            .ok_or_else(|| XtaskError::NoWorkspace(start.clone()))?
            .to_path_buf();
        // cargo reads a relative CARGO_TARGET_DIR from the directory it was started in
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| here.join(dir));
        Ok(Layout { root, target })
    }

    /// What `ANSIBLE_COLLECTIONS_PATH` is set to in order to use the staged collection.
    pub(crate) fn collections(&self) -> PathBuf {
        self.target.join("collection")
    }

    /// The staged collection.
    pub(crate) fn staged(&self) -> PathBuf {
        self.collections().join("ansible_collections/backstay/postgresql")
    }

    /// Where tarballs go.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }
}

/// The names of the files in a directory that end so, without the ending, sorted.
pub(crate) fn stems(directory: &Path, ending: &str) -> Result<Vec<String>, XtaskError> {
    let mut found = vec![];
    let entries = std::fs::read_dir(directory).map_err(XtaskError::file("read", directory))?;
    for entry in entries {
        let entry = entry.map_err(XtaskError::file("read", directory))?;
        if let Some(stem) = entry.file_name().to_string_lossy().strip_suffix(ending) {
            found.push(stem.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

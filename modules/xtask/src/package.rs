//! Builds the tarball that `ansible-galaxy collection install` takes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{ansible, output};
use crate::error::XtaskError;
use crate::layout::Layout;
use crate::stage::{Profile, stage};

/// Galaxy takes no larger tarball, in bytes.
const GALAXY_LIMIT: u64 = 20_000_000;

/// Builds the tarball, from a collection of its own with the release build;
/// gives its path. What is staged for tests stays as it is.
pub(crate) fn build(layout: &Layout) -> Result<PathBuf, XtaskError> {
    // Found first: whoever lacks it should not learn that after minutes of compiling.
    let mut galaxy = ansible(layout, "ansible-galaxy")?;
    let dist = layout.dist();
    let staged = dist.join("postgresql");
    fs::create_dir_all(&dist).map_err(XtaskError::file("make", &dist))?;
    stage(layout, Profile::Release, &staged)?;
    galaxy.args(["collection", "build", "--force", "--output-path"]).arg(&dist).arg(&staged);
    output(&mut galaxy)?;
    let tarball = newest(&dist)?;
    let size = fs::metadata(&tarball).map_err(XtaskError::file("read", &tarball))?.len();
    if size > GALAXY_LIMIT {
        return Err(XtaskError::Unexpected(format!(
            "the tarball \"{}\" has {size} bytes, more than the {GALAXY_LIMIT} that Galaxy takes",
            tarball.display()
        )));
    }
    Ok(tarball)
}

fn newest(dist: &Path) -> Result<PathBuf, XtaskError> {
    let entries = fs::read_dir(dist).map_err(XtaskError::file("read", dist))?;
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".tar.gz"))
        .max_by_key(|entry| entry.metadata().and_then(|found| found.modified()).ok())
        .map(|entry| entry.path())
        .ok_or_else(|| {
            XtaskError::Unexpected(format!(
                "ansible-galaxy left no tarball in \"{}\"",
                dist.display()
            ))
        })
}

//! The control file, kept away until everything else of the restored cluster is in place.
//!
//! A data directory whose backup label is missing starts without complaint from the checkpoint in `global/pg_control`
//! and ends up silently wrong. So the control file bears another name until the label, the WAL and the settings are there
//! and on disk: without `global/pg_control` the server refuses to start, at whatever point a restore broke off.

use std::fs;
use std::path::{Path, PathBuf};

use crate::RecoveryError;

/// The control file's name while the restore is unfinished.
pub(crate) const HELD: &str = "global/pg_control.backstay";

/// The name by which the server knows it.
pub(crate) const CONTROL: &str = "global/pg_control";

/// Whether a server could find a control file here.
pub(crate) fn is_in_place(data_directory: &Path) -> bool {
    fs::symlink_metadata(data_directory.join(CONTROL)).is_ok()
}

/// Where the control file is now, under either name.
pub(crate) fn find(data_directory: &Path) -> PathBuf {
    let held = data_directory.join(HELD);
    if is_in_place(data_directory) || !held.exists() { data_directory.join(CONTROL) } else { held }
}

/// Takes the control file away. Does nothing when it is away already.
pub(crate) fn hold(data_directory: &Path) -> Result<(), RecoveryError> {
    if is_in_place(data_directory) {
        rename(data_directory, CONTROL, HELD)?;
    }
    Ok(())
}

/// Puts the control file in place: from now on the server can start. The caller has synced everything else.
pub(crate) fn release(data_directory: &Path) -> Result<(), RecoveryError> {
    rename(data_directory, HELD, CONTROL)
}

fn rename(data_directory: &Path, from: &str, to: &str) -> Result<(), RecoveryError> {
    let from = data_directory.join(from);
    fs::rename(&from, data_directory.join(to)).map_err(RecoveryError::io("rename", &from))?;
    Ok(durable::sync_directory(data_directory.join("global"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_and_released() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("global")).unwrap();
        fs::write(path.join(CONTROL), b"control").unwrap();
        assert_eq!(find(path), path.join(CONTROL));
        hold(path).unwrap();
        hold(path).unwrap();
        assert!(!is_in_place(path));
        assert_eq!(find(path), path.join(HELD));
        release(path).unwrap();
        assert_eq!(fs::read(path.join(CONTROL)).unwrap(), b"control");
        let error = release(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("could not rename \"{}\"", path.join(HELD).display())
        );
    }
}

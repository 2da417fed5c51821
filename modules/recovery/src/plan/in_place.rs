//! A data directory that the operator has put in place: is it this backup's, and untouched since?

use std::path::Path;

use pg::{ControlFile, DbState, PostmasterPid};
use repository::BackupManifest;

use crate::RecoveryError;
use crate::control;
use crate::plan::destination;
use crate::plan::evidence::Evidence;
use crate::plan::tablespaces::PlacedTablespace;

/// Refuses what is not a copy taken inside the backup.
///
/// The control file tells most of it: another system identifier is another cluster; a checkpoint before the backup's
/// start is an older copy; one after its stop, or a clean shutdown, means that a server ran on it. A crash-recovered
/// copy that died again within the backup's LSNs cannot be told from the original by it; its `postmaster.pid` can.
pub(crate) fn check(
    data_directory: &Path,
    manifest: &BackupManifest,
    evidence: &Evidence,
) -> Result<(), RecoveryError> {
    let not = |problem: String| RecoveryError::NotADataDirectory {
        path: data_directory.to_path_buf(),
        problem,
    };
    let version = destination::version_of(data_directory)
        .ok_or_else(|| not("it has no readable \"PG_VERSION\"".to_owned()))?;
    if version != evidence.major.to_string() {
        return Err(not(format!(
            "its PG_VERSION is {version}, the backup's is {}",
            evidence.major
        )));
    }
    let path = control::find(data_directory);
    let control =
        ControlFile::read(&path).map_err(|source| RecoveryError::Format { path, source })?;
    if control.system_identifier != manifest.system_identifier {
        return Err(RecoveryError::SystemIdentifierMismatch {
            path: data_directory.to_path_buf(),
            found: control.system_identifier,
            expected: manifest.system_identifier,
        });
    }
    untouched(data_directory, &control, manifest, evidence).map_err(|problem| {
        RecoveryError::StartedSince { path: data_directory.to_path_buf(), problem }
    })
}

fn untouched(
    data_directory: &Path,
    control: &ControlFile,
    manifest: &BackupManifest,
    evidence: &Evidence,
) -> Result<(), String> {
    if control.timeline != manifest.timeline {
        return Err(format!(
            "it is on timeline {}, the backup on {}",
            control.timeline, manifest.timeline
        ));
    }
    if control.checkpoint < evidence.checkpoint || control.checkpoint > evidence.stop_lsn {
        return Err(format!(
            "its last checkpoint is at {}, not between the backup's checkpoint {} and its stop {}",
            control.checkpoint, evidence.checkpoint, evidence.stop_lsn
        ));
    }
    let running =
        if evidence.from_standby { DbState::InArchiveRecovery } else { DbState::InProduction };
    if control.state != running {
        return Err(format!(
            "its control file says \"{}\", a copy taken inside the backup \"{running}\"",
            control.state
        ));
    }
    if let Ok(Some(server)) = PostmasterPid::read(data_directory)
        && let Some(started) = server.start_time
        && started > evidence.stop_time.timestamp()
    {
        let started = chrono::DateTime::from_timestamp(started, 0).map(|time| time.to_rfc3339());
        return Err(format!(
            "a server was started on it at {}, after the backup's stop at {}",
            started.unwrap_or_default(),
            evidence.stop_time.to_rfc3339()
        ));
    }
    Ok(())
}

/// Refuses a tablespace that is not where the restored cluster will look for it, and one that the source still uses.
pub(crate) fn tablespaces(
    data_directory: &Path,
    manifest: &BackupManifest,
    tablespaces: &[PlacedTablespace],
) -> Result<(), RecoveryError> {
    for tablespace in tablespaces {
        if is_of_another_cluster(data_directory, manifest, tablespace) {
            return Err(RecoveryError::TablespaceOnOriginal {
                name: tablespace.name.clone(),
                location: tablespace.location.clone(),
            });
        }
        let directory = version_directory(manifest, tablespace);
        if !directory.as_ref().is_some_and(|path| path.is_dir()) {
            return Err(RecoveryError::NotADataDirectory {
                path: tablespace.location.clone(),
                problem: format!(
                    "it lacks the files of tablespace \"{}\" of this major version",
                    tablespace.name
                ),
            });
        }
    }
    Ok(())
}

/// `PG_<major>_<catalogue version>`, the directory in which each major version keeps its files of a tablespace.
fn version_directory(
    manifest: &BackupManifest,
    tablespace: &PlacedTablespace,
) -> Option<std::path::PathBuf> {
    let major = manifest.server_version.major().ok()?;
    Some(tablespace.location.join(format!("PG_{major}_{}", manifest.catalog_version)))
}

/// Whether the source's data directory is still on this host, is another one than ours, and still links there.
pub(crate) fn is_of_another_cluster(
    data_directory: &Path,
    manifest: &BackupManifest,
    tablespace: &PlacedTablespace,
) -> bool {
    let source = &manifest.data_directory;
    let link = source.join("pg_tblspc").join(tablespace.oid.to_string());
    destination::real(source) != destination::real(data_directory)
        && destination::version_of(source).is_some()
        && std::fs::read_link(link).is_ok_and(|target| {
            destination::real(&target) == destination::real(&tablespace.location)
        })
}

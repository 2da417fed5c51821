//! Backups of the same cluster whose uploads took longer than anybody waited.

use ansible::Failure;
use frame::Explain;
use repository::{BackupFolder, BackupId, BackupManifest, BackupState, ClusterName, Repository};
use serde_json::{Value, json};
use snapshot_ebs::AwsOptions;

use super::looked;

/// A cluster in its repository.
pub(super) struct Cluster {
    pub(super) repository: Repository,
    pub(super) cluster: ClusterName,
}

/// What became of them.
#[derive(Default)]
pub(super) struct Earlier {
    /// Each with its state.
    pub(super) backups: Vec<Value>,
    pub(super) changed: bool,
    pub(super) warnings: Vec<String>,
}

impl Cluster {
    /// Looks once at each that is `uploading`, but for `this` one, and marks it. What fails there is told, and no
    /// failure of this backup.
    pub(super) fn bring_up_to_date(&self, aws: &AwsOptions, this: &BackupId) -> Earlier {
        let mut earlier = Earlier::default();
        let listed = match self.repository.backups(&self.cluster) {
            Ok(listed) => listed.manifests,
            Err(error) => {
                earlier.warnings.push(error.explain().message);
                return earlier;
            }
        };
        let uploading = |manifest: &BackupManifest| {
            manifest.state == BackupState::Uploading && manifest.backup_id != *this
        };
        for manifest in listed.into_iter().filter(uploading) {
            let id = manifest.backup_id.clone();
            let folder = self.repository.backup(&self.cluster, &id);
            match one(aws, folder, manifest) {
                Ok((state, warnings)) => {
                    earlier.changed |= state != Some(BackupState::Uploading);
                    earlier.backups.push(json!({"backup_id": id, "manifest_state": state}));
                    earlier.warnings.extend(warnings);
                }
                Err(failure) => {
                    earlier.warnings.push(format!("backup \"{id}\": {}", failure.message));
                }
            }
        }
        earlier
    }
}

fn one(
    aws: &AwsOptions,
    folder: BackupFolder,
    manifest: BackupManifest,
) -> Result<(Option<BackupState>, Vec<String>), Failure> {
    let snapshots = manifest.snapshots.clone();
    let mut plan = looked(aws, Some((folder, manifest)), snapshots)?;
    let state = plan.mark()?;
    let mut warnings = plan.retag();
    warnings.extend(plan.now.problem.clone());
    Ok((state, warnings))
}

//! Finding the backup that a task is about.

use std::str::FromStr;

use ansible::{Failure, Options};
use repository::{BackupFolder, BackupId, ClusterName, CompleteBackup};

use crate::{Explain, manifest};

/// What a task says when it named no backup and there is none it could take.
pub type NoBackup<'a> = dyn Fn(&ClusterName, usize) -> Failure + 'a;

/// The complete backup that the options `repository`, `cluster` and `backup_id` name; without `backup_id` the newest one
/// that is `usable`, by the time and then the LSN of its stop. `none` is given the cluster and how many backups of it
/// there are, whatever their states.
///
/// # Errors
/// When there is no such repository or backup, or it is not complete; what `none` says.
pub fn complete(
    options: &Options,
    usable: &dyn Fn(&CompleteBackup) -> bool,
    none: &NoBackup<'_>,
) -> Result<(BackupFolder, CompleteBackup), Failure> {
    let repository = manifest::open(&options.text_or_default("repository"))?;
    let cluster = ClusterName::from_str(&options.text_or_default("cluster"))
        .map_err(|error| error.explain())?;
    if let Some(text) = options.text("backup_id") {
        let backup = BackupId::from_str(text).map_err(|error| error.explain())?;
        let folder = repository.backup(&cluster, &backup);
        let manifest = folder.read().map_err(|error| error.explain())?;
        let complete = CompleteBackup::check(manifest).map_err(|error| error.explain())?;
        return Ok((folder, complete));
    }
    let listed = repository.backups(&cluster).map_err(|error| error.explain())?;
    let total = listed.manifests.len() + listed.unreadable.len();
    let complete =
        listed.manifests.into_iter().filter_map(|manifest| CompleteBackup::check(manifest).ok());
    let newest = complete
        .filter(|backup| usable(backup))
        .max_by_key(|backup| (backup.stop().time, backup.stop().lsn));
    match newest {
        Some(backup) => Ok((repository.backup(&cluster, &backup.manifest().backup_id), backup)),
        None => Err(none(&cluster, total)),
    }
}

//! Every place that the restore would fill.

use std::path::{Path, PathBuf};

use crate::RecoveryError;
use crate::marker::Marker;
use crate::plan::evidence::Evidence;
use crate::plan::tablespaces::PlacedTablespace;
use crate::plan::{destination, in_place, wal_directory};
use crate::request::{Restore, Source};

/// Is every place free, apart from the others, and not one that somebody needs?
pub(crate) fn check(
    restore: &Restore,
    source: Source,
    evidence: &Evidence,
    tablespaces: &[PlacedTablespace],
) -> Result<Option<Marker>, RecoveryError> {
    let data = &restore.data_directory;
    let mut places = vec![("data_directory", data.as_path())];
    places.extend(tablespaces.iter().map(|one| ("tablespace_mapping", one.location.as_path())));
    places.extend(restore.separate_wal().map(|path| ("wal_directory", path)));
    destination::apart_from_each_other(&places)?;
    let paths: Vec<_> = places.iter().map(|(_, path)| *path).collect();
    destination::apart_from(&repository_root(restore), &paths)?;
    destination::no_server(data)?;
    let us = [nix::unistd::geteuid().as_raw()];
    let unfinished = if source == Source::InPlace {
        in_place::check(data, restore.backup.manifest(), evidence)?;
        in_place::tablespaces(data, restore.backup.manifest(), tablespaces)?;
        Marker::unfinished(data, &us)?
    } else {
        let unfinished = destination::empty_or_unfinished(data, &us)?;
        for tablespace in tablespaces {
            tablespace_is_free(data, restore, tablespace, unfinished.as_ref())?;
        }
        unfinished
    };
    wal_directory::check(restore, source, unfinished.as_ref())?;
    Ok(unfinished)
}

fn tablespace_is_free(
    data_directory: &Path,
    restore: &Restore,
    tablespace: &PlacedTablespace,
    unfinished: Option<&Marker>,
) -> Result<(), RecoveryError> {
    let what = "tablespace location";
    match destination::location_is_free(what, &tablespace.location, unfinished) {
        Err(RecoveryError::LocationNotEmpty { path, .. }) if !tablespace.is_moved() => {
            Err(RecoveryError::TablespaceOnOriginal {
                name: tablespace.name.clone(),
                location: path,
            })
        }
        // Even an empty directory, when the source's cluster still links to it.
        Ok(())
            if in_place::is_of_another_cluster(
                data_directory,
                restore.backup.manifest(),
                tablespace,
            ) =>
        {
            Err(RecoveryError::TablespaceOnOriginal {
                name: tablespace.name.clone(),
                location: tablespace.location.clone(),
            })
        }
        other => other,
    }
}

/// `<repository>/<cluster>/backups/<backup id>` is three levels below the repository.
fn repository_root(restore: &Restore) -> PathBuf {
    let folder = restore.folder.local_path();
    folder.ancestors().nth(3).unwrap_or(&folder).to_path_buf()
}

//! Where the sandbox's server gets WAL from: we fetch it outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pg::{TimelineId, WalFileName};
use repository::wal::{RestoreCommand, WalSource};
use repository::{BackupFolder, FileEntry};
use sandbox::Source;

/// One run of a `restore_command`.
const PATIENCE: Duration = Duration::from_secs(600);

/// The backup's own WAL first, then what the operator's command fetches.
pub(crate) fn source(
    own: BTreeMap<String, FileEntry>,
    folder: Option<BackupFolder>,
    command: Option<String>,
    scratch: PathBuf,
) -> Box<Source> {
    let command = command.map(|command| RestoreCommand { command, scratch, patience: PATIENCE });
    Box::new(move |name: &str| {
        if let (Some(entry), Some(folder)) = (own.get(name), &folder) {
            return folder.get(entry).map(Some).map_err(|error| crate::chain(&error));
        }
        let Some(command) = &command else { return Ok(None) };
        // Only what recovery may want: the name goes into a shell's command line.
        let found = match name.parse::<WalFileName>() {
            Ok(WalFileName::Segment(segment)) => command.fetch(segment),
            Ok(WalFileName::TimelineHistory(timeline)) => history(command, timeline),
            _ => return Ok(None),
        };
        found.map_err(|error| crate::chain(&error))
    })
}

fn history(
    command: &RestoreCommand,
    timeline: TimelineId,
) -> Result<Option<Vec<u8>>, repository::wal::WalFetchError> {
    command.fetch_history(timeline)
}

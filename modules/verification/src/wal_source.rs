//! Where the sandbox's server gets WAL from: we fetch it outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pg::WalFileName;
use repository::wal::{RestoreCommand, WalSource};
use repository::{BackupFolder, FileEntry};
use sandbox::Source;

/// One run of a `restore_command`.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where WAL is to be had.
pub(crate) struct Wal {
    /// The backup's own, by name.
    pub(crate) own: BTreeMap<String, FileEntry>,
    /// The backup's folder.
    pub(crate) folder: Option<BackupFolder>,
    /// The operator's command.
    pub(crate) command: Option<String>,
    /// Where it puts its files.
    pub(crate) scratch: PathBuf,
    /// Whether every segment is destroyed on its way: for the self-test.
    pub(crate) damaged: bool,
}

/// The backup's own WAL first, then what the operator's command fetches.
pub(crate) fn source(wal: Wal) -> Box<Source> {
    let Wal { own, folder, command, scratch, damaged } = wal;
    let command = command.map(|command| RestoreCommand { command, scratch, patience: PATIENCE });
    Box::new(move |name: &str| {
        let found = match (own.get(name), &folder, &command) {
            (Some(entry), Some(folder), _) => {
                folder.get(entry).map(Some).map_err(|error| crate::chain(&error))
            }
            (_, _, Some(command)) => fetch(command, name),
            _ => Ok(None),
        };
        found.map(|bytes| bytes.map(|bytes| if damaged { destroyed(bytes) } else { bytes }))
    })
}

/// Only what recovery may want: the name goes into a shell's command line.
fn fetch(command: &RestoreCommand, name: &str) -> Result<Option<Vec<u8>>, String> {
    let found = match name.parse::<WalFileName>() {
        Ok(WalFileName::Segment(segment)) => command.fetch(segment),
        Ok(WalFileName::TimelineHistory(timeline)) => command.fetch_history(timeline),
        _ => return Ok(None),
    };
    found.map_err(|error| crate::chain(&error))
}

fn destroyed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.fill(0xFF);
    bytes
}

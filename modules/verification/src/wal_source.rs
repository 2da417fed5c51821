//! Where the sandbox's server gets WAL from: we fetch it outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pg::WalFileName;
use repository::wal::{RestoreCommand, WalSource};
use repository::{BackupFolder, FileEntry};
use sandbox::{Answered, Answers, Source};

/// One run of a `restore_command`.
const PATIENCE: Duration = Duration::from_secs(600);

/// A command that is told to end gets two seconds before it is killed.
const LAST_MOMENT: Duration = Duration::from_secs(5);

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
    /// Set when the drill is over: what still runs is ended then.
    pub(crate) stop: Arc<AtomicBool>,
    /// Whether every segment is destroyed on its way: for the self-test.
    pub(crate) damaged: bool,
}

/// The backup's own WAL first, then what the operator's command fetches.
pub(crate) fn source(wal: Wal) -> Box<Source> {
    let Wal { own, folder, command, scratch, stop, damaged } = wal;
    let command =
        command.map(|command| RestoreCommand { command, scratch, patience: PATIENCE, stop });
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

/// What recovery waits for, as the end of a sentence.
pub(crate) fn waiting_for(answered: &Answered) -> String {
    if answered.is_waiting() {
        return ": a WAL file was asked for and restore_command has not answered".to_owned();
    }
    String::new()
}

/// Nobody asks any more: a command that still runs is ended, and waited for.
pub(crate) fn end(stop: &AtomicBool, answers: &Answers) {
    stop.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    while answers.so_far().is_waiting() && begun.elapsed() < LAST_MOMENT {
        std::thread::sleep(Duration::from_millis(10));
    }
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

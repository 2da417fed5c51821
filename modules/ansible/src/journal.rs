//! A command that ssh runs twice is harmless: the second run gets the first
//! one's reply.
//!
//! ssh repeats a command after a broken multiplexed connection, and Ansible
//! after an exit status of 255, while the first run may still be going (there
//! is no terminal whose loss would end it). Both runs carry the same request
//! id, made by the action plugin. The first takes the kernel's lock on the
//! id's file; the second waits for it and then finds the reply.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg, OFlag};
use serde_json::{Map, Value};

use crate::reply::Reply;

/// How long replies are kept. A repetition comes within seconds; a day is
/// ample and keeps the directory small.
const KEPT_FOR: Duration = Duration::from_secs(86_400);

/// The lock of one request that has no reply yet.
#[derive(Debug)]
pub struct Journal {
    reply: PathBuf,
    _lock: Flock<File>,
}

/// What the journal knows of a request.
#[derive(Debug)]
pub enum Entry {
    /// Nothing: it is ours to do.
    Fresh(Journal),
    /// It was done, and this was the reply.
    Done(Map<String, Value>),
}

/// Opens the journal's page of a request, waiting for a run of the same
/// request to end.
///
/// # Errors
/// When the directory cannot be made or is not ours alone, or a file in it
/// cannot be opened.
pub fn open(directory: &Path, request_id: &str) -> io::Result<Entry> {
    durable::private_directory(directory, None, 0o700).map_err(io::Error::other)?;
    prune(directory);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(directory.join(format!("{request_id}.lock")))?;
    let lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let reply = directory.join(format!("{request_id}.json"));
    match std::fs::read(&reply) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(map) => Ok(Entry::Done(map)),
            // Torn by a crash: as good as never written.
            Err(_) => Ok(Entry::Fresh(Journal { reply, _lock: lock })),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Entry::Fresh(Journal { reply, _lock: lock }))
        }
        Err(error) => Err(error),
    }
}

impl Journal {
    /// Keeps the reply, already masked, and lets go of the lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(self, reply: &Reply) -> io::Result<()> {
        // Not synced: after a crash of the machine nobody repeats a request.
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.reply)?;
        io::Write::write_all(&mut file, reply.line().as_bytes())
    }
}

/// Removes pages older than [`KEPT_FOR`]. What cannot be removed stays.
fn prune(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).ok();
        let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age > KEPT_FOR) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Returns;
    use serde_json::json;

    #[test]
    fn the_second_run_gets_the_first_ones_reply() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("requests");
        let Entry::Fresh(page) = open(&place, "0123456789abcdef").unwrap() else {
            panic!("not fresh")
        };
        page.keep(&Reply::new(Ok(Returns::new(true, json!({"a": 1}))), None, &[])).unwrap();
        let Entry::Done(map) = open(&place, "0123456789abcdef").unwrap() else {
            panic!("forgotten")
        };
        assert_eq!(map["a"], 1);
    }

    #[test]
    fn a_run_waits_for_the_one_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("requests");
        let Entry::Fresh(page) = open(&place, "0123456789abcdef").unwrap() else {
            panic!("not fresh")
        };
        let second = std::thread::spawn({
            let place = place.clone();
            move || matches!(open(&place, "0123456789abcdef").unwrap(), Entry::Done(_))
        });
        std::thread::sleep(Duration::from_millis(50));
        page.keep(&Reply::new(Ok(Returns::new(true, json!({}))), None, &[])).unwrap();
        assert!(second.join().unwrap());
    }
}

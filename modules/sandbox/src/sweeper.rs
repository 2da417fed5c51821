//! The process that removes a work directory when neither its maker nor its sandbox lives any more.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::place::{self, LOCK};

const ATTEMPTS: u32 = 40;

const PAUSE: Duration = Duration::from_millis(250);

/// Runs the hidden command: `sandbox-sweep DIRECTORY`. Its standard input is a pipe that the maker holds: it ends when the
/// maker does, however that ends.
#[must_use]
pub fn run(words: &[&str]) -> u8 {
    let [path] = words else { return 2 };
    program::close_inherited();
    // The terminal's or the connection's end is not ours.
    let _ = nix::unistd::setsid();
    let mut nothing = vec![];
    let _ = std::io::stdin().read_to_end(&mut nothing);
    let path = Path::new(path);
    // The sandbox holds the lock too, and one that is kept holds it long.
    let Ok(lock) = File::open(path.join(LOCK)) else { return 0 };
    if lock.lock().is_err() {
        return 1;
    }
    // Without isolation the server may take a moment more to end, and write a last file.
    for _ in 0..ATTEMPTS {
        if place::remove(path).is_ok() {
            return 0;
        }
        std::thread::sleep(PAUSE);
    }
    1
}

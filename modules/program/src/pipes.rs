//! A program's standard streams, each moved by a thread of its own.
//!
//! The threads are not joined: a process that the program left behind may hold a pipe open for ever. What was read so
//! far is shared, so the caller may go away with it.

use std::io::{Read, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::running::Event;

/// Most that is accepted on standard output: an order of magnitude above the longest legitimate answer.
pub(crate) const STDOUT_LIMIT: usize = 64 << 20;
/// Most that is kept of standard error; the beginning is dropped.
const STDERR_KEPT: usize = 64 << 10;

/// The bytes a reading thread has collected so far.
#[derive(Clone, Default)]
pub(crate) struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds bytes and returns how many there are now.
    fn add(&self, bytes: &[u8]) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        all.len()
    }

    fn keep_last(&self, count: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = all.len().saturating_sub(count);
        all.drain(..excess);
    }
}

/// Collects standard output until its end, or until it is more than [`STDOUT_LIMIT`].
pub(crate) fn read_stdout(
    mut from: impl Read + Send + 'static,
    events: Sender<Event>,
) -> Collected {
    let collected = Collected::default();
    let into = collected.clone();
    thread::spawn(move || {
        let too_much = drain(&mut from, |bytes| into.add(bytes) > STDOUT_LIMIT);
        let _ = events.send(if too_much { Event::TooMuchOutput } else { Event::PipeClosed });
    });
    collected
}

/// Collects the last part of standard error until its end.
pub(crate) fn read_stderr(
    mut from: impl Read + Send + 'static,
    events: Sender<Event>,
) -> Collected {
    let collected = Collected::default();
    let into = collected.clone();
    thread::spawn(move || {
        drain(&mut from, |bytes| {
            // Cut only now and then: moving 64 KiB for each line would cost more than reading it.
            if into.add(bytes) > 4 * STDERR_KEPT {
                into.keep_last(STDERR_KEPT);
            }
            false
        });
        into.keep_last(STDERR_KEPT);
        let _ = events.send(Event::PipeClosed);
    });
    collected
}

/// Reads to the end; `enough` says when to leave earlier, which is also the answer.
fn drain(from: &mut impl Read, mut enough: impl FnMut(&[u8]) -> bool) -> bool {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) if enough(buffer.get(..count).unwrap_or_default()) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Writes standard input and closes it. A program that does not read it to the end is within its rights.
pub(crate) fn write_stdin(mut to: impl Write + Send + 'static, bytes: Vec<u8>) {
    thread::spawn(move || {
        let _ = to.write_all(&bytes);
    });
}

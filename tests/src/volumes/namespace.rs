//! A mount namespace for one thread and all that it starts.

use std::fs::File;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use crate::command::run;

/// The thread that made it, the threads and the programs that this thread
/// starts, and nobody else, see what is mounted now. So every other fixture
/// works in it as it is: a server of a test that lives here lives here too.
///
/// A dropped one lets the thread go back. The kernel ends the namespace, and
/// what is mounted in it, with the last process in it; also when the test is
/// killed.
#[derive(Debug)]
pub(crate) struct Namespace {
    before: File,
    directory: PathBuf,
    inside: PathBuf,
    // a thread cannot leave for another
    _here: PhantomData<*const ()>,
}

impl Namespace {
    /// Moves this thread into a copy of its mount namespace, from which no
    /// mount gets out.
    pub(crate) fn enter() -> Self {
        let before = File::open("/proc/thread-self/ns/mnt").expect("the thread's mount namespace");
        let directory = std::env::current_dir().expect("a working directory");
        unshare(CloneFlags::CLONE_NEWNS).expect("root may have a mount namespace of its own");
        run(Command::new("mount").args(["--make-rprivate", "/"]));
        let thread = std::fs::read_link("/proc/thread-self").expect("the thread in /proc");
        let inside = PathBuf::from("/proc").join(thread).join("ns/mnt");
        Self { before, directory, inside, _here: PhantomData }
    }

    /// The file to give to `nsenter --mount=`, while the thread lives.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.inside
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // working directory and root are still shared with the threads it started,
        // which the kernel does not let one of them change alone
        let back = unshare(CloneFlags::CLONE_FS)
            .and_then(|()| setns(&self.before, CloneFlags::CLONE_NEWNS));
        // which takes the thread to "/"
        let _ = std::env::set_current_dir(&self.directory);
        if let Err(error) = back
            && !std::thread::panicking()
        {
            panic!("the thread cannot go back to its mount namespace: {error}");
        }
    }
}

//! What the caller and the sandbox's process 1 say to each other: one JSON document a line, each request answered once.

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Told to process 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Start the one long-running program; its output goes to `log`.
    Start { program: PathBuf, args: Vec<String>, log: PathBuf },
    /// How is it?
    Status,
    /// Send it a signal, by number.
    Signal(i32),
    /// Run a program to its end.
    Run { program: PathBuf, args: Vec<String>, seconds: Option<u64> },
    /// Change files, in this order.
    Change(Vec<Change>),
    /// The content of a file, at most so many bytes.
    Read { path: PathBuf, limit: u64 },
    /// Live on when the caller is gone, as long as the long-running program does.
    Keep,
}

/// One change of the files inside, made as the programs' user: what a copy holds cannot lead it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Removes a file, a link or a directory with all that is in it; nothing to remove is no error.
    Remove(PathBuf),
    /// Removes all that is in a directory; a link to one, or nothing, becomes an empty directory.
    Empty(PathBuf),
    /// Removes the symbolic links that are directly in a directory.
    Unlink(PathBuf),
    /// Makes a symbolic link.
    Link {
        /// The link.
        at: PathBuf,
        /// Where it points to.
        to: PathBuf,
    },
    /// Writes a file, from its beginning, with mode 0600.
    Write {
        /// The file.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Writes over a part of a file that is there.
    Overwrite {
        /// The file.
        path: PathBuf,
        /// Where the bytes go.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What the long-running program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It was not started.
    Absent,
    /// It runs.
    Running,
    /// It ended with this status, or 128 plus the signal's number.
    Ended(i32),
}

/// A program that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit status, or 128 plus the signal's number.
    pub status: i32,
    /// What it wrote to standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

/// Said by the builder or by process 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The sandbox stands.
    Ready,
    /// It does not.
    NotBuilt { step: String, reason: String },
    /// Done.
    Done,
    /// Could not be done.
    Failed(String),
    /// How the long-running program is.
    Server(ServerState),
    /// A program ended.
    Ran(Ran),
    /// A program was ended because its time was over.
    TimedOut,
    /// A file's content.
    Bytes(Vec<u8>),
}

/// Says one thing on standard output, which the caller reads. When nobody does, there is nothing left to do but to end,
/// which the end of standard input brings about anyway.
pub(crate) fn say(answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

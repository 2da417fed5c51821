//! Runs other programs: clean environment, deadline, standard error kept.
//!
//! This is the one way a program is started (the keeper, which outlives its parent, is the exception and has its own
//! door in the crate `session`). What a program sees does not depend on who called us: its environment begins with
//! [`SEARCH_PATH`] and `LC_ALL=C` and nothing else, its directory is `/`, its standard input is empty.
//!
//! ```
//! # fn main() -> Result<(), program::ProgramError> {
//! let output = program::Program::new("echo").arg("hello").run()?;
//! assert_eq!(output.stdout, b"hello\n");
//! # Ok(())
//! # }
//! ```

mod closing;
mod error;
mod find;
mod pipes;
mod running;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use closing::close_inherited;
pub use error::{Cause, ProgramError};
pub use find::{SEARCH_PATH, find};

/// What a program that ended has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status, or 128 plus the number of the signal that ended it, as a shell says it.
    pub status: i32,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The last 64 KiB it wrote to standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

impl Output {
    /// Whether the exit status is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// A program to run, and how. The same value may be run again.
#[derive(Debug, Clone)]
pub struct Program {
    path: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<(u32, u32)>,
    directory: PathBuf,
    deadline: Option<Duration>,
    stdin: Option<Vec<u8>>,
}

impl Program {
    /// The program `path`: a path, or a bare name to be looked up in [`SEARCH_PATH`].
    #[must_use]
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            user: None,
            directory: PathBuf::from("/"),
            deadline: None,
            stdin: None,
        }
    }

    /// Adds one argument. Never a secret: any user of the machine can read arguments.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds one variable to the environment, or replaces one of the two that are always there.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as this user and group. Only root can; the supplementary groups are dropped.
    #[must_use]
    pub fn as_user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Runs in this directory instead of `/`.
    #[must_use]
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.directory = path.as_ref().to_path_buf();
        self
    }

    /// Ends the program, and every process of its process group, when it has not ended by itself after this time:
    /// `SIGTERM` first, so that it may clean up, `SIGKILL` two seconds later. Without this call there is no limit.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Gives the program these bytes on standard input, then its end.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Runs the program and expects exit status 0.
    ///
    /// # Errors
    /// As [`Program::output`], and [`Cause::Failed`] for any other exit status or a signal, with the end of what
    /// the program wrote to standard error.
    pub fn run(&self) -> Result<Output, ProgramError> {
        self.run_watched(&|| Ok(()))
    }

    /// As [`Program::run`], and asks `watch` about every half second whether to go on. When it answers with a reason
    /// not to, the program is ended as at its deadline.
    ///
    /// # Errors
    /// As [`Program::run`], and [`Cause::Stopped`] with the reason `watch` gave.
    pub fn run_watched(
        &self,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Output, ProgramError> {
        let output = self.output_watched(watch)?;
        if output.success() {
            return Ok(output);
        }
        Err(self.error(Cause::Failed {
            status: output.status,
            stderr: error::last_part(&output.stderr),
        }))
    }

    /// Runs the program; any exit status is `Ok`.
    ///
    /// # Errors
    /// [`Cause::NotStarted`] when it does not exist or may not be executed, [`Cause::TimedOut`] when its deadline
    /// passed, [`Cause::TooMuchOutput`] when it wrote more than 64 MiB to standard output.
    pub fn output(&self) -> Result<Output, ProgramError> {
        self.output_watched(&|| Ok(()))
    }

    /// As [`Program::output`], and asks `watch` as [`Program::run_watched`] does.
    ///
    /// # Errors
    /// As [`Program::output`], and [`Cause::Stopped`] with the reason `watch` gave.
    pub fn output_watched(
        &self,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Output, ProgramError> {
        running::run(self, watch).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: Cause) -> ProgramError {
        ProgramError { program: self.path.to_string_lossy().into_owned(), cause }
    }
}

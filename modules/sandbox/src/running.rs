//! A sandbox that stands, as its caller sees it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::builder::Job;
use crate::order::{Isolation, Order};
use crate::protocol::{Answer, Change, Ran, Request, ServerState};
use crate::{BUILD_COMMAND, Place, SandboxError, engine};

/// Building takes milliseconds; a host that swaps gets this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the caller is asked whether to go on.
const TICK: Duration = Duration::from_millis(200);

/// A program with its arguments, as paths inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A sandbox. When the value is dropped, by whatever way, everything in it ends.
pub struct Sandbox {
    builder: Child,
    input: ChildStdin,
    answers: Receiver<Answer>,
    isolation: Isolation,
}

impl Sandbox {
    /// Builds the sandbox of the order, with `place` as its work directory.
    ///
    /// # Errors
    /// [`SandboxError::Build`] with the step that was refused; [`SandboxError::Start`], [`SandboxError::Lost`].
    pub fn open(order: Order, place: &Place) -> Result<Self, SandboxError> {
        let isolation = order.isolation;
        let job =
            Job { executable: executable(isolation, place)?, place: place.path().into(), order };
        let mut builder = start_builder()?;
        let pipes = builder.stdin.take().zip(builder.stdout.take());
        let Some((mut input, output)) = pipes else { return Err(lost("it has no pipes")) };
        let answers = listen(output);
        let mut line = serde_json::to_vec(&job).map_err(|error| lost(&error.to_string()))?;
        line.push(b'\n');
        // When it cannot be told, it has said why, or will be found dead.
        let _ = input.write_all(&line);
        let sandbox = Self { builder, input, answers, isolation };
        match sandbox.answers.recv_timeout(PATIENCE) {
            Ok(Answer::Ready) => Ok(sandbox),
            Ok(Answer::NotBuilt { step, reason }) => Err(match isolation {
                Isolation::Engine(engine) => {
                    SandboxError::Engine { name: engine.name(), step, reason }
                }
                _ => SandboxError::Build { step, reason },
            }),
            Ok(other) => Err(lost(&format!("its first word was {other:?}"))),
            Err(_) => Err(lost("it said nothing")),
        }
    }

    /// Builds a sandbox by the first way that works here: namespaces as root, then a user namespace.
    ///
    /// # Errors
    /// [`SandboxError::NoIsolation`] with the reason of each way.
    pub fn open_isolated(order: &Order, place: &Place) -> Result<Self, SandboxError> {
        let ways: &[Isolation] = if geteuid().is_root() {
            &[Isolation::Namespaces, Isolation::UserNamespaces]
        } else {
            &[Isolation::UserNamespaces]
        };
        let mut tried = vec![];
        for way in ways {
            match Self::open(Order { isolation: *way, ..order.clone() }, place) {
                Ok(sandbox) => return Ok(sandbox),
                Err(SandboxError::Build { step, reason }) => {
                    let name = match way {
                        Isolation::Namespaces => "namespaces as root",
                        _ => "a user namespace",
                    };
                    tried.push(format!("{name}: {step}: {reason}"));
                }
                Err(other) => return Err(other),
            }
        }
        Err(SandboxError::NoIsolation { tried })
    }

    /// What isolates it.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The host's number of the process whose end is the sandbox's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.builder.id()
    }

    /// Starts the one long-running program; its output is appended to `log`, a path inside.
    ///
    /// # Errors
    /// [`SandboxError::Inside`] when it cannot be started.
    pub fn start(&mut self, command: &Command, log: &Path) -> Result<(), SandboxError> {
        let Command { program, args } = command.clone();
        let action = format!("start \"{}\"", program.display());
        self.done(&Request::Start { program, args, log: log.to_path_buf() }, &action)
    }

    /// How the long-running program is.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] when the sandbox is gone.
    pub fn server(&mut self) -> Result<ServerState, SandboxError> {
        match self.ask(&Request::Status, &|| Ok(()))? {
            Answer::Server(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends the long-running program a signal; without one there is nothing to do.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] when the sandbox is gone.
    pub fn signal(&mut self, signal: Signal) -> Result<(), SandboxError> {
        self.done(&Request::Signal(signal as i32), "send a signal")
    }

    /// Runs a program to its end, whatever its exit status, for at most `limit`. `watch` is asked all the while whether
    /// to go on; when it says no, the sandbox has to be given up, as the program in it still runs.
    ///
    /// # Errors
    /// [`SandboxError::Inside`] when it cannot be started, [`SandboxError::TimedOut`], [`SandboxError::Stopped`] with the
    /// watch's reason, [`SandboxError::Lost`].
    pub fn run(
        &mut self,
        command: &Command,
        limit: Option<Duration>,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Ran, SandboxError> {
        let Command { program, args } = command.clone();
        let name = program.display().to_string();
        let seconds = limit.map(|limit| limit.as_secs().max(1));
        match self.ask(&Request::Run { program, args, seconds }, watch)? {
            Answer::Ran(ran) => Ok(ran),
            Answer::TimedOut => {
                Err(SandboxError::TimedOut { program: name, seconds: seconds.unwrap_or(0) })
            }
            Answer::Failed(reason) => {
                Err(SandboxError::Inside { action: format!("run \"{name}\""), reason })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Changes files inside, as the programs' user.
    ///
    /// # Errors
    /// [`SandboxError::Inside`] naming the first that could not be changed; [`SandboxError::Lost`].
    pub fn change(&mut self, changes: Vec<Change>) -> Result<(), SandboxError> {
        self.done(&Request::Change(changes), "change files")
    }

    /// The first `limit` bytes of a file, by its path inside, read as the programs' user.
    ///
    /// # Errors
    /// [`SandboxError::Inside`] when it cannot be read; [`SandboxError::Lost`].
    pub fn read(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, SandboxError> {
        match self.ask(&Request::Read { path: path.to_path_buf(), limit }, &|| Ok(()))? {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Failed(reason) => {
                let action = format!("read \"{}\"", path.display());
                Err(SandboxError::Inside { action, reason })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Lets it live on without us, as long as the long-running program does.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] when it does not live any more.
    pub fn keep(mut self) -> Result<u32, SandboxError> {
        self.done(&Request::Keep, "keep the sandbox")?;
        Ok(self.pid())
    }

    /// Ends everything in it, and returns when it has.
    pub fn close(self) {
        let Self { mut builder, input, .. } = self;
        drop(input);
        let _ = builder.wait();
    }

    fn done(&mut self, request: &Request, action: &str) -> Result<(), SandboxError> {
        match self.ask(request, &|| Ok(()))? {
            Answer::Done => Ok(()),
            Answer::Failed(reason) => {
                Err(SandboxError::Inside { action: action.to_owned(), reason })
            }
            other => Err(unexpected(&other)),
        }
    }

    fn ask(
        &mut self,
        request: &Request,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Answer, SandboxError> {
        let mut line = serde_json::to_vec(request).map_err(|error| lost(&error.to_string()))?;
        line.push(b'\n');
        self.input.write_all(&line).map_err(|error| self.how_lost(&error.to_string()))?;
        loop {
            match self.answers.recv_timeout(TICK) {
                Ok(Answer::NotBuilt { step, reason }) => {
                    return Err(lost(&format!("{step}: {reason}")));
                }
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {
                    watch().map_err(|reason| SandboxError::Stopped { reason })?;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.how_lost("it was ended")),
            }
        }
    }

    fn how_lost(&mut self, reason: &str) -> SandboxError {
        match self.builder.try_wait() {
            Ok(Some(status)) => lost(&format!("{reason} ({status})")),
            _ => lost(reason),
        }
    }
}

fn lost(reason: &str) -> SandboxError {
    SandboxError::Lost { reason: reason.to_owned() }
}

fn unexpected(answer: &Answer) -> SandboxError {
    lost(&format!("it answered something else: {answer:?}"))
}

/// This executable's file. Where the programs' user could not reach or run it, or it is gone, a copy of it.
fn executable(isolation: Isolation, place: &Place) -> Result<PathBuf, SandboxError> {
    let own = std::env::current_exe().unwrap_or_default();
    let in_reach = match isolation {
        // It is shown at a place that is in reach.
        Isolation::Namespaces | Isolation::Engine(_) => {
            let mode = fs::metadata(&own).map_or(0, |found| found.permissions().mode());
            mode & 0o005 == 0o005
        }
        Isolation::UserNamespaces => !geteuid().is_root(),
        Isolation::None => false,
    };
    if own.is_file() && in_reach {
        return Ok(own);
    }
    let copy = place.executable();
    fs::copy("/proc/self/exe", &copy)
        .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)))
        .map_err(SandboxError::io("copy ourselves to", &copy))?;
    Ok(copy)
}

#[expect(clippy::disallowed_methods, reason = "the builder is this program re-executed")]
fn start_builder() -> Result<Child, SandboxError> {
    std::process::Command::new("/proc/self/exe")
        .arg(BUILD_COMMAND)
        .env_clear()
        .env("PATH", program::SEARCH_PATH)
        .envs(engine::environment())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| SandboxError::Start { what: "builder", source })
}

/// A thread of its own reads what is said, so that waiting for it can have a limit.
fn listen(output: ChildStdout) -> Receiver<Answer> {
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let answer = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(answer) = answer else { return };
            if say.send(answer).is_err() {
                return;
            }
        }
    });
    hear
}

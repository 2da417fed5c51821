//! Starting the sandbox's server and waiting until it has recovered.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandbox::{Answers, Command, Sandbox, SandboxError, ServerState};

use crate::clone::Inside;
use crate::server_log::ServerLog;

/// Recovery of a small cluster takes a fifth of a second; waiting must not double it.
const INTERVAL: Duration = Duration::from_millis(5);

/// How often more is looked at than the log.
const CLOSER: Duration = Duration::from_millis(250);

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It accepts connections.
    Ready,
    /// The server ended, with this status.
    Died(i32),
    /// Nothing moved for so long.
    Stalled(Duration),
}

/// The server of a drill.
pub(crate) struct Recovering<'a> {
    pub(crate) sandbox: &'a mut Sandbox,
    pub(crate) log: &'a mut ServerLog,
    pub(crate) answers: &'a Answers,
    pub(crate) inside: &'a Inside,
    pub(crate) patience: Duration,
}

/// Whatever changes while recovery moves.
#[derive(Debug, PartialEq, Eq)]
struct Sign {
    asked: u64,
    answered: usize,
    control: Vec<u8>,
}

impl Recovering<'_> {
    /// Starts the server of `bin_dir` and waits until it accepts connections, ends, or stands still.
    ///
    /// # Errors
    /// When the sandbox fails or `watch` says to stop.
    pub(crate) fn start(
        &mut self,
        bin_dir: &Path,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Ended, SandboxError> {
        self.log.told.ready = None;
        self.sandbox.start(&command(bin_dir, self.inside), &self.inside.log())?;
        self.wait(watch)
    }

    fn wait(&mut self, watch: &dyn Fn() -> Result<(), String>) -> Result<Ended, SandboxError> {
        let (mut looked, mut moved) = (Instant::now(), Instant::now());
        let mut sign = None;
        loop {
            if self.log.look() {
                moved = Instant::now();
            }
            if self.log.told.ready.is_some() {
                return Ok(Ended::Ready);
            }
            if looked.elapsed() >= CLOSER {
                looked = Instant::now();
                watch().map_err(|reason| SandboxError::Stopped { reason })?;
                if let ServerState::Ended(status) = self.sandbox.server()? {
                    self.log.look();
                    return Ok(Ended::Died(status));
                }
                let now = Some(self.sign());
                if now != sign {
                    (sign, moved) = (now, Instant::now());
                }
                if moved.elapsed() >= self.patience {
                    return Ok(Ended::Stalled(moved.elapsed()));
                }
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn sign(&mut self) -> Sign {
        let answered = self.answers.so_far();
        let control = self.sandbox.read(&self.inside.control_file(), 8192).unwrap_or_default();
        Sign {
            asked: answered.asked,
            answered: answered.found.len() + answered.missing.len(),
            control,
        }
    }
}

fn command(bin_dir: &Path, inside: &Inside) -> Command {
    let config = inside.config.join("postgresql.conf");
    Command {
        program: program(bin_dir, "postgres"),
        args: vec![
            "-D".to_owned(),
            inside.data.display().to_string(),
            format!("--config_file={}", config.display()),
        ],
    }
}

/// A program of the server's, by its path inside, which is the one on the host.
pub(crate) fn program(bin_dir: &Path, name: &str) -> PathBuf {
    bin_dir.join(name)
}

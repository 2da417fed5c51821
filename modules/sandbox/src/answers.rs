//! Files for programs inside that ask for them: they have no network, so the caller fetches what they need.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::SandboxError;
use crate::order::RunAs;

/// Where a file comes from: its content, `None` when there is no such file, or why it cannot be told.
pub type Source = dyn FnMut(&str) -> Result<Option<Vec<u8>>, String> + Send;

/// What was asked for so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// The names that were there, in order.
    pub found: Vec<String>,
    /// The names that were not, in order.
    pub missing: Vec<String>,
    /// The first failure.
    pub failure: Option<String>,
    /// How often anything was asked, an answer that is still awaited included.
    pub asked: u64,
    /// How often the source has answered.
    pub done: u64,
}

impl Answered {
    /// Whether an answer is still awaited.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.asked > self.done
    }
}

/// A name is a file's name; more is not read.
const NAME_LIMIT: u64 = 256;

/// The end that answers, until the process ends.
#[derive(Debug, Clone)]
pub struct Answers {
    answered: Arc<Mutex<Answered>>,
}

impl Answers {
    /// Listens at `socket`, as only `run_as` can reach it. Inside, [`crate::ASK_COMMAND`] asks.
    ///
    /// # Errors
    /// [`SandboxError::Io`] when the socket cannot be made.
    pub fn listen(
        socket: &Path,
        run_as: RunAs,
        mut source: Box<Source>,
    ) -> Result<Self, SandboxError> {
        let failed = || SandboxError::io("listen at", socket);
        // A path too long for a socket's name is reached through its directory.
        let parent = socket.parent().unwrap_or(Path::new("/"));
        let directory = fs::File::open(parent).map_err(failed())?;
        let short = Path::new("/proc/self/fd")
            .join(std::os::fd::AsRawFd::as_raw_fd(&directory).to_string())
            .join(socket.file_name().unwrap_or_default());
        let listener = UnixListener::bind(&short).map_err(failed())?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o600)).map_err(failed())?;
        if nix::unistd::geteuid().is_root() {
            chown(&short, Some(run_as.uid), Some(run_as.gid)).map_err(failed())?;
        }
        let answers = Self { answered: Arc::default() };
        let ours = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                ours.answer(stream, &mut source);
            }
        });
        Ok(answers)
    }

    /// What was asked for so far.
    #[must_use]
    pub fn so_far(&self) -> Answered {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Answered)) {
        change(&mut self.answered.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whoever asks and goes away before the answer is no concern of ours.
    fn answer(&self, mut stream: UnixStream, source: &mut Box<Source>) {
        let mut name = String::new();
        if BufReader::new((&mut stream).take(NAME_LIMIT)).read_line(&mut name).is_err() {
            return;
        }
        let name = name.trim_end().to_owned();
        self.note(|answered| answered.asked += 1);
        let found = source(&name);
        let (word, content) = match &found {
            Ok(Some(content)) => (b'y', content.as_slice()),
            Ok(None) => (b'n', [].as_slice()),
            Err(reason) => (b'e', reason.as_bytes()),
        };
        let _ = stream.write_all(&[word]).and_then(|()| stream.write_all(content));
        self.note(|answered| {
            answered.done += 1;
            match found {
                Ok(Some(_)) => answered.found.push(name),
                Ok(None) => answered.missing.push(name),
                Err(reason) => {
                    answered.failure.get_or_insert(reason);
                }
            }
        });
    }
}

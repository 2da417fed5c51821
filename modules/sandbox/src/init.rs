//! Process 1 of a sandbox: does what the caller tells it, and takes everything with it when it ends.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::{Cause, Program};

use crate::order::RunAs;
use crate::protocol::{Answer, Ran, Request, ServerState, say};
use crate::tie::tied;
use crate::{change, privileges};

/// A server that quits at once gives its own processes five seconds.
const LAST_MOMENT: Duration = Duration::from_secs(7);

/// What process 1 waits for.
enum Event {
    /// The caller said something.
    Told(Request),
    /// The caller is gone, or wants the end.
    Over,
    /// The long-running program ended.
    Ended(i32),
    /// Another program did, or a file was read.
    Answered(Answer),
}

/// Runs the hidden command: `sandbox-init UID GID`.
#[must_use]
pub fn run(words: &[&str]) -> u8 {
    let run_as = match words {
        [uid, gid] => uid.parse().ok().zip(gid.parse().ok()),
        _ => None,
    };
    let Some((uid, gid)) = run_as else { return 2 };
    // Programs look there; PostgreSQL does not need it, and some containers forbid it.
    if std::process::id() == 1 {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
    }
    let ready =
        privileges::drop_to(RunAs { uid, gid }).and_then(|()| privileges::end_with_parent());
    if let Err(reason) = ready {
        let step = "become the server's user".to_owned();
        say(&Answer::NotBuilt { step, reason: reason.to_string() });
        return 1;
    }
    say(&Answer::Ready);
    serve();
    0
}

fn serve() {
    let (events, hear) = mpsc::channel();
    let ears = events.clone();
    std::thread::spawn(move || listen(&ears));
    let mut server = Server { pid: None, state: ServerState::Absent };
    let mut kept = false;
    while let Ok(event) = hear.recv() {
        match event {
            Event::Told(Request::Keep) => {
                kept = true;
                say(&Answer::Done);
            }
            Event::Told(request) => server.obey(request, &events),
            Event::Answered(answer) => say(&answer),
            Event::Ended(status) => {
                server = Server { pid: None, state: ServerState::Ended(status) };
                if kept {
                    break;
                }
            }
            Event::Over if kept => {}
            Event::Over => break,
        }
    }
    server.end(&hear);
}

fn listen(events: &Sender<Event>) {
    for line in std::io::stdin().lock().lines() {
        let request = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        let Some(request) = request else { break };
        if events.send(Event::Told(request)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Over);
}

/// The long-running program.
struct Server {
    pid: Option<Pid>,
    state: ServerState,
}

impl Server {
    fn obey(&mut self, request: Request, events: &Sender<Event>) {
        match request {
            Request::Start { program, args, log } => {
                say(&match self.start(&program, &args, &log, events) {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Failed(error.to_string()),
                });
            }
            Request::Status => say(&Answer::Server(self.state)),
            Request::Signal(number) => {
                let signal = Signal::try_from(number).ok();
                if let Some(pid) = self.pid {
                    let _ = kill(pid, signal);
                }
                say(&Answer::Done);
            }
            Request::Run { program, args, seconds } => {
                let events = events.clone();
                std::thread::spawn(move || {
                    let answer = run_program(&program, &args, seconds);
                    let _ = events.send(Event::Answered(answer));
                });
            }
            Request::Read { path, limit } => say(&read(&path, limit)),
            Request::Change(changes) => say(&change::all(&changes)),
            Request::Keep => {}
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a program that outlives the call, which the crate program has no way for"
    )]
    fn start(
        &mut self,
        program: &Path,
        args: &[String],
        log: &Path,
        events: &Sender<Event>,
    ) -> std::io::Result<()> {
        let log = File::options().append(true).create(true).mode(0o600).open(log)?;
        // A server that is told to quit at once takes its memory segments with it.
        let (program, args) = tied(program, args, Signal::SIGQUIT);
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", program::SEARCH_PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
        self.state = ServerState::Running;
        let events = events.clone();
        std::thread::spawn(move || {
            let status = child.wait().map_or(255, |status| number(&status));
            let _ = events.send(Event::Ended(status));
        });
        Ok(())
    }

    /// Inside a process namespace the kernel ends everything with us. Without one the server is told to quit at once, so
    /// that it leaves no memory segments behind, and killed when it does not listen.
    fn end(&self, hear: &Receiver<Event>) {
        let Some(pid) = self.pid.filter(|_| std::process::id() != 1) else { return };
        for signal in [Signal::SIGQUIT, Signal::SIGKILL] {
            let _ = kill(pid, signal);
            let until = Instant::now() + LAST_MOMENT;
            while let Ok(event) = hear.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                if matches!(event, Event::Ended(_)) {
                    return;
                }
            }
        }
    }
}

fn number(status: &ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

fn run_program(program: &Path, args: &[String], seconds: Option<u64>) -> Answer {
    let (tied_program, args) = tied(program, args, Signal::SIGTERM);
    let mut order = Program::new(tied_program).args(args);
    if let Some(seconds) = seconds {
        order = order.deadline(Duration::from_secs(seconds));
    }
    match order.output() {
        Ok(output) => Answer::Ran(Ran {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: output.stderr,
        }),
        Err(error) if matches!(error.cause, Cause::TimedOut { .. }) => Answer::TimedOut,
        Err(error) => Answer::Failed(chain(&error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn read(path: &Path, limit: u64) -> Answer {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let mut bytes = vec![];
    match opened.and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => Answer::Bytes(bytes),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

//! One run of a program: start, wait with a deadline and a watch, end.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::pipes::{self, Collected};
use crate::{Cause, Output, Program, SEARCH_PATH};

/// How often the watch is asked. Callers need it at least every two seconds.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Between `SIGTERM` and `SIGKILL`: long enough to remove a half-made snapshot, short enough for a caller that is
/// losing backup mode.
const GRACE: Duration = Duration::from_secs(2);
/// How long a pipe may stay open after its program has ended, which happens when it left a process behind.
const LINGER: Duration = Duration::from_secs(1);

/// What the helping threads report.
pub(crate) enum Event {
    Exited,
    PipeClosed,
    TooMuchOutput,
}

pub(crate) fn run(
    program: &Program,
    watch: &dyn Fn() -> Result<(), String>,
) -> Result<Output, Cause> {
    let started = Instant::now();
    let mut child = command(program).spawn().map_err(Cause::NotStarted)?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (sender, events) = channel();
    let (stdout, stderr) = connect(&mut child, program, &sender);
    report_exit(group, sender);

    let until = program.deadline.map(|deadline| started + deadline);
    let waited = wait(&events, until, watch);
    if waited.is_err() {
        end(group, &events);
    }
    // Only now is the process reaped, so that until here its id could not have become another's.
    let status = child.wait().map_err(Cause::NotStarted)?;
    let stderr = String::from_utf8_lossy(&stderr.take()).into_owned();
    match waited {
        Ok(()) => Ok(Output { status: shell_status(status), stdout: stdout.take(), stderr }),
        Err(Early::Deadline) => Err(Cause::TimedOut {
            seconds: program.deadline.map_or(0, |deadline| deadline.as_secs()),
            stderr: crate::error::last_part(&stderr),
        }),
        Err(Early::Watch(reason)) => Err(Cause::Stopped { reason }),
        Err(Early::TooMuchOutput) => Err(Cause::TooMuchOutput { limit: pipes::STDOUT_LIMIT }),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place that starts programs")]
fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LC_ALL", "C")
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&program.directory)
        .stdin(if program.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group: what it starts can be ended with it, and a terminal's Ctrl-C does not reach it first.
        .process_group(0);
    if let Some((uid, gid)) = program.user {
        // The standard library also drops the supplementary groups when root gives a user id.
        command.uid(uid).gid(gid);
    }
    command
}

fn connect(child: &mut Child, program: &Program, events: &Sender<Event>) -> (Collected, Collected) {
    if let (Some(pipe), Some(bytes)) = (child.stdin.take(), program.stdin.clone()) {
        pipes::write_stdin(pipe, bytes);
    }
    let stdout = child.stdout.take().map(|pipe| pipes::read_stdout(pipe, events.clone()));
    let stderr = child.stderr.take().map(|pipe| pipes::read_stderr(pipe, events.clone()));
    (stdout.unwrap_or_default(), stderr.unwrap_or_default())
}

/// Reports when the program ends, without reaping it.
fn report_exit(pid: Pid, events: Sender<Event>) {
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), flags) {}
        let _ = events.send(Event::Exited);
    });
}

/// Why waiting ended before the program did.
enum Early {
    Deadline,
    Watch(String),
    TooMuchOutput,
}

/// Waits until the program has ended and both pipes are closed.
fn wait(
    events: &Receiver<Event>,
    mut until: Option<Instant>,
    watch: &dyn Fn() -> Result<(), String>,
) -> Result<(), Early> {
    let mut exited = false;
    let mut open_pipes = 2;
    let mut next_watch = Instant::now() + WATCH_INTERVAL;
    while !exited || open_pipes > 0 {
        let now = Instant::now();
        // A program that has ended need not be watched any more.
        let wake = match until {
            Some(until) if exited => until,
            Some(until) => until.min(next_watch),
            None => next_watch,
        };
        match events.recv_timeout(wake.saturating_duration_since(now)) {
            Ok(Event::Exited) => {
                exited = true;
                until = Some(Instant::now() + LINGER);
            }
            Ok(Event::PipeClosed) => open_pipes -= 1,
            Ok(Event::TooMuchOutput) => return Err(Early::TooMuchOutput),
            Err(RecvTimeoutError::Timeout) if exited => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(Early::Deadline);
                }
                watch().map_err(Early::Watch)?;
                next_watch = Instant::now() + WATCH_INTERVAL;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Ends the whole process group, politely first.
fn end(group: Pid, events: &Receiver<Event>) {
    // A group that is gone already is what we want; nothing else can be done about a refusal.
    let _ = killpg(group, Signal::SIGTERM);
    let until = Instant::now() + GRACE;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Exited) | Err(_) => break,
            Ok(_) => {}
        }
    }
    // Also when the program itself has ended: one of its children may have ignored the signal.
    let _ = killpg(group, Signal::SIGKILL);
}

fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn sh(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    #[test]
    fn the_environment_is_clean_and_the_directory_is_the_root() {
        let output = Program::new("env").env("B", "2").run().unwrap();
        let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["B=2", "LC_ALL=C", &format!("PATH={SEARCH_PATH}")]);
        assert_eq!(sh("pwd").run().unwrap().stdout, b"/\n");
        assert_eq!(sh("pwd").current_dir("/usr").run().unwrap().stdout, b"/usr\n");
    }

    #[test]
    fn standard_input_is_given_or_empty() {
        let bytes = vec![b'x'; 1 << 20];
        assert_eq!(Program::new("cat").stdin_bytes(bytes.clone()).run().unwrap().stdout, bytes);
        assert_eq!(Program::new("cat").run().unwrap().stdout, b"");
        sh("exit 0").stdin_bytes(bytes).run().unwrap();
    }

    #[test]
    fn a_failure_brings_standard_error() {
        let error = sh("echo out; echo why >&2; exit 3").run().unwrap_err();
        assert_eq!(error.to_string(), "program \"sh\" failed with exit status 3: why");
        let output = sh("echo out; echo why >&2; exit 3").output().unwrap();
        assert_eq!(
            output,
            Output { status: 3, stdout: b"out\n".to_vec(), stderr: "why\n".to_owned() }
        );
        assert_eq!(sh("kill -9 $$").output().unwrap().status, 137);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("/no/such/program").run().unwrap_err();
        assert_eq!(error.to_string(), "could not run program \"/no/such/program\"");
        assert_eq!(error.kind(), "program_not_found");
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let started = Instant::now();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let script = format!("(sleep 2.2; echo > {}) & echo first >&2; sleep 60", mark.display());
        let error = sh(&script).deadline(Duration::from_millis(1000)).run().unwrap_err();
        assert_eq!(error.to_string(), "program \"sh\" did not end within 1 s: first");
        assert!(started.elapsed() < Duration::from_secs(2));
        thread::sleep(Duration::from_millis(1600));
        assert!(!mark.exists(), "a child outlived the deadline");
    }

    #[test]
    fn one_that_ignores_the_polite_signal_is_killed() {
        let started = Instant::now();
        let error = sh("trap '' TERM; while :; do sleep 0.1; done")
            .deadline(Duration::from_millis(200))
            .run()
            .unwrap_err();
        assert_eq!(error.kind(), "program_timed_out");
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn the_watch_is_asked_and_obeyed() {
        let asked = Cell::new(0);
        let started = Instant::now();
        let error = Program::new("sleep")
            .arg("60")
            .run_watched(&|| {
                asked.set(asked.get() + 1);
                if asked.get() == 2 { Err("backup mode was lost".to_owned()) } else { Ok(()) }
            })
            .unwrap_err();
        assert_eq!(error.to_string(), "program \"sleep\" was stopped: backup mode was lost");
        assert!(started.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn the_watch_is_asked_while_output_streams() {
        let asked = Cell::new(0);
        let script = "i=0; while [ $i -lt 15 ]; do echo $i; i=$((i+1)); sleep 0.1; done";
        sh(script)
            .run_watched(&|| {
                asked.set(asked.get() + 1);
                Ok(())
            })
            .unwrap();
        assert!(asked.get() >= 2, "asked {} times", asked.get());
    }

    #[test]
    fn a_process_left_behind_does_not_hold_us() {
        let started = Instant::now();
        let output = sh("echo done; sleep 5 &").run().unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn endless_output_is_stopped() {
        let error = Program::new("yes").deadline(Duration::from_secs(60)).run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "program \"yes\" wrote more than 67108864 bytes to standard output"
        );
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let output = sh("yes fill | head -c 1000000 >&2; echo last >&2").run().unwrap();
        assert!(output.stderr.len() <= 64 << 10);
        assert!(output.stderr.ends_with("last\n"));
    }

    #[test]
    fn another_user_can_be_given_by_root() {
        if !nix::unistd::geteuid().is_root() {
            let error = Program::new("id").as_user(0, 0).run().unwrap_err();
            assert_eq!(error.kind(), "program_failed");
            return;
        }
        let output = sh("id -u; id -g; id -G").as_user(12345, 54321).run().unwrap();
        assert_eq!(output.stdout, b"12345\n54321\n54321\n");
    }
}

//! What Ansible's `async_wrapper` does, so that `async:` and `async_status`
//! work without Python on this end.
//!
//! `start` writes the job's file and re-executes this program as the job's
//! supervisor; the supervisor runs the request in a process group of its own
//! and writes the reply into the job's file, or kills the group at the limit.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::chain::Failure;
use crate::reply::{Reply, Returns};

/// The hidden command of the supervisor.
pub const SUPERVISE: &str = "async-job";

/// Starts the request in the background and says which job it is.
///
/// # Errors
/// When the job's file cannot be written or the supervisor cannot be started.
pub fn start(job: &str, limit: u64, directory: &str, request: &[u8]) -> Result<Reply, Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::new("internal", format!("could not {what}: {error}"))
    };
    let directory = expand_home(directory);
    std::fs::create_dir_all(&directory)
        .map_err(|error| failed("make the directory of async jobs", error))?;
    let id = format!("{job}.{}", std::process::id());
    let file = directory.join(&id);
    let state = json!({"started": true, "finished": false, "ansible_job_id": id});
    put(&file, &state).map_err(|error| failed("write the async job's file", error))?;
    let mut supervisor = own_executable()
        .arg(SUPERVISE)
        .arg(&file)
        .arg(limit.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed("start the async job", error))?;
    if let Some(mut input) = supervisor.stdin.take() {
        input
            .write_all(request)
            .map_err(|error| failed("hand the request to the async job", error))?;
    }
    let started =
        json!({"started": true, "finished": false, "ansible_job_id": id, "results_file": file});
    Ok(Reply::new(Ok(Returns::new(true, started)), None, &[]))
}

/// The supervisor: `limit` in seconds, 0 for none.
///
/// # Errors
/// When the job's file cannot be written.
pub fn supervise(file: &Path, limit: u64) -> std::io::Result<()> {
    // The terminal's or ssh session's end must not end the job.
    let _ = nix::unistd::setsid();
    let mut request = vec![];
    std::io::stdin().read_to_end(&mut request)?;
    let mut result = match work(&request, limit) {
        Ok(map) => map,
        Err(error) => Failure::new("internal", format!("the async job failed: {error}")).to_map(),
    };
    let id = file.file_name().map(|name| name.to_string_lossy().into_owned());
    result.insert("ansible_job_id".into(), json!(id));
    result.insert("finished".into(), json!(true));
    // A module may have a return value of that name.
    result.entry("started").or_insert(json!(true));
    put(file, &Value::Object(result))
}

fn work(request: &[u8], limit: u64) -> std::io::Result<Map<String, Value>> {
    let mut worker = own_executable()
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Some(mut input) = worker.stdin.take() {
        input.write_all(request)?;
    }
    let output = worker.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    });
    if !ended_within(&mut worker, limit)? {
        let group = Pid::from_raw(i32::try_from(worker.id()).unwrap_or(i32::MAX));
        let _ = killpg(group, Signal::SIGKILL);
        worker.wait()?;
        return Ok(Failure::new("internal", format!("the async job did not end within {limit} s"))
            .to_map());
    }
    let text = reader.join().unwrap_or_default();
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    Ok(serde_json::from_str(line)?)
}

fn ended_within(worker: &mut Child, limit: u64) -> std::io::Result<bool> {
    let started = Instant::now();
    loop {
        if worker.try_wait()?.is_some() {
            return Ok(true);
        }
        if limit != 0 && started.elapsed() > Duration::from_secs(limit) {
            return Ok(false);
        }
        // async_status polls in whole seconds; a tenth keeps `poll: 1` exact.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// This very program, even when its file was replaced or removed meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "the async supervisor is this program re-executed, not another one"
)]
fn own_executable() -> Command {
    Command::new("/proc/self/exe")
}

fn put(file: &Path, value: &Value) -> std::io::Result<()> {
    let fresh = file.with_extension("tmp");
    std::fs::write(&fresh, value.to_string())?;
    std::fs::rename(&fresh, file)
}

fn expand_home(directory: &str) -> PathBuf {
    match directory.strip_prefix("~/") {
        Some(rest) => {
            PathBuf::from(std::env::var("HOME").unwrap_or_else(|_| "/".into())).join(rest)
        }
        None => PathBuf::from(directory),
    }
}

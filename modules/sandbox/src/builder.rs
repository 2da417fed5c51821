//! The process that makes the sandbox around itself and starts process 1 in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::order::{Isolation, Order};
use crate::protocol::{Answer, say};
use crate::{EXECUTABLE_INSIDE, INIT_COMMAND, engine, mounts, privileges};

/// A step that failed, in words.
pub(crate) struct Refused {
    pub(crate) step: String,
    pub(crate) reason: String,
}

impl Refused {
    /// For a step on something that has a name.
    pub(crate) fn at<E: std::fmt::Display>(
        step: &str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let step = format!("{step} \"{}\"", path.as_ref().display());
        move |reason| Self { step, reason: reason.to_string() }
    }

    /// For a step without.
    pub(crate) fn step<E: std::fmt::Display>(step: &str) -> impl FnOnce(E) -> Self {
        let step = step.to_owned();
        move |reason| Self { step, reason: reason.to_string() }
    }
}

/// What the builder is told on the first line of its standard input; the rest of it is for process 1.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Job {
    pub(crate) order: Order,
    /// The work directory, see [`crate::Place`].
    pub(crate) place: std::path::PathBuf,
    /// This executable's file, to be seen inside.
    pub(crate) executable: std::path::PathBuf,
}

/// Runs the hidden command. Answers on standard output what came in the way, if anything did. The exit status is 0 when
/// process 1 ended by itself.
#[must_use]
pub fn run() -> u8 {
    program::close_inherited();
    match build() {
        Ok(()) => 0,
        Err(Refused { step, reason }) => {
            say(&Answer::NotBuilt { step, reason });
            1
        }
    }
}

fn build() -> Result<(), Refused> {
    let job = read_job()?;
    // Held to the end: while it is, nobody removes the work directory.
    let lock = hold(&job.place)?;
    match job.order.isolation {
        Isolation::None => {}
        Isolation::Engine(engine) => return engine::run(engine, &job),
        Isolation::Namespaces => {
            enter_namespaces(CloneFlags::empty())?;
            mounts::build(&job, false)?;
        }
        Isolation::UserNamespaces => {
            if geteuid().is_root() {
                privileges::drop_to(job.order.run_as)
                    .map_err(Refused::step("become the server's user"))?;
                // After a change of the user our own files in /proc, the maps among them, are root's until this is said.
                nix::sys::prctl::set_dumpable(true)
                    .map_err(Refused::step("become the server's user"))?;
            }
            own_user_namespace()?;
            mounts::build(&job, true)?;
        }
    }
    start_init(&job)?;
    drop(lock);
    Ok(())
}

/// Reads one line and not a byte more.
fn read_job() -> Result<Job, Refused> {
    const STEP: &str = "read what is to be built";
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(Refused::step(STEP))?;
    let mut line = vec![];
    let mut byte = [0];
    let mut input = File::from(input);
    while input.read(&mut byte).map_err(Refused::step(STEP))? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    serde_json::from_slice(&line).map_err(Refused::step(STEP))
}

fn hold(place: &Path) -> Result<File, Refused> {
    let path = place.join(crate::place::LOCK);
    let lock = File::open(&path).map_err(Refused::at("open", &path))?;
    lock.lock_shared().map_err(Refused::at("lock", &path))?;
    Ok(lock)
}

fn enter_namespaces(more: CloneFlags) -> Result<(), Refused> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | more;
    unshare(flags).map_err(Refused::step("make namespaces"))?;
    // Best effort: some containers forbid it, and nothing hangs on it.
    let _ = nix::unistd::sethostname("sandbox");
    Ok(())
}

/// A user namespace in which we are who we were: a server refuses to run as root, and root is what we would be otherwise.
fn own_user_namespace() -> Result<(), Refused> {
    let (uid, gid) = (geteuid(), getegid());
    enter_namespaces(CloneFlags::CLONE_NEWUSER)?;
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ];
    for (name, text) in maps {
        let path = format!("/proc/self/{name}");
        std::fs::write(&path, text).map_err(Refused::at("write", &path))?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "process 1 of the sandbox is this program re-executed"
)]
fn start_init(job: &Job) -> Result<(), Refused> {
    let program = match job.order.isolation {
        Isolation::None => job.executable.as_path(),
        _ => Path::new(EXECUTABLE_INSIDE),
    };
    let run_as = job.order.run_as;
    let mut init = Command::new(program)
        .args([INIT_COMMAND, &run_as.uid.to_string(), &run_as.gid.to_string()])
        .env_clear()
        .env("PATH", program::SEARCH_PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stderr(Stdio::null())
        .spawn()
        .map_err(Refused::step("start process 1"))?;
    // Its words go to the caller; ours would only be in the way.
    let status = init.wait().map_err(Refused::step("wait for process 1"))?;
    if status.success() {
        return Ok(());
    }
    Err(Refused { step: "run process 1".to_owned(), reason: status.to_string() })
}

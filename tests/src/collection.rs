//! The collection as a user would have it, staged once a test run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::run;
use crate::place::project;

/// A path for `ANSIBLE_COLLECTIONS_PATH` that holds `backstay.postgresql`, with
/// the executable of this checkout.
///
/// `BACKSTAY_COLLECTIONS` names one that is staged already, as `tests/run` does.
/// Otherwise `cargo xtask stage` makes it. Under nextest each test is a process of its
/// own, so what tells one run from the next is nextest's run id, or the `cargo`
/// that started us.
///
/// # Panics
///
/// When it cannot be staged.
#[must_use]
pub fn collections_path() -> PathBuf {
    static STAGED: OnceLock<PathBuf> = OnceLock::new();
    STAGED.get_or_init(stage).clone()
}

fn stage() -> PathBuf {
    if let Some(staged) = std::env::var_os("BACKSTAY_COLLECTIONS") {
        return PathBuf::from(staged);
    }
    // what it prints is ansible_collections/backstay/postgresql below that
    let staged = once("stage", "staged-for");
    let path = staged.ancestors().nth(3).unwrap_or(&staged).to_path_buf();
    assert!(
        executable_in(&path).is_some(),
        "cargo xtask stage left no executable under {}",
        path.display()
    );
    path
}

/// The executable of the staged collection for this machine.
#[must_use]
pub fn executable() -> PathBuf {
    executable_in(&collections_path()).expect("checked when it was staged")
}

/// The executable of the staged collection that has the module: `backstay-ebs` for those that talk to EC2.
///
/// # Panics
///
/// When the collection was staged without it.
#[must_use]
pub fn executable_of(module: &str) -> PathBuf {
    if !module.starts_with("ebs_") {
        return executable();
    }
    ebs_executable().expect("the collection was staged with backstay-ebs")
}

/// `backstay-ebs`, unless the collection was staged without it.
#[must_use]
pub fn ebs_executable() -> Option<PathBuf> {
    Some(executable().with_file_name("backstay-ebs")).filter(|path| path.is_file())
}

/// Builds the collection's tarball as it is released; gives its path.
///
/// # Panics
///
/// When it cannot be built.
#[must_use]
pub fn tarball() -> PathBuf {
    once("collection", "packaged-for")
}

/// Runs a task of `cargo xtask` unless this test run has done so; gives the path
/// that it printed.
fn once(task: &str, stamp: &str) -> PathBuf {
    let target = target_directory();
    let lock = File::create(target.join("stage.lock")).expect("the target directory is writable");
    lock.lock().expect("a lock in the target directory");
    let (this_run, stamp) = (run_id(), target.join(stamp));
    let noted = fs::read_to_string(&stamp).unwrap_or_default();
    if let Some((run, path)) = noted.split_once('\n')
        && run == this_run
    {
        return PathBuf::from(path);
    }
    let path = xtask(task);
    fs::write(&stamp, format!("{this_run}\n{path}")).expect("the target directory is writable");
    PathBuf::from(path)
}

/// Runs `cargo xtask`; gives what it printed.
fn xtask(task: &str) -> String {
    let mut xtask = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    xtask.args(["run", "--quiet", "--locked", "--package", "xtask", "--", task]);
    // what cargo told this test of its own package would make it build anew
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST")
            || name.starts_with("CARGO_BIN_EXE")
        {
            xtask.env_remove(&name);
        }
    }
    let output = run(xtask.current_dir(project()).env("CARGO_TARGET_DIR", target_directory()));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn executable_in(path: &Path) -> Option<PathBuf> {
    let native = path.join("ansible_collections/backstay/postgresql/native");
    let found = native.join(format!("linux-{}/backstay", std::env::consts::ARCH));
    found.is_file().then_some(found)
}

fn target_directory() -> PathBuf {
    // a test is <target>/<profile>/deps/<name>, the demo <target>/<profile>/<name>
    let here = std::env::current_exe().expect("the path of this executable");
    let above = here.ancestors().skip(1).find(|path| !path.ends_with("deps"));
    let target = above.and_then(Path::parent);
    target.expect("this executable lies in the target directory").to_path_buf()
}

fn run_id() -> String {
    if let Ok(id) = std::env::var("NEXTEST_RUN_ID") {
        return id;
    }
    let parent = std::os::unix::process::parent_id();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    // the 22nd field, counted after the name in brackets: when it was started
    let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19));
    format!("{parent} {}", started.unwrap_or_default())
}

//! A base backup and drills of it: what they leave behind, and what can be seen from inside of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::backup::task;
use crate::basebackup::BaseBackup;
use crate::command::{run, signal};
use crate::place::{Place, User};
use crate::scene::{Asked, Reply, merged, request};
use crate::server::Server;

/// How long whatever a drill leaves may stay.
const SOON: Duration = Duration::from_secs(20);

/// A server, a plain base backup of it, and a place of our own for drills.
#[derive(Debug)]
pub struct Drills {
    /// The server that the backup is of.
    pub server: Server,
    backup: BaseBackup,
    place: Place,
}

impl Drills {
    /// Takes a base backup of the server, with these arguments of `pg_basebackup`; the server runs on.
    #[must_use]
    pub fn of(server: Server, arguments: &[&str]) -> Self {
        let backup = BaseBackup::of(&server, arguments);
        Self { server, backup, place: Place::new() }
    }

    /// The backup's directory.
    #[must_use]
    pub fn backup(&self) -> PathBuf {
        self.backup.path().to_path_buf()
    }

    /// A directory that is nobody's but the test's.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the drills of this user work.
    #[must_use]
    pub fn work(&self, user: &User) -> PathBuf {
        self.place.join(&format!("of-{}/drills", user.name))
    }

    /// The task that verifies the backup as this user, with `more` options.
    #[must_use]
    pub fn task(&self, user: &User, more: &Value) -> Value {
        let own = self.place.join(&format!("of-{}", user.name));
        if !own.is_dir() {
            user.make_directory(&own);
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&own, open).expect("chmod of an own directory");
        }
        let fixed = json!({
            "path": self.backup(),
            "bin_dir": self.server.bin(),
            "state_directory": own.join("state"),
            "work_directory": self.work(user),
        });
        task("backup_verify", &[&fixed, more])
    }

    /// Holds a drill as this user and does not wait.
    #[must_use]
    pub fn begin(&self, user: &User, more: &Value) -> Asked {
        Asked::of(&self.task(user, more), user)
    }

    /// Holds a drill as this user.
    #[track_caller]
    #[must_use]
    pub fn hold(&self, user: &User, more: &Value) -> Reply {
        self.begin(user, more).reply()
    }

    /// Holds a drill by a command that runs the executable in its own way.
    #[track_caller]
    #[must_use]
    pub fn hold_by(&self, command: Command, user: &User, more: &Value) -> Reply {
        Asked::by(command, &request(&self.task(user, more))).reply()
    }

    /// Holds a drill as this user and keeps its sandbox.
    #[track_caller]
    #[must_use]
    pub fn keep(&self, user: &User, more: &Value) -> Kept {
        let reply = self.hold(user, &merged(more, &json!({"keep": true})));
        Kept::of(&reply.ok(), self.server.bin())
    }

    /// Processes that have to do with drills of this user, and directories of theirs.
    #[must_use]
    pub fn traces(&self, user: &User) -> Vec<String> {
        traces(&self.work(user))
    }

    /// The directories of this user's drills.
    #[must_use]
    pub fn directories(&self, user: &User) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.work(user)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Waits until nothing is left of this user's drills: no process, no mount, no file.
    ///
    /// # Panics
    ///
    /// When something is left.
    #[track_caller]
    pub fn wait_until_gone(&self, user: &User) {
        wait_until_gone(&self.work(user));
    }
}

/// Waits until nothing is left of the drills in a directory: no process, no mount in any namespace, no file.
///
/// # Panics
///
/// When something is left.
#[track_caller]
pub fn wait_until_gone(work: &Path) {
    let begun = Instant::now();
    let mut left = traces(work);
    while !left.is_empty() && begun.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(50));
        left = traces(work);
    }
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// What there is of drills that work in a directory: processes that name it, or see it mounted wherever, and files.
#[must_use]
pub fn traces(work: &Path) -> Vec<String> {
    let name = work.display().to_string();
    let mut found = vec![];
    for pid in processes() {
        let about = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let words = about("cmdline");
        if words.contains(&name) {
            found.push(format!("process {pid}: {words}"));
        }
        if let Some(line) = about("mountinfo").lines().find(|line| line.contains(&name)) {
            found.push(format!("process {pid} ({words}) sees the mount {line}"));
        }
    }
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    found.extend(entries.map(|entry| entry.path().display().to_string()));
    found
}

/// Every process.
fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A drill whose sandbox was kept; it is ended on drop.
#[derive(Debug)]
pub struct Kept {
    /// The process whose end is the sandbox's.
    pub pid: u32,
    /// The line that enters it.
    pub psql: String,
    /// All that was replied.
    pub result: Value,
    bin: PathBuf,
}

impl Kept {
    /// What this reply tells of.
    ///
    /// # Panics
    ///
    /// When nothing was kept.
    #[track_caller]
    #[must_use]
    pub fn of(reply: &Reply, bin: &Path) -> Self {
        let pid = reply.result["sandbox_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        Self {
            pid: pid.unwrap_or_else(|| panic!("nothing was kept: {:#}", reply.result)),
            psql: reply.word("psql").to_owned(),
            result: reply.result.clone(),
            bin: bin.to_path_buf(),
        }
    }

    /// What the server in it answers, by the line that was given.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        let mut words = self.psql.split_whitespace();
        let program = self.bin.join(words.next().unwrap_or_default());
        let mut psql = Command::new(program);
        psql.args(words).args(["-AtqX", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = run(&mut psql);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What a shell script says that the server in it runs, as a superuser can make it; errors of the script are told.
    #[track_caller]
    #[must_use]
    pub fn shell(&self, script: &str) -> String {
        self.query(&shell(script))
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> String {
        let directory = self.psql.split_whitespace().nth(2).unwrap_or_default();
        fs::read_to_string(Path::new(directory).join("server.log")).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        signal(self.pid, Signal::SIGTERM);
    }
}

/// SQL that has the server run a script and gives what it says.
#[must_use]
pub fn shell(script: &str) -> String {
    let script = script.replace('\'', "'\\''");
    format!(
        "create temp table if not exists said (t text); truncate said; \
         copy said from program $p$ {{ sh -c '{script}' 2>&1 || true; }} | base64 -w0; echo $p$; \
         select convert_from(decode(string_agg(t, ''), 'base64'), 'UTF8') from said"
    )
}

/// Whom drills are held as: root, where there is one, and the user of servers.
#[must_use]
pub fn users() -> Vec<User> {
    let mut users = vec![User::current(), User::of_servers()];
    users.dedup_by(|a, b| a.uid == b.uid);
    users
}

/// Everything below these directories: kind, owner, size, times of content and of change, and the content's sum.
///
/// # Panics
///
/// When something cannot be read.
#[track_caller]
#[must_use]
pub fn fingerprint(roots: &[&Path]) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open: Vec<PathBuf> = roots.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).expect("it is there");
        let mut text = format!(
            "{:o} {}:{} {} {}.{} {}.{}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec()
        );
        if found.is_dir() {
            open.extend(fs::read_dir(&path).expect("it can be read").flatten().map(|e| e.path()));
        } else if found.is_file() {
            let bytes = fs::read(&path).expect("it can be read");
            let sum = bytes.iter().fold(7u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
            text.push_str(&format!(" {sum}"));
        }
        all.insert(path, text);
    }
    all
}

/// Everything is still as it was.
///
/// # Panics
///
/// When something is not.
#[track_caller]
pub fn assert_same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, text)| after.get(*path) != Some(text))
        .chain(after.iter().filter(|(path, _)| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:#?}");
}

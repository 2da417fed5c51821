//! Base backups of `pg_basebackup`, copies of them to damage, and drills of a backup with what they found.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::backup::task;
use crate::command::{run, tied};
use crate::place::{Place, User};
use crate::scene::{Asked, Reply, merge};
use crate::server::Server;

/// What `pg_basebackup` wrote, or a copy of it.
#[derive(Debug)]
pub struct BaseBackup {
    path: PathBuf,
    bin: PathBuf,
    user: User,
    place: Place,
}

impl BaseBackup {
    /// Of `server`, by its user, with a fast checkpoint and these arguments. Tablespaces go below the backup's own
    /// place; the format is the arguments' affair.
    #[must_use]
    pub fn of(server: &Server, arguments: &[&str]) -> Self {
        let place = Place::new();
        server.user().make_directory(&place.join("b"));
        let path = place.join("b/backup");
        let mut take = tied(server.bin().join("pg_basebackup"), server.user());
        take.arg("-D").arg(&path).args(["-c", "fast", "--no-sync", "-U", "postgres", "-p"]);
        take.arg(server.port().to_string()).arg("-h").arg(server.socket_directory());
        take.args(arguments);
        if !arguments.contains(&"-Ft") {
            for (number, old) in server.tablespaces().iter().enumerate() {
                let new = place.join(&format!("b/ts{}", number + 1));
                take.arg(format!("--tablespace-mapping={}={}", old.display(), new.display()));
            }
        }
        run(&mut take);
        Self { path, bin: server.bin().to_path_buf(), user: server.user().clone(), place }
    }

    /// A copy of it, without its tablespaces: their links lead where they led.
    #[must_use]
    pub fn copy(&self) -> Self {
        let place = Place::new();
        let copy = self.copy_to(&place.join("backup"));
        Self { place, ..copy }
    }

    /// A copy of it at `path`.
    #[must_use]
    pub fn copy_to(&self, path: &Path) -> Self {
        run(Command::new("cp").arg("-a").arg(&self.path).arg(path));
        let path = path.to_path_buf();
        Self { path, bin: self.bin.clone(), user: self.user.clone(), place: Place::new() }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The user whose files they are.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Its WAL segments, in their order.
    ///
    /// # Panics
    ///
    /// When it has no `pg_wal`.
    #[must_use]
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.join("pg_wal")).expect("a plain backup with WAL");
        let mut found: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_segment(path)).collect();
        found.sort();
        found
    }

    /// Overwrites bytes of a file in it.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) {
        let file = fs::File::options().write(true).open(self.join(name)).expect("a file of it");
        file.write_all_at(bytes, offset).expect("it can be written");
    }

    /// Turns one bit of a byte in a file of it.
    ///
    /// # Panics
    ///
    /// When it cannot be read or written.
    pub fn flip(&self, name: &str, offset: u64) {
        let mut byte = [0];
        let file = fs::File::open(self.join(name)).expect("a file of it");
        file.read_exact_at(&mut byte, offset).expect("it is that long");
        self.overwrite(name, offset, &[byte[0] ^ 0x10]);
    }

    /// Removes a file of it.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.join(name))
            .unwrap_or_else(|error| panic!("{}/{name}: {error}", self.path.display()));
    }

    /// The task that verifies it, with `more` options.
    #[must_use]
    pub fn task(&self, more: &Value) -> Value {
        let own = json!({
            "path": self.path, "bin_dir": self.bin, "state_directory": self.place.join("state"),
        });
        task("backup_verify", &[&own, more])
    }

    /// Holds a drill of it, by the executable without Ansible.
    #[track_caller]
    #[must_use]
    pub fn verify(&self, more: &Value) -> Drilled {
        Drilled::by(&self.task(more))
    }
}

fn is_segment(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a drill came to.
#[derive(Debug, Clone)]
pub struct Drilled {
    /// All that was replied.
    pub result: Value,
}

impl Drilled {
    /// Of this task, by the executable without Ansible.
    #[track_caller]
    #[must_use]
    pub fn by(task: &Value) -> Self {
        Self::of(Asked::of(task, &User::current()).reply())
    }

    /// Of this reply.
    #[must_use]
    pub fn of(reply: Reply) -> Self {
        Self { result: reply.result }
    }

    /// The check of that name.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn check(&self, name: &str) -> &Value {
        let checks = self.result["checks"].as_array();
        let found = checks.into_iter().flatten().find(|check| check["name"] == json!(name));
        found.unwrap_or_else(|| panic!("no check \"{name}\" in {:#}", self.result))
    }

    /// What the check of that name said.
    #[track_caller]
    #[must_use]
    pub fn said(&self, name: &str) -> &str {
        self.check(name)["message"].as_str().unwrap_or_default()
    }

    /// The names of the checks with this outcome, in the report's order.
    #[must_use]
    pub fn with(&self, outcome: &str) -> Vec<&str> {
        let checks = self.result["checks"].as_array().into_iter().flatten();
        let found = checks.filter(|check| check["outcome"] == json!(outcome));
        found.filter_map(|check| check["name"].as_str()).collect()
    }

    /// Nothing is wrong with the backup.
    ///
    /// # Panics
    ///
    /// When something is.
    #[track_caller]
    pub fn assert_good(&self) {
        assert_ne!(self.result["failed"], json!(true), "{:#}", self.result);
        assert_eq!(self.result["verdict"], json!("passed"), "{:#}", self.result);
        assert_eq!(self.with("failed"), Vec::<&str>::new(), "{:#}", self.result);
    }

    /// The drill failed the task, these checks and no other failed, and each said this.
    ///
    /// # Panics
    ///
    /// When it was otherwise.
    #[track_caller]
    pub fn assert_found(&self, found: &[(&str, &str)]) {
        assert_eq!(self.result["failed"], json!(true), "{:#}", self.result);
        assert_eq!(self.result["verdict"], json!("failed"), "{:#}", self.result);
        self.assert_said(found);
        self.assert_first(found.first().expect("something is expected"));
    }

    /// The drill failed the task, this check failed first and said this, and so does the task. Others may have failed
    /// after it.
    ///
    /// # Panics
    ///
    /// When it was otherwise.
    #[track_caller]
    pub fn assert_first(&self, (first, words): &(&str, &str)) {
        assert_eq!(self.result["error_kind"], json!("verification_failed"), "{:#}", self.result);
        assert_eq!(self.with("failed").first(), Some(first), "{:#}", self.result);
        self.assert_words(first, words);
        let message = self.result["msg"].as_str().unwrap_or_default();
        let told = format!("the backup failed the drill: {first}: {}", self.said(first));
        assert!(message.starts_with(&told), "\"{message}\" does not begin with \"{told}\"");
    }

    /// These checks and no other failed, and each said this, or has it in its details.
    ///
    /// # Panics
    ///
    /// When it was otherwise.
    #[track_caller]
    pub fn assert_said(&self, found: &[(&str, &str)]) {
        let mut expected: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        expected.dedup();
        assert_eq!(self.with("failed"), expected, "{:#}", self.result);
        for (name, words) in found {
            self.assert_words(name, words);
        }
    }

    #[track_caller]
    fn assert_words(&self, name: &str, words: &str) {
        let (said, details) = (self.said(name), self.check(name)["details"].to_string());
        let quoted = json!(words).to_string();
        assert!(
            said.contains(words) || details.contains(quoted.trim_matches('"')),
            "\"{words}\" is not what \"{name}\" said: {said}\n{details}"
        );
    }

    /// There was no drill, and the task says why.
    ///
    /// # Panics
    ///
    /// When there was one, or it says something else.
    #[track_caller]
    pub fn assert_refused(&self, kind: &str, words: &[&str]) {
        assert_eq!(self.result["failed"], json!(true), "{:#}", self.result);
        assert_eq!(self.result["error_kind"], json!(kind), "{:#}", self.result);
        let message = self.result["msg"].as_str().unwrap_or_default();
        for word in words {
            assert!(message.contains(word), "\"{word}\" is not in: {message}");
        }
    }
}

/// `options` with `level`.
#[must_use]
pub fn at_level(level: &str, options: &Value) -> Value {
    let mut all = json!({"level": level});
    merge(&mut all, options);
    all
}

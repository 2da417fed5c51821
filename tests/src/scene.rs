//! A server, a backup of it, and the executable asked without Ansible.
//!
//! Most faults are the executable's to tell, and an `ansible-playbook` for each
//! question would cost a second or two: [`Scene::ask`] gives the executable the
//! request that the action plugin would give it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backup::{Backup, Login};
use crate::collection::executable_of;
use crate::command::tied;
use crate::place::User;
use crate::server::Server;
use crate::wait::wait_until;

/// The server and the backup of a test.
#[derive(Debug)]
pub struct Scene {
    /// The tasks.
    pub backup: Backup,
    /// The server.
    pub server: Server,
}

impl Scene {
    /// Of a new server of this major.
    #[must_use]
    pub fn of(major: u32) -> Self {
        Self::around(Server::builder().major(major).start())
    }

    /// Of this server, over its Unix socket, by this test's user.
    #[must_use]
    pub fn around(server: Server) -> Self {
        Self::by(server, &User::current())
    }

    /// Of this server, over its Unix socket, by `user`.
    #[must_use]
    pub fn by(server: Server, user: &User) -> Self {
        Self { backup: Backup::of(&server, Login::Socket, user), server }
    }

    /// Asks the executable, as the user of the backup, and waits for its reply.
    #[track_caller]
    #[must_use]
    pub fn ask(&self, task: &Value) -> Reply {
        self.begin(task).reply()
    }

    /// Asks the executable and does not wait.
    #[track_caller]
    #[must_use]
    pub fn begin(&self, task: &Value) -> Asked {
        Asked::of(task, self.backup.user())
    }

    /// Starts the backup `id` and gives the reply of `backup_start`.
    #[track_caller]
    #[must_use]
    pub fn start(&self, id: &str, more: &Value) -> Reply {
        let mut options = json!({"backup_id": id});
        merge(&mut options, more);
        self.ask(&self.backup.start(&options)).ok()
    }

    /// `snapshot_create` in the backup `id` by a program that runs `script` and
    /// then claims to have made a snapshot of every mount point.
    #[must_use]
    pub fn snapshot_by(&self, id: &str, script: &str) -> Value {
        let claim = "for m in $BACKSTAY_MOUNT_POINTS; do printf '{\"id\": \"s\", \"mount_point\": \"%s\"}\\n' \"$m\"; done";
        let program = format!("{script}\n{claim}");
        let mut options = session(id);
        merge(
            &mut options,
            &json!({"provider": "command", "command": ["/bin/sh", "-ec", program]}),
        );
        self.backup.snapshot(&options)
    }

    /// What `backup_info` says of the backup `id`.
    #[track_caller]
    #[must_use]
    pub fn info(&self, id: &str) -> Value {
        self.ask(&self.backup.info(&session(id))).ok().result["sessions"][0].clone()
    }

    /// The folder of the session's record.
    #[must_use]
    pub fn session_folder(&self, id: &str) -> PathBuf {
        self.backup.state_directory().join("sessions").join(format!("main.{id}"))
    }

    /// The session record as it is on disk.
    #[track_caller]
    #[must_use]
    pub fn record(&self, id: &str) -> Value {
        read_json(&self.session_folder(id).join("session.json"))
    }

    /// The folder of the backup in the repository.
    #[must_use]
    pub fn backup_folder(&self, id: &str) -> PathBuf {
        self.backup.repository().join("main/backups").join(id)
    }

    /// The backup manifest.
    #[track_caller]
    #[must_use]
    pub fn manifest(&self, id: &str) -> Value {
        read_json(&self.backup_folder(id).join("backup.json"))
    }

    /// The server processes that serve a session of ours.
    #[must_use]
    pub fn backends(&self) -> Vec<u32> {
        let pids = self.server.query(
            "select pid from pg_stat_activity where application_name like 'backstay%' order by pid",
        );
        pids.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Waits until no session of ours, and no slot, is left on the server.
    #[track_caller]
    pub fn wait_until_left(&self) {
        wait_until("the server has no session of ours", Duration::from_secs(30), || {
            self.server.says_true(
                "select not exists (select from pg_stat_activity where application_name like 'backstay%') \
                 and not exists (select from pg_replication_slots where slot_name like 'backstay%')",
            )
        });
    }

    /// Waits until the session record says `state`.
    #[track_caller]
    pub fn wait_for_record(&self, id: &str, state: &str, limit: Duration) {
        wait_until(&format!("the record of {id} says {state}"), limit, || {
            self.record(id)["state"] == json!(state)
        });
    }

    /// The backup is over, came to nothing, and everybody can see that: the
    /// server is left, `backup_info` has the state and the reason, the manifest
    /// is not complete, and after `backup_abort`, which is harmless, says failed.
    #[track_caller]
    pub fn assert_came_to_nothing(&self, id: &str, state: &str, reason: &str) {
        let info = self.info(id);
        assert_eq!(info["state"], json!(state), "{info:#}");
        assert_eq!(info["in_backup_mode"], json!(false), "{info:#}");
        let told = info["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "\"{reason}\" is not the reason: {info:#}");
        assert_ne!(self.manifest(id)["state"], json!("complete"));
        for attempt in ["first", "second"] {
            let abort = self.ask(&self.backup.abort(&session(id))).ok();
            assert_eq!(abort.result["was_in_backup_mode"], json!(false), "{attempt}: {abort:?}");
            // a lost session is written down as aborted
            let changed = attempt == "first" && state == "lost";
            assert_eq!(abort.result["changed"], json!(changed), "{attempt}: {abort:?}");
        }
        let manifest = self.manifest(id);
        assert_eq!(manifest["state"], json!("failed"), "{manifest:#}");
        assert!(
            manifest["reason"].as_str().unwrap_or_default().contains(reason),
            "\"{reason}\" is not in the manifest: {manifest:#}"
        );
        assert_eq!(self.info(id)["state"], json!("aborted"));
        let fetch = self.ask(&self.backup.fetch(&session(id)));
        fetch.assert_failed(&["backup_aborted"], "off");
        assert_ne!(self.manifest(id)["state"], json!("complete"));
    }
}

/// The option `session` of the backup `id`.
#[must_use]
pub fn session(id: &str) -> Value {
    json!({"session": format!("main.{id}")})
}

/// `options` with the members of `more`.
#[must_use]
pub fn merged(options: &Value, more: &Value) -> Value {
    let mut all = options.clone();
    merge(&mut all, more);
    all
}

/// Puts the members of `more` into `options`.
pub fn merge(options: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        options[name] = value.clone();
    }
}

/// A JSON file.
///
/// # Panics
///
/// When it cannot be read or is none.
#[track_caller]
#[must_use]
pub fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{} is not JSON: {error}\n{text}", path.display()))
}

/// The request that the action plugin makes of a task.
///
/// # Panics
///
/// When it is no task of the collection.
#[track_caller]
#[must_use]
pub fn request(task: &Value) -> Value {
    let found =
        task.as_object().into_iter().flatten().find_map(|(name, options)| {
            Some((name.strip_prefix("backstay.postgresql.")?, options))
        });
    let (module, options) = found.unwrap_or_else(|| panic!("no task of the collection: {task:#}"));
    let mut request = options.clone();
    request["_ansible_module_name"] = json!(module);
    request["_ansible_inject_invocation"] = json!(true);
    if task.get("check_mode") == Some(&json!(true)) {
        request["_ansible_check_mode"] = json!(true);
    }
    request
}

/// The executable at work.
#[derive(Debug)]
pub struct Asked {
    child: Child,
    begun: Instant,
}

impl Asked {
    /// Asks, as `user`.
    ///
    /// # Panics
    ///
    /// When the executable cannot be started.
    #[track_caller]
    #[must_use]
    pub fn of(task: &Value, user: &User) -> Self {
        Self::with(&request(task), user)
    }

    /// Asks this very request, as `user`.
    ///
    /// # Panics
    ///
    /// When the executable cannot be started.
    #[must_use]
    pub fn with(request: &Value, user: &User) -> Self {
        let module = request["_ansible_module_name"].as_str().unwrap_or_default();
        let mut command = tied(executable_of(module), user);
        command.arg("run");
        Self::by(command, request)
    }

    /// Gives the request to a command that runs the executable.
    ///
    /// # Panics
    ///
    /// When the command cannot be started.
    #[must_use]
    pub fn by(mut command: Command, request: &Value) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv can be started");
        if let Some(mut input) = child.stdin.take() {
            input.write_all(request.to_string().as_bytes()).expect("the executable reads");
        }
        Self { child, begun: Instant::now() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not replied yet.
    ///
    /// # Panics
    ///
    /// When it cannot be asked.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    /// Waits for the reply.
    ///
    /// # Panics
    ///
    /// When what it prints is not one line of JSON.
    #[track_caller]
    #[must_use]
    pub fn reply(self) -> Reply {
        let begun = self.begun;
        let output = self.child.wait_with_output().expect("our own child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let result = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "not one line of JSON ({error}), status {}: {text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
        });
        Reply { result, text, took: begun.elapsed() }
    }
}

/// What the executable replied.
#[derive(Debug, Clone)]
pub struct Reply {
    /// All of it.
    pub result: Value,
    /// The same as it was printed.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

impl Reply {
    /// This reply, of a task that did not fail.
    ///
    /// # Panics
    ///
    /// When it did.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_ne!(self.result["failed"], json!(true), "{:#}", self.result);
        self
    }

    /// A text of the reply.
    ///
    /// # Panics
    ///
    /// When there is none of that name.
    #[track_caller]
    #[must_use]
    pub fn word(&self, key: &str) -> &str {
        let found = self.result.get(key).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text \"{key}\" in {:#}", self.result))
    }

    /// The message.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn message(&self) -> &str {
        self.word("msg")
    }

    /// It failed with one of these kinds, and says that of the backup mode.
    #[track_caller]
    pub fn assert_failed(&self, kinds: &[&str], backup_mode: &str) {
        assert_eq!(self.result["failed"], json!(true), "{:#}", self.result);
        assert_failed(&self.result, kinds, backup_mode);
    }

    /// The same, and its message has all of these texts.
    #[track_caller]
    pub fn assert_tells(&self, kinds: &[&str], backup_mode: &str, texts: &[&str]) {
        self.assert_failed(kinds, backup_mode);
        for text in texts {
            assert!(self.message().contains(text), "\"{text}\" is not in: {}", self.message());
        }
    }
}

/// A result, of Ansible or the executable, that failed with one of these kinds
/// and says that of the backup mode.
///
/// # Panics
///
/// When it is anything else.
#[track_caller]
pub fn assert_failed(result: &Value, kinds: &[&str], backup_mode: &str) {
    let kind = result["error_kind"].as_str().unwrap_or_default();
    assert!(kinds.contains(&kind), "\"{kind}\" is not of {kinds:?}: {result:#}");
    assert_eq!(result["backup_mode"], json!(backup_mode), "{result:#}");
}

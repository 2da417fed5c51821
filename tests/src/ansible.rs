//! Real `ansible-playbook` with the staged collection.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::collection::collections_path;
use crate::command::run;
use crate::place::{Place, User, cache, project};
use crate::sshd::{Access, Sshd};

/// Which ansible-core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Core {
    /// 2.17, the oldest we promise.
    Oldest,
    /// The newest that a Python on this machine runs.
    Newest,
}

/// As whom the tasks run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Become {
    /// The user who is connected.
    Nobody,
    /// `become: true`.
    Root,
    /// `become_user`.
    User(String),
}

/// One controller: a version, a connection, a user.
#[derive(Debug)]
pub struct Ansible {
    core: Core,
    host: Map<String, Value>,
    ssh_arguments: String,
    become_whom: Become,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    place: Place,
}

impl Ansible {
    /// Over `connection: local`.
    #[must_use]
    pub fn local(core: Core) -> Self {
        Self::with(core, json!({"ansible_connection": "local"}), String::new())
    }

    /// Over ssh to `sshd`, with a control master of its own.
    #[must_use]
    pub fn ssh(core: Core, sshd: &Sshd) -> Self {
        Self::ssh_to(core, &sshd.access())
    }

    /// Over ssh to wherever `access` lets in.
    #[must_use]
    pub fn ssh_to(core: Core, access: &Access) -> Self {
        let host = json!({
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": access.port,
            "ansible_user": access.user,
            "ansible_ssh_private_key_file": access.private_key,
        });
        Self::with(core, host, access.options())
    }

    fn with(core: Core, host: Value, ssh_options: String) -> Self {
        let place = Place::new();
        let control = place.join("c").display().to_string();
        let ssh_arguments = format!(
            "{ssh_options} -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={control}/%C"
        );
        fs::create_dir(place.join("c")).expect("a directory in the test's place");
        let Value::Object(mut host) = host else { unreachable!("written above as an object") };
        // modules of ansible-core itself: not the pyenv of a developer
        host.insert("ansible_python_interpreter".to_owned(), json!("/usr/bin/python3"));
        Self {
            core,
            host,
            ssh_arguments,
            become_whom: Become::Nobody,
            environment: Vec::new(),
            arguments: Vec::new(),
            place,
        }
    }

    /// As whom the tasks run.
    #[must_use]
    pub fn becoming(mut self, whom: Become) -> Self {
        self.become_whom = whom;
        self
    }

    /// A variable of the controller's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable of the host.
    #[must_use]
    pub fn variable(mut self, name: &str, value: Value) -> Self {
        self.host.insert(name.to_owned(), value);
        self
    }

    /// A further argument of `ansible-playbook`, such as `--check`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The version's programs.
    ///
    /// # Panics
    ///
    /// When `tests/setup/tools` has not made that environment.
    #[must_use]
    pub fn bin_directory(core: Core) -> PathBuf {
        let name = match core {
            Core::Oldest => "venv-core-2.17",
            Core::Newest => "venv-core-newest",
        };
        let bin = cache().join(name).join("bin");
        assert!(
            bin.join("ansible-playbook").exists(),
            "no ansible-core in {}: run tests/setup/tools",
            bin.display()
        );
        bin
    }

    /// Runs `tasks`, a list as a playbook has it, on the host.
    #[must_use]
    pub fn tasks(&self, tasks: &Value) -> Run {
        self.start(tasks).wait()
    }

    /// Runs one module as a task that is named after it.
    #[must_use]
    pub fn module(&self, module: &str, options: &Value) -> Run {
        self.tasks(&json!([{"name": module, module: options}]))
    }

    /// Starts a play of `tasks` and returns at once.
    ///
    /// # Panics
    ///
    /// When `ansible-playbook` cannot be started.
    #[must_use]
    pub fn start(&self, tasks: &Value) -> Running {
        let mut play =
            json!({"name": "test", "hosts": "all", "gather_facts": false, "tasks": tasks});
        if let Some(play) = play.as_object_mut() {
            match &self.become_whom {
                Become::Nobody => {}
                Become::Root => drop(play.insert("become".to_owned(), json!(true))),
                Become::User(name) => {
                    play.insert("become".to_owned(), json!(true));
                    play.insert("become_user".to_owned(), json!(name));
                }
            }
        }
        let number = self.next_number();
        // JSON is YAML
        let playbook = self.place.join(&format!("play-{number}.yml"));
        fs::write(&playbook, json!([play]).to_string()).expect("a file in the test's place");
        self.spawn(playbook.as_os_str().to_str().expect("a path of letters"), &json!({}), number)
    }

    /// Runs a playbook of the collection by its full name, with extra variables.
    #[must_use]
    pub fn playbook(&self, name: &str, variables: &Value) -> Run {
        self.start_playbook(name, variables).wait()
    }

    /// Starts it and returns at once.
    #[must_use]
    pub fn start_playbook(&self, name: &str, variables: &Value) -> Running {
        self.spawn(name, variables, self.next_number())
    }

    fn next_number(&self) -> usize {
        fs::read_dir(self.place.path()).map_or(0, Iterator::count)
    }

    fn spawn(&self, playbook: &str, variables: &Value, number: usize) -> Running {
        let write = |name: &str, text: &str| {
            fs::write(self.place.join(name), text).expect("a file in the test's place")
        };
        let inventory = json!({"all": {"hosts": {"target": self.host}}});
        write("inventory.yml", &inventory.to_string());
        write("ansible.cfg", &self.configuration());
        let results = self.place.join(&format!("results-{number}"));
        let output_path = self.place.join(&format!("output-{number}"));
        fs::write(&results, "").expect("a file in the test's place");
        let output = fs::File::create(&output_path).expect("a file in the test's place");
        let bin = Self::bin_directory(self.core);
        let mut command = crate::command::tied(bin.join("ansible-playbook"), &User::current());
        command.arg("-i").arg(self.place.join("inventory.yml")).arg(playbook);
        command
            .arg("-e")
            .arg(variables.to_string())
            .args(&self.arguments)
            .current_dir(self.place.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ANSIBLE_") {
                command.env_remove(name);
            }
        }
        command.env("ANSIBLE_CONFIG", self.place.join("ansible.cfg")).env("HOME", self.home());
        command.env("LC_ALL", "C.UTF-8").env("BACKSTAY_RESULTS", &results);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output);
        let child = command.spawn().expect("setpriv can be started");
        Running { child, results, output: output_path }
    }

    /// The home directory the controller has, empty at first: nothing of the
    /// developer's own is read or written.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        let home = self.place.join("home");
        let _ = fs::create_dir(&home);
        home
    }

    fn configuration(&self) -> String {
        format!(
            "[defaults]\ncallback_plugins = {}\ncallbacks_enabled = backstay_results\ncollections_path = {}\n\
             host_key_checking = true\nretry_files_enabled = false\nnocows = true\nnocolor = true\n\
             deprecation_warnings = false\nlocalhost_warning = false\n\
             [ssh_connection]\nssh_args = {}\nretries = 0\n",
            project().join("tests/fixtures/callback_plugins").display(),
            collections_path().display(),
            self.ssh_arguments
        )
    }

    /// Ends the ssh control master, as happens some time after a play.
    ///
    /// # Panics
    ///
    /// When `ssh` cannot be started.
    pub fn close_connection(&self) {
        for socket in fs::read_dir(self.place.join("c")).into_iter().flatten().flatten() {
            run(Command::new("ssh")
                .arg("-o")
                .arg(format!("ControlPath={}", socket.path().display()))
                .args(["-O", "exit", "x"]));
        }
    }
}

impl Drop for Ansible {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close_connection();
        }
    }
}

/// A play that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    results: PathBuf,
    output: PathBuf,
}

impl Running {
    /// The process id of `ansible-playbook`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether a task of that name has ended.
    #[must_use]
    pub fn has_done(&self, task: &str) -> bool {
        read_results(&self.results).iter().any(|r| r.task == task)
    }

    /// What it has printed so far; `TASK [name]` stands there from a task's start.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    #[must_use]
    pub fn wait(mut self) -> Run {
        let status = self.child.wait().expect("our own child");
        Run {
            status: status.code().unwrap_or(-1),
            output: self.output(),
            results: read_results(&self.results),
        }
    }
}

fn read_results(path: &std::path::Path) -> Vec<Outcome> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What became of one task on the host.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Outcome {
    /// `ok`, `failed`, `unreachable`, `skipped`, `item ok`, `item failed`.
    pub event: String,
    /// The task's name.
    pub task: String,
    /// Whether the failure was ignored.
    pub ignored: bool,
    /// All of the result.
    pub result: Value,
}

impl Outcome {
    /// A string of the result.
    ///
    /// # Panics
    ///
    /// When there is none of that name, showing the result.
    #[track_caller]
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        let found = self.result.get(key).and_then(Value::as_str);
        found.unwrap_or_else(|| {
            panic!("no string \"{key}\" in the result of \"{}\": {:#}", self.task, self.result)
        })
    }
}

/// A play that has ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status of `ansible-playbook`: 0, 2 after a failed task, 4 unreachable.
    pub status: i32,
    /// All that it printed.
    pub output: String,
    /// What became of each task, in their order.
    pub results: Vec<Outcome>,
}

impl Run {
    /// This run, where nothing failed.
    ///
    /// # Panics
    ///
    /// When something did, with all that was printed.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "the play failed:\n{}\n{:#?}", self.output, self.results.last());
        self
    }

    /// The last outcome of the task of that name.
    ///
    /// # Panics
    ///
    /// When it did not run.
    #[track_caller]
    #[must_use]
    pub fn task(&self, name: &str) -> &Outcome {
        let found = self.results.iter().rev().find(|r| r.task == name);
        found.unwrap_or_else(|| panic!("the task \"{name}\" did not run:\n{}", self.output))
    }

    /// The first task that failed and was not ignored.
    ///
    /// # Panics
    ///
    /// When nothing failed.
    #[track_caller]
    #[must_use]
    pub fn failure(&self) -> &Outcome {
        let found = self.results.iter().find(|r| r.event == "failed" && !r.ignored);
        found.unwrap_or_else(|| panic!("no task failed:\n{}", self.output))
    }
}

//! The tarball as a user gets it: built, installed, its playbooks run by their
//! full name.

use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::collection::tarball;
use backstay_tests::command::run;
use backstay_tests::place::User;
use backstay_tests::{Ansible, Backup, Become, Core, Destination, Login, Place, Server};
use serde_json::{Value, json};

/// A place with the collection installed in it, and whoever runs it there.
struct Installed {
    core: Core,
    place: Place,
}

impl Installed {
    fn of(core: Core, tarball: &Path) -> Self {
        let installed = Self { core, place: Place::new() };
        let mut galaxy = installed.program("ansible-galaxy");
        galaxy.args(["collection", "install", "-p"]).arg(installed.place.path()).arg(tarball);
        run(&mut galaxy);
        installed
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(Ansible::bin_directory(self.core).join(name));
        command.env("ANSIBLE_COLLECTIONS_PATH", self.place.path());
        command.env("HOME", self.place.path()).current_dir(self.place.path());
        command
    }

    fn directory(&self) -> PathBuf {
        self.place.join("ansible_collections/backstay/postgresql")
    }

    fn ansible(&self) -> Ansible {
        let path = self.place.path().display().to_string();
        Ansible::local(self.core).env("ANSIBLE_COLLECTIONS_PATH", &path)
    }

    /// What `ansible-doc` knows of all modules.
    fn documentation(&self) -> Value {
        let mut doc = self.program("ansible-doc");
        let output = run(doc.args(["--json", "--metadata-dump", "--no-fail-on-errors"]).args([
            "--type",
            "module",
            "backstay.postgresql",
        ]));
        serde_json::from_slice(&output.stdout).expect("ansible-doc --json prints JSON")
    }
}

/// A server, and the variables that the playbooks need for it.
struct Scene {
    server: Server,
    backup: Backup,
}

impl Scene {
    fn new() -> Self {
        let server = Server::builder().major(16).tablespaces(1).start();
        server.execute("create table item as select generate_series(1, 1000) as id");
        let backup = Backup::of(&server, Login::Socket, &User::of_servers());
        Self { server, backup }
    }

    fn variables(&self, more: &Value) -> Value {
        let mut variables = json!({
            "backstay_user": User::of_servers().name,
            "backstay_repository": self.backup.repository(),
        });
        let all = variables.as_object_mut().expect("written above as an object");
        // who is not root may not have sudo, and is the server's user already
        if !User::of_servers().is_other() {
            all.insert("ansible_become".to_owned(), json!(false));
        }
        all.extend(more.as_object().cloned().unwrap_or_default());
        variables
    }

    /// What the modules need to find the server and their records.
    fn options(&self) -> Value {
        let mut options = self.backup.login().clone();
        options["state_directory"] = json!(self.backup.state_directory());
        options
    }
}

fn playbooks_run_by_their_full_name(core: Core) {
    let installed = Installed::of(core, &tarball());
    for file in ["COPYING", "README.md", "native/manifest.json", "playbooks/snapshot_backup.yml"] {
        assert!(installed.directory().join(file).is_file(), "the tarball has no {file}");
    }
    let known = installed.documentation();
    let options = &known["all"]["module"]["backstay.postgresql.backup_start"]["doc"]["options"];
    assert!(options["repository"]["description"].is_array(), "{options:#}");

    let (ansible, scene) = (installed.ansible(), Scene::new());
    let variables = json!({"backstay_backup_id": "first", "backstay_options": scene.options()});
    let play = "backstay.postgresql.snapshot_backup";
    let backup = ansible.playbook(play, &scene.variables(&variables)).ok();
    assert_eq!(backup.task("Fetch the WAL, and complete the backup").text("state"), "complete");

    let destination = Destination::new(&User::of_servers(), None);
    let variables = scene.variables(&json!({
        "backstay_data_directory": destination.data_directory(),
        "backstay_tablespace_mapping": destination.mapping(&scene.server),
        "backstay_settings": destination.settings(),
        "backstay_start": true,
        "backstay_options": {"bin_dir": scene.server.bin()},
    }));
    let mut restored = Server::adopt(16, destination);
    restored.announce_log("the database system is");
    let play = ansible.playbook("backstay.postgresql.restore_backup", &variables).ok();
    assert_eq!(play.task("Restore the database cluster").text("backup_id"), "first");
    assert_eq!(restored.query("select count(*), pg_is_in_recovery() from item"), "1000|f");
}

#[test]
fn playbooks_run_by_their_full_name_on_the_oldest_core() {
    playbooks_run_by_their_full_name(Core::Oldest);
}

#[test]
fn playbooks_run_by_their_full_name_on_the_newest_core() {
    playbooks_run_by_their_full_name(Core::Newest);
}

/// What fails in the middle ends the play with its own error, and backup mode.
#[test]
fn the_playbook_leaves_backup_mode_when_a_task_fails() {
    let installed = Installed::of(Core::Newest, &tarball());
    let (ansible, scene) = (installed.ansible(), Scene::new());
    let variables = scene.variables(&json!({
        "backstay_backup_id": "broken",
        "backstay_provider": "command",
        "backstay_command": ["/bin/false"],
        "backstay_options": scene.options(),
    }));
    let play = ansible.playbook("backstay.postgresql.snapshot_backup", &variables);
    assert_eq!(play.status, 2, "{}", play.output);
    let left = play.task("Leave backup mode");
    assert_eq!(left.result["was_in_backup_mode"], json!(true), "{:#}", left.result);
    let end = play.task("Fail with the first error").text("msg");
    assert!(end.starts_with("Take the copy: ") && end.contains("false"), "{end}");
    let sessions = "select count(*) from pg_stat_activity where application_name like 'backstay%'";
    assert_eq!(scene.server.query(sessions), "0");
    let info = scene.backup.info(&json!({"session": "main.broken"}));
    // root does not trust records of somebody else
    let owner = Become::User(User::of_servers().name);
    let ansible = if User::of_servers().is_other() { ansible.becoming(owner) } else { ansible };
    let info = ansible.tasks(&json!([info])).ok();
    let session = &info.task("backup_info").result["sessions"][0];
    assert_eq!(session["state"], json!("aborted"), "{session:#}");
    assert!(session["reason"].as_str().is_some_and(|r| r.starts_with("Take the copy")));
}

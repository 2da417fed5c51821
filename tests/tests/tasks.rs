//! The tasks beside the straight road: asked twice, aborted, through a pooler, in
//! check mode. All of it through `ansible-playbook`.

use std::time::Duration;

use backstay_tests::collection::executable;
use backstay_tests::place::User;
use backstay_tests::{
    Ansible, Backup, Core, Login, Outcome, Place, Pooler, Run, Server, need, wait_until,
};
use serde_json::{Value, json};

/// A server and the tasks of a backup of it, over `connection: local`.
struct Story {
    server: Server,
    backup: Backup,
    ansible: Ansible,
}

impl Story {
    fn of(major: u32) -> Self {
        Self::around(Server::builder().major(major).tablespaces(1).start())
    }

    fn around(server: Server) -> Self {
        let backup = Backup::of(&server, Login::Socket, &User::current());
        Self { server, backup, ansible: Ansible::local(Core::Newest) }
    }

    /// Starts a backup and gives what `backup_start` said.
    fn start(&self, more: &Value) -> Outcome {
        self.ansible.tasks(&json!([self.backup.start(more)])).ok().task("backup_start").clone()
    }

    /// The rest of the backup of `session`.
    fn rest(&self, session: &str) -> Run {
        let session = json!({"session": session});
        self.ansible.tasks(&json!([
            self.backup.snapshot(&session),
            self.backup.stop(&session),
            self.backup.fetch(&session),
        ]))
    }

    fn stop(&self, session: &str) -> Run {
        self.ansible.tasks(&json!([self.backup.stop(&json!({"session": session}))]))
    }

    fn info(&self, session: &str) -> Value {
        let run = self.ansible.tasks(&json!([self.backup.info(&json!({"session": session}))])).ok();
        run.task("backup_info").result["sessions"][0].clone()
    }

    /// Whether a session of ours is on the server.
    fn has_keeper_session(&self) -> bool {
        self.server.says_true(
            "select count(*) > 0 from pg_stat_activity where application_name like 'backstay%'",
        )
    }

    /// No manifest says that a backup is complete.
    fn assert_nothing_complete(&self) {
        let backups = self.backup.repository().join("main/backups");
        for backup in std::fs::read_dir(&backups).into_iter().flatten().flatten() {
            let text =
                std::fs::read_to_string(backup.path().join("backup.json")).unwrap_or_default();
            let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
            assert_ne!(manifest["state"], json!("complete"), "{manifest:#}");
        }
    }
}

fn session_of(start: &Outcome) -> &str {
    start.text("session")
}

/// The failure of `run` has this kind and tells the backup mode.
#[track_caller]
fn assert_failure<'a>(run: &'a Run, kinds: &[&str], backup_mode: &str) -> &'a Outcome {
    assert_eq!(run.status, 2, "{}", run.output);
    let failure = run.failure();
    assert!(kinds.contains(&failure.text("error_kind")), "not of {kinds:?}: {:#}", failure.result);
    assert_eq!(failure.text("backup_mode"), backup_mode, "{:#}", failure.result);
    failure
}

/// The manifest of a session that came to nothing, and what `backup_info` says.
#[track_caller]
fn assert_visible(story: &Story, session: &str, states: &[&str]) {
    let info = story.info(session);
    let state = info["state"].as_str().unwrap_or_default();
    assert!(states.contains(&state), "not of {states:?}: {info:#}");
    assert_eq!(info["in_backup_mode"], json!(false), "{info:#}");
    story.assert_nothing_complete();
    wait_until("the server has no session of ours", Duration::from_secs(20), || {
        !story.has_keeper_session()
    });
}

#[test]
fn an_abort_leaves_backup_mode_and_is_harmless_without_one() {
    let story = Story::of(15);
    let start = story.start(&json!({}));
    let abort = story
        .backup
        .abort(&json!({"session": session_of(&start), "reason": "the disk array is on fire"}));
    let run = story.ansible.tasks(&json!([abort])).ok();
    assert_eq!(run.task("backup_abort").result["was_in_backup_mode"], json!(true));
    assert!(!story.has_keeper_session());
    let again = story.ansible.tasks(&json!([abort])).ok();
    assert_eq!(again.task("backup_abort").result["changed"], json!(false));
    let info = story.info(session_of(&start));
    assert!(
        info["reason"].as_str().is_some_and(|r| r.contains("the disk array is on fire")),
        "{info:#}"
    );
    assert_failure(
        &story.rest(session_of(&start)),
        &["backup_aborted", "backup_not_in_progress"],
        "off",
    );
    assert_visible(&story, session_of(&start), &["aborted"]);
}

#[test]
fn a_stop_that_is_asked_again_gives_the_same_answer() {
    let story = Story::of(16);
    let start = story.start(&json!({}));
    let stopped = story.stop(session_of(&start)).ok();
    let again = story.stop(session_of(&start)).ok();
    for key in ["backup_label_base64", "tablespace_map_base64", "stop_lsn", "wal_stop_segment"] {
        let (first, second) =
            (&stopped.task("backup_stop").result, &again.task("backup_stop").result);
        assert_eq!(second[key], first[key], "{key}");
    }
    assert_eq!(again.task("backup_stop").result["changed"], json!(false));
    // a backup without a snapshot is none, whatever else is there
    let fetch = story.backup.fetch(&json!({"session": session_of(&start)}));
    let fetch = story.ansible.tasks(&json!([fetch]));
    assert_eq!(fetch.status, 2, "{}", fetch.output);
    story.assert_nothing_complete();
}

#[test]
fn a_pooler_in_between_is_refused() {
    if !need::can_run(need::program("pgbouncer")) {
        return;
    }
    let story = Story::of(17);
    let pooler = Pooler::before(&story.server);
    for login in [
        json!({"login_unix_socket": pooler.socket_directory(), "login_port": pooler.port()}),
        json!({"login_unix_socket": null, "login_host": "127.0.0.1", "login_port": pooler.port()}),
    ] {
        let run = story.ansible.tasks(&json!([story.backup.start(&login)]));
        assert_eq!(run.status, 2, "{}", run.output);
        assert!(run.failure().text("msg").contains("pool"), "{}", run.failure().text("msg"));
    }
    assert!(
        !story.backup.repository().join("main/backups").exists()
            || std::fs::read_dir(story.backup.repository().join("main/backups"))
                .is_ok_and(|mut d| d.next().is_none())
    );
}

#[test]
fn check_mode_tells_what_would_be_and_changes_nothing() {
    let mut story = Story::of(13);
    let asking = |task: Value| json!([task]);
    story.ansible = story.ansible.argument("--check");
    let run = story.ansible.tasks(&asking(story.backup.start(&json!({"backup_id": "b"})))).ok();
    assert_eq!(run.task("backup_start").result["changed"], json!(true));
    assert!(!story.has_keeper_session(), "check mode started a keeper");
    assert!(!story.backup.repository().exists(), "check mode made the repository");

    story.ansible = Ansible::local(Core::Newest);
    let session = json!({"session": session_of(&story.start(&json!({})))});
    story.ansible = story.ansible.argument("--check");
    for (name, task) in [
        ("snapshot_create", story.backup.snapshot(&session)),
        ("backup_stop", story.backup.stop(&session)),
        ("backup_abort", story.backup.abort(&session)),
    ] {
        let run = story.ansible.tasks(&asking(task)).ok();
        assert_eq!(run.task(name).result["changed"], json!(true), "{name}");
        assert!(story.has_keeper_session(), "{name} changed the world in check mode");
    }
    story.ansible = Ansible::local(Core::Newest);
    let _ = story.rest(session["session"].as_str().unwrap_or_default()).ok();
}

/// Without the collection: the executable in a directory of modules, under a
/// module's name, run as Ansible runs any binary module, its options in a file
/// that is its only argument.
#[test]
fn the_executable_is_also_a_plain_binary_module() {
    let library = Place::new();
    std::fs::copy(executable(), library.join("backup_info")).expect("a copy of the executable");
    for core in [Core::Oldest, Core::Newest] {
        let run = Ansible::local(core)
            .env("ANSIBLE_LIBRARY", &library.path().display().to_string())
            .tasks(&json!([{
                "name": "backup_info",
                "backup_info": {"state_directory": library.join("state")},
            }, {
                "name": "unknown option",
                "backup_info": {"no_such_option": 1},
            }]));
        assert_eq!(run.task("backup_info").result["sessions"], json!([]), "{}", run.output);
        assert_eq!(run.failure().text("error_kind"), "invalid_argument", "{}", run.output);
    }
}

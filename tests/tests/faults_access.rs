//! Who reaches a backup and by which way: other users, poolers, a connection that
//! breaks, secrets that must stay where they are, options as Ansible gives them.
//! All of it through `ansible-playbook`.

use std::path::Path;
use std::time::Duration;

use backstay_tests::command::signal;
use backstay_tests::place::User;
use backstay_tests::{
    Ansible, Backup, Become, Core, Login, Outcome, Pooler, Run, Server, Sshd, need, wait_until,
};
use nix::sys::signal::Signal;
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

fn keeper_pid(start: &Outcome) -> u32 {
    start.result["keeper_pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok())
        .expect("the keeper's pid")
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
fn a_connection_that_breaks_in_the_middle_of_the_stop_can_ask_again() {
    if !need::can_run(need::root()) {
        return;
    }
    let mut story = Story::of(16);
    let sshd = Sshd::start();
    story.ansible = Ansible::ssh(Core::Newest, &sshd).becoming(Become::Root);
    let start = story.start(&json!({}));
    let session = json!({"session": session_of(&start)});
    let _ = story.ansible.tasks(&json!([story.backup.snapshot(&session)])).ok();
    // the stop takes as long as we want: its backend stands still
    let pids = story
        .server
        .query("select pid from pg_stat_activity where application_name like 'backstay%'");
    let pids: Vec<u32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
    assert!(!pids.is_empty());
    pids.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
    let running = story.ansible.start(&json!([story.backup.stop(&session)]));
    wait_until("the stop is under way", Duration::from_secs(30), || {
        running.output().contains("TASK [backup_stop]")
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!running.has_done("backup_stop"));
    assert!(sshd.drop_connections() > 0);
    let broken = running.wait();
    pids.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));
    assert_eq!(broken.task("backup_stop").event, "unreachable", "{}", broken.output);
    let again = story.stop(session_of(&start)).ok();
    assert!(again.task("backup_stop").text("backup_label").contains("START WAL LOCATION"));
    let fetch = story.ansible.tasks(&json!([story.backup.fetch(&session)])).ok();
    assert_eq!(fetch.task("wal_fetch").text("state"), "complete");
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
fn a_password_is_nowhere_to_be_found() {
    let server = Server::builder().major(15).tls(true).auth(backstay_tests::Auth::Scram).start();
    let backup = Backup::of(&server, Login::Tls, &User::current());
    let story = Story { backup, ansible: Ansible::local(Core::Oldest).argument("-vvv"), server };
    let run = story.ansible.tasks(&json!([story.backup.start(&json!({}))])).ok();
    let password = backstay_tests::server::PASSWORD;
    let start = run.task("backup_start");
    assert!(!start.result.to_string().contains(&json!(password).to_string()), "in the reply");
    let pid = keeper_pid(start);
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{pid}/{file}")).expect("the keeper runs");
        assert!(!String::from_utf8_lossy(&text).contains(password), "in the keeper's {file}");
    }
    for directory in [
        story.backup.state_directory(),
        story.backup.repository(),
        story.backup.runtime_directory(),
    ] {
        assert_no_file_has(&directory, password);
    }
    let run = story.rest(session_of(start)).ok();
    assert_eq!(run.task("wal_fetch").text("state"), "complete");
    assert_no_file_has(&story.backup.state_directory(), password);
}

fn assert_no_file_has(directory: &Path, secret: &str) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_no_file_has(&path, secret);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes);
            let escaped = secret.replace('\\', "\\\\");
            assert!(!text.contains(secret) && !text.contains(&escaped), "in {}", path.display());
        }
    }
}

#[test]
fn nobody_else_reaches_the_keeper_or_plants_its_places() {
    if !need::can_run(need::root()) {
        return;
    }
    let story = Story::of(18);
    let start = story.start(&json!({}));
    let other = Ansible::local(Core::Newest).becoming(Become::User("backstay-login".to_owned()));
    let session = json!({"session": session_of(&start)});
    for task in
        [story.backup.abort(&session), story.backup.stop(&session), story.backup.info(&session)]
    {
        let run = other.tasks(&json!([task]));
        assert_eq!(run.status, 2, "{}", run.output);
    }
    assert!(story.has_keeper_session(), "another user ended the backup");
    let _ = story.rest(session_of(&start)).ok();

    let stranger = User::named("backstay-login");
    let place = backstay_tests::Place::new();
    stranger.make_directory(&place.join("planted"));
    std::os::unix::fs::symlink(story.backup.state_directory(), place.join("link"))
        .expect("a link in the test's place");
    for option in ["state_directory", "runtime_directory"] {
        for planted in ["planted", "link"] {
            let more =
                json!({option: place.join(planted), "backup_id": format!("{option}-{planted}")});
            let run = story.ansible.tasks(&json!([story.backup.start(&more)]));
            assert_eq!(run.status, 2, "{option} {planted} was accepted: {}", run.output);
        }
    }
}

#[test]
fn options_are_read_as_ansible_reads_them() {
    let story = Story::of(13);
    let unknown = story.ansible.tasks(&json!([story.backup.start(&json!({"lable": "x"}))]));
    assert_eq!(unknown.status, 2, "{}", unknown.output);
    assert!(unknown.failure().text("msg").contains("lable"), "{}", unknown.failure().text("msg"));
    let port = story.server.port().to_string();
    let written =
        json!({"login_port": port, "fast": "yes", "max_duration": "600", "backup_id": "as-text"});
    let start = story.start(&written);
    assert_eq!(session_of(&start), "main.as-text");
    let checked = story.ansible.tasks(&json!([{
        "name": "backup_abort", "check_mode": true,
        "backstay.postgresql.backup_abort": {"session": "main.as-text", "state_directory": story.backup.state_directory()},
    }]));
    assert_eq!(checked.ok().task("backup_abort").result["changed"], json!(true));
    assert!(story.has_keeper_session(), "check mode changed the world");
    let _ = story.rest("main.as-text").ok();
}

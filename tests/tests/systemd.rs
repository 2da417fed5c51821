//! What outlives a login where systemd is the first process.

use std::time::Duration;

use backstay_tests::place::{User, cache};
use backstay_tests::{
    Ansible, Backup, Become, Container, Core, Login, Outcome, Run, Server, wait_until,
};
use serde_json::{Value, json};

/// The fixture itself: with `KillUserProcesses=yes` logind kills what a login
/// leaves behind, so that the other tests here prove something.
#[test]
fn logind_kills_what_a_login_left_behind() {
    if !Container::possible() {
        return;
    }
    let leave = "setsid -f sleep 1000 >/dev/null 2>&1 </dev/null; sudo setsid -f sleep 1001 >/dev/null 2>&1 </dev/null";
    let count = "pgrep -cx sleep || true";
    let kind = Container::boot(false, &[]);
    let _ = kind.shell(leave);
    kind.wait_until_logged_out();
    assert_eq!(kind.shell(count), "2");
    let strict = Container::boot(true, &[]);
    let _ = strict.shell(leave);
    wait_until("logind has killed both", Duration::from_secs(30), || strict.shell(count) == "0");
}

/// A server outside, a container that sees its files, and the tasks that save
/// it from in there, over ssh.
struct Scene {
    backup: Backup,
    ansible: Ansible,
    container: Container,
    server: Server,
}

impl Scene {
    fn of(major: u32, kill_user_processes: bool, whom: Become) -> Self {
        let server = Server::builder().major(major).start();
        let user = match &whom {
            Become::User(name) => User::named(name),
            _ => User::current(),
        };
        let backup = Backup::of(&server, Login::Socket, &user);
        let bound = [server.place().path(), backup.place().path(), &cache().join("postgresql")];
        let container = Container::boot(kill_user_processes, &bound);
        let ansible = Ansible::ssh_to(Core::Newest, &container.access()).becoming(whom);
        Self { backup, ansible, container, server }
    }

    /// Enters backup mode, then closes the connection as happens some time
    /// after a play, and waits until the login is over.
    fn start_and_log_out(&self, more: &Value) -> Outcome {
        let run = self.ansible.tasks(&json!([self.backup.start(more)])).ok();
        let start = run.task("backup_start").clone();
        assert!(self.keeper_runs(&start));
        self.ansible.close_connection();
        self.container.wait_until_logged_out();
        start
    }

    fn keeper_runs(&self, start: &Outcome) -> bool {
        let pid = &start.result["keeper_pid"];
        self.container.shell(&format!("test -d /proc/{pid} && echo yes || echo no")) == "yes"
    }

    /// Where systemd counts the keeper, and as whom it runs.
    fn home_and_user(&self, start: &Outcome) -> (String, String) {
        let pid = &start.result["keeper_pid"];
        let ask = |what: &str| self.container.shell(&format!("ps -o {what}= -p {pid}"));
        (ask("unit"), ask("uid"))
    }

    /// Over a new connection: all that comes after the start.
    fn rest(&self, start: &Outcome) -> Run {
        let session = json!({"session": start.text("session")});
        let tasks = [
            self.backup.info(&session),
            self.backup.snapshot(&session),
            self.backup.stop(&session),
            self.backup.fetch(&session),
        ];
        self.ansible.tasks(&json!(tasks))
    }

    fn has_keeper_session(&self) -> bool {
        let count = "select count(*) from pg_stat_activity where application_name like 'backstay%'";
        self.server.query(count) != "0"
    }
}

fn assert_complete(run: Run) {
    let run = run.ok();
    let info = &run.task("backup_info").result["sessions"][0];
    assert_eq!(info["in_backup_mode"], json!(true), "{info:#}");
    assert!(run.task("backup_stop").text("backup_label").contains("START WAL LOCATION"));
    assert_eq!(run.task("wal_fetch").text("state"), "complete");
}

fn warnings(outcome: &Outcome) -> String {
    outcome.result["warnings"].to_string()
}

/// A keeper that root started, for the server's user (the default) or for
/// itself, stays in backup mode when the connection is closed and the login has
/// ended, although logind kills all that a login leaves behind.
#[test]
fn a_keeper_of_root_outlives_its_login() {
    if !Container::possible() {
        return;
    }
    let scene = Scene::of(16, true, Become::Root);
    for (more, uid) in [(json!({}), User::of_servers().uid), (json!({"os_user": "root"}), 0)] {
        let start = scene.start_and_log_out(&more);
        assert!(!warnings(&start).contains("logind"), "{}", warnings(&start));
        let (unit, user) = scene.home_and_user(&start);
        assert!(unit.starts_with("backstay-") && unit.ends_with(".scope"), "it is in {unit}");
        assert_eq!(user, uid.to_string());
        assert_complete(scene.rest(&start));
        // and leaves nothing of itself behind
        wait_until("its scope is gone", Duration::from_secs(20), || {
            scene.container.shell("systemctl list-units --all --no-legend 'backstay-*'").is_empty()
        });
    }
}

/// Who is not root cannot leave the login: that is said at the start, and the
/// keeper's end is told as what it was.
#[test]
fn a_keeper_that_logind_kills_was_warned_of_and_is_told() {
    if !Container::possible() {
        return;
    }
    let scene = Scene::of(15, true, Become::User(User::of_servers().name));
    let start = scene.start_and_log_out(&json!({}));
    assert!(warnings(&start).contains("KillUserProcesses=yes"), "{}", warnings(&start));
    assert!(!scene.keeper_runs(&start) && !scene.has_keeper_session());
    let session = json!({"session": start.text("session")});
    let stop = scene.ansible.tasks(&json!([scene.backup.stop(&session)]));
    assert_eq!(stop.status, 2, "{}", stop.output);
    let failure = stop.failure();
    assert_eq!(failure.text("error_kind"), "backup_aborted", "{:#}", failure.result);
    assert_eq!(failure.text("backup_mode"), "off");
    let said = failure.text("msg");
    assert!(said.contains("the keeper was told to end by SIG"), "{said}");
    let info = scene.ansible.tasks(&json!([scene.backup.info(&session)])).ok();
    let info = &info.task("backup_info").result["sessions"][0];
    assert_eq!(
        (&info["state"], &info["in_backup_mode"]),
        (&json!("aborted"), &json!(false)),
        "{info:#}"
    );
}

/// The default of Debian and Ubuntu: there a login's processes may stay.
#[test]
fn a_keeper_of_another_user_outlives_its_login_where_logind_lets_it() {
    if !Container::possible() {
        return;
    }
    let scene = Scene::of(17, false, Become::User(User::of_servers().name));
    let start = scene.start_and_log_out(&json!({}));
    assert!(!warnings(&start).contains("logind"), "{}", warnings(&start));
    let (unit, user) = scene.home_and_user(&start);
    assert!(unit.starts_with("session-"), "it is in {unit}");
    assert_eq!(user, User::of_servers().uid.to_string());
    assert_complete(scene.rest(&start));
}

/// Root without a working `systemd-run` is back to what everybody has, and is
/// told so.
#[test]
fn a_keeper_without_a_scope_is_warned_of() {
    if !Container::possible() {
        return;
    }
    let scene = Scene::of(14, false, Become::Root);
    let _ = scene.container.shell("sudo mount --bind /bin/false /usr/bin/systemd-run");
    let start = scene.start_and_log_out(&json!({}));
    assert!(
        warnings(&start).contains("systemd-run could not make a scope"),
        "{}",
        warnings(&start)
    );
    let (unit, _) = scene.home_and_user(&start);
    assert!(unit.starts_with("session-"), "it is in {unit}");
    assert_complete(scene.rest(&start));
}

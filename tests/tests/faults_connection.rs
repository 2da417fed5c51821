//! Connections to the host that break in the middle of a task, and requests that
//! are made twice.

use std::time::Duration;

use backstay_tests::command::{descendants, signal};
use backstay_tests::place::User;
use backstay_tests::scene::{Asked, request, session};
use backstay_tests::{Ansible, Become, Core, Scene, Server, Sshd, need, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Backends that stand still until this is dropped.
struct Stopped(Vec<u32>);

impl Stopped {
    fn all_of(scene: &Scene) -> Self {
        let pids = scene.backends();
        assert!(!pids.is_empty());
        pids.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));
    }
}

/// Whether an executable of ours runs a request.
fn works(pids: &[u32]) -> bool {
    pids.iter().any(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("backstay-")
            && String::from_utf8_lossy(&line).ends_with("run\0")
    })
}

#[test]
fn an_ssh_connection_that_breaks_in_the_middle_of_the_stop_costs_nothing() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::around(Server::builder().major(16).tablespaces(1).start());
    let sshd = Sshd::start();
    let ansible = Ansible::ssh(Core::Newest, &sshd).becoming(Become::Root);
    let run = ansible.tasks(&json!([scene.backup.start(&json!({"backup_id": "b1"}))])).ok();
    let start_lsn = run.task("backup_start").text("start_lsn").to_owned();
    let _ = scene.ask(&scene.snapshot_by("b1", "true")).ok();
    let stopped = Stopped::all_of(&scene);
    let running = ansible.start(&json!([scene.backup.stop(&session("b1"))]));
    wait_until("the stop is under way", Duration::from_secs(40), || {
        works(&descendants(std::process::id()))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!running.has_done("backup_stop"));
    assert!(sshd.drop_connections() > 0);
    let broken = running.wait();
    assert_eq!(broken.task("backup_stop").event, "unreachable", "{}", broken.output);
    drop(stopped);
    // asked again, twice: the same bytes, whether the first one got through or not
    let mut bytes: Vec<Value> = Vec::new();
    for _ in 0..2 {
        let again = ansible.tasks(&json!([scene.backup.stop(&session("b1"))])).ok();
        let reply = &again.task("backup_stop").result;
        assert_eq!(reply["start_lsn"], json!(start_lsn));
        bytes.push(json!([
            reply["backup_label_base64"],
            reply["tablespace_map_base64"],
            reply["stop_lsn"],
            reply["stop_time"],
        ]));
    }
    assert_eq!(bytes[0], bytes[1]);
    assert_ne!(bytes[0][1], json!(""), "no tablespace map");
    let fetched = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    assert_eq!(fetched.word("state"), "complete");
}

/// A backup whose starting checkpoint takes its time, started over ssh by
/// `user`; then the connection breaks.
fn broken_start(user: &User, become_whom: Become) -> (Scene, Sshd, Ansible) {
    let builder = Server::builder().major(17).setting("checkpoint_timeout", "600");
    let builder = if user.is_other() { builder.owner(user.clone()) } else { builder };
    let mut scene = Scene::by(builder.start(), user);
    scene.server.announce_log("connection to client lost");
    scene
        .server
        .execute("create table t as select g, repeat('x', 500) from generate_series(1, 20000) g");
    let sshd = Sshd::start();
    let ansible = Ansible::ssh(Core::Newest, &sshd).becoming(become_whom);
    let start = scene.backup.start(&json!({"backup_id": "b1", "fast": false}));
    let running = ansible.start(&json!([start]));
    wait_until("the start is under way", Duration::from_secs(40), || {
        scene.server.says_true(
            "select count(*) > 0 from pg_stat_activity where application_name = 'backstay main.b1' \
             and query like '%pg_backup_start%' and state = 'active'",
        )
    });
    assert!(sshd.drop_connections() > 0);
    let broken = running.wait();
    assert_eq!(broken.task("backup_start").event, "unreachable", "{}", broken.output);
    (scene, sshd, ansible)
}

#[test]
fn a_start_whose_ssh_connection_breaks_gives_up_by_itself() {
    if !need::can_run(need::root()) {
        return;
    }
    let (scene, _sshd, _ansible) =
        broken_start(&User::named(backstay_tests::place::LOGIN_USER), Become::Nobody);
    // nobody waits for it any more: it does not even wait for its checkpoint
    scene.wait_until_left();
    let reason = "the task that asked for it went away";
    wait_until("the record says so", Duration::from_secs(10), || {
        scene.record("b1")["state"] == json!("aborted")
    });
    scene.assert_came_to_nothing("b1", "aborted", reason);
}

/// sudo may stand between and keep the pipe open, so that nobody notices. The
/// play knows the session all the same, and its `rescue` ends it.
#[test]
fn a_start_whose_ssh_connection_breaks_under_sudo_is_ended_by_an_abort() {
    if !need::can_run(need::root()) {
        return;
    }
    let (scene, _sshd, ansible) = broken_start(&User::current(), Become::Root);
    let abort =
        scene.backup.abort(&json!({"session": "main.b1", "reason": "the play was rescued"}));
    let _ = ansible.tasks(&json!([abort])).ok();
    scene.wait_until_left();
    scene.assert_came_to_nothing("b1", "aborted", "");
}

fn with_id(task: &Value, id: &str) -> Value {
    let mut request = request(task);
    request["_backstay_request_id"] = json!(id);
    request
}

/// A request id that no other test run has used.
fn fresh_id(number: u32) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:024x}{number:08x}", now.expect("after 1970").as_nanos())
}

#[test]
fn a_request_that_is_made_twice_is_done_once() {
    let scene = Scene::of(18);
    let user = User::current();
    let id = fresh_id(1);
    // at the same time, as ssh does after a broken connection that it shares
    let start = with_id(&scene.backup.start(&json!({})), &id);
    let asked: Vec<Asked> = (0..3).map(|_| Asked::with(&start, &user)).collect();
    let replies: Vec<_> = asked.into_iter().map(|asked| asked.reply().ok()).collect();
    assert!(replies.iter().all(|reply| reply.result == replies[0].result), "{replies:#?}");
    // one that only looked whether a backup can start is gone in a moment
    wait_until("one keeper, and no other", Duration::from_secs(10), || scene.backends().len() == 1);
    let started = scene.ask(&scene.backup.info(&json!({}))).ok();
    assert_eq!(started.result["sessions"].as_array().map(Vec::len), Some(1));
    // and one after the other: nothing is done again, even when it could be
    let again = Asked::with(&start, &user).reply().ok();
    assert_eq!(again.result, replies[0].result);
    let named = json!({"session": replies[0].word("session")});
    let abort = with_id(&scene.backup.abort(&named), &fresh_id(2));
    let first = Asked::with(&abort, &user).reply().ok();
    assert_eq!(first.result["changed"], json!(true));
    assert_eq!(Asked::with(&abort, &user).reply().ok().result, first.result);
    // another id is another request
    let other = Asked::with(&with_id(&scene.backup.abort(&named), &fresh_id(3)), &user);
    assert_eq!(other.reply().ok().result["changed"], json!(false));
    // a failure is repeated as well, not tried again
    let refused = with_id(&scene.backup.start(&json!({"cluster": "no/name"})), &fresh_id(4));
    let first = Asked::with(&refused, &user).reply();
    assert_eq!(first.word("error_kind"), "invalid_argument");
    assert_eq!(Asked::with(&refused, &user).reply().result, first.result);
}

#[test]
fn a_stop_that_is_asked_by_several_at_once_is_answered_the_same() {
    let scene = Scene::around(Server::builder().major(14).tablespaces(1).start());
    let _ = scene.start("b1", &json!({}));
    let _ = scene.ask(&scene.snapshot_by("b1", "true")).ok();
    let asked: Vec<Asked> =
        (0..4).map(|_| scene.begin(&scene.backup.stop(&session("b1")))).collect();
    let replies: Vec<_> = asked.into_iter().map(|asked| asked.reply().ok()).collect();
    for reply in &replies {
        for key in ["backup_label_base64", "tablespace_map_base64", "stop_lsn", "stop_time"] {
            assert_eq!(reply.result[key], replies[0].result[key], "{key}");
        }
    }
    let asked: Vec<Asked> =
        (0..3).map(|_| scene.begin(&scene.backup.fetch(&session("b1")))).collect();
    let replies: Vec<_> = asked.into_iter().map(|asked| asked.reply().ok()).collect();
    assert!(replies.iter().all(|reply| reply.word("state") == "complete"));
    assert_eq!(scene.manifest("b1")["state"], json!("complete"));
}

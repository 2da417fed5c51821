//! What outlives a login where systemd is the first process.

use std::time::Duration;

use backstay_tests::place::{User, cache};
use backstay_tests::{Ansible, Backup, Become, Container, Core, Login, Server, need, wait_until};
use serde_json::json;

/// The fixture itself: with `KillUserProcesses=yes` logind kills what a login
/// leaves behind, so that the other tests here prove something.
#[test]
fn logind_kills_what_a_login_left_behind() {
    if !need::can_run(Container::possible()) {
        return;
    }
    let leave = "setsid -f sleep 1000 >/dev/null 2>&1 </dev/null; sudo setsid -f sleep 1001 >/dev/null 2>&1 </dev/null";
    let count = "pgrep -cx sleep || true";
    let kind = Container::boot(false, &[]);
    let _ = kind.shell(leave);
    // the session stays as "closing" while they live; logind would kill at once
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(kind.shell(count), "2");
    let strict = Container::boot(true, &[]);
    let _ = strict.shell(leave);
    wait_until("logind has killed both", Duration::from_secs(30), || strict.shell(count) == "0");
}

/// A keeper that root started stays in backup mode when the connection is
/// closed and the login has ended.
#[test]
fn a_keeper_of_root_outlives_its_login() {
    if !need::can_run(Container::possible()) {
        return;
    }
    let server = Server::builder().start();
    let backup = Backup::of(&server, Login::Socket, &User::current());
    let bound = [server.place().path(), backup.place().path(), &cache().join("postgresql")];
    let container = Container::boot(true, &bound);
    let ansible = Ansible::ssh_to(Core::Newest, &container.access()).becoming(Become::Root);
    let start = ansible.tasks(&json!([backup.start(&json!({}))])).ok();
    let session = start.task("backup_start").text("session").to_owned();
    ansible.close_connection();
    container.wait_until_logged_out();
    let rest = json!([
        backup.info(&json!({"session": session})),
        backup.snapshot(&json!({"session": session})),
        backup.stop(&json!({"session": session})),
        backup.fetch(&json!({"session": session})),
    ]);
    let run = ansible.tasks(&rest).ok();
    assert_eq!(run.task("backup_info").result["sessions"][0]["in_backup_mode"], json!(true));
    assert_eq!(run.task("wal_fetch").text("state"), "complete");
}

//! How long an empty backup keeps a server in backup mode.
//!
//! The backup is three tasks over ssh: `backup_start`, `snapshot_create` with a
//! program that makes nothing and says so, `backup_stop`. The server says when
//! backup mode began and when it ended (`started_at`, `stopped_at`). Between
//! the two lie the end of the first task, all of the second and the beginning
//! of the third. What cannot be avoided there is what any three tasks cost:
//! three times what one more `backup_info` adds to the same kind of playbook.
//! That is "the tasks' own overheads". A ratio above 1 is time that backstay
//! itself spends while the server is in backup mode.

use backstay_tests::place::User;
use backstay_tests::{Ansible, Backup, Become, Core, Login, Server, Sshd};
use serde_json::json;

use crate::MAJOR;
use crate::figure::{Figure, Goal};
use crate::sample::Sample;
use crate::tasks::cost;

/// How many tasks a playbook has more than the one it is compared with.
const TASKS: usize = 12;

/// Prints what the provider `command` wants, for every mount point it names.
pub(crate) const PROGRAM: &str = r#"printf '%s\n' "$BACKSTAY_MOUNT_POINTS" | while IFS= read -r point; do printf '{"id": "none", "mount_point": "%s"}\n' "$point"; done"#;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let server = Server::builder().major(MAJOR).start();
    let sshd = Sshd::start();
    let user = User::of_servers();
    let mut ansible = Ansible::ssh(Core::Newest, &sshd).variable("ansible_pipelining", json!(true));
    if sshd.login().name != user.name {
        ansible = ansible.becoming(Become::User(user.name.clone()));
    }
    let backup = Backup::of(&server, Login::Socket, &user);
    let three = json!([
        backup.start(&json!({})),
        backup.snapshot(&json!({"provider": "command", "command": ["/bin/sh", "-c", PROGRAM]})),
        backup.stop(&json!({})),
        // not measured: lets the WAL and its slot go
        backup.fetch(&json!({"waldump": "skip"})),
    ]);
    // of no session: those of earlier runs would be listed
    let info = backup.info(&json!({"state_directory": backup.place().join("none")}));
    let (mut ours, mut overheads) = (Sample::default(), Sample::default());
    // the first time brings the executable
    let _ = ansible.tasks(&three).ok();
    for _ in 0..runs {
        overheads.push(3.0 * cost(&ansible, &info, TASKS));
        let run = ansible.tasks(&three).ok();
        let stopped = run.task("backup_stop");
        ours.push(milliseconds_between(
            &server,
            stopped.text("started_at"),
            stopped.text("stopped_at"),
        ));
    }
    vec![
        Figure::new("time in backup mode: start, empty snapshot, stop over ssh", "ms", ours)
            .against("three warm tasks", overheads)
            .goal(Goal::Ratio(1.3)),
    ]
}

fn milliseconds_between(server: &Server, from: &str, to: &str) -> f64 {
    let sql = format!("select extract(epoch from '{to}'::timestamptz - '{from}'::timestamptz)");
    let seconds: f64 = server.query(&sql).parse().expect("a number of seconds");
    seconds * 1000.0
}

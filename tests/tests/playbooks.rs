//! The collection's playbooks, by their full names, as a user runs them.

use std::time::Duration;

use backstay_tests::place::User;
use backstay_tests::{
    Ansible, Backup, Core, Destination, Login, Server, Sshd, Writer, need, wait_until,
};
use serde_json::{Value, json};

/// The variables that say which server, whom to become, where everything goes.
fn variables(server: &Server, backup: &Backup, more: &Value) -> Value {
    let mut options = backup.login().clone();
    options["state_directory"] = json!(backup.state_directory());
    let mut all = json!({
        "backstay_user": server.user().name,
        "backstay_repository": backup.repository(),
        "backstay_options": options,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all
}

#[test]
fn a_backup_and_its_restore() {
    if !need::can_run(need::root()) {
        return;
    }
    let server = Server::builder().major(17).start();
    let backup = Backup::of(&server, Login::Socket, &User::of_servers());
    let sshd = Sshd::start();
    let ansible = Ansible::ssh(Core::Oldest, &sshd);
    let writer = Writer::start(&server, 2);
    writer.wait_for(20);
    let taken = variables(&server, &backup, &json!({"backstay_backup_id": "nightly"}));
    let run = ansible.playbook("backstay.postgresql.snapshot_backup", &taken).ok();
    let ledger = writer.stop();
    assert!(run.output.contains("backup nightly is complete"), "{}", run.output);

    let destination = Destination::new(&User::of_servers(), None);
    let more = json!({
        "backstay_data_directory": destination.data_directory(),
        "backstay_settings": destination.settings(),
        "backstay_start": true,
    });
    let mut variables = variables(&server, &backup, &more);
    variables["backstay_options"]["bin_dir"] = json!(server.bin());
    let mut restored = Server::adopt(17, destination);
    restored.announce_log("the database system is");
    let _ = ansible.playbook("backstay.postgresql.restore_backup", &variables).ok();
    let held = ledger.assert_all_in(&restored, run.task("Stop the backup").text("stop_lsn"));
    assert!(held >= 20, "only {held} transactions");
}

#[test]
fn a_backup_that_fails_leaves_backup_mode_and_says_why() {
    if !need::can_run(need::root()) {
        return;
    }
    let server = Server::builder().major(13).start();
    let backup = Backup::of(&server, Login::Socket, &User::of_servers());
    let ansible = Ansible::local(Core::Newest);
    let command = json!(["/bin/sh", "-c", "echo the array says no >&2; exit 3"]);
    let more = json!({"backstay_provider": "command", "backstay_command": command});
    let variables = variables(&server, &backup, &more);
    let run = ansible.playbook("backstay.postgresql.snapshot_backup", &variables);
    assert_eq!(run.status, 2, "{}", run.output);
    let last = run.task("Fail with the first error");
    assert!(last.text("msg").contains("the array says no"), "{}", last.text("msg"));
    assert_eq!(run.task("Leave backup mode").result["was_in_backup_mode"], json!(true));
    let gone = "select count(*) = 0 from pg_stat_activity where application_name like 'backstay%'";
    wait_until("the server has no session of ours", Duration::from_secs(10), || {
        server.says_true(gone)
    });
}

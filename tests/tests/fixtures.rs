//! The fixtures themselves: what the other tests stand on must fail when it should.

use std::time::Duration;

use backstay_tests::server::{self, Stop};
use backstay_tests::{
    Ansible, Auth, Become, Core, Pooler, Server, SmallMount, Sshd, Writer, amcheck, need,
    wait_until,
};
use serde_json::json;

/// Every major starts, takes writes, is copied to a standby that promotes, and
/// passes PostgreSQL's own checks; the ledger holds on the copy.
fn major(major: u32) {
    let mut primary = Server::builder().major(major).wal_segment_size_mb(1).tablespaces(1).start();
    assert!(primary.query("show server_version").starts_with(&major.to_string()));
    assert_eq!(primary.query("show wal_segment_size"), "1MB");
    let writer = Writer::start(&primary, 2);
    writer.wait_for(20);
    let standby = Server::builder().standby_of(&primary).start();
    writer.wait_for(20);
    let ledger = writer.stop();
    let end = primary.query("select pg_current_wal_lsn()");
    wait_until("the standby has replayed", Duration::from_secs(30), || {
        standby.says_true(&format!("select pg_last_wal_replay_lsn() >= '{end}'"))
    });
    standby.promote();
    assert!(ledger.assert_all_in(&standby, &end) >= 40);
    amcheck(&standby);
    primary.restart(Stop::Immediate);
    amcheck(&primary);
}

#[test]
fn postgresql_13() {
    major(13);
}

#[test]
fn postgresql_14() {
    major(14);
}

#[test]
fn postgresql_15() {
    major(15);
}

#[test]
fn postgresql_16() {
    major(16);
}

#[test]
fn postgresql_17() {
    major(17);
}

#[test]
fn postgresql_18() {
    major(18);
}

#[test]
fn a_lost_transaction_is_found() {
    let server = Server::builder().start();
    let writer = Writer::start(&server, 1);
    writer.wait_for(5);
    let ledger = writer.stop();
    let end = server.query("select pg_current_wal_lsn()");
    server.execute("delete from ledger where id = 3");
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ledger.assert_all_in(&server, &end)
    }));
    assert!(judged.is_err(), "a missing row went unnoticed");
}

#[test]
fn a_server_log_line_that_was_not_announced_is_found() {
    let mut server = Server::builder().start();
    let _ = server.connect().simple_query("select 1/0");
    assert_eq!(server.log().unexpected().len(), 1);
    let _ = server.connect().simple_query("selec");
    server.announce_log("division by zero");
    assert_eq!(server.log().unexpected().len(), 1);
    server.announce_log("syntax error at or near \"selec\"");
    assert!(server.log().unexpected().is_empty());
}

#[test]
fn tls_and_scram_let_in_who_knows_the_password() {
    let mut server = Server::builder().tls(true).auth(Auth::Scram).start();
    let authority = server.certificates().map(|c| c.authority.clone()).expect("built with TLS");
    let connect = |host: &str, password: &str, authority: &std::path::Path| {
        let mut psql = backstay_tests::command::tied(server.bin().join("psql"), server.user());
        let address = format!(
            "host={host} port={} user=postgres sslmode=verify-full sslrootcert={}",
            server.port(),
            authority.display()
        );
        psql.env("PGPASSWORD", password).args([
            "-XqAtc",
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
            &address,
        ]);
        psql.output().expect("psql can be started")
    };
    for host in ["127.0.0.1", "localhost"] {
        let output = connect(host, server::PASSWORD, &authority);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "t",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let refused = connect("127.0.0.1", "wrong", &authority);
    assert!(!refused.status.success());
    server.announce_log("password authentication failed for user \"postgres\"");
}

/// `id -un` on the target, by a module that needs no Python there.
fn who(ansible: &Ansible) -> String {
    let run = ansible.module("ansible.builtin.raw", &json!("id -un")).ok();
    run.task("ansible.builtin.raw").text("stdout").trim().to_owned()
}

#[test]
fn ansible_over_local_and_ssh_with_and_without_become() {
    if !need::can_run(need::root()) {
        return;
    }
    for core in [Core::Oldest, Core::Newest] {
        assert_eq!(who(&Ansible::local(core)), "root");
        let sshd = Sshd::start();
        let rule =
            std::path::PathBuf::from(format!("/etc/sudoers.d/backstay-test-{}", sshd.port()));
        assert!(rule.exists());
        assert_eq!(who(&Ansible::ssh(core, &sshd)), "backstay-login");
        assert_eq!(who(&Ansible::ssh(core, &sshd).becoming(Become::Root)), "root");
        let other = Become::User("backstay-test".to_owned());
        assert_eq!(who(&Ansible::ssh(core, &sshd).becoming(other)), "backstay-test");
        drop(sshd);
        assert!(!rule.exists(), "the sudo rule is left behind");
    }
}

#[test]
fn a_dropped_ssh_connection_is_unreachable_and_the_next_one_works() {
    let sshd = Sshd::start();
    let ansible = Ansible::ssh(Core::Newest, &sshd);
    let running = ansible.start(&json!([{"name": "long", "ansible.builtin.raw": "sleep 30"}]));
    wait_until("the task runs", Duration::from_secs(30), || {
        running.output().contains("TASK [long]")
    });
    wait_until("a connection was killed", Duration::from_secs(30), || sshd.drop_connections() > 0);
    let run = running.wait();
    assert_ne!(run.status, 0, "{}", run.output);
    assert_eq!(run.task("long").event, "unreachable");
    who(&ansible);
}

#[test]
fn a_small_mount_fills_up_and_empties() {
    if !need::can_run(need::root()) {
        return;
    }
    let mounts = [
        SmallMount::tmpfs(2),
        SmallMount::of_kind("ext4", 16),
        SmallMount::of_kind("btrfs", 120),
        SmallMount::of_kind("xfs", 300),
    ];
    for mount in &mounts {
        let other = mount.path().join("other");
        mount.fill();
        assert!(std::fs::write(&other, vec![1; 1 << 20]).is_err(), "{mount:?} is not full");
        mount.make_room();
        std::fs::write(&other, "there is room again").expect("room after make_room");
    }
    let paths = mounts.each_ref().map(|m| m.path().to_path_buf());
    drop(mounts);
    let mounted = std::fs::read_to_string("/proc/mounts").expect("the mounts of this process");
    assert!(!paths.iter().any(|p| mounted.contains(&p.display().to_string())), "{mounted}");
}

#[test]
fn a_pooler_pools_transactions() {
    if !need::can_run(need::program("pgbouncer")) {
        return;
    }
    let server = Server::builder().start();
    let pooler = Pooler::before(&server);
    let mut config = postgres::Config::new();
    config.host("127.0.0.1").port(pooler.port()).user("postgres").dbname("postgres");
    let mut client = config.connect(postgres::NoTls).expect("a session through the pooler");
    let asked = client.simple_query("select 1").expect("a query through the pooler");
    assert!(!asked.is_empty());
}

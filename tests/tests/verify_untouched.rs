//! A drill touches nothing and calls nobody, whatever the backup says: its settings, its subscriptions, its links.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::command::run;
use backstay_tests::drills::{Kept, assert_same, fingerprint, users};
use backstay_tests::need::{can_run, root};
use backstay_tests::place::{Place, User};
use backstay_tests::scene::{Reply, session};
use backstay_tests::{Drills, Scene, Server, Stop, wait_until};
use serde_json::json;

/// What a server says of settings that must be its backup's, and of those that must not.
fn shown(kept: &Kept) -> String {
    let names = [
        "max_connections",
        "max_prepared_transactions",
        "max_worker_processes",
        "max_locks_per_transaction",
        "archive_mode",
        "archive_command",
        "archive_library",
        "shared_preload_libraries",
        "listen_addresses",
        "primary_conninfo",
    ];
    names.map(|name| kept.query(&format!("show {name}"))).join("|")
}

#[test]
fn settings_of_the_backup_are_not_used_whatever_they_are() {
    let archive = Place::new();
    User::of_servers().give(archive.path());
    let command = format!("cp %p {}/%f", archive.path().display());
    let server = Server::builder()
        .major(17)
        .setting("max_prepared_transactions", "7")
        .setting("max_connections", "130")
        .setting("archive_mode", "on")
        .setting("archive_command", &command)
        .setting("max_worker_processes", "21")
        .setting("max_locks_per_transaction", "99")
        .start();
    server.execute("create table t as select 1 as i; select pg_switch_wal()");
    wait_until("a segment is archived", std::time::Duration::from_secs(30), || {
        fs::read_dir(archive.path()).is_ok_and(|entries| entries.count() > 0)
    });
    let mut session = server.connect();
    session
        .batch_execute("begin; insert into t values (2); prepare transaction 'kept'")
        .expect("prepared");
    drop(session);
    let mut drills = Drills::of(server, &["-X", "stream"]);
    drills.server.execute("commit prepared 'kept'");
    drills.server.stop(Stop::Fast);
    let mut auto =
        fs::read_to_string(drills.backup().join("postgresql.auto.conf")).expect("it has one");
    auto.push_str(&format!("shared_preload_libraries = 'nosuchlib'\narchive_mode = always\narchive_command = '{command}'\nlisten_addresses = '*'\n"));
    fs::write(drills.backup().join("postgresql.auto.conf"), auto).expect("the backup is ours");
    fs::remove_file(drills.backup().join("backup_manifest")).expect("it has one");
    let before = fingerprint(&[archive.path()]);
    let conf = drills.backup().join("postgresql.conf");
    for text in [Some("work_mem = banana\nlc_messages = 'xx_YY'\ninclude 'nosuchfile'\n"), None] {
        match text {
            Some(text) => fs::write(&conf, text).expect("the backup is ours"),
            None => fs::remove_file(&conf).expect("it is there"),
        }
        let kept = drills.keep(&User::current(), &json!({"level": "recover"}));
        assert_eq!(kept.query("select gid from pg_prepared_xacts"), "kept");
        assert_eq!(kept.query("commit prepared 'kept'"), "");
        assert_eq!(kept.query("select string_agg(i::text, ',' order by i) from t"), "1,2");
        assert_eq!(shown(&kept), "130|7|21|99|off|(disabled)||||");
        let _ = kept.query("insert into t values (3); select pg_switch_wal()");
        assert_eq!(kept.query("select archived_count + failed_count from pg_stat_archiver"), "0");
        drop(kept);
        drills.wait_until_gone(&User::current());
    }
    assert_same(&before, &fingerprint(&[archive.path()]));
}

#[test]
fn a_subscription_and_a_standby_in_the_backup_contact_nobody() {
    let publisher = Server::builder()
        .major(16)
        .setting("wal_level", "logical")
        .setting("log_connections", "on")
        .start();
    publisher.execute("create table t(i int primary key); create publication p for table t");
    let subscriber = Server::builder().major(16).start();
    subscriber.execute("create table t(i int primary key)");
    let link = format!(
        "host={} port={} user=postgres dbname=postgres",
        publisher.socket_directory().display(),
        publisher.port()
    );
    subscriber.execute(&format!("create subscription s connection '{link}' publication p"));
    publisher.execute("insert into t values (1)");
    wait_until("the row has come", std::time::Duration::from_secs(30), || {
        subscriber.query("select count(*) from t") == "1"
    });
    // -R: the backup is a standby of the subscriber
    let mut drills = Drills::of(subscriber, &["-X", "stream", "-R"]);
    assert!(drills.backup().join("standby.signal").exists());
    let slot = "select active::text || ' ' || confirmed_flush_lsn from pg_replication_slots where slot_name = 's'";
    drills.server.announce_log("terminating logical replication worker");
    drills.server.stop(Stop::Fast);
    wait_until("the subscriber has left", std::time::Duration::from_secs(30), || {
        publisher.query(slot).starts_with("false")
    });
    publisher.execute("insert into t values (2)");
    let visits = || {
        let text = publisher.log().text();
        text.lines()
            .filter(|line| line.contains("connection authorized") && !line.contains("fixture"))
            .count()
    };
    let (before, seen) = (publisher.query(slot), visits());
    assert!(seen > 0, "the publisher's log tells of nobody");
    for user in users() {
        let passed = drills.hold(&user, &json!({"level": "full"})).ok();
        assert_eq!(passed.word("verdict"), "passed");
        let kept = drills.keep(&user, &json!({}));
        assert_eq!(kept.query("select subname || subenabled from pg_subscription"), "strue");
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert_eq!(kept.query("select count(*) from pg_stat_activity where backend_type ~ 'replication|walreceiver|apply'"), "0");
        assert_eq!(kept.query("select pg_is_in_recovery()"), "f");
        let log = kept.log();
        assert!(log.contains("ready to accept connections"), "{log}");
        for word in ["apply worker", "walreceiver", "streaming", "could not connect"] {
            assert!(!log.contains(word), "{word}: {log}");
        }
        let refused = kept.query(
            &format!("create extension if not exists dblink; select dblink_connect('{link}')")
                .replace("select dblink_connect", "do $x$ begin perform dblink_connect")
                .replace("')", "'); exception when others then raise notice '%', sqlerrm; end $x$"),
        );
        assert_eq!(refused, "");
    }
    assert_eq!((publisher.query(slot), visits()), (before, seen), "somebody came");
}

#[test]
fn the_source_its_tablespaces_and_the_backup_stay_as_they_are() {
    let mut scene = Scene::around(Server::builder().major(15).tablespaces(2).start());
    for number in 1..=2 {
        scene.server.execute(&format!("create table in{number} (t text) tablespace ts{number}; insert into in{number} select md5(g::text) from generate_series(1, 3000) g; create index on in{number} (t) tablespace ts{number}"));
    }
    let _ = scene.start("b1", &json!({}));
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    // a copy as rsync makes it: its links lead to the tablespaces of the source
    let copy = Place::new();
    scene.server.stop(Stop::Immediate);
    let path = copy.join("backup");
    run(Command::new("cp").arg("-a").arg(scene.server.data_directory()).arg(&path));
    for name in ["data/postmaster.pid", "data/backup_label"] {
        let _ = fs::remove_file(path.join(name));
    }
    let mut roots: Vec<&Path> = vec![scene.server.data_directory(), &path];
    roots.extend(scene.server.tablespaces().iter().map(PathBuf::as_path));
    let files = scene.backup_folder("b1").join("files");
    let files = if files.is_dir() { files } else { scene.backup_folder("b1") };
    let before = (fingerprint(&roots), fingerprint(&[&files]));
    for level in ["recover", "full"] {
        let options = json!({
            "repository": scene.backup.repository(), "bin_dir": scene.server.bin(), "level": level,
            "state_directory": scene.backup.state_directory(), "self_test": false,
        });
        let reply = scene.ask(&backstay_tests::backup::task("backup_verify", &[&options])).ok();
        assert_eq!(reply.word("verdict"), "passed");
    }
    // a server of crash recovery writes most
    for way in ["overlay", "copy"] {
        let options = json!({
            "path": path, "bin_dir": scene.server.bin(), "level": "read", "materialize": way,
            "state_directory": scene.backup.state_directory(), "report_only": true,
            "work_directory": copy.join("drills"),
        });
        let reply = scene.ask(&backstay_tests::backup::task("backup_verify", &[&options])).ok();
        assert_eq!(reply.result["sandbox"]["isolation"], json!("namespaces"), "{:#}", reply.result);
    }
    assert_same(&before.0, &fingerprint(&roots));
    let after = fingerprint(&[&files]);
    let only_files = |all: &BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
        all.iter().filter(|(path, _)| path.is_file()).map(|(p, t)| (p.clone(), t.clone())).collect()
    };
    assert_same(
        &only_files(&before.1),
        &only_files(&after).into_iter().filter(|(path, _)| before.1.contains_key(path)).collect(),
    );
}

/// Puts links into the backup that lead to a directory which only root may look into.
fn plant(drills: &Drills, host: &Place) -> PathBuf {
    let secret = host.join("secret");
    fs::create_dir_all(secret.join("below")).expect("a directory of ours");
    fs::write(secret.join("key"), "hidden").expect("a file of ours");
    fs::write(secret.join("below/key"), "hidden").expect("a file of ours");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).expect("chmod of our own");
    // WAL elsewhere, as --waldir has it, among what is nobody's business
    let wal = drills.backup().join("pg_wal");
    let place = secret.join("wal");
    run(Command::new("cp").arg("-a").arg(&wal).arg(&place));
    fs::write(place.join("key"), "hidden").expect("a file of ours");
    fs::remove_dir_all(&wal).expect("the backup is ours");
    symlink(&place, &wal).expect("a link in the backup");
    for name in ["pg_replslot", "pg_notify", "pg_stat_tmp", "pg_dynshmem"] {
        fs::remove_dir_all(drills.backup().join(name)).expect("the backup is ours");
        symlink(&secret, drills.backup().join(name)).expect("a link in the backup");
    }
    for name in ["postgresql.auto.conf", "recovery.signal", "postmaster.pid", "tablespace_map"] {
        let _ = fs::remove_file(drills.backup().join(name));
        symlink(secret.join("key"), drills.backup().join(name)).expect("a link in the backup");
    }
    symlink(&secret, drills.backup().join("pg_tblspc/77777")).expect("a link in the backup");
    symlink(secret.join("key"), drills.backup().join("base/5/key")).expect("a link in the backup");
    secret
}

/// Where somebody has put links into the backup, and where programs inside put links into what is shared.
#[test]
fn links_lead_nobody_out() {
    if !can_run(root()) {
        return;
    }
    let server = Server::builder().major(16).start();
    server.execute("create table t as select generate_series(1, 100) i");
    let evil = "create function evil(script text) returns int language plpgsql as \
         $f$ begin execute format('copy (select 1) to program %L', script); return 1; end $f$";
    server.execute(evil);
    let drills = Drills::of(server, &["-X", "stream"]);
    fs::remove_file(drills.backup().join("backup_manifest")).expect("it has one");
    let host = Place::new();
    let secret = plant(&drills, &host);
    let before = fingerprint(&[host.path(), &drills.backup()]);
    let log_connections = |server: &Server| server.log().text().matches("backup_verify").count();
    drills.server.execute("alter system set log_connections = on");
    drills.server.execute("select pg_reload_conf()");
    let user = User::current();
    for way in ["auto", "copy"] {
        let kept = drills.keep(&user, &json!({"materialize": way}));
        let said = kept.shell("cd /backstay; find . -name key -exec cat {} \\; ; cat data/postgresql.auto.conf; ls -A data/pg_replslot; true");
        assert!(!said.contains("hidden"), "{way}: {said}");
        assert_eq!(kept.query("select count(*) from t"), "100");
    }
    drills.wait_until_gone(&user);
    // the log and the socket become links while the module looks at them
    let production =
        drills.server.socket_directory().join(format!(".s.PGSQL.{}", drills.server.port()));
    let target = secret.join("key");
    let script = format!(
        "cd /backstay/shared && ln -sf {} server.log && mv .s.PGSQL.5432 s && ln -s {} .s.PGSQL.5432",
        target.display(),
        production.display()
    );
    let visits = log_connections(&drills.server);
    let queries = json!([
        {"name": "evil", "database": "postgres", "query": format!("select evil('{script}')"), "expect": 1},
        {"name": "after", "database": "postgres", "query": "select 1", "expect": 1},
    ]);
    let reply: Reply = drills.hold(&User::current(), &json!({"level": "read", "queries": queries}));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert!(reply.message().contains("1 of 2"), "the links were not made: {:#}", reply.result);
    assert!(!reply.text.contains("hidden"), "{}", reply.text);
    assert_eq!(log_connections(&drills.server), visits, "production was asked");
    assert_same(&before, &fingerprint(&[host.path(), &drills.backup()]));
}

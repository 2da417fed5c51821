//! From inside a drill nothing of the host is to be had: asked of the restored server itself, as its superuser, who can
//! run any program. Each thing that must not work inside is seen to work outside, or the test would prove nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::command::{descendants, run, tied};
use backstay_tests::drills::Kept;
use backstay_tests::need::{can_run, root};
use backstay_tests::place::{Place, User, project};
use backstay_tests::scene::{Reply, session};
use backstay_tests::{Drills, Scene, Server, Stop, wait_until};
use serde_json::{Value, json};

/// Whom drills are held as: root, where there is one, and the user of servers.
fn users() -> Vec<User> {
    let mut users = vec![User::current(), User::of_servers()];
    users.dedup_by(|a, b| a.uid == b.uid);
    users
}

/// What a shell says on the host, as the user of servers.
fn outside(script: &str) -> String {
    let output =
        run(tied("sh", &User::of_servers()).args(["-c", &format!("{{ {script}; }} 2>&1; true")]));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Everything below these directories: kind, owner, size, times of content and of change, and the content's sum.
fn fingerprint(roots: &[&Path]) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open: Vec<PathBuf> = roots.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).expect("it is there");
        let mut text = format!(
            "{:o} {}:{} {} {}.{} {}.{}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec()
        );
        if found.is_dir() {
            open.extend(fs::read_dir(&path).expect("it can be read").flatten().map(|e| e.path()));
        } else if found.is_file() {
            let bytes = fs::read(&path).expect("it can be read");
            let sum = bytes.iter().fold(7u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
            text.push_str(&format!(" {sum}"));
        }
        all.insert(path, text);
    }
    all
}

#[track_caller]
fn assert_same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, text)| after.get(*path) != Some(text))
        .chain(after.iter().filter(|(path, _)| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:#?}");
}

#[test]
fn neither_the_network_nor_a_socket_nor_a_file_of_the_host_is_there() {
    let server = Server::builder().major(16).start();
    let drills = Drills::of(server, &["-X", "stream"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let sockets = drills.server.socket_directory().display().to_string();
    let data = drills.server.data_directory().display().to_string();
    let psql = drills.server.bin().join("psql").display().to_string();
    let elsewhere = ["/run", "/var/tmp"].map(|parent| {
        let path = Path::new(parent).join(format!("bt-socket-{}-{port}", std::process::id()));
        let bound = std::os::unix::net::UnixListener::bind(&path).ok();
        (path, bound)
    });
    let reach = |what: &str| match what {
        "port" => format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo reached"),
        "tcp" => format!(
            "{psql} -h 127.0.0.1 -p {} -U postgres -Atc 'select $$reached$$'",
            drills.server.port()
        ),
        _ => format!(
            "{psql} -h {sockets} -p {} -U postgres -Atc 'select $$reached$$'",
            drills.server.port()
        ),
    };
    for what in ["port", "tcp", "socket"] {
        assert_eq!(outside(&reach(what)), "reached", "{what} on the host");
    }
    let mut hidden = vec![sockets.clone(), data, drills.backup().display().to_string()];
    hidden.extend(
        elsewhere
            .iter()
            .filter(|(_, bound)| bound.is_some())
            .map(|(path, _)| path.display().to_string()),
    );
    hidden.extend([project().display().to_string(), drills.place().path().display().to_string()]);
    hidden.extend(
        [
            "/etc/shadow",
            "/etc/ssh",
            "/etc/hostname",
            "/home",
            "/root",
            "/var/log",
            "/var/lib",
            "/sys/class",
            "/boot",
            "/mnt",
            "/srv",
            "/opt",
        ]
        .map(str::to_owned),
    );
    for path in hidden.iter().filter(|path| !path.starts_with("/home") && !path.starts_with("/mnt"))
    {
        let there = fs::symlink_metadata(path).is_ok();
        assert!(
            there
                || path.starts_with("/srv")
                || path.starts_with("/opt")
                || path.starts_with("/etc")
                || path.starts_with("/boot"),
            "{path} is not even on the host"
        );
    }
    for user in users() {
        for more in [json!({"materialize": "copy"}), json!({"materialize": "overlay"})] {
            let kept = drills.keep(&user, &more);
            for what in ["port", "tcp", "socket"] {
                let said = kept.shell(&reach(what));
                assert!(!said.contains("reached") && !said.is_empty(), "{what}: {said}");
            }
            for path in &hidden {
                assert_eq!(
                    kept.shell(&format!("test -e {path} && echo there; true")),
                    "",
                    "{path}"
                );
            }
            assert_eq!(
                kept.shell("ls -A /run /mnt /etc/ssl 2>/dev/null | grep -v : | tr -d '\\n'"),
                ""
            );
            assert_writes_stay_inside(&kept);
            assert_powerless(&kept, &drills);
            let sandbox = &kept.result["sandbox"];
            assert_eq!(sandbox["isolation"], json!("namespaces"), "{sandbox}");
        }
        drills.wait_until_gone(&user);
    }
    for (path, _) in &elsewhere {
        let _ = fs::remove_file(path);
    }
}

/// What is shared with the host cannot be written to, and what can be written to is not shared.
#[track_caller]
fn assert_writes_stay_inside(kept: &Kept) {
    for path in [
        "/x",
        "/usr/x",
        "/usr/lib/x",
        "/bin/x",
        "/etc/x",
        "/var/x",
        "/dev/x",
        "/backstay/x",
        "/backstay/config/x",
        "/backstay/config/postgresql.conf",
        "/backstay/backstay",
    ] {
        let said = kept.shell(&format!("echo x >> {path}"));
        assert!(!said.is_empty(), "{path} could be written to");
    }
    let mark = format!("bt-mark-{}", kept.pid);
    let said = kept
        .shell(&format!("for d in /tmp /dev/shm; do echo x > $d/{mark} && cat $d/{mark}; done"));
    assert_eq!(said, "x\nx");
    for directory in ["/tmp", "/dev/shm", "/run"] {
        assert!(!Path::new(directory).join(&mark).exists(), "{directory} is the host's");
    }
}

/// Every process of the sandbox, as the host sees it; and what they see of others.
#[track_caller]
fn assert_powerless(kept: &Kept, drills: &Drills) {
    let programs = descendants(kept.pid);
    assert!(programs.len() > 4, "{programs:?}");
    let user = drills.server.user();
    for pid in programs {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        if status.is_empty() {
            continue;
        }
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(line(set), ["0000000000000000"], "{pid} {set}\n{status}");
        }
        assert_eq!(line("NoNewPrivs:"), ["1"], "{status}");
        assert_eq!(line("Uid:"), vec![user.uid.to_string(); 4], "{status}");
        assert_eq!(line("Gid:"), vec![user.gid.to_string(); 4], "{status}");
        for space in ["net", "pid", "mnt", "ipc", "uts"] {
            let of =
                |who: &str| fs::read_link(format!("/proc/{who}/ns/{space}")).expect("a namespace");
            assert_ne!(of(&pid.to_string()), of("self"), "{pid} shares {space}");
        }
    }
    let seen = kept.shell("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '");
    let own = std::env::args().next().unwrap_or_default();
    assert!(!seen.contains(&own) && !seen.contains("cargo"), "{seen}");
    let count: usize = kept.shell("ls /proc | grep -c '^[0-9]' || true").parse().expect("a number");
    assert!(count < 30, "{count} processes are seen");
    assert_eq!(kept.shell("kill -0 -1 2>/dev/null; kill -9 1 2>/dev/null; echo on"), "on");
    assert_eq!(
        kept.shell(
            "ip link 2>/dev/null | grep -c UP; cat /proc/net/route 2>/dev/null | tail -n +2"
        ),
        "0"
    );
    assert_eq!(kept.shell("mount -t tmpfs none /tmp 2>/dev/null && echo mounted; true"), "");
    let planted =
        kept.shell("su -c true; sudo -n true; chroot / true; mknod /tmp/d b 254 0 && echo made");
    assert!(!planted.contains("made"), "{planted}");
}

#[test]
fn settings_of_the_backup_are_not_used_whatever_they_are() {
    let archive = Place::new();
    User::of_servers().give(archive.path());
    let command = format!("cp %p {}/%f", archive.path().display());
    let mut server = Server::builder()
        .major(17)
        .setting("max_prepared_transactions", "7")
        .setting("max_connections", "130")
        .setting("archive_mode", "on")
        .setting("archive_command", &command)
        .setting("max_worker_processes", "21");
    server = server.setting("max_locks_per_transaction", "99");
    let server = server.start();
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
        let shown = [
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
        let shown = shown.map(|name| kept.query(&format!("show {name}"))).join("|");
        assert_eq!(shown, "130|7|21|99|off|(disabled)||||");
        for _ in 0..2 {
            assert_ne!(kept.query("insert into t values (3); select pg_switch_wal()"), "");
        }
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
    let mut drills = Drills::of(server, &["-X", "stream"]);
    fs::remove_file(drills.backup().join("backup_manifest")).expect("it has one");
    let host = Place::new();
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
    let before = fingerprint(&[host.path(), &drills.backup()]);
    let log_connections = |server: &Server| server.log().text().matches("backup_verify").count();
    drills.server.execute("alter system set log_connections = on");
    drills.server.execute("select pg_reload_conf()");
    for user in [User::current()] {
        for way in ["auto", "copy"] {
            let kept = drills.keep(&user, &json!({"materialize": way}));
            let said = kept.shell("cd /backstay; find . -name key -exec cat {} \\; ; cat data/postgresql.auto.conf; ls -A data/pg_replslot; true");
            assert!(!said.contains("hidden"), "{way}: {said}");
            assert_eq!(kept.query("select count(*) from t"), "100");
        }
        drills.wait_until_gone(&user);
    }
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
    drills.server.announce_log("nothing");
}

/// Root of a container without SYS_ADMIN takes a user namespace; where there is none either, it says so and what helps.
#[test]
fn where_nothing_isolates_nothing_runs_unless_it_is_asked_for() {
    let server = Server::builder().major(14).start();
    let drills = Drills::of(server, &["-X", "stream"]);
    // where everybody can reach it
    let executable = drills.place().join("backstay");
    fs::copy(backstay_tests::collection::executable(), &executable).expect("a copy of ours");
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("chmod of our own");
    let user = User::current();
    if user.uid == 0 {
        let mut command = tied("setpriv", &user);
        command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"]);
        command.arg(&executable).arg("run");
        let reply = drills.hold_by(command, &user, &json!({"level": "full"})).ok();
        assert_eq!(reply.word("verdict"), "passed");
        assert_eq!(reply.result["sandbox"]["isolation"], json!("namespaces"));
    }
    // a user namespace whose owner has forbidden more of them
    let owner = User::of_servers();
    for (sandbox, isolation) in [("auto", None), ("namespaces", None), ("process", Some("none"))] {
        let mut command = tied("unshare", &owner);
        let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all -- \"$@\"";
        command
            .args(["--user", "--map-current-user", "--keep-caps", "sh", "-ec", forbid, "sh"])
            .arg(&executable)
            .arg("run");
        let reply = drills.hold_by(command, &owner, &json!({"sandbox": sandbox}));
        let result: &Value = &reply.result;
        let Some(isolation) = isolation else {
            assert_eq!(result["error_kind"], json!("isolation_unavailable"), "{result:#}");
            let hints = result["hints"].to_string();
            for word in ["become", "SYS_ADMIN", "max_user_namespaces", "sandbox: process", "podman"]
            {
                assert!(hints.contains(word), "no {word}: {hints}");
            }
            assert_eq!(result.get("verdict").and_then(Value::as_str), None);
            drills.wait_until_gone(&owner);
            continue;
        };
        assert_eq!(reply.word("verdict"), "passed");
        assert_eq!(result["sandbox"]["isolation"], json!(isolation), "{result:#}");
        assert_eq!(result["sandbox"]["kind"], json!("process"), "{result:#}");
    }
}

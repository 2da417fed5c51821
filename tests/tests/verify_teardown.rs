//! Whatever becomes of a drill, nothing is left of it: no process, no mount in any namespace, no file. And one that
//! still runs is left alone by others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_tests::command::{descendants, signal, tied};
use backstay_tests::drills::{shell, traces, users, wait_until_gone};
use backstay_tests::need::{can_run, program, root};
use backstay_tests::place::User;
use backstay_tests::scene::Asked;
use backstay_tests::{Ansible, Become, Core, Drills, Server, SmallMount, Sshd, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Until a drill has come so far.
const PATIENCE: Duration = Duration::from_secs(60);

fn drills(major: u32) -> Drills {
    let server = Server::builder().major(major).start();
    server.execute("create table t as select g, repeat('x', 200) from generate_series(1, 2000) g");
    Drills::of(server, &["-X", "stream"])
}

/// The command lines of the processes below one.
fn below(pid: u32) -> Vec<(u32, String)> {
    let words = |pid: &u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (*pid, String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    descendants(pid).iter().map(words).collect()
}

/// The process below `pid` whose command line has this word.
fn find(pid: u32, word: &str) -> Option<u32> {
    below(pid).into_iter().find(|(_, words)| words.contains(word)).map(|(pid, _)| pid)
}

/// A query that is still busy when somebody looks.
fn busy() -> Value {
    json!([{"name": "busy", "database": "postgres", "query": "select pg_sleep(60)", "expect": ""}])
}

/// Begins a drill that hangs in a query.
fn asking(drills: &Drills, user: &User, more: &Value) -> Asked {
    let options = backstay_tests::scene::merged(&json!({"queries": busy()}), more);
    let asked = drills.begin(user, &options);
    wait_until("the drill asks its query", PATIENCE, || find(asked.pid(), "] FETCH").is_some());
    asked
}

#[test]
fn success_failure_and_timeout_leave_nothing() {
    let drills = drills(15);
    for user in users() {
        let good = drills.hold(&user, &json!({"level": "full"})).ok();
        assert_eq!(good.word("verdict"), "passed");
        assert_eq!(traces(&drills.work(&user)), Vec::<String>::new(), "after a success");

        let wrong =
            json!([{"name": "q", "database": "postgres", "query": "select 1", "expect": 2}]);
        let failed = drills.hold(&user, &json!({"queries": wrong}));
        assert_eq!(failed.word("error_kind"), "verification_failed");
        assert_eq!(traces(&drills.work(&user)), Vec::<String>::new(), "after a failure");

        let late = drills.hold(&user, &json!({"queries": busy(), "timeout": 4}));
        assert!(late.message().contains("did not end within 4 s"), "{}", late.message());
        assert!(late.took < Duration::from_secs(20), "it took {:?}", late.took);
        assert_eq!(traces(&drills.work(&user)), Vec::<String>::new(), "after a timeout");
    }
}

/// A segment that never comes: recovery waits, and the drill with it.
#[test]
fn a_timeout_while_recovering_leaves_nothing() {
    let server = Server::builder().major(14).start();
    let drills = Drills::of(server, &["-X", "none"]);
    let user = User::current();
    let options = json!({"restore_command": "sleep 61; false # %f %p", "timeout": 3});
    let late = drills.hold(&user, &options);
    assert_eq!(late.result["failed"], json!(true), "{:#}", late.result);
    assert!(late.took < Duration::from_secs(20), "it took {:?}", late.took);
    assert_eq!(traces(&drills.work(&user)), Vec::<String>::new());
}

#[test]
fn a_killed_module_leaves_nothing_whatever_it_did() {
    let drills = drills(17);
    let filler = drills.backup().join("base/filler");
    fs::write(&filler, vec![7; 400 << 20]).expect("the backup is ours");
    drills.server.user().give(&filler);
    fs::remove_file(drills.backup().join("backup_manifest")).expect("it has one");
    for user in users() {
        let work = drills.work(&user);
        let copies = || -> Vec<PathBuf> {
            let places = fs::read_dir(&work).into_iter().flatten().flatten();
            places.map(|place| place.path().join("copy/data/base")).collect()
        };
        let asked = drills.begin(&user, &json!({"materialize": "copy", "jobs": 1}));
        wait_until("files are copied", PATIENCE, || copies().iter().any(|path| path.is_dir()));
        assert_eq!(find(asked.pid(), "sandbox-build"), None, "the copy was made too soon");
        end(asked, &drills, &user);

        let sandboxed = [json!({}), json!({"sandbox": "process"})];
        for more in &sandboxed {
            let asked = drills.begin(&user, more);
            wait_until("the server starts", PATIENCE, || {
                find(asked.pid(), "config_file").is_some()
            });
            end(asked, &drills, &user);

            end(asking(&drills, &user, more), &drills, &user);
        }
    }
}

/// Kills a drill and waits until nothing is left of it.
#[track_caller]
fn end(mut asked: Asked, drills: &Drills, user: &User) {
    assert!(asked.runs(), "it has ended before");
    assert!(!drills.traces(user).is_empty(), "there is nothing to be left");
    signal(asked.pid(), Signal::SIGKILL);
    drills.wait_until_gone(user);
}

#[test]
fn a_module_that_is_killed_while_a_program_runs_takes_it_along() {
    let server = Server::builder().major(16).start();
    server.execute(
        "create table big as select g, md5(g::text) || repeat(md5(g::text), 20) t from generate_series(1, 300000) g",
    );
    let drills = Drills::of(server, &["-X", "stream"]);
    let user = User::current();
    for more in [json!({"level": "read"}), json!({"level": "read", "sandbox": "process"})] {
        let asked = drills.begin(&user, &more);
        wait_until("a program dumps", PATIENCE, || find(asked.pid(), "pg_dump").is_some());
        end(asked, &drills, &user);
    }
}

/// The builder, process 1, the sweeper, the server: each killed while a query is asked.
#[test]
fn a_killed_process_of_the_sandbox_fails_the_drill_and_leaves_nothing() {
    let drills = drills(18);
    for user in users() {
        for more in [json!({}), json!({"sandbox": "process"})] {
            for word in ["sandbox-build", "sandbox-init", "postgres"] {
                let asked = asking(&drills, &user, &more);
                let pid = find(asked.pid(), word).unwrap_or_else(|| panic!("no {word}"));
                signal(pid, Signal::SIGKILL);
                let reply = asked.reply();
                assert_eq!(reply.result["failed"], json!(true), "{word}: {:#}", reply.result);
                assert!(reply.took < Duration::from_secs(40), "{word}: {:?}", reply.took);
                let left = traces(&drills.work(&user));
                assert!(left.is_empty(), "{word} with {more}: {left:#?}");
            }
        }
        let quick = json!([{"name": "q", "database": "postgres", "query": "select pg_sleep(3)", "expect": ""}]);
        let asked = drills.begin(&user, &json!({"queries": quick}));
        wait_until("the query is asked", PATIENCE, || find(asked.pid(), "] FETCH").is_some());
        signal(find(asked.pid(), "sandbox-sweep").expect("a sweeper"), Signal::SIGKILL);
        assert_eq!(asked.reply().ok().word("verdict"), "passed");
        assert_eq!(traces(&drills.work(&user)), Vec::<String>::new());
    }
}

#[test]
fn a_lost_connection_ends_the_drill() {
    if !can_run(root()) {
        return;
    }
    let drills = drills(16);
    let sshd = Sshd::start();
    let ansible = Ansible::ssh(Core::Newest, &sshd).becoming(Become::Root);
    let user = User::current();
    let task = drills.task(&user, &json!({"queries": busy()}));
    let running = ansible.start(&json!([task]));
    wait_until("the drill asks its query", Duration::from_secs(90), || {
        drills.traces(&user).iter().any(|trace| trace.contains("] FETCH"))
    });
    assert!(sshd.drop_connections() > 0);
    let _ = running.kill();
    drills.wait_until_gone(&user);
}

/// What a power cut leaves: directories that nobody holds.
#[test]
fn left_overs_are_cleared_by_the_next_drill_and_told() {
    let drills = drills(13);
    let user = User::current();
    let work = drills.work(&user);
    let _ = drills.hold(&user, &json!({})).ok();
    let left = work.join("drill-1-2");
    let other = work.join("notes");
    for path in [left.join("copy/data/base"), left.join("copy/work0/work"), other.clone()] {
        fs::create_dir_all(path).expect("a directory of ours");
    }
    fs::write(left.join("lock"), "").expect("a file of ours");
    fs::write(left.join("copy/data/base/1"), "x").expect("a file of ours");
    let shut = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(left.join("copy/work0/work"), shut).expect("chmod of our own");
    // one that is just being made has no lock yet
    let young = work.join("drill-1-3");
    fs::create_dir(&young).expect("a directory of ours");

    let asked = asking(&drills, &user, &json!({}));
    assert!(!left.exists() && young.exists() && other.exists());
    let held: Vec<_> = drills.directories(&user);
    let next = drills.hold(&user, &json!({})).ok();
    assert_eq!(next.word("verdict"), "passed", "two at once");
    assert_eq!(drills.directories(&user), held, "the drill under way was cleared");
    fs::create_dir_all(left.join("copy")).expect("a directory of ours");
    fs::write(left.join("lock"), "").expect("a file of ours");
    let next = drills.hold(&user, &json!({})).ok();
    let told = next.result["warnings"].to_string();
    assert!(told.contains("drill-1-2") && !told.contains("drill-1-3"), "{:#}", next.result);

    fs::remove_dir(&young).expect("it is there still");
    fs::remove_dir(&other).expect("it is there still");
    end(asked, &drills, &user);
}

#[test]
fn a_left_over_subvolume_is_cleared_too() {
    if !(can_run(root()) && can_run(program("mkfs.btrfs")) && can_run(program("btrfs"))) {
        return;
    }
    let drills = drills(15);
    let user = User::current();
    let mount = SmallMount::of_kind("btrfs", 300);
    let work = mount.path().join("drills");
    fs::create_dir_all(work.join("drill-1-2/copy")).expect("a directory of ours");
    for path in [&work, mount.path()] {
        std::os::unix::fs::chown(path, Some(0), Some(0)).expect("chown by root");
    }
    fs::set_permissions(&work, std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .expect("chmod of our own");
    fs::write(work.join("drill-1-2/lock"), "").expect("a file of ours");
    let mut make = tied("btrfs", &user);
    let volume = work.join("drill-1-2/copy/snapshot0");
    backstay_tests::command::run(make.args(["subvolume", "create"]).arg(&volume));
    fs::write(volume.join("file"), "x").expect("a file of ours");
    let reply = drills.hold(&user, &json!({"work_directory": work})).ok();
    assert_eq!(reply.word("verdict"), "passed");
    wait_until_gone(&work);
    let list = backstay_tests::command::run(
        tied("btrfs", &user).args(["subvolume", "list"]).arg(mount.path()),
    );
    assert_eq!(String::from_utf8_lossy(&list.stdout), "");
}

#[test]
fn two_drills_of_one_backup_at_once_do_not_touch_each_other() {
    let drills = drills(16);
    for user in users() {
        let begun = [(); 3].map(|()| drills.begin(&user, &json!({"level": "read"})));
        for asked in begun {
            assert_eq!(asked.reply().ok().word("verdict"), "passed");
        }
        assert_eq!(traces(&drills.work(&user)), Vec::<String>::new());
    }
}

#[test]
fn a_kept_sandbox_stays_until_it_is_killed() {
    let drills = drills(17);
    for user in users() {
        for more in [json!({}), json!({"level": "read"}), json!({"sandbox": "process"})] {
            let kept = drills.keep(&user, &more);
            assert_eq!(kept.query("select count(*) from t"), "2000");
            assert_eq!(kept.query(&shell("echo inside")), "inside");
            // another drill leaves it alone
            let _ = drills.hold(&user, &json!({})).ok();
            assert_eq!(kept.query("select 7"), "7");
            let left = drills.directories(&user);
            assert_eq!(left.len(), 1, "{left:?}");
            signal(kept.pid, Signal::SIGTERM);
            drills.wait_until_gone(&user);
            // its server may as well be stopped
            let kept = drills.keep(&user, &more);
            let server = find(kept.pid, "postgres").expect("a server");
            signal(server, Signal::SIGINT);
            drills.wait_until_gone(&user);
        }
    }
}

/// Nobody else's directory is taken for a work directory.
#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let drills = drills(16);
    let user = User::current();
    let shared = drills.place().join("shared");
    fs::create_dir(&shared).expect("a directory of ours");
    fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("chmod of our own");
    let reply = drills.hold(&user, &json!({"work_directory": shared}));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert!(reply.message().contains(&shared.display().to_string()), "{}", reply.message());
    assert_eq!(fs::read_dir(Path::new(&shared)).expect("it is there").count(), 0);
}

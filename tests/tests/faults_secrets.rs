//! Secrets that must not be found anywhere, and options read as Ansible reads
//! them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstay_tests::command::run;
use backstay_tests::place::User;
use backstay_tests::scene::{merge, session};
use backstay_tests::{Ansible, Auth, Backup, Core, Login, Scene, Server};
use serde_json::{Value, json};

/// A password that nothing else says, nor another run of the tests has said.
fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        format!("hush-{}-Never-Say-So", now.as_nanos())
    })
}

/// The files below `directory` that hold the secret.
fn files_with_secret(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_with_secret(&path, found),
            Ok(kind) if kind.is_file() && fs::read(&path).is_ok_and(|b| has_secret(&b)) => {
                found.insert(path);
            }
            _ => {}
        }
    }
}

fn has_secret(bytes: &[u8]) -> bool {
    let secret = secret().as_bytes();
    bytes.windows(secret.len()).any(|window| window == secret)
}

/// The arguments and environments of all processes that hold the secret.
fn processes_with_secret(found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        if entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()) {
            for name in ["cmdline", "environ"] {
                let path = entry.path().join(name);
                if fs::read(&path).is_ok_and(|bytes| has_secret(&bytes)) {
                    found.insert(path);
                }
            }
        }
    }
}

/// Looks at all processes again and again while `work` is done.
fn watched<T>(work: impl FnOnce() -> T) -> (T, BTreeSet<PathBuf>) {
    let on = AtomicBool::new(true);
    struct Off<'a>(&'a AtomicBool);
    impl Drop for Off<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut found = BTreeSet::new();
            while on.load(Ordering::Relaxed) {
                processes_with_secret(&mut found);
                std::thread::sleep(Duration::from_millis(20));
            }
            found
        });
        let off = Off(&on);
        let done = work();
        drop(off);
        (done, watcher.join().expect("our own thread"))
    })
}

/// `backup_start` with the secret.
fn start(scene: &Scene, more: &Value) -> Value {
    let mut options = json!({"login_user": "secretive", "login_password": secret()});
    merge(&mut options, more);
    scene.backup.start(&options)
}

/// The task with a keyword of Ansible's.
fn with(mut task: Value, keyword: &str, value: Value) -> Value {
    task[keyword] = value;
    task
}

/// Tasks that succeed, fail, are only checked, and are asynchronous.
fn tasks_with_secret(scene: &Scene) -> Value {
    let wrong = [
        json!({"login_user": "nobody"}),
        json!({"login_db": "nowhere"}),
        json!({"unheard_of": true}),
        json!({"login_password": {"nested": secret()}}),
        json!({"login_password": null, "connect_params": {"password": secret()}}),
    ];
    let mut tasks: Vec<Value> =
        wrong.iter().map(|more| with(start(scene, more), "ignore_errors", json!(true))).collect();
    tasks.push(with(start(scene, &json!({"backup_id": "b1"})), "check_mode", json!(true)));
    tasks.push(start(scene, &json!({"backup_id": "b1"})));
    let second = start(scene, &json!({"backup_id": "b2", "concurrent": true}));
    tasks.push(with(with(second, "async", json!(60)), "poll", json!(1)));
    tasks.push(scene.backup.info(&json!({})));
    json!(tasks)
}

#[test]
fn a_password_is_in_no_reply_no_log_no_process_and_no_file() {
    let server = Server::builder().major(16).tls(true).auth(Auth::Scram).start();
    server.execute(&format!(
        "set password_encryption = 'scram-sha-256'; create role secretive superuser login password '{}'",
        secret()
    ));
    let backup = Backup::of(&server, Login::Tls, &User::current());
    let mut scene = Scene { backup, server };
    scene.server.announce_log("password authentication failed for user \"nobody\"");
    scene.server.announce_log("database \"nowhere\" does not exist");
    // Ansible looks for jobs in the home directory of the user database, not in HOME
    let jobs = scene.backup.place().join("async");
    let ansible = Ansible::local(Core::Oldest).variable("ansible_async_dir", json!(jobs));
    let ansible = ansible.argument("-vvv").argument("--diff");
    let (played, processes) = watched(|| ansible.tasks(&tasks_with_secret(&scene)));
    let sessions = &played.task("backup_info").result["sessions"];
    assert_eq!(sessions.as_array().map(Vec::len), Some(2), "{}", played.output);
    assert_eq!(played.results.iter().filter(|outcome| outcome.ignored).count(), 5);
    assert_eq!(processes, BTreeSet::new());
    assert!(!has_secret(played.output.as_bytes()), "in what ansible-playbook -vvv prints");
    for outcome in &played.results {
        assert!(!has_secret(outcome.result.to_string().as_bytes()), "in {:#}", outcome.result);
    }
    // a password of digits, which YAML makes a number
    let digits = ansible.module(
        "backstay.postgresql.backup_start",
        &json!({"login_password": 4_711_471_147_114_711_u64, "repository": "ftp://nowhere"}),
    );
    assert_eq!(digits.status, 2);
    assert!(!digits.output.contains("4711471147114711"), "{}", digits.output);
    // the same without Ansible, which masks by itself
    let failed = scene.ask(&start(&scene, &json!({"login_user": "nobody"})));
    let checked = with(start(&scene, &json!({"concurrent": true})), "check_mode", json!(true));
    for reply in [failed, scene.ask(&checked).ok()] {
        assert!(!has_secret(reply.text.as_bytes()), "in {}", reply.text);
    }
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.abort(&session("b2"))).ok();
    assert_no_file_has_secret(&scene, &ansible);
}

/// Looks through everything that the modules, Ansible and the server write.
fn assert_no_file_has_secret(scene: &Scene, ansible: &Ansible) {
    let log = scene.server.log().text();
    assert!(!has_secret(log.as_bytes()), "in the server's log:\n{log}");
    let home = User::current().home;
    let mut places = vec![
        scene.backup.place().path().to_path_buf(),
        ansible.home(),
        home.join(".cache/backstay"),
        home.join(".local/state/backstay"),
        PathBuf::from("/var/lib/backstay"),
    ];
    places.retain(|path| path.exists());
    // the journal of requests among them
    assert!(places.len() >= 3, "{places:?}");
    let mut found = BTreeSet::new();
    places.iter().for_each(|place| files_with_secret(place, &mut found));
    assert_eq!(found, BTreeSet::new());
}

#[test]
fn options_that_are_unknown_or_of_another_type_are_refused() {
    let scene = Scene::of(13);
    let ansible = Ansible::local(Core::Newest);
    // every module, each with the name it does not know
    let modules = ["start", "info", "snapshot", "stop", "abort", "fetch"];
    let unknown = json!({"sesion": "main.b1", "session": "main.b1"});
    let tasks = [
        scene.backup.start(&json!({"lable": "x"})),
        scene.backup.info(&unknown),
        scene.backup.snapshot(&unknown),
        scene.backup.stop(&unknown),
        scene.backup.abort(&unknown),
        scene.backup.fetch(&unknown),
    ];
    let tolerated: Vec<Value> = tasks
        .into_iter()
        .map(|mut task| {
            task["ignore_errors"] = json!(true);
            task
        })
        .collect();
    let played = ansible.tasks(&json!(tolerated)).ok();
    assert_eq!(played.results.len(), modules.len());
    for outcome in &played.results {
        assert_eq!(outcome.text("error_kind"), "invalid_argument", "{:#}", outcome.result);
        let named = ["lable", "sesion"].iter().any(|name| outcome.text("msg").contains(name));
        assert!(named, "{}", outcome.text("msg"));
    }
    scene.wait_until_left();
    // what is none of its type is refused, and named
    for (name, value) in [
        ("max_duration", json!("soon")),
        ("fast", json!("perhaps")),
        ("login_port", json!("54.32")),
        ("archiver_check", json!("sometimes")),
        ("max_duration", json!(0)),
        ("label", json!("two\nlines")),
    ] {
        let reply = scene.ask(&scene.backup.start(&json!({name: value})));
        assert_eq!(reply.word("error_kind"), "invalid_argument", "{reply:?}");
        assert!(reply.message().contains(name), "{name}: {}", reply.message());
    }
}

#[test]
fn words_mean_what_they_mean_in_ansible() {
    let scene = Scene::of(14);
    let ansible = Ansible::local(Core::Newest);
    // the same start, written in the ways that YAML and Jinja give
    let port = scene.server.port();
    let ways = [
        json!({"login_port": port, "fast": true, "keep_wal": true, "max_duration": 600}),
        json!({"login_port": port.to_string(), "fast": "yes", "keep_wal": "on", "max_duration": "600"}),
        json!({"port": format!("{{{{ {port} }}}}"), "login_port": null, "fast": 1, "keep_wal": "True", "max_duration": 600.0}),
    ];
    let mut seen = BTreeSet::new();
    for (number, way) in ways.iter().enumerate() {
        let mut options = json!({"backup_id": format!("b{number}")});
        merge(&mut options, way);
        let played = ansible
            .tasks(&json!([scene.backup.start(&options), scene.backup.abort(&json!({}))]))
            .ok();
        let started = &played.task("backup_start").result;
        assert_ne!(started["slot"], Value::Null);
        let record = scene.record(&format!("b{number}"));
        let time = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        seen.insert((
            record["server"]["address"].to_string(),
            seconds_between(&time("created_at"), &time("deadline")),
        ));
    }
    assert_eq!(seen.len(), 1, "the ways differ: {seen:?}");
    assert!(seen.iter().all(|(_, seconds)| *seconds == 600), "{seen:?}");
}

/// Whole seconds between two times of one day and one format.
fn seconds_between(from: &str, to: &str) -> i64 {
    let output = run(Command::new("date").args(["-u", "-d", from, "+%s%N"]));
    let start: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    let output = run(Command::new("date").args(["-u", "-d", to, "+%s%N"]));
    let end: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    (end - start) / 1_000_000_000
}

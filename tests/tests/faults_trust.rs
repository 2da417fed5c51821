//! Other users of the machine, who must not get in or plant anything. The
//! executable is asked directly where Ansible would add nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_tests::command::tied;
use backstay_tests::place::{LOGIN_USER, User};
use backstay_tests::scene::{Asked, read_json, session};
use backstay_tests::{Ansible, Core, Place, Scene, need, wait_until};
use serde_json::{Value, json};

/// A user of this machine who is nobody special.
fn stranger() -> User {
    User::named(LOGIN_USER)
}

/// Runs a Python script as the stranger, and gives what it prints.
fn python(script: &str, arguments: &[&Path]) -> String {
    let mut command = tied("/usr/bin/python3", &stranger());
    command.arg("-c").arg(script).args(arguments);
    let output = command.output().expect("python3 can be started");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Says `abort` on a keeper's socket and prints the answer's length.
const SAY_ABORT: &str = "
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
try:
    s.sendall(json.dumps({'protocol': 1, 'verb': 'abort', 'reason': 'planted'}).encode() + b'\\n')
    print('answer', len(s.recv(65536)))
except (ConnectionResetError, BrokenPipeError):
    print('answer 0')
";

fn mode_of(path: &Path) -> u32 {
    path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o7777
}

fn open_up(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod of an own file");
}

#[test]
fn another_user_does_not_reach_the_keeper_even_where_its_folder_is_open() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::of(15);
    let _ = scene.start("b1", &json!({}));
    let socket = PathBuf::from(scene.record("b1")["socket"].as_str().expect("a path"));
    let folder = socket.parent().expect("its folder").to_path_buf();
    assert_eq!(mode_of(&folder), 0o700);
    assert_eq!(mode_of(&scene.session_folder("b1")), 0o700);
    assert_eq!(mode_of(&scene.session_folder("b1").join("session.json")), 0o600);
    for place in [scene.backup.state_directory(), scene.backup.runtime_directory()] {
        assert_eq!(mode_of(&place) & 0o066, 0, "others can list {}", place.display());
    }
    let refused = python(SAY_ABORT, &[&socket]);
    assert!(refused.contains("PermissionError"), "{refused}");
    for task in [
        scene.backup.abort(&session("b1")),
        scene.backup.stop(&session("b1")),
        scene.backup.snapshot(&session("b1")),
        scene.backup.info(&session("b1")),
    ] {
        let reply = Asked::of(&task, &stranger()).reply();
        assert_eq!(reply.result["failed"], json!(true), "{reply:?}");
    }
    // and with the folder open: the keeper asks the kernel who it is
    open_up(&folder);
    open_up(&socket);
    let unanswered = python(SAY_ABORT, &[&socket]);
    assert_eq!(unanswered.trim(), "answer 0");
    assert_eq!(scene.info("b1")["in_backup_mode"], json!(true));
    wait_until("the keeper is left", Duration::from_secs(10), || scene.backends().len() == 1);
    let _ = scene.ask(&scene.backup.snapshot(&session("b1"))).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
}

/// Serves a socket at the path given, and answers everything with a record that
/// says whatever the caller wants to hear.
const IMPOSTOR: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(5)
print('listening', flush=True)
record = open(sys.argv[2]).read().replace('\\n', ' ')
while True:
    c, _ = s.accept()
    try:
        c.recv(65536)
        c.sendall(b'{\"protocol\": 1, \"outcome\": {\"record\": ' + record.encode() + b'}}\\n')
    except OSError:
        pass
    c.close()
";

#[test]
fn a_socket_that_another_user_serves_is_not_believed() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::of(17);
    let _ = scene.start("b1", &json!({}));
    let socket = PathBuf::from(scene.record("b1")["socket"].as_str().expect("a path"));
    let folder = socket.parent().expect("its folder").to_path_buf();
    let aside = folder.join("aside");
    fs::rename(&socket, &aside).expect("root may");
    open_up(&folder);
    let record = scene.backup.place().join("record.json");
    fs::write(&record, scene.record("b1").to_string()).expect("a file in the test's place");
    let mut command = tied("/usr/bin/python3", &stranger());
    command.arg("-c").arg(IMPOSTOR).arg(&socket).arg(&record);
    let mut impostor =
        command.stdout(std::process::Stdio::null()).spawn().expect("python3 can be started");
    wait_until("the impostor listens", Duration::from_secs(20), || socket.exists());
    std::thread::sleep(Duration::from_millis(200));
    for task in [scene.backup.stop(&session("b1")), scene.backup.snapshot(&session("b1"))] {
        let reply = scene.ask(&task);
        reply.assert_failed(&["session_mismatch"], "unknown");
        let (wanted, found) = (User::of_servers().uid.to_string(), stranger().uid.to_string());
        for text in [&wanted, &found, &socket.display().to_string()] {
            assert!(reply.message().contains(text.as_str()), "\"{text}\": {}", reply.message());
        }
    }
    impostor.kill().expect("our own child");
    let _ = impostor.wait();
    fs::remove_file(&socket).expect("root may");
    fs::rename(&aside, &socket).expect("root may");
    assert_eq!(scene.info("b1")["in_backup_mode"], json!(true));
    let _ = scene.ask(&scene.backup.abort(&session("b1"))).ok();
}

#[test]
fn planted_directories_are_refused_and_named() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::of(14);
    // as /tmp is: everybody may make something, nobody may take it from another
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    stranger().make_directory(&place.join("theirs"));
    symlink(place.join("theirs"), place.join("link")).expect("a link");
    User::current().make_directory(&place.join("real"));
    symlink(place.join("real"), place.join("link-to-ours")).expect("a link");
    User::current().make_directory(&place.join("open"));
    open_up(&place.join("open"));
    User::current().make_directory(&place.join("group"));
    fs::set_permissions(place.join("group"), fs::Permissions::from_mode(0o770)).expect("chmod");
    fs::write(place.join("file"), "").expect("a file");
    // one that could be exchanged: anybody may rename it
    User::current().make_directory(&place.join("open/ours"));
    for option in ["state_directory", "runtime_directory"] {
        for (number, name) in
            ["theirs", "link", "link-to-ours", "open", "group", "file", "open/ours"]
                .iter()
                .enumerate()
        {
            let path = place.join(name);
            let id = format!("{option}-{number}");
            let reply = scene.ask(&scene.backup.start(&json!({option: path, "backup_id": id})));
            // "file_failed" is the kind of what is no directory at all
            reply.assert_failed(&["untrusted_path", "file_failed"], "off");
            let named = path.display().to_string();
            let parent = path.parent().expect("a parent").display().to_string();
            assert!(
                reply.message().contains(&named) || reply.message().contains(&parent),
                "{option} {name}: {}",
                reply.message()
            );
            scene.wait_until_left();
            let all = scene.ask(&scene.backup.info(&json!({}))).ok();
            let states = all.result["sessions"].as_array().cloned().unwrap_or_default();
            assert!(
                states.iter().all(|one| one["state"] == json!("aborted")),
                "{option} {name}: something counts as running: {all:?}"
            );
            let theirs = fs::read_dir(place.join("theirs")).map_or(0, Iterator::count);
            assert_eq!(theirs, 0, "{option} {name}: something was put where it was planted");
        }
    }
    // the folder of a session that is about to start
    let sessions = scene.backup.state_directory().join("sessions");
    fs::create_dir_all(&sessions).expect("our own directory");
    for place in [scene.backup.state_directory(), sessions.clone()] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o711)).expect("chmod");
    }
    symlink(place.join("theirs"), sessions.join("main.b1")).expect("a link");
    let reply = scene.ask(&scene.backup.start(&json!({"backup_id": "b1"})));
    reply.assert_failed(&["session_mismatch", "untrusted_path"], "off");
    assert!(reply.message().contains("main.b1"), "{}", reply.message());
    assert_eq!(fs::read_dir(place.join("theirs")).map_or(0, Iterator::count), 0);
    scene.wait_until_left();
}

#[test]
fn a_record_or_label_that_was_replaced_is_refused() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::of(18);
    for id in ["b1", "b2"] {
        let _ = scene.start(id, &json!({"concurrent": true}));
    }
    let file = scene.session_folder("b1").join("session.json");
    let whole = fs::read(&file).expect("the record");
    let refused = |kinds: &[&str], text: &str| {
        for task in [scene.backup.stop(&session("b1")), scene.backup.snapshot(&session("b1"))] {
            let reply = scene.ask(&task);
            assert_eq!(reply.result["failed"], json!(true), "{reply:?}");
            let kind = reply.word("error_kind");
            assert!(kinds.contains(&kind), "\"{kind}\" is not of {kinds:?}: {reply:?}");
            assert!(reply.message().contains(text), "\"{text}\": {}", reply.message());
        }
        wait_until("two keepers are left", Duration::from_secs(10), || scene.backends().len() == 2);
    };
    let path = file.display().to_string();
    // by a file of a third user
    std::os::unix::fs::chown(&file, Some(stranger().uid), None).expect("root may");
    refused(&["untrusted_path"], &path);
    // by a link, even to a record that is good
    fs::remove_file(&file).expect("root may");
    let elsewhere = scene.backup.place().join("elsewhere.json");
    fs::write(&elsewhere, &whole).expect("a file in the test's place");
    symlink(&elsewhere, &file).expect("root may");
    refused(&["untrusted_path"], &path);
    // by the record of another session
    fs::remove_file(&file).expect("root may");
    fs::copy(scene.session_folder("b2").join("session.json"), &file).expect("root may");
    refused(&["session_mismatch"], &path);
    fs::write(&file, "{").expect("root may");
    refused(&["internal", "session_mismatch"], "record");
    // the keeper writes its own again, and the backup is none the worse
    fs::write(&file, &whole).expect("root may");
    User::of_servers().give(&file);
    let _ = scene.ask(&scene.snapshot_by("b1", "true")).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b1"))).ok();
    let label = scene.session_folder("b1").join("backup_label");
    let mut changed = fs::read(&label).expect("the label");
    changed.extend_from_slice(b"\n");
    fs::write(&label, changed).expect("root may");
    let reply = scene.ask(&scene.backup.stop(&session("b1")));
    reply.assert_failed(&["checksum_mismatch"], "off");
    let _ = scene.ask(&scene.backup.abort(&session("b2"))).ok();
}

/// A whole state directory that another user has made up, with a socket he
/// serves: whoever is told to use it must notice.
#[test]
fn a_state_directory_of_another_user_is_not_believed() {
    if !need::can_run(need::root()) {
        return;
    }
    let scene = Scene::of(16);
    let _ = scene.start("b1", &json!({}));
    let place = Place::new();
    let state = place.join("state");
    let folder = state.join("sessions/main.b1");
    stranger().make_directory(&folder);
    let socket = place.join("sock");
    open_up(place.path());
    let mut record = scene.record("b1");
    let planted = folder.join("session.json");
    let mut command = tied("/usr/bin/python3", &stranger());
    command.arg("-c").arg(IMPOSTOR).arg(&socket).arg(&planted);
    record["socket"] = json!(socket);
    record["keeper"]["uid"] = json!(stranger().uid);
    fs::write(&planted, record.to_string()).expect("a file in the test's place");
    for path in [&state, &state.join("sessions"), &folder, &planted] {
        stranger().give(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let mut impostor =
        command.stdout(std::process::Stdio::null()).spawn().expect("python3 can be started");
    wait_until("the impostor listens", Duration::from_secs(20), || socket.exists());
    for task in [
        scene.backup.stop(&json!({"session": "main.b1", "state_directory": state})),
        scene.backup.snapshot(&json!({"session": "main.b1", "state_directory": state})),
        scene.backup.abort(&json!({"session": "main.b1", "state_directory": state})),
    ] {
        let reply = scene.ask(&task);
        assert_eq!(reply.result["failed"], json!(true), "{reply:?}");
        assert!(reply.message().contains(&planted.display().to_string()), "{}", reply.message());
    }
    impostor.kill().expect("our own child");
    let _ = impostor.wait();
    assert_eq!(scene.info("b1")["in_backup_mode"], json!(true));
    let _ = scene.ask(&scene.backup.abort(&session("b1"))).ok();
}

/// The name under which the executable is cached.
fn cached_name() -> String {
    let native = backstay_tests::collection::collections_path()
        .join("ansible_collections/backstay/postgresql/native/manifest.json");
    let manifest = read_json(&native);
    let sha = manifest["tools"]["backstay"]["builds"][std::env::consts::ARCH]["sha256"]
        .as_str()
        .expect("a checksum")
        .to_owned();
    format!("backstay-{}", &sha[..32])
}

#[test]
fn a_planted_executable_in_a_cache_directory_is_not_run() {
    if !need::can_run(need::root()) {
        return;
    }
    let place = Place::new();
    let mark = place.join("it-ran");
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\ntouch '{}'\necho '{{\"changed\": false, \"sessions\": [], \"planted\": true}}'\n",
        mark.display()
    );
    let plant = |directory: &Path, owner: &User| {
        owner.make_directory(directory);
        let file = directory.join(cached_name());
        fs::write(&file, &script).expect("a file in the test's place");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        owner.give(&file);
        file
    };
    let theirs = place.join("theirs");
    plant(&theirs, &stranger());
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).expect("chmod");
    let open = place.join("open");
    plant(&open, &User::current());
    open_up(&open);
    symlink(&theirs, place.join("link")).expect("a link");
    // our own directory, but a file that another user got into it
    let ours = place.join("ours");
    let file = plant(&ours, &User::current());
    stranger().give(&file);
    let linked = place.join("linked");
    User::current().make_directory(&linked);
    symlink(theirs.join(cached_name()), linked.join(cached_name())).expect("a link");
    let info = json!([{
        "name": "backup_info",
        "backstay.postgresql.backup_info": {"state_directory": place.join("none")},
    }]);
    for name in ["theirs", "open", "link", "ours", "linked"] {
        let ansible =
            Ansible::local(Core::Newest).variable("backstay_cache_dir", json!(place.join(name)));
        let played = ansible.tasks(&info).ok();
        let reply = &played.task("backup_info").result;
        assert_eq!(reply["planted"], Value::Null, "{name}: {reply:#}");
        assert_eq!(reply["sessions"], json!([]), "{name}: {reply:#}");
        assert!(!mark.exists(), "{name}: what was planted was run");
    }
    let planted = fs::read_to_string(theirs.join(cached_name())).expect("theirs");
    assert_eq!(planted, script, "a file of another user was overwritten");
}

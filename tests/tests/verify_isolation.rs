//! From inside a drill nothing of the host is to be had: asked of the restored server itself, as its superuser, who can
//! run any program. Each thing that must not work inside is seen to work outside, or the test would prove nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use backstay_tests::command::{descendants, run, tied};
use backstay_tests::drills::{Kept, users};
use backstay_tests::place::{User, project};
use backstay_tests::{Drills, Server};
use serde_json::{Value, json};

/// What a shell says on the host, as the user of servers.
fn outside(script: &str) -> String {
    let output =
        run(tied("sh", &User::of_servers()).args(["-c", &format!("{{ {script}; }} 2>&1; true")]));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Ways to what listens on the host: a port of loopback, a server's port, a server's socket.
fn ways(drills: &Drills, port: u16) -> [String; 3] {
    let psql = drills.server.bin().join("psql").display().to_string();
    let ask = |host: &str| {
        let port = drills.server.port();
        format!("{psql} -h {host} -p {port} -U postgres -Atc 'select $$reached$$'")
    };
    [
        format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo reached"),
        ask("127.0.0.1"),
        ask(&drills.server.socket_directory().display().to_string()),
    ]
}

/// What is on the host, and nobody's business inside.
fn hidden(drills: &Drills) -> Vec<String> {
    let own = [
        drills.server.socket_directory(),
        drills.server.data_directory(),
        &drills.backup(),
        drills.place().path(),
        &project(),
    ];
    let own = own.map(|path| path.display().to_string());
    let common =
        ["/etc/shadow", "/etc/ssl", "/home", "/root", "/var/log", "/var/lib", "/sys/class"];
    let hidden: Vec<String> = own.into_iter().chain(common.map(str::to_owned)).collect();
    for path in &hidden {
        assert!(fs::symlink_metadata(path).is_ok(), "{path} is not even on the host");
    }
    hidden
}

#[test]
fn neither_the_network_nor_a_socket_nor_a_file_of_the_host_is_there() {
    let drills = Drills::of(Server::builder().major(16).start(), &["-X", "stream"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let ways = ways(&drills, port);
    for way in &ways {
        assert_eq!(outside(way), "reached", "{way} on the host");
    }
    let mut hidden = hidden(&drills);
    // sockets elsewhere than in the server's own directory
    let elsewhere: Vec<PathBuf> = ["/run", "/tmp", "/var/tmp", "/dev/shm"]
        .map(|parent| Path::new(parent).join(format!("bt-{}-{port}", std::process::id())))
        .into_iter()
        .filter(|path| UnixListener::bind(path).is_ok())
        .collect();
    assert!(elsewhere.len() > 1, "{elsewhere:?}");
    hidden.extend(elsewhere.iter().map(|path| path.display().to_string()));
    for user in users() {
        for way in ["copy", "overlay"] {
            let kept = drills.keep(&user, &json!({"materialize": way}));
            assert_eq!(kept.result["materialized"]["way"], json!(way));
            for way in &ways {
                let said = kept.shell(way);
                assert!(!said.contains("reached") && !said.is_empty(), "{way}: {said}");
            }
            for path in &hidden {
                let said = kept.shell(&format!("test -e {path} && echo there"));
                assert_eq!(said, "", "{path}");
            }
            assert_eq!(kept.shell("ls -A /run /mnt /srv 2>/dev/null | grep -v :"), "");
            assert_writes_stay_inside(&kept);
            assert_powerless(&kept, &drills);
            assert_eq!(kept.result["sandbox"]["isolation"], json!("namespaces"));
        }
        drills.wait_until_gone(&user);
    }
    for path in &elsewhere {
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
            let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{space}"));
            // a server process that has ended meanwhile has none
            if let Ok(theirs) = of(&pid.to_string()) {
                assert_ne!(theirs, of("self").expect("our own"), "{pid} shares {space}");
            }
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

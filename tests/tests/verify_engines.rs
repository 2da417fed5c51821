//! Drills in what other programs make: the same checks, the same isolation, and nothing left.

use std::fs;
use std::path::Path;

use backstay_tests::docker::Engine;
use backstay_tests::place::User;
use backstay_tests::{Ansible, Core, Docker, Drills, Server, need};
use serde_json::{Value, json};

/// A server of this major, its backup, and what a drill must not see.
fn drills(major: u32) -> Drills {
    let server = Server::builder().major(major).start();
    server.execute("create table t as select g from generate_series(1, 2000) g");
    server.execute("create index on t (g)");
    Drills::of(server, &["-X", "stream"])
}

/// Queries that the server answers only where it is alone, by what it sees of processes and files.
fn alone(secret: &Path) -> Value {
    let sees = |name: &str, query: String, expect: &str| json!({"name": name, "database": "postgres", "query": query, "expect": expect});
    let missing = "true"; // the third argument of pg_stat_file: null instead of an error
    json!([
        sees("all rows", "select count(*) from t".to_owned(), "2000"),
        sees(
            "no file of the host",
            format!("select coalesce((pg_stat_file('{}', {missing})).size, -1)", secret.display()),
            "-1"
        ),
        sees(
            "no shadow",
            format!("select coalesce((pg_stat_file('/etc/shadow', {missing})).size, -1)"),
            "-1"
        ),
        sees(
            "no network",
            "select count(*) from pg_ls_dir('/sys/class/net', true, false) n where n <> 'lo'"
                .to_owned(),
            "0"
        ),
    ])
}

/// Holds a full drill by the engine, twice, and looks at what is left.
fn hold(engine: &str, environment: &[(&str, String)]) {
    let drills = drills(17);
    let secret = drills.place().join("secret");
    fs::write(&secret, "of the host").expect("a file");
    let user = User::current();
    let options = json!({"sandbox": engine, "level": "full", "queries": alone(&secret)});
    let task = drills.task(&user, &options);
    let local = Ansible::local(Core::Newest);
    let ansible = environment.iter().fold(local, |ansible, (name, value)| ansible.env(name, value));
    let run = ansible.tasks(&json!([task, task])).ok();
    let result = &run.task("backup_verify").result;
    assert_eq!(result["verdict"], json!("passed"), "{result:#}");
    assert_eq!(result["sandbox"]["kind"], json!(engine), "{result:#}");
    assert_eq!(result["sandbox"]["isolation"], json!("container"), "{result:#}");
    let checks = result["checks"].as_array().cloned().unwrap_or_default();
    for name in ["recovery", "databases", "queries", "dump", "indexes"] {
        let found = checks.iter().find(|check| check["name"] == json!(name));
        assert_eq!(found.map(|check| &check["outcome"]), Some(&json!("ok")), "{name}: {result:#}");
    }
    assert_eq!(drills.directories(&user), Vec::<std::path::PathBuf>::new());
    assert_eq!(drills.traces(&user), Vec::<String>::new());
}

/// Root, and the engine's program.
fn possible(program: &str) -> bool {
    need::can_run(vec![need::root(), need::program(program)].into_iter().collect())
}

#[test]
fn bubblewrap() {
    if possible("bwrap") {
        hold("bubblewrap", &[]);
    }
}

#[test]
fn nspawn() {
    if possible("systemd-nspawn") {
        hold("nspawn", &[]);
    }
}

#[test]
fn lxc() {
    if possible("lxc-execute") {
        hold("lxc", &[]);
    }
}

#[test]
fn docker() {
    if Docker::possible() {
        let docker = Docker::start(Engine::Docker);
        let (name, value) = docker.variable();
        hold("docker", &[(name, value)]);
    }
}

#[test]
fn podman() {
    if Docker::possible_of(Engine::Podman) {
        let place = backstay_tests::Place::new();
        let configuration = place.join("containers.conf");
        // crun does not run where both kinds of control groups are mounted
        let text = "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n";
        fs::write(&configuration, text).expect("a file");
        hold("podman", &[("CONTAINERS_CONF", configuration.display().to_string())]);
    }
}

#[test]
fn what_is_not_installed_or_not_possible_is_told() {
    if !need::can_run(need::root()) {
        return;
    }
    let drills = drills(17);
    let user = User::current();
    let docker = json!({"sandbox": "docker"});
    let task = drills.task(&user, &docker);
    let ansible =
        Ansible::local(Core::Newest).env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let run = ansible.tasks(&json!([task]));
    let result = &run.task("backup_verify").result;
    assert_eq!(result["error_kind"], json!("isolation_unavailable"), "{result:#}");
    let told = result["msg"].as_str().unwrap_or_default();
    assert!(told.starts_with("could not make a sandbox with docker: "), "{told}");
    let overlaid = drills.hold(&user, &json!({"sandbox": "lxc", "materialize": "overlay"}));
    assert_eq!(
        overlaid.result["error_kind"],
        json!("isolation_unavailable"),
        "{:#}",
        overlaid.result
    );
    assert!(
        overlaid.message().contains("only namespaces of our own can"),
        "{}",
        overlaid.message()
    );
    let kept = drills.hold(&user, &json!({"sandbox": "bubblewrap", "keep": true}));
    assert_eq!(kept.result["error_kind"], json!("invalid_argument"), "{:#}", kept.result);
    assert!(
        kept.message().contains("a sandbox of bubblewrap cannot be kept"),
        "{}",
        kept.message()
    );
    assert_eq!(drills.traces(&user), Vec::<String>::new());
}

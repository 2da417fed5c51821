//! The keeper: what one costs while it waits, and two hundred at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use backstay_tests::command::{signal, tied};
use backstay_tests::place::User;
use backstay_tests::{Auth, Backup, Login, Server, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::MAJOR;
use crate::direct::Direct;
use crate::figure::{Figure, Goal};
use crate::sample::{Sample, milliseconds};

/// How many sessions one machine holds.
const SESSIONS: usize = 200;
/// How many tasks run side by side then.
const HOSTS: usize = 8;
/// How long a keeper rests before it is looked at.
const SETTLE: Duration = Duration::from_secs(15);
/// How long it is looked at.
const REST: Duration = Duration::from_secs(30);
/// 1024 bytes in megabytes.
const KIB: f64 = 1024.0 / 1e6;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let server = Server::builder()
        .major(MAJOR)
        .setting("max_connections", "300")
        .setting("max_wal_senders", "250")
        .setting("max_replication_slots", "250")
        .start();
    let user = User::of_servers();
    let (direct, backup) = (Direct::new(user.clone()), Backup::of(&server, Login::Socket, &user));
    let mut figures = at_rest(&server, &direct, &backup, runs);
    figures.extend(together(&direct, &backup));
    figures
}

/// One keeper on the Unix socket, one that talks TLS, which needs more memory.
fn at_rest(server: &Server, direct: &Direct, backup: &Backup, runs: usize) -> Vec<Figure> {
    let tls_server = Server::builder().major(MAJOR).tls(true).auth(Auth::Scram).start();
    let tls_backup = Backup::of(&tls_server, Login::Tls, backup.user());
    let start = |backup: &Backup| {
        let reply = direct.must(&backup.start(&json!({"backup_id": "rest"})));
        reply["keeper_pid"].as_u64().expect("the keeper's process id")
    };
    let (plain, tls) = (start(backup), start(&tls_backup));
    // what people without a keeper hold a session open with
    let mut psql = psql(server);
    let other = u64::from(psql.id());
    std::thread::sleep(SETTLE);
    let mut memory = [Sample::default(), Sample::default(), Sample::default()];
    let before = [ticks(plain), ticks(tls)];
    for _ in 0..runs {
        for (sample, pid) in memory.iter_mut().zip([plain, tls, other]) {
            sample.push(resident(pid));
        }
        std::thread::sleep(REST / u32::try_from(runs).expect("few runs"));
    }
    let spent = (ticks(plain) - before[0]).max(ticks(tls) - before[1]);
    for backup in [backup, &tls_backup] {
        direct.must(&backup.abort(&json!({"session": "main.rest"})));
    }
    psql.kill().expect("our own child");
    psql.wait().expect("our own child");
    let [plain, tls, psql] = memory;
    let figure = |name, ours| {
        Figure::new(name, "MB", ours).against("psql", psql.clone()).goal(Goal::Ours(8.0))
    };
    vec![
        figure("keeper at rest: resident memory", plain),
        figure("keeper at rest, TLS: resident memory", tls),
        Figure::new("keeper at rest: CPU in 30 s", "ticks of 10 ms", Sample::of(spent as f64))
            .goal(Goal::Ours(1.0)),
    ]
}

fn psql(server: &Server) -> Child {
    tied(server.bin().join("psql"), server.user())
        .arg("-qXh")
        .arg(server.socket_directory())
        .args(["-U", "postgres", "-p", &server.port().to_string(), "postgres"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("setpriv can be started")
}

/// Resident memory in megabytes.
fn resident(pid: u64) -> f64 {
    memory(&format!("/proc/{pid}/status"), "VmRSS:") * KIB
}

/// Kibibytes that a file of `/proc` has after `name`.
fn memory(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

/// Clock ticks, of the user and of the system, that a process has had.
fn ticks(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let rest = stat.rsplit(')').next().expect("the fields after the name");
    // the 14th and 15th field; the 3rd is the first of these
    let spent = rest.split_whitespace().skip(11).take(2);
    spent.map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Opens, pings, stops and ends all sessions, each step for all before the next.
/// A stopped session holds its WAL until it is fetched; here its keeper is told
/// to end instead.
fn together(direct: &Direct, backup: &Backup) -> Vec<Figure> {
    let state = json!({"state_directory": backup.place().join("b/two hundred")});
    let keepers = Mutex::new(BTreeSet::new());
    let errors = Mutex::new(Vec::new());
    let each = |step: &(dyn Fn(&str) -> Result<Value, String> + Sync)| {
        everywhere(&|name: &str| match step(name) {
            Ok(reply) => {
                let found = reply["keeper_pid"].as_u64();
                keepers.lock().expect("no panic").extend(found);
            }
            Err(why) => errors.lock().expect("no panic").push(format!("{name}: {why}")),
        });
    };
    let ask = |task: Value| direct.ask(&with(task, &state));
    let mut memory_of_all = 0.0;
    let took = milliseconds(|| {
        each(&|name| {
            let more = json!({"cluster": name, "backup_id": "b", "concurrent": true});
            ask(backup.start(&more))
        });
        memory_of_all = shared_out(&keepers.lock().expect("no panic"));
        each(&|name| pinged(ask(backup.info(&json!({"session": format!("{name}.b")})))?));
        each(&|name| ask(backup.stop(&json!({"session": format!("{name}.b")}))));
        end(&keepers.lock().expect("no panic"));
    });
    let errors = errors.into_inner().expect("no panic");
    errors.iter().take(5).for_each(|error| eprintln!("{error}"));
    let name = |what: &str| format!("{SESSIONS} sessions, start, info, stop, end: {what}");
    vec![
        Figure::new(name("errors"), "errors", Sample::of(errors.len() as f64))
            .goal(Goal::Ours(0.0)),
        Figure::new(name("in all"), "s", Sample::of(took / 1000.0)),
        Figure::new(name("memory of all keepers"), "MB", Sample::of(memory_of_all)),
    ]
}

fn with(mut task: Value, more: &Value) -> Value {
    let module = format!("backstay.postgresql.{}", task["name"].as_str().expect("a named task"));
    for (name, value) in more.as_object().expect("options") {
        task[&module][name] = value.clone();
    }
    task
}

/// Ends keepers and waits until they are gone.
fn end(pids: &BTreeSet<u64>) {
    for pid in pids {
        signal(u32::try_from(*pid).expect("a process id"), Signal::SIGTERM);
    }
    wait_until("the keepers have ended", Duration::from_secs(20), || {
        pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

/// A reply of `backup_info` that says the session is in backup mode.
fn pinged(reply: Value) -> Result<Value, String> {
    if reply["sessions"][0]["in_backup_mode"] == json!(true) {
        return Ok(reply);
    }
    Err(format!("not in backup mode: {reply}"))
}

/// Memory of processes, what they share counted once, in megabytes.
fn shared_out(pids: &BTreeSet<u64>) -> f64 {
    pids.iter().map(|pid| memory(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * KIB).sum()
}

/// Does something for each of the sessions, several at a time.
fn everywhere(work: &(dyn Fn(&str) + Sync)) {
    std::thread::scope(|scope| {
        for host in 0..HOSTS {
            scope.spawn(move || {
                (host..SESSIONS).step_by(HOSTS).for_each(|number| work(&format!("c{number}")));
            });
        }
    });
}

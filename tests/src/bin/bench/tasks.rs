//! What a task costs over ssh, beside `ansible.builtin.ping` with pipelining and
//! beside `raw: true`, which is the least a task can cost.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use backstay_tests::place::Place;
use backstay_tests::sshd::Access;
use backstay_tests::{Ansible, Core, Sshd};
use serde_json::{Value, json};

use crate::figure::{Figure, Goal};
use crate::relay::Relay;
use crate::sample::{Sample, milliseconds};

/// How many tasks a playbook has more than the one it is compared with.
const TASKS: usize = 12;
/// A round trip through the relay is twice this.
const DELAY: Duration = Duration::from_millis(10);

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let sshd = Sshd::start();
    let mut figures = near(&sshd, runs);
    figures.extend(far(&sshd, runs));
    figures
}

fn near(sshd: &Sshd, runs: usize) -> Vec<Figure> {
    let costs = Costs::measure(sshd, &sshd.access(), runs);
    let Costs { warm, cold, ping, raw } = costs;
    vec![
        Figure::new("task over ssh: backup_info, warm", "ms", warm.clone())
            .against("ping", ping.clone())
            .goal(Goal::Ratio(0.3)),
        Figure::new("task over ssh: backup_info, warm", "ms", warm)
            .against("raw", raw)
            .goal(Goal::Ratio(1.5)),
        Figure::new("task over ssh: backup_info, first on the host", "ms", cold)
            .against("ping", ping),
    ]
}

fn far(sshd: &Sshd, runs: usize) -> Vec<Figure> {
    let relay = Relay::start(sshd.port(), DELAY);
    let place = Place::new();
    let mut access = sshd.access();
    let known = fs::read_to_string(&access.known_hosts).expect("a file of the fixture");
    let known = known.replace(&format!(":{} ", access.port), &format!(":{} ", relay.port()));
    access.known_hosts = place.join("known_hosts");
    access.port = relay.port();
    fs::write(&access.known_hosts, known).expect("a file in an own directory");
    let Costs { warm, cold, ping, raw } = Costs::measure(sshd, &access, runs);
    let name = |which: &str| format!("task over ssh, 20 ms round trip: backup_info, {which}");
    vec![
        Figure::new(name("warm"), "ms", warm.clone()).against("ping", ping.clone()),
        Figure::new(name("warm"), "ms", warm).against("raw", raw),
        Figure::new(name("first on the host"), "ms", cold).against("ping", ping),
    ]
}

/// Milliseconds a task of each kind.
struct Costs {
    warm: Sample,
    cold: Sample,
    ping: Sample,
    raw: Sample,
}

impl Costs {
    /// All kinds take turns. The ssh connection is open throughout: only our
    /// executable is what a cold host lacks.
    fn measure(sshd: &Sshd, access: &Access, runs: usize) -> Self {
        let place = Place::new();
        let cache = Cache::new(sshd, &place);
        let ansible = Ansible::ssh_to(Core::Newest, access)
            .variable("ansible_pipelining", json!(true))
            .variable("backstay_cache_dir", json!(cache.path));
        let state = place.join("state");
        let info = json!({"backstay.postgresql.backup_info": {"state_directory": state}});
        let ping = json!({"ansible.builtin.ping": {}});
        let raw = json!({"ansible.builtin.raw": "true"});
        let mut costs = Self {
            warm: Sample::default(),
            cold: Sample::default(),
            ping: Sample::default(),
            raw: Sample::default(),
        };
        play(&ansible, &info, 1);
        for _ in 0..runs {
            let warm_play = play(&ansible, &info, 1);
            let warm = (play(&ansible, &info, 1 + TASKS) - warm_play) / TASKS as f64;
            costs.warm.push(warm);
            costs.ping.push(cost(&ansible, &ping, TASKS));
            costs.raw.push(cost(&ansible, &raw, TASKS));
            cache.empty();
            // what a play is longer for a cold host, and the task itself
            costs.cold.push(play(&ansible, &info, 1) - warm_play + warm);
        }
        costs
    }
}

/// Milliseconds that one more `task` adds to a playbook.
pub(crate) fn cost(ansible: &Ansible, task: &Value, tasks: usize) -> f64 {
    let one = play(ansible, task, 1);
    (play(ansible, task, 1 + tasks) - one) / tasks as f64
}

/// Milliseconds of a whole `ansible-playbook` with that many tasks.
fn play(ansible: &Ansible, task: &Value, tasks: usize) -> f64 {
    let all = json!(vec![task; tasks]);
    milliseconds(|| ansible.tasks(&all).ok())
}

/// Where the executable is kept on the host.
struct Cache {
    path: PathBuf,
}

impl Cache {
    fn new(sshd: &Sshd, place: &Place) -> Self {
        let path = place.join("cache");
        sshd.login().make_directory(&path);
        Self { path }
    }

    fn empty(&self) {
        for file in fs::read_dir(&self.path).expect("an own directory").flatten() {
            fs::remove_file(file.path()).expect("a file in an own directory");
        }
    }
}

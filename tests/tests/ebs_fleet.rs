//! EBS backups of many hosts in one play, which share one API and its limit.
//!
//! A hundred PostgreSQL servers would be too heavy. So the hosts of the inventory share one server on three volumes;
//! each has a backup and a keeper of its own, and what it asks of EC2 is what a host of its own would ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use backstay_tests::ec2::{Logged, Outcome};
use backstay_tests::{Ansible, Cloud, Core, Ec2, Server, Volumes, need};
use serde_json::{Value, json};

/// How many hosts.
const HOSTS: usize = 100;
/// How many of them a play works on at the same time.
const FORKS: &str = "50";
/// How many backups are started side by side.
const STARTERS: usize = 8;
/// Calls a second that the API answers, and after a rest as many at once.
const RATE: u32 = 10;
/// How often a call may be refused before it is answered, on average. A host that doubles its pauses is refused some
/// six times in the half minute that the hundred take together; 1.3 to 2.5 were measured on average. One that came back
/// twice a second would be refused 15 times.
const REFUSED: usize = 5;

fn possible() -> bool {
    need::can_run(need::root()) && Volumes::possible()
}

fn ansible(cloud: &Cloud, hosts: &[String]) -> Ansible {
    let ansible = Ansible::local(Core::Newest).hosts(hosts.to_vec());
    let variables = cloud.volumes.variables();
    variables.iter().fold(ansible, |ansible, (name, value)| ansible.env(name, value))
}

/// Begins a backup for each host.
fn start_all(cloud: &Cloud, hosts: &[String]) {
    let scene = &cloud.scene;
    std::thread::scope(|scope| {
        for starter in 0..STARTERS {
            scope.spawn(move || {
                for host in hosts.iter().skip(starter).step_by(STARTERS) {
                    let _ = scene.start(host, &json!({"concurrent": true}));
                }
            });
        }
    });
}

/// Every host's snapshots are there, once: of each volume, by one call, on the session's record.
fn assert_one_set_each(cloud: &Cloud, hosts: &[String]) {
    let mut sets: BTreeMap<String, Vec<(String, String, String)>> = BTreeMap::new();
    for made in cloud.ec2().snapshots() {
        let of = (made.volume, made.id, made.tags["backstay:request"].clone());
        sets.entry(made.tags["backstay:backup-id"].clone()).or_default().push(of);
    }
    assert!(sets.keys().eq(hosts), "there are sets of {:?}", sets.keys());
    let wanted: BTreeSet<String> = cloud.ids().into_iter().collect();
    for (host, set) in &sets {
        let volumes: BTreeSet<String> = set.iter().map(|(volume, _, _)| volume.clone()).collect();
        assert_eq!((set.len(), &volumes), (wanted.len(), &wanted), "{host}: {set:?}");
        assert!(set.iter().all(|(_, _, request)| *request == set[0].2), "{host}: {set:?}");
        let noted = cloud.scene.record(host)["snapshots"].clone();
        let noted = noted.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
        let noted: BTreeSet<&str> = noted.collect();
        assert!(set.iter().all(|(_, id, _)| noted.contains(id.as_str())), "{host}: {noted:?}");
    }
}

/// The API was never made to answer more than it can, and not asked for much more either.
fn assert_within_the_limit(calls: &[Logged]) {
    let is_refused =
        |call: &&Logged| call.outcome == Outcome::Refused("RequestLimitExceeded".into());
    let (refused, answered): (Vec<&Logged>, Vec<&Logged>) = calls.iter().partition(is_refused);
    let window = Duration::from_secs(10);
    // what the bucket held at first, what came into it, and three seconds' more: calls are logged as they come, and wait
    // for their turn. Without a throttle it would be nearly all of them.
    let most = usize::try_from(RATE + 10 * RATE + 3 * RATE).expect("a small number");
    for first in &answered {
        let within =
            |call: &&&Logged| call.at.duration_since(first.at).is_ok_and(|later| later <= window);
        let count = answered.iter().filter(within).count();
        assert!(count <= most, "{count} calls were answered within {window:?}");
    }
    eprintln!("{} calls were answered, {} refused", answered.len(), refused.len());
    // one that takes the snapshots, one for the record, which a host may give up: what was answered is not asked again
    assert!(answered.len() <= 2 * HOSTS, "{} calls were answered", answered.len());
    let most = REFUSED * answered.len();
    assert!(refused.len() <= most, "{} calls were refused, more than {most}", refused.len());
}

fn answered(ec2: &Ec2, action: &str) -> usize {
    ec2.calls(action).iter().filter(|call| call.outcome == Outcome::Answered).count()
}

#[test]
fn a_hundred_hosts_share_an_api_that_answers_ten_calls_a_second() {
    if !possible() {
        return;
    }
    let server = Server::builder()
        .major(17)
        .setting("max_connections", "150")
        .setting("max_replication_slots", "120")
        // every backup begins a new segment, and all of them are kept
        .wal_segment_size_mb(1);
    let cloud = Cloud::with(server);
    let hosts: Vec<String> = (0..HOSTS).map(|number| format!("host{number:02}")).collect();
    start_all(&cloud, &hosts);
    let ansible = ansible(&cloud, &hosts).argument("--forks").argument(FORKS);
    let task = cloud.task("ebs_snapshot", "{{ inventory_hostname }}", &json!({}));
    // all hosts are this machine: the first one brings the executable for all
    let mut first = task.clone();
    first["check_mode"] = json!(true);
    first["run_once"] = json!(true);
    let _ = ansible.tasks(&json!([first])).ok();
    let before = cloud.ec2().all_calls().len();

    cloud.ec2().throttle(f64::from(RATE), f64::from(RATE));
    let began = SystemTime::now();
    let run = ansible.tasks(&json!([task])).ok();
    eprintln!("{HOSTS} hosts took {:?}", began.elapsed().unwrap_or_default());
    let good = run.results.iter().filter(|one| one.event == "ok" && one.result["changed"] == true);
    let good: BTreeSet<&String> = good.map(|one| &one.host).collect();
    assert!(good.into_iter().eq(&hosts), "{}", run.output);
    assert_one_set_each(&cloud, &hosts);
    assert_eq!(answered(cloud.ec2(), "CreateSnapshots"), HOSTS);
    assert_within_the_limit(&cloud.ec2().all_calls()[before..]);
    assert_eq!(cloud.scene.backends().len(), HOSTS, "every host is still in backup mode");
}

/// The times between calls of this action, in their order.
fn distances(ec2: &Ec2, action: &str) -> Vec<Duration> {
    let calls = ec2.calls(action);
    let between = |pair: &[Logged]| pair[1].at.duration_since(pair[0].at).unwrap_or_default();
    calls.windows(2).map(between).collect()
}

#[test]
fn the_playbook_lets_so_many_hosts_call_at_a_time() {
    if !possible() {
        return;
    }
    let cloud = Cloud::of(17);
    // longer than three tasks of one play are apart
    let call = Duration::from_secs(2);
    let _ = cloud.ec2().on("CreateSnapshots").delay(call);
    let backup = &cloud.scene.backup;
    let mut options = backup.login().clone();
    // none is to take over what the others have begun on the same server
    options["state_directory"] = json!(backup.place().join("b/{{ inventory_hostname }}"));
    let variables = |id: &str, throttle: usize| -> Value {
        json!({
            "backstay_repository": backup.repository(),
            "backstay_cluster": "{{ inventory_hostname }}",
            "backstay_backup_id": id,
            "backstay_options": options,
            "backstay_api_throttle": throttle,
        })
    };
    let hosts = ["one", "two", "three"].map(str::to_owned);
    let ansible = ansible(&cloud, &hosts);
    let playbook = "backstay.postgresql.ebs_snapshot_backup";
    let _ = ansible.playbook(playbook, &variables("alone", 1)).ok();
    let alone = distances(cloud.ec2(), "CreateSnapshots");
    assert_eq!(alone.len(), 2);
    assert!(alone.iter().all(|distance| *distance >= call), "{alone:?}");
    let _ = ansible.playbook(playbook, &variables("together", 3)).ok();
    let together = distances(cloud.ec2(), "CreateSnapshots").split_off(3);
    assert_eq!(together.len(), 2);
    assert!(together.iter().any(|distance| *distance < call), "{together:?}");
}

//! How long a backup through EBS snapshots keeps a server in backup mode, beside `barman-cloud-backup`.
//!
//! Both back the same server up, on two volumes, by the same scripted EC2, whose snapshots are pending for 60 s. Ours
//! is three tasks over ssh: `backup_start`, `ebs_snapshot`, `backup_stop`. What counts is in the server's log: from
//! the end of the statement with `pg_backup_start` to the beginning of the one with `pg_backup_stop`.
//!
//! Left out is what EC2 itself takes to answer: here an answer comes at once, and it is one call for all volumes with
//! us, and one for each volume with Barman. So is the upload that is longer in life: Barman waits for all of it.

use std::process::Command;
use std::time::Duration;

use backstay_tests::backup::task;
use backstay_tests::command::{run, tied};
use backstay_tests::ec2::boto3;
use backstay_tests::object_store::ObjectStore;
use backstay_tests::place::User;
use backstay_tests::volumes::{Format, Mounted};
use backstay_tests::{
    Ansible, Backup, Become, Core, Login, Server, Sshd, Volumes, collection, need,
};
use chrono::NaiveDateTime;
use serde_json::{Value, json};

use crate::MAJOR;
use crate::figure::{Figure, Goal};
use crate::sample::Sample;

/// How long a snapshot is pending.
const UPLOAD: Duration = Duration::from_secs(60);
/// How often Barman is measured at most: a backup takes longer than the upload.
const BARMAN_RUNS: usize = 2;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let ebs = collection::ebs_executable().map(drop);
    let ebs = ebs.ok_or_else(|| "the collection was staged without EBS".to_owned());
    if !need::can_run(ebs) || !Volumes::possible() || !boto3::possible() {
        return vec![];
    }
    let bench = Bench::new();
    let (mut ours, mut barman) = (Sample::default(), Sample::default());
    let ansible = bench.ansible();
    // the first time brings the executables
    let _ = bench.seconds(|| bench.ours(&ansible));
    let peers = runs.min(BARMAN_RUNS);
    for number in 0..runs {
        if number * peers % runs < peers {
            barman.push(bench.seconds(|| bench.barman()));
        }
        ours.push(bench.seconds(|| bench.ours(&ansible)));
    }
    vec![
        Figure::new("time in backup mode of an EBS backup, snapshots pending for 60 s", "s", ours)
            .against("barman-cloud-backup", barman)
            .goal(Goal::Ratio(0.05)),
    ]
}

struct Bench {
    // dropped in this order: who uses the volumes goes before them
    server: Server,
    sshd: Sshd,
    backup: Backup,
    store: ObjectStore,
    disks: [Mounted; 2],
    volumes: Volumes,
}

impl Bench {
    fn new() -> Self {
        let volumes = Volumes::start();
        let (data, wal) = (volumes.add("data", Format::Xfs), volumes.add("wal", Format::Ext4));
        for action in ["CreateSnapshot", "CreateSnapshots"] {
            let _ = volumes.ec2().on(action).pending_for(UPLOAD);
        }
        let server = Server::builder()
            .major(MAJOR)
            .data_parent(&data.mount_point)
            .wal_directory(&wal.mount_point.join("wal"))
            .setting("fsync", "on")
            .setting("log_min_duration_statement", "0")
            .start();
        volumes.flush();
        Self {
            backup: Backup::of(&server, Login::Socket, &User::current()),
            server,
            // whose sessions see the volumes, as it is started by who sees them
            sshd: Sshd::start(),
            store: ObjectStore::start("barman"),
            disks: [data, wal],
            volumes,
        }
    }

    fn ansible(&self) -> Ansible {
        Ansible::ssh(Core::Newest, &self.sshd)
            .variable("ansible_pipelining", json!(true))
            .becoming(Become::Root)
    }

    fn ours(&self, ansible: &Ansible) {
        let session = json!({
            "session": "{{ backup_start.session }}",
            "state_directory": self.backup.state_directory(),
        });
        let mut snapshot = task("ebs_snapshot", &[&session]);
        snapshot["environment"] = self.volumes.variables().into_iter().collect::<Value>();
        let tasks = json!([
            self.backup.start(&json!({})),
            snapshot,
            self.backup.stop(&json!({})),
            // not measured: lets the WAL and its slot go
            self.backup.fetch(&json!({"waldump": "skip"})),
        ]);
        let _ = ansible.tasks(&tasks).ok();
    }

    fn barman(&self) {
        let program = boto3::python().with_file_name("barman-cloud-backup");
        let mut barman: Command = tied(program, &User::current());
        barman.envs(self.volumes.variables()).envs(self.store.variables());
        barman.args(["--cloud-provider", "aws-s3", "--aws-region", "eu-central-1"]);
        barman.args(["--endpoint-url", &self.store.endpoint(), "--immediate-checkpoint"]);
        barman.args(["--snapshot-instance", self.volumes.instance()]);
        for disk in &self.disks {
            barman.args(["--snapshot-disk", &disk.volume]);
        }
        barman.args(["-U", "postgres", "-p", &self.server.port().to_string(), "-h"]);
        run(barman.arg(self.server.socket_directory()).args(["s3://barman/bench", "main"]));
    }

    /// Seconds that `backup`, which takes one, had the server in backup mode.
    fn seconds(&self, backup: impl FnOnce()) -> f64 {
        let before = self.server.log().text().len();
        backup();
        let log = self.server.log().text();
        let (begun, _) = statement(&log[before..], "pg_backup_start");
        let (ended, stopping) = statement(&log[before..], "pg_backup_stop");
        let ec2 = self.volumes.ec2();
        // a volume has at most five pending ones
        ec2.snapshots().iter().for_each(|snapshot| ec2.complete(&snapshot.id));
        (ended - begun).as_seconds_f64() - stopping
    }
}

/// When the statement that called `function` ended, and the seconds that it took.
fn statement(log: &str, function: &str) -> (NaiveDateTime, f64) {
    // in quotes it is only asked about
    let calls = [format!(" {function}("), format!(".{function}(")];
    let is_call = |line: &&str| calls.iter().any(|call| line.contains(call));
    let ran = |line: &&str| line.contains(" ms  execute ") || line.contains(" ms  statement: ");
    let found: Vec<&str> = log.lines().filter(ran).filter(is_call).collect();
    let [line] = found.as_slice() else { panic!("not one call of {function}: {found:#?}\n{log}") };
    let at = line.get(..23).map(|at| NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S%.3f"));
    let took = line.split_once("duration: ").and_then(|(_, rest)| rest.split_once(" ms"));
    let took = took.and_then(|(number, _)| number.parse::<f64>().ok());
    match (at, took) {
        (Some(Ok(at)), Some(took)) => (at, took / 1000.0),
        _ => panic!("no time or no duration: {line}"),
    }
}

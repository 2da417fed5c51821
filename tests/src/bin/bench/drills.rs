//! Drills of a cluster of 2 GB, on file systems of their own in loop devices, beside what people do by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::backup::task;
use backstay_tests::command::{run, tied};
use backstay_tests::mount::SmallMount;
use backstay_tests::place::{Place, User};
use backstay_tests::{Backup, Login, Server, need};
use serde_json::{Value, json};

use crate::MAJOR;
use crate::by_hand::ByHand;
use crate::direct::Direct;
use crate::figure::{Figure, Goal};
use crate::sample::{Sample, milliseconds};

/// Of pgbench: tables and indexes of 2 GB.
const SCALE: &str = "135";
/// How often a drill is measured at most: what it is compared with takes half a minute.
const MOST_RUNS: usize = 5;
/// Room for the cluster, its backup, and a whole copy.
const MEGABYTES: u64 = 14 << 10;
/// Milliseconds that a sandbox and a start in it may take longer than a plain start.
const SANDBOX: f64 = 50.0;
/// Milliseconds that the end of a drill may take longer than the removal of its copy.
const TEARDOWN: f64 = 200.0;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let programs = ["mkfs.btrfs", "mkfs.xfs", "mkfs.ext4", "btrfs"].into_iter().map(need::program);
    if !need::can_run(std::iter::once(need::root()).chain(programs).collect()) {
        return vec![];
    }
    let bench = Bench::new(runs.min(MOST_RUNS));
    let mut figures = bench.on_btrfs();
    figures.extend(bench.on_xfs());
    figures.extend(bench.on_ext4());
    figures
}

struct Bench {
    // dropped in this order: who uses the file system goes before it
    server: Server,
    backup: Backup,
    direct: Direct,
    /// What `pg_basebackup -Ft -z` has written.
    tar: PathBuf,
    _place: Place,
    btrfs: SmallMount,
    runs: usize,
}

/// What drills of one kind took.
#[derive(Default)]
struct Drills {
    /// Seconds from the backup to a server that accepts connections.
    recovery: Sample,
    /// Seconds of the whole task, with its checks.
    task: Sample,
    /// Seconds to make the sandbox and to recover in it, without the copy.
    started: Sample,
    /// Milliseconds of the end.
    ended: Sample,
}

impl Bench {
    /// A server with its data on btrfs, and its backup: as a snapshot, and as tar files.
    fn new(runs: usize) -> Self {
        let btrfs = SmallMount::of_kind("btrfs", MEGABYTES);
        let subvolume = btrfs.path().join("cluster");
        run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&subvolume));
        User::of_servers().make_directory(&subvolume);
        let server = Server::builder()
            .major(MAJOR)
            .data_parent(&subvolume)
            .setting("max_wal_size", "8GB")
            .start();
        let mut pgbench = tied(server.bin().join("pgbench"), server.user());
        pgbench.args(["-q", "-i", "-s", SCALE, "-U", "postgres", "-h"]);
        pgbench.arg(server.socket_directory()).args(["-p", &server.port().to_string()]);
        run(pgbench.arg("postgres"));
        let place = Place::new();
        let tar = place.join("tar");
        let bench = Self {
            backup: Backup::of(&server, Login::Socket, &User::current()),
            direct: Direct::new(User::current()),
            server,
            _place: place,
            tar,
            btrfs,
            runs,
        };
        bench.back_up();
        bench
    }

    fn back_up(&self) {
        let session = json!({"session": "main.drill"});
        let mut snapshot = session.clone();
        snapshot["provider"] = json!("btrfs");
        snapshot["snapshot_directory"] = json!(self.btrfs.path().join("snapshots"));
        self.direct.must(&self.backup.start(&json!({"backup_id": "drill"})));
        self.direct.must(&self.backup.snapshot(&snapshot));
        self.direct.must(&self.backup.stop(&session));
        self.direct.must(&self.backup.fetch(&session));
        self.server.user().make_directory(&self.tar);
        self.basebackup(&self.tar, &["-Ft", "-z"]);
    }

    fn basebackup(&self, target: &Path, format: &[&str]) {
        let mut program = tied(self.server.bin().join("pg_basebackup"), self.server.user());
        program.args(["-U", "postgres", "-p", &self.server.port().to_string(), "-h"]);
        program.arg(self.server.socket_directory()).args(["-X", "stream", "-c", "fast"]);
        run(program.args(format).arg("-D").arg(target));
    }

    fn on_btrfs(&self) -> Vec<Figure> {
        let hand = ByHand::new(&self.server, self.btrfs.path());
        let of_backup = |way: &str, level: &str| {
            let repository = self.backup.repository();
            json!({"repository": repository, "materialize": way, "level": level})
        };
        let mut by_hand = Sample::default();
        let (mut snapshot, mut reflink) = (Drills::default(), Drills::default());
        let mut full = Sample::default();
        for number in 0..self.runs {
            by_hand.push(hand.tar(&self.tar));
            snapshot.add(self.drill(self.btrfs.path(), &of_backup("snapshot", "recover")));
            reflink.add(self.drill(self.btrfs.path(), &of_backup("reflink", "recover")));
            if number == 0 {
                let task = of_backup("snapshot", "full");
                full.push(self.drill(self.btrfs.path(), &task).0);
            }
        }
        let mut figures = snapshot.figures("btrfs, snapshot", &by_hand);
        figures.push(snapshot.end("btrfs, snapshot"));
        figures.extend(reflink.figures("btrfs, reflink", &by_hand));
        figures.push(Figure::new("drill of 2 GB, btrfs, level full: the whole task", "s", full));
        figures
    }

    fn on_xfs(&self) -> Vec<Figure> {
        let mount = SmallMount::of_kind("xfs", MEGABYTES);
        let plain = mount.path().join("backup");
        self.basebackup(&plain, &[]);
        let hand = ByHand::new(&self.server, mount.path());
        let (mut by_hand, mut reflink) = (Sample::default(), Drills::default());
        let (mut sandbox, mut teardown) = (Sample::default(), Sample::default());
        let mut start = Sample::default();
        for _ in 0..self.runs {
            by_hand.push(hand.tar(&self.tar));
            let options = json!({"path": plain, "materialize": "reflink"});
            let (task, reply) = self.drill(mount.path(), &options);
            let (plain_start, removal) = hand.clone_of(&plain);
            let ours = phases(&reply, &["prepare", "recover"]);
            sandbox.push((ours - plain_start) * 1000.0);
            start.push(plain_start);
            teardown.push((phases(&reply, &["stop", "teardown"]) - removal) * 1000.0);
            reflink.add((task, reply));
        }
        let more = "drill of 2 GB, xfs, reflink:";
        let mut figures = reflink.figures("xfs, reflink", &by_hand);
        figures.push(
            Figure::new(format!("{more} sandbox and start to ready"), "s", reflink.started)
                .against("plain start", start),
        );
        figures.push(
            Figure::new(format!("{more} longer than a plain start"), "ms", sandbox)
                .goal(Goal::Ours(SANDBOX)),
        );
        figures.push(
            Figure::new(format!("{more} teardown, longer than rm -rf"), "ms", teardown)
                .goal(Goal::Ours(TEARDOWN)),
        );
        figures
    }

    fn on_ext4(&self) -> Vec<Figure> {
        let mount = SmallMount::of_kind("ext4", MEGABYTES);
        let plain = mount.path().join("backup");
        self.basebackup(&plain, &[]);
        let hand = ByHand::new(&self.server, mount.path());
        let mut by_hand = Sample::default();
        let (mut overlay, mut tar) = (Drills::default(), Drills::default());
        for _ in 0..self.runs {
            by_hand.push(hand.tar(&self.tar));
            let options = json!({"path": plain, "materialize": "overlay"});
            overlay.add(self.drill(mount.path(), &options));
            // the tar files belong to nobody in particular
            let options = json!({"path": self.tar, "os_user": self.server.user().name});
            tar.add(self.drill(mount.path(), &options));
        }
        let mut figures = overlay.figures("ext4, overlay", &by_hand);
        figures.push(overlay.end("ext4, overlay"));
        figures.push(
            Figure::new(
                "drill of 2 GB, ext4, tar.gz, checked: files and recovery",
                "s",
                tar.recovery,
            )
            .against("tar xzf, start", by_hand),
        );
        figures
    }

    /// Seconds that the task took, and its reply.
    fn drill(&self, ground: &Path, options: &Value) -> (f64, Value) {
        // what was written before is not to be waited for by this one
        run(Command::new("sync").arg("-f").arg(ground));
        let own = json!({
            "level": "recover",
            "bin_dir": self.server.bin(),
            "work_directory": ground.join("drills"),
            "state_directory": self.backup.state_directory(),
        });
        let task = task("backup_verify", &[&own, options]);
        let mut reply = Value::Null;
        let took = milliseconds(|| reply = self.direct.must(&task));
        assert_eq!(reply["verdict"], json!("passed"), "{reply:#}");
        (took / 1000.0, reply)
    }
}

impl Drills {
    fn add(&mut self, (task, reply): (f64, Value)) {
        self.task.push(task);
        let total = reply["recovery"]["total"].as_f64().expect("the time of a recovery");
        self.recovery.push(total);
        self.started.push(phases(&reply, &["prepare", "recover"]));
        self.ended.push(phases(&reply, &["stop", "teardown"]) * 1000.0);
    }

    fn figures(&self, way: &str, by_hand: &Sample) -> Vec<Figure> {
        let name = |what: &str| format!("drill of 2 GB, {way}: {what}");
        let peer = "tar xzf, start";
        vec![
            Figure::new(name("files and recovery"), "s", self.recovery.clone())
                .against(peer, by_hand.clone())
                .goal(Goal::Ratio(0.1)),
            Figure::new(name("the whole task"), "s", self.task.clone())
                .against(peer, by_hand.clone()),
        ]
    }

    /// The end of it, the file system's own removal included.
    fn end(&self, way: &str) -> Figure {
        Figure::new(
            format!("drill of 2 GB, {way}: teardown with removal"),
            "ms",
            self.ended.clone(),
        )
    }
}

/// Seconds of these phases of a drill.
fn phases(reply: &Value, names: &[&str]) -> f64 {
    let phases = reply["phases"].as_array().into_iter().flatten();
    let named = phases.filter(|phase| names.iter().any(|name| phase["name"] == json!(name)));
    named.filter_map(|phase| phase["seconds"].as_f64()).sum()
}

//! Copying a cluster, and fetching its WAL, beside what copies and checks as
//! much with programs of the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_tests::command::{run, tied};
use backstay_tests::place::User;
use backstay_tests::{Backup, Login, Server};
use serde_json::{Value, json};

use crate::MAJOR;
use crate::direct::Direct;
use crate::figure::Figure;
use crate::sample::{Sample, milliseconds};

/// Rows that make a table of about 450 MB.
const ROWS: u32 = 3_500_000;
/// How many WAL segments a backup has for the second figure.
const SEGMENTS: usize = 8;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let server = Server::builder().major(MAJOR).setting("max_wal_size", "1GB").start();
    server.execute(&format!(
        "create table big as select g, repeat(md5(g::text), 3) as text from generate_series(1, {ROWS}) g"
    ));
    server.execute("checkpoint");
    let user = User::of_servers();
    let bench = Bench {
        direct: Direct::new(user.clone()),
        backup: Backup::of(&server, Login::Socket, &user),
        server: &server,
    };
    let mut figures = bench.copy(runs);
    figures.extend(bench.wal(runs));
    figures
}

struct Bench<'a> {
    direct: Direct,
    backup: Backup,
    server: &'a Server,
}

impl Bench<'_> {
    /// All copies are on disk and, but for that of `cp`, have checksums.
    fn copy(&self, runs: usize) -> Vec<Figure> {
        let (mut ours, mut cp) = (Sample::default(), Sample::default());
        let mut basebackup = Sample::default();
        for number in 0..runs {
            ours.push(self.in_backup(&format!("copy{number}"), |session| {
                let task = self.backup.snapshot(&json!({"session": session}));
                milliseconds(|| self.direct.must(&task))
            }));
            cp.push(self.filling(|target| {
                let script = "cp -a \"$1\" \"$2\" && sync -f \"$2\"";
                let mut shell = tied("sh", self.server.user());
                shell.args(["-c", script, "sh"]).arg(self.server.data_directory()).arg(target);
                shell
            }));
            basebackup.push(self.filling(|target| {
                let mut program = tied(self.server.bin().join("pg_basebackup"), self.server.user());
                program.arg("-h").arg(self.server.socket_directory());
                program.args(["-U", "postgres", "-p", &self.server.port().to_string()]);
                program.args(["-X", "none", "-c", "fast", "--no-slot"]);
                program.args(["--manifest-checksums", "SHA256", "-D"]).arg(target);
                program
            }));
        }
        let seconds = |sample: Sample| sample.map(|ms| ms / 1000.0);
        let (ours, cp, basebackup) = (seconds(ours), seconds(cp), seconds(basebackup));
        let name = "snapshot_create, provider files, 500 MB";
        vec![
            Figure::new(name, "s", ours.clone()).against("cp -a, sync", cp),
            Figure::new(name, "s", ours).against("pg_basebackup", basebackup),
        ]
    }

    fn wal(&self, runs: usize) -> Vec<Figure> {
        let (mut ours, mut peer) = (Sample::default(), Sample::default());
        for number in 0..runs {
            let id = format!("wal{number}");
            let session = self.start(&id);
            for _ in 1..SEGMENTS {
                self.server.execute("create table w(); drop table w; select pg_switch_wal()");
            }
            self.direct.must(&self.backup.snapshot(&nothing(&session)));
            let stopped = self.direct.must(&self.backup.stop(&json!({"session": session})));
            let count = stopped["wal_segments"].as_f64().expect("a number of segments");
            let options = json!({"session": session, "waldump": "skip"});
            let fetch = self.backup.fetch(&options);
            ours.push(milliseconds(|| self.direct.must(&fetch)) / count);
            let folder = self.folder(&id);
            peer.push(self.copy_segments(&folder.join("wal")) / count);
            remove(&folder);
        }
        vec![
            Figure::new("wal_fetch of one 16 MB segment", "ms", ours)
                .against("cp, sync, sha256sum", peer),
        ]
    }

    /// Copies the segments that are in `from` with programs of the system.
    fn copy_segments(&self, from: &Path) -> f64 {
        self.filling(|target| {
            let script = "mkdir \"$2\" && cd \"$1\" && for s in *; do \
                          cp \"$s\" \"$2/$s\" && sync \"$2/$s\" && sha256sum \"$2/$s\"; done";
            let mut shell = tied("sh", self.server.user());
            shell.args(["-c", script, "sh"]).arg(from).arg(target);
            shell
        })
    }

    fn start(&self, id: &str) -> String {
        self.direct.must(&self.backup.start(&json!({"backup_id": id})));
        format!("main.{id}")
    }

    /// What `work` measures within a backup that comes to nothing.
    fn in_backup(&self, id: &str, work: impl FnOnce(&str) -> f64) -> f64 {
        let session = self.start(id);
        let took = work(&session);
        self.direct.must(&self.backup.abort(&json!({"session": session})));
        remove(&self.folder(id));
        took
    }

    /// Milliseconds of a program that fills a directory, which is removed after.
    fn filling(&self, program: impl FnOnce(&Path) -> Command) -> f64 {
        let target = self.backup.place().join("b/copy");
        let mut program = program(&target);
        let took = milliseconds(|| run(&mut program));
        remove(&target);
        took
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.backup.repository().join("main/backups").join(id)
    }
}

/// A snapshot that copies nothing.
fn nothing(session: &str) -> Value {
    json!({
        "session": session,
        "provider": "command",
        "command": ["/bin/sh", "-c", crate::backup_mode::PROGRAM],
    })
}

fn remove(directory: &Path) {
    fs::remove_dir_all(directory).expect("a directory of this run");
}

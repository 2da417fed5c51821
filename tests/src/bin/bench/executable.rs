//! The executable: its size, and how soon it answers.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use backstay_tests::collection::{ebs_executable, executable};
use backstay_tests::place::{Place, User};
use serde_json::json;

use crate::direct::{Direct, request};
use crate::figure::{Figure, Goal};
use crate::sample::Sample;

/// How often a start is measured at least: it is short.
const STARTS: usize = 100;

pub(crate) fn measure(runs: usize) -> Vec<Figure> {
    let direct = Direct::new(User::current());
    let place = Place::new();
    let task = json!({
        "name": "backup_info",
        "backstay.postgresql.backup_info": {"state_directory": place.join("state")},
    });
    let request = request(&task);
    let (mut ours, mut peer) = (Sample::default(), Sample::default());
    for _ in 0..runs.max(STARTS) {
        ours.push(first_byte(Command::new(direct.path()).arg("run"), &request));
        // what any start of a process and a pipe costs here and now
        peer.push(first_byte(Command::new("echo").arg("{}"), b""));
    }
    // 5 MB without drills: what unpacks base backups and draws reports is the rest
    let mut figures = vec![size("executable: size, stripped", &executable(), 6.5)];
    // it is sent to the hosts that talk to EC2 only
    figures.extend(
        ebs_executable()
            .map(|path| size("executable of the EBS modules: size, stripped", &path, 8.0)),
    );
    figures.push(
        Figure::new("executable: start to the first byte of a backup_info reply", "ms", ours)
            .against("echo", peer)
            .goal(Goal::Ours(5.0)),
    );
    figures
}

/// How large a file is, at most so many megabytes.
fn size(name: &str, path: &Path, most: f64) -> Figure {
    let bytes = std::fs::metadata(path).expect("a file of the staged collection").len();
    Figure::new(name, "MB", Sample::of(bytes as f64 / 1e6)).goal(Goal::Ours(most))
}

/// Milliseconds from before the start of a program to the first byte it prints.
fn first_byte(command: &mut Command, input: &[u8]) -> f64 {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    // one that reads nothing may be gone already
    let _ = stdin.write_all(input);
    drop(stdin);
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("the program prints something");
    let took = start.elapsed().as_secs_f64() * 1000.0;
    stdout.read_to_end(&mut Vec::new()).expect("the rest of a reply");
    child.wait().expect("our own child");
    took
}

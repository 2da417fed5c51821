//! `make bench`: what backstay costs, as ratios against what people use
//! otherwise. Every ratio is of two medians of one run in which both sides took
//! turns, so that a busy machine slows both. Printed as a table and written to
//! `target/bench.jsonl` of the checkout, one line a figure.
//!
//! ```text
//! bench [GROUP...]    tasks backup_mode ebs drills keeper executable copies; all without one
//! ```
//!
//! `BACKSTAY_BENCH_RUNS` is how often each thing is measured, 15 unless given. `ebs` and
//! `drills` need root and take minutes.

mod backup_mode;
mod by_hand;
mod copies;
mod direct;
mod drills;
mod ebs;
mod executable;
mod figure;
mod keeper;
mod relay;
mod sample;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use backstay_tests::command::run;
use backstay_tests::place::{Place, project};

use figure::{Figure, Report};

/// The major version of every server here.
const MAJOR: u32 = 16;
/// Names the staged collection to the fixtures.
const COLLECTIONS: &str = "BACKSTAY_COLLECTIONS";

type Group = (&'static str, fn(usize) -> Vec<Figure>);

const GROUPS: [Group; 7] = [
    ("executable", executable::measure),
    ("keeper", keeper::measure),
    ("backup_mode", backup_mode::measure),
    ("ebs", ebs::measure),
    ("drills", drills::measure),
    ("tasks", tasks::measure),
    ("copies", copies::measure),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|w| GROUPS.iter().all(|(name, _)| name != w)) {
        eprintln!("there is no group \"{unknown}\" of figures");
        return ExitCode::from(2);
    }
    if std::env::var_os(COLLECTIONS).is_none() {
        return with_shipped_collection(&wanted);
    }
    let runs = std::env::var("BACKSTAY_BENCH_RUNS").map_or(15, |text| {
        text.parse().unwrap_or_else(|_| panic!("BACKSTAY_BENCH_RUNS is \"{text}\", not a number"))
    });
    let mut report = Report::new(&project().join("target/bench.jsonl"));
    for (name, measure) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("measuring: {name}");
            report.add(measure(runs));
        }
    }
    report.print();
    ExitCode::SUCCESS
}

/// Does the work in a second process, whose collection is the one that is
/// shipped: the fixtures would stage a development build.
fn with_shipped_collection(wanted: &[String]) -> ExitCode {
    let place = Place::new();
    let staged = stage();
    // a copy: a test run may stage its own meanwhile
    run(Command::new("cp").arg("-a").arg(staged).arg(place.join("collections")));
    let this = std::env::current_exe().expect("the path of this executable");
    let mut again = Command::new(this);
    again.args(wanted).env(COLLECTIONS, place.join("collections"));
    let status = again.status().expect("this executable can be started again");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn stage() -> PathBuf {
    let mut stage = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    stage.args(["run", "--quiet", "--locked", "--package", "xtask", "--", "stage", "--release"]);
    // what cargo told this program of its own package would make it build anew
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") {
            stage.env_remove(&name);
        }
    }
    let output = run(stage.current_dir(project()));
    // <target>/collection/ansible_collections/backstay/postgresql
    let printed = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    printed.ancestors().nth(3).map(Path::to_path_buf).expect("the directory of a staged collection")
}

//! A figure, the table of them, the file of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::sample::Sample;

/// What must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Nothing: the figure is for information.
    None,
    /// Our value is at most this, in the figure's unit.
    Ours(f64),
    /// The ratio is at most this.
    Ratio(f64),
}

/// One measured thing.
#[derive(Debug)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    ours: Sample,
    peer: Option<(&'static str, Sample)>,
    goal: Goal,
}

impl Figure {
    /// Of ours alone.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, ours: Sample) -> Self {
        Self { name: name.into(), unit, ours, peer: None, goal: Goal::None }
    }

    /// What ours is compared with, in the same unit.
    pub(crate) fn against(mut self, name: &'static str, peer: Sample) -> Self {
        self.peer = Some((name, peer));
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        Some(self.ours.median() / peer.median())
    }

    /// The number that must not be passed, and whether it is kept.
    fn verdict(&self) -> Option<(f64, bool)> {
        match self.goal {
            Goal::None => None,
            Goal::Ours(limit) => Some((limit, self.ours.median() <= limit)),
            Goal::Ratio(limit) => Some((limit, self.ratio().is_some_and(|ratio| ratio <= limit))),
        }
    }

    fn line(&self) -> Line<'_> {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        let range = |sample: &Sample| [rounded(sample.min()), rounded(sample.max())];
        let peer = self.peer.as_ref();
        Line {
            name: &self.name,
            ours: rounded(self.ours.median()),
            peer: peer.map(|(_, sample)| rounded(sample.median())),
            ratio: self.ratio().map(rounded),
            goal: self.verdict().map(|(limit, _)| limit),
            holds: self.verdict().map(|(_, holds)| holds),
            goal_of: match self.goal {
                Goal::None => None,
                Goal::Ours(_) => Some("ours"),
                Goal::Ratio(_) => Some("ratio"),
            },
            unit: self.unit,
            peer_name: peer.map(|(name, _)| *name),
            runs: self.ours.len(),
            peer_runs: peer.map(|(_, sample)| sample.len()),
            ours_range: range(&self.ours),
            peer_range: peer.map(|(_, sample)| range(sample)),
        }
    }

    fn row(&self) -> [String; 6] {
        let value = |sample: &Sample| {
            let short = |value: f64| {
                let digits = if value.abs() < 10.0 { 2 } else { 0 };
                format!("{value:.digits$}")
            };
            let middle = format!("{} {}", short(sample.median()), self.unit);
            match sample.len() {
                1 => middle,
                _ => format!("{middle} ({}-{})", short(sample.min()), short(sample.max())),
            }
        };
        let goal = match self.goal {
            Goal::None => String::new(),
            Goal::Ours(limit) => format!("<= {limit} {}", self.unit),
            Goal::Ratio(limit) => format!("ratio <= {limit}"),
        };
        let holds = match self.verdict() {
            None => "",
            Some((_, true)) => "holds",
            Some((_, false)) => "DOES NOT HOLD",
        };
        [
            self.name.clone(),
            value(&self.ours),
            self.peer.as_ref().map_or(String::new(), |(name, p)| format!("{name}: {}", value(p))),
            self.ratio().map_or(String::new(), |ratio| {
                let digits = if ratio < 0.1 { 3 } else { 2 };
                format!("{ratio:.digits$}")
            }),
            goal,
            holds.to_owned(),
        ]
    }
}

/// A line of the file. The first six are what every reader needs.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    ours: f64,
    peer: Option<f64>,
    ratio: Option<f64>,
    goal: Option<f64>,
    holds: Option<bool>,
    /// Whether `ours` or the `ratio` must be at most the goal.
    goal_of: Option<&'static str>,
    /// Of `ours` and `peer`.
    unit: &'static str,
    peer_name: Option<&'static str>,
    runs: usize,
    peer_runs: Option<usize>,
    ours_range: [f64; 2],
    peer_range: Option<[f64; 2]>,
}

/// All figures, and where they are written as they come.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(path: &Path) -> Self {
        let directory = path.parent().expect("a file in a directory");
        fs::create_dir_all(directory).expect("the target directory can be made");
        fs::write(path, "").expect("the target directory is writable");
        Self { path: path.to_path_buf(), figures: Vec::new() }
    }

    /// Writes at once: a later group that fails does not lose these.
    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        let mut file =
            fs::OpenOptions::new().append(true).open(&self.path).expect("it was made above");
        for figure in &figures {
            let line = serde_json::to_string(&figure.line()).expect("numbers and text");
            writeln!(file, "{line}").expect("the target directory is writable");
        }
        self.figures.extend(figures);
    }

    pub(crate) fn print(&self) {
        let head = ["figure", "ours: median (min-max)", "peer", "ratio", "goal", ""];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::row));
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

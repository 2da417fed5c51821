//! A play at work, and what became of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command;

/// A play that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    results: PathBuf,
    output: PathBuf,
}

impl Running {
    /// What writes its results and its output to these files.
    pub(super) fn of(child: Child, results: PathBuf, output: PathBuf) -> Self {
        Self { child, results, output }
    }

    /// The process id of `ansible-playbook`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether a task of that name has ended.
    #[must_use]
    pub fn has_done(&self, task: &str) -> bool {
        read_results(&self.results).iter().any(|r| r.task == task)
    }

    /// What it has printed so far; `TASK [name]` stands there from a task's start.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Kills it with everything that it has started and that is still below it, which a keeper is not.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub fn kill(self) -> Run {
        let mut all = command::descendants(self.pid());
        all.insert(0, self.pid());
        all.into_iter().for_each(|pid| command::signal(pid, Signal::SIGKILL));
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    #[must_use]
    pub fn wait(mut self) -> Run {
        let status = self.child.wait().expect("our own child");
        Run {
            status: status.code().unwrap_or(-1),
            output: self.output(),
            results: read_results(&self.results),
        }
    }
}

fn read_results(path: &Path) -> Vec<Outcome> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What became of one task on the host.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Outcome {
    /// `ok`, `failed`, `unreachable`, `skipped`, `item ok`, `item failed`.
    pub event: String,
    /// The task's name.
    pub task: String,
    /// The host's name.
    pub host: String,
    /// Whether the failure was ignored.
    pub ignored: bool,
    /// All of the result.
    pub result: Value,
}

impl Outcome {
    /// A string of the result.
    ///
    /// # Panics
    ///
    /// When there is none of that name, showing the result.
    #[track_caller]
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        let found = self.result.get(key).and_then(Value::as_str);
        found.unwrap_or_else(|| {
            panic!("no string \"{key}\" in the result of \"{}\": {:#}", self.task, self.result)
        })
    }
}

/// A play that has ended.
#[derive(Debug)]
pub struct Run {
    /// The exit status of `ansible-playbook`: 0, 2 after a failed task, 4 unreachable.
    pub status: i32,
    /// All that it printed.
    pub output: String,
    /// What became of each task, in their order.
    pub results: Vec<Outcome>,
}

impl Run {
    /// This run, where nothing failed.
    ///
    /// # Panics
    ///
    /// When something did, with all that was printed.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "the play failed:\n{}\n{:#?}", self.output, self.results.last());
        self
    }

    /// The last outcome of the task of that name.
    ///
    /// # Panics
    ///
    /// When it did not run.
    #[track_caller]
    #[must_use]
    pub fn task(&self, name: &str) -> &Outcome {
        let found = self.results.iter().rev().find(|r| r.task == name);
        found.unwrap_or_else(|| panic!("the task \"{name}\" did not run:\n{}", self.output))
    }

    /// The first task that failed and was not ignored.
    ///
    /// # Panics
    ///
    /// When nothing failed.
    #[track_caller]
    #[must_use]
    pub fn failure(&self) -> &Outcome {
        let found = self.results.iter().find(|r| r.event == "failed" && !r.ignored);
        found.unwrap_or_else(|| panic!("no task failed:\n{}", self.output))
    }
}

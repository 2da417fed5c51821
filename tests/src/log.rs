//! A server's log: every line of `ERROR` or above must have been announced.

use std::path::{Path, PathBuf};

/// The log file of one server and what the test said would stand in it.
#[derive(Debug)]
pub struct ServerLog {
    path: PathBuf,
    announced: Vec<String>,
}

impl ServerLog {
    /// The log at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), announced: Vec::new() }
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines of `ERROR` and above that contain `text` are expected from now on.
    pub fn announce(&mut self, text: &str) {
        self.announced.push(text.to_owned());
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// The lines of `ERROR`, `FATAL` and `PANIC` that nobody announced.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        let severe = ["ERROR:  ", "FATAL:  ", "PANIC:  "];
        let text = self.text();
        let lines = text.lines().filter(|line| severe.iter().any(|s| line.contains(s)));
        lines.filter(|l| !self.announced.iter().any(|a| l.contains(a))).map(str::to_owned).collect()
    }

    /// Fails on unexpected lines, unless the test has failed already.
    ///
    /// # Panics
    ///
    /// When there is an unexpected line, showing all of them.
    pub fn check(&self) {
        let found = self.unexpected();
        if !found.is_empty() && !std::thread::panicking() {
            panic!(
                "the server log {} has lines that were not announced:\n{}",
                self.path.display(),
                found.join("\n")
            );
        }
    }
}

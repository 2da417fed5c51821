//! The report in a few words: for a log, for a title, for a list of backups.

use crate::proof::seconds;
use crate::words::{duration, line};
use crate::{Check, Level, Outcome, Report, Subject, Verdict};

impl Subject {
    /// What people call it: `main/20261121T031500Z-3f9c`, or the directory of a backup that is in no repository.
    #[must_use]
    pub fn name(&self) -> String {
        match (&self.cluster, &self.backup_id) {
            (Some(cluster), Some(backup)) => format!("{cluster}/{backup}"),
            (None, Some(backup)) => backup.clone(),
            _ => self.path.display().to_string(),
        }
    }
}

impl Check {
    /// The level it belongs to; none for `self_test`, and for names that this release does not know.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        let known = crate::CHECKS.iter().filter(|(name, _)| *name != "self_test");
        known.into_iter().find(|(name, _)| *name == self.name).map(|(_, level)| *level)
    }
}

impl Report {
    /// How long the drill took, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        seconds(self.started, self.ended)
    }

    /// One line for a log: `backup main/20261121T031500Z-3f9c passed level recover in 3.2 s (recovery 1.4 s); not
    /// proved: row_counts, dump, page_checksums, indexes`.
    #[must_use]
    pub fn summary(&self) -> String {
        let test = if self.self_test { "self-test of backup" } else { "backup" };
        let came_to = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
        };
        let (level, took) = (self.level.name(), duration(self.seconds()));
        let mut text = format!("{test} {} {came_to} level {level} in {took}", self.subject.name());
        if let Some(recovery) = &self.recovery {
            text.push_str(&format!(" (recovery {})", duration(recovery.total)));
        }
        let failed: Vec<String> = self
            .with(Outcome::Failed)
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        if !failed.is_empty() {
            text.push_str(&format!("; failed: {}", failed.join("; ")));
        }
        let skipped: Vec<&str> =
            self.with(Outcome::Skipped).map(|check| check.name.as_str()).collect();
        if !skipped.is_empty() {
            text.push_str(&format!("; not proved: {}", skipped.join(", ")));
        }
        line(&text)
    }
}

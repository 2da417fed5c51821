//! The drill's book: what was checked when, and how it went.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::report::{Check, Finding, Outcome, Phase};

/// More lines of a check are not kept.
const MOST_DETAILS: usize = 100;

/// How a check went, before it has a name and a duration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    pub(crate) details: Vec<String>,
    pub(crate) findings: Vec<Finding>,
}

impl Found {
    fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), details: Vec::new(), findings: Vec::new() }
    }

    pub(crate) fn ok(message: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, message)
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, reason)
    }

    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// The check of this name, which took so long.
    pub(crate) fn check(mut self, name: &str, seconds: f64) -> Check {
        let more = self.details.len().saturating_sub(MOST_DETAILS);
        if more > 0 {
            self.details.truncate(MOST_DETAILS);
            self.details.push(format!("and {more} more"));
        }
        Check {
            name: name.to_owned(),
            outcome: self.outcome,
            message: self.message,
            details: self.details,
            findings: self.findings,
            seconds,
        }
    }
}

/// Checks and phases in the order in which they happened.
#[derive(Debug)]
pub(crate) struct Ledger {
    began: Instant,
    pub(crate) checks: Vec<Check>,
    pub(crate) phases: Vec<Phase>,
    /// Why the drill was ended early, once it was.
    pub(crate) stopped: Arc<OnceLock<String>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            checks: Vec::new(),
            phases: Vec::new(),
            stopped: Arc::default(),
        }
    }

    /// Seconds since the drill began.
    pub(crate) fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Does it and notes how long it took.
    pub(crate) fn phase<T>(&mut self, name: &str, act: impl FnOnce() -> T) -> T {
        let begin = self.elapsed();
        let done = act();
        self.note_phase(name, begin);
        done
    }

    /// Notes a stretch that began at `begin` and ends now; how long it was.
    pub(crate) fn note_phase(&mut self, name: &str, begin: f64) -> f64 {
        let seconds = self.elapsed() - begin;
        self.phases.push(Phase { name: name.to_owned(), begin, seconds });
        seconds
    }

    /// Makes a check.
    pub(crate) fn check(&mut self, name: &str, look: impl FnOnce() -> Found) -> Outcome {
        let begin = self.elapsed();
        let found = look();
        let seconds = self.note_phase(name, begin);
        let outcome = found.outcome;
        self.push(found.check(name, seconds));
        outcome
    }

    /// Adds a check that was timed where it was made.
    pub(crate) fn add(&mut self, check: Check) -> Outcome {
        let begin = self.elapsed() - check.seconds;
        let (name, seconds) = (check.name.clone(), check.seconds);
        self.phases.push(Phase { name, begin, seconds });
        let outcome = check.outcome;
        self.push(check);
        outcome
    }

    /// Takes a check down. What fails once the drill was ended early fails of that.
    pub(crate) fn push(&mut self, mut check: Check) {
        if let Some(reason) = self.stopped.get().filter(|_| check.outcome == Outcome::Failed) {
            check.message.clone_from(reason);
            check.details.clear();
        }
        self.checks.push(check);
    }

    /// Notes that a check was not made.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.checks.push(Found::skipped(reason).check(name, 0.0));
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.checks.iter().any(|check| check.outcome == Outcome::Failed)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let lines = (0..130).map(|n| n.to_string()).collect();
        let check = Found::failed("bad").details(lines).check("files", 1.0);
        assert_eq!(check.details.len(), 101);
        assert_eq!(check.details.last().unwrap(), "and 30 more");
    }

    #[test]
    fn what_was_done_is_noted_in_order() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.phase("materialise", || 7), 7);
        assert_eq!(ledger.check("label", || Found::ok("fine")), Outcome::Ok);
        ledger.skip("dump", "not asked for");
        assert!(!ledger.any_failed() && ledger.has("dump") && !ledger.has("wal"));
        let names: Vec<_> = ledger.phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["materialise", "label"]);
    }
}

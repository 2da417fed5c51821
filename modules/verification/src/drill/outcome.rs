//! From what was found to the report.

use chrono::{DateTime, Utc};

use super::{Drill, Held};
use crate::CHECKS;
use crate::report::{Materialized, Outcome, Report, Verdict};

impl Drill<'_> {
    /// Closes the book: names what was not checked, and says what it came to.
    pub(super) fn finish(
        mut self,
        started: DateTime<Utc>,
        materialized: Option<Materialized>,
        cleared: Vec<std::path::PathBuf>,
    ) -> Held {
        self.judge_self_test();
        self.name_what_was_not_checked();
        let place = |name: &str| CHECKS.iter().position(|(known, _)| *known == name);
        self.ledger.checks.sort_by_key(|check| place(&check.name));
        let verdict = if self.is_bad() { Verdict::Failed } else { Verdict::Passed };
        let (evidence, recovery) = (self.evidence.take(), self.recovery.take());
        let report = Report {
            schema: Report::SCHEMA,
            verdict,
            level: self.plan.demand.level,
            self_test: self.plan.demand.self_test,
            subject: self.plan.material.subject.clone(),
            started,
            ended: Utc::now(),
            host: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            materialized,
            sandbox: self.sandbox_used,
            recovery,
            evidence,
            phases: self.ledger.phases,
            checks: self.ledger.checks,
            log: self.log,
            backstay_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Held { report, kept: self.kept, cleared }
    }

    /// A self-test is good when the damage was found; only its own check counts.
    fn is_bad(&self) -> bool {
        if !self.plan.demand.self_test {
            return self.failed();
        }
        let own = self.ledger.checks.iter().find(|check| check.name == "self_test");
        own.is_none_or(|check| check.outcome != Outcome::Ok)
    }

    /// A check that was not made must be named: nobody may take it for passed.
    fn name_what_was_not_checked(&mut self) {
        let asked = self.plan.demand.level;
        for (name, level) in CHECKS {
            if self.ledger.has(name) || (name == "self_test" && !self.plan.demand.self_test) {
                continue;
            }
            let reason = if level > asked {
                format!("level {} does not include it, level {} does", asked.name(), level.name())
            } else {
                "there was no recovered server to ask".to_owned()
            };
            self.ledger.skip(name, &reason);
        }
    }
}

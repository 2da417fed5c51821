//! From what was found to the report.

use chrono::{DateTime, Utc};

use super::{Drill, Held};
use crate::CHECKS;
use crate::report::{Materialized, Report, Verdict};

impl Drill<'_> {
    /// Closes the book: names what was not checked, and says what it came to.
    pub(super) fn finish(
        mut self,
        started: DateTime<Utc>,
        materialized: Option<Materialized>,
        cleared: Vec<std::path::PathBuf>,
    ) -> Held {
        self.name_what_was_not_checked();
        let place = |name: &str| CHECKS.iter().position(|(known, _)| *known == name);
        self.ledger.checks.sort_by_key(|check| place(&check.name));
        let verdict = if self.failed() { Verdict::Failed } else { Verdict::Passed };
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

    /// A check that was not made must be named: nobody may take it for passed.
    fn name_what_was_not_checked(&mut self) {
        let asked = self.plan.demand.level;
        for (name, level) in CHECKS {
            if self.ledger.has(name) {
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

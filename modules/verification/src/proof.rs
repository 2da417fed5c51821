//! What a list of backups says of the last drill of each.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Level, Outcome, Report, Verdict};

/// When and how a backup was proved: a stored report in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// What the drill came to.
    pub verdict: Verdict,
    /// How much was asked to be proved.
    pub level: Level,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long the recovery in it took, in seconds; none when it did not come so far.
    pub recovery_seconds: Option<f64>,
    /// What it does not prove: names of checks with the reasons they were skipped for.
    pub not_proved: Vec<String>,
    /// What its server was isolated by; none when no server ran.
    pub isolation: Option<String>,
    /// Whether the drill tried the checks on a damaged copy. Then it is no proof of the backup.
    pub self_test: bool,
}

/// As much of a stored report as a [`Proof`] needs: a newer release may have other fields.
#[derive(Deserialize)]
struct Stored {
    verdict: Verdict,
    level: Level,
    self_test: bool,
    started: DateTime<Utc>,
    ended: DateTime<Utc>,
    sandbox: Option<StoredSandbox>,
    recovery: Option<StoredRecovery>,
    checks: Vec<StoredCheck>,
}

#[derive(Deserialize)]
struct StoredSandbox {
    isolation: String,
}

#[derive(Deserialize)]
struct StoredRecovery {
    total: f64,
}

#[derive(Deserialize)]
struct StoredCheck {
    name: String,
    outcome: Outcome,
    message: String,
}

impl Proof {
    /// Reads it from a stored report.
    ///
    /// # Errors
    /// When it is no report, or one of a layout that this release does not know: the schema is looked at first.
    pub fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u64,
        }
        let Schema { schema } = serde_json::from_slice(json)?;
        if schema != Report::SCHEMA {
            let known = Report::SCHEMA;
            return Err(serde::de::Error::custom(format!(
                "it has schema {schema}, only {known} is supported"
            )));
        }
        let stored: Stored = serde_json::from_slice(json)?;
        let skipped = stored.checks.iter().filter(|check| check.outcome == Outcome::Skipped);
        Ok(Self {
            not_proved: skipped.map(|check| format!("{}: {}", check.name, check.message)).collect(),
            verdict: stored.verdict,
            level: stored.level,
            started: stored.started,
            ended: stored.ended,
            seconds: seconds(stored.started, stored.ended),
            recovery_seconds: stored.recovery.map(|times| times.total),
            isolation: stored.sandbox.map(|sandbox| sandbox.isolation),
            self_test: stored.self_test,
        })
    }
}

/// The seconds between two times, with fractions; none when the clock was set back.
pub(crate) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds().max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = include_str!("../samples/passed.json");
    const SKIPPED: &str = include_str!("../samples/skipped.json");

    #[test]
    fn a_report_in_short() {
        let proof = Proof::read(PASSED.as_bytes()).unwrap();
        let report: Report = serde_json::from_str(PASSED).unwrap();
        assert_eq!((proof.verdict, proof.level), (Verdict::Passed, Level::Read));
        assert_eq!((proof.seconds, report.seconds()), (211.65, 211.65));
        assert_eq!(proof.recovery_seconds, Some(14.05));
        assert_eq!(proof.isolation.as_deref(), Some("namespaces"));
        assert_eq!(proof.not_proved, report.not_proved());
        let proof = Proof::read(SKIPPED.as_bytes()).unwrap();
        assert_eq!((proof.recovery_seconds, proof.isolation), (None, None));
    }

    #[test]
    fn fields_of_a_newer_release_do_not_matter_but_its_schema_does() {
        let mut report: serde_json::Value = serde_json::from_str(PASSED).unwrap();
        report["sandbox"]["more"] = "x".into();
        report["subject"] = "no longer what it was".into();
        assert!(Proof::read(report.to_string().as_bytes()).is_ok());
        report["schema"] = 2.into();
        let error = Proof::read(report.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "it has schema 2, only 1 is supported");
    }
}

//! Proving a backup: it is restored in a sandbox, started, asked, timed and torn down, and a report says what was proved,
//! what was not, and how long a recovery takes.
//!
//! [`plan`] looks at what there is and what it would do, [`hold`] holds the drill. What is wrong with a backup is a failed
//! [`Check`] in the [`Report`], not an error: errors are what keeps a drill from being held.
//!
//! What holds at every moment of a drill:
//! - The backup is only read. Its copy is changed, by a process without privileges that sees nothing else.
//! - The server runs on a configuration of ours and reaches nobody: no network, no socket but ours, no archive.
//! - Everything it made goes away when it ends, however it ends: see [`sandbox`].

mod checks;
mod clone;
mod drill;
mod error;
mod examine;
mod files;
mod html;
mod ledger;
mod material;
mod materialise;
mod plan;
mod programs;
mod proof;
mod recovering;
mod report;
mod request;
mod server_log;
mod storing;
mod summary;
mod wal_source;
mod words;

pub use checks::{FreshnessQuery, UserQuery};
pub use drill::{Held, Kept, Watch, hold};
pub use error::VerificationError;
pub use html::html;
pub use plan::{DrillPlan, plan};
pub use proof::Proof;
pub use report::{
    Check, Evidence, Finding, Level, Materialized, Outcome, Phase, RecoveryTimes, Report,
    SandboxUsed, Subject, SubjectKind, Verdict,
};
pub use request::{Demand, Input, Mounted, Sandboxing, Way};
pub use sandbox::Engine;
pub use storing::{Stored, store_beside, store_in};

/// The checks in the order in which a report lists them, each with the level that makes it.
pub const CHECKS: [(&str, Level); 16] = [
    ("files", Level::Manifest),
    ("label", Level::Manifest),
    ("control_file", Level::Manifest),
    ("wal", Level::Manifest),
    ("recovery", Level::Recover),
    ("databases", Level::Recover),
    ("libraries", Level::Recover),
    ("collations", Level::Recover),
    ("max_age", Level::Recover),
    ("max_recovery_time", Level::Recover),
    ("queries", Level::Recover),
    ("row_counts", Level::Read),
    ("dump", Level::Read),
    ("page_checksums", Level::Read),
    ("indexes", Level::Full),
    ("self_test", Level::Recover),
];

/// An error with its causes, as one phrase.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

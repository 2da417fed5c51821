//! Proving a backup: it is restored in a sandbox, started, asked, timed and torn down, and a report says what was proved,
//! what was not, and how long a recovery takes.

mod html;
mod proof;
mod report;
mod summary;
mod words;

pub use html::html;
pub use proof::Proof;
pub use report::{
    Check, Evidence, Finding, Level, Materialized, Outcome, Phase, RecoveryTimes, Report,
    SandboxUsed, Subject, SubjectKind, Verdict,
};

//! What a drill found: the report, as it is stored (JSON) and as every other form of it is made from.
//!
//! Times are RFC 3339 in UTC, durations are seconds with fractions, sizes are bytes, LSNs are strings.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use pg::{Lsn, SystemIdentifier, TimelineId};
use serde::{Deserialize, Serialize};

/// How much is proved. Each level contains those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Files, label, control file and WAL, without a server.
    Manifest,
    /// And a server that recovers from it, each of whose databases accepts a connection.
    Recover,
    /// And every row read: dump, row counts, page checksums.
    Read,
    /// And every index compared with its table.
    Full,
}

impl Level {
    /// Its name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Recover => "recover",
            Self::Read => "read",
            Self::Full => "full",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was made and found nothing.
    Ok,
    /// It found that the backup, or what was demanded of it, is wrong.
    Failed,
    /// It was not made; the message says why.
    Skipped,
}

/// What a person should know or do although no check failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was found, as a sentence.
    pub message: String,
    /// Statements that mend it after a real restore, one each; may be empty.
    pub sql: Vec<String>,
}

/// One check: one line of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name, such as `files` or `row_counts`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was proved, what is wrong, or why it was skipped; lowercase start, no final period.
    pub message: String,
    /// More of it, a line each: damaged files, tables with fewer rows. Cut after the first 100.
    pub details: Vec<String>,
    /// Warnings that go with it.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub seconds: f64,
}

/// What the drill came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No check failed. What was skipped is not proved: [`Report::not_proved`].
    Passed,
    /// At least one check failed.
    Failed,
}

/// What kind of backup was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// One of ours, in a repository.
    Backstay,
    /// A directory that `pg_basebackup` wrote in its plain format.
    BasebackupPlain,
    /// Tar files that `pg_basebackup` wrote.
    BasebackupTar,
}

/// The backup that was proved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Where it is: the repository's folder of the backup, or the directory given.
    pub path: PathBuf,
    /// The cluster's name in the repository.
    pub cluster: Option<String>,
    /// The backup's name in the repository.
    pub backup_id: Option<String>,
    /// The label in `backup_label`.
    pub label: Option<String>,
    /// The database cluster it is a backup of.
    pub system_identifier: Option<SystemIdentifier>,
    /// The server's version as far as the backup tells: `15.18` or `15`.
    pub server_version: Option<String>,
    /// Its timeline.
    pub timeline: Option<TimelineId>,
    /// Whether it was taken from a standby.
    pub from_standby: Option<bool>,
    /// Where replay begins.
    pub start_lsn: Option<Lsn>,
    /// When it started.
    pub start_time: Option<DateTime<Utc>>,
    /// Where the database is consistent at the earliest.
    pub stop_lsn: Option<Lsn>,
    /// When it stopped.
    pub stop_time: Option<DateTime<Utc>>,
    /// Its size, WAL included.
    pub bytes: Option<u64>,
}

/// How the writable copy was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Materialized {
    /// `snapshot`, `reflink`, `overlay`, `copy`, `unpack` (tar files) or `in_place`.
    pub way: String,
    /// The files' sizes together.
    pub bytes: u64,
    /// What the copy really took on disk when the drill ended, where that can be told.
    pub bytes_taken: Option<u64>,
    /// Why this way and no faster one; may be empty.
    pub notes: Vec<String>,
}

/// Where the server ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxUsed {
    /// `namespaces`, `lxc`, `nspawn`, `podman`, `docker`, `bubblewrap` or `process`.
    pub kind: String,
    /// What it is isolated by: `namespaces`, `container` or `none`.
    pub isolation: String,
    /// The user that the server ran as.
    pub user: String,
    /// The server's version.
    pub server_version: Option<String>,
    /// The directory of its programs.
    pub bin_dir: Option<PathBuf>,
}

/// One stretch of the drill, for the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `prepare`, `materialise`, `start`, `recover`, a check's name, `teardown`.
    pub name: String,
    /// Seconds from the drill's start to its beginning.
    pub begin: f64,
    /// How long it took.
    pub seconds: f64,
}

/// How long a recovery takes, in its parts. All in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecoveryTimes {
    /// Getting the files to their place.
    pub materialise: f64,
    /// From the start of the server to the consistent state.
    pub consistent: f64,
    /// From the consistent state to the end of WAL.
    pub replay: f64,
    /// From the end of WAL until connections are accepted.
    pub ready: f64,
    /// All of it.
    pub total: f64,
}

/// What the recovered server told of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where replay ended.
    pub replay_lsn: Option<Lsn>,
    /// The timeline recovery was on (before the clone got one of its own).
    pub timeline: Option<TimelineId>,
    /// The time of the last commit that was replayed; none when the WAL held no commit.
    pub last_commit: Option<DateTime<Utc>>,
    /// How old the data is: from the last commit, or without one from the backup's stop, to the drill's start; seconds.
    pub age: Option<f64>,
    /// WAL segments that were asked for while recovering.
    pub wal_segments: u64,
}

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The layout of this record: [`Report::SCHEMA`].
    pub schema: u64,
    /// What it came to.
    pub verdict: Verdict,
    /// How much was asked to be proved.
    pub level: Level,
    /// Whether this drill damaged its own clone to see the checks fail: then `passed` means that they did.
    pub self_test: bool,
    /// The backup.
    pub subject: Subject,
    /// When the drill began.
    pub started: DateTime<Utc>,
    /// When it ended, torn down.
    pub ended: DateTime<Utc>,
    /// The host it ran on.
    pub host: String,
    /// The writable copy; none when the drill did not come so far.
    pub materialized: Option<Materialized>,
    /// Where the server ran; none at level `manifest`.
    pub sandbox: Option<SandboxUsed>,
    /// How long recovery took; none when it did not come so far.
    pub recovery: Option<RecoveryTimes>,
    /// What the recovered server told.
    pub evidence: Option<Evidence>,
    /// The drill's timeline.
    pub phases: Vec<Phase>,
    /// Every check of every level, also those that were not made.
    pub checks: Vec<Check>,
    /// The end of the server's log when something failed.
    pub log: Vec<String>,
    /// The release that wrote this record.
    pub backstay_version: String,
}

impl Report {
    /// The layout this release writes.
    pub const SCHEMA: u64 = 1;

    /// The checks of this outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.outcome == outcome)
    }

    /// What this drill does not prove: the checks that were skipped, each with its reason.
    #[must_use]
    pub fn not_proved(&self) -> Vec<String> {
        self.with(Outcome::Skipped)
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect()
    }
}

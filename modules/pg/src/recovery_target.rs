//! How far recovery goes, on which timeline, and what it does there.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::text::serde_as_text;
use crate::{Lsn, PgTypeError, TimelineId};

/// How far recovery replays WAL. In JSON `{"type": "lsn", "value": "0/3000028"}`; `latest` and `immediate`
/// have no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub enum RecoveryTarget {
    /// To the end of the WAL there is: no setting at all.
    Latest,
    /// Only until the data is consistent.
    Immediate,
    /// To the last commit before, or at, this time.
    Time(RecoveryTime),
    /// To the commit of this transaction.
    Xid(TransactionId),
    /// To this place in WAL.
    Lsn(Lsn),
    /// To the restore point of this name.
    Name(RestorePointName),
}

impl RecoveryTarget {
    /// The one setting that expresses it, as name and value; `None` for [`Latest`](Self::Latest). Of the five
    /// settings a server accepts only one, in all its files together.
    #[must_use]
    pub fn setting(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::Latest => return None,
            Self::Immediate => ("recovery_target", "immediate".to_owned()),
            Self::Time(time) => ("recovery_target_time", time.for_server()),
            Self::Xid(xid) => ("recovery_target_xid", xid.to_string()),
            Self::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
            Self::Name(name) => ("recovery_target_name", name.to_string()),
        })
    }
}

/// For sentences such as "recovery to …".
impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the end of WAL"),
            Self::Immediate => f.write_str("the end of the backup"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Xid(xid) => write!(f, "transaction {xid}"),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Name(name) => write!(f, "restore point \"{name}\""),
        }
    }
}

/// A time to recover to, with its offset from UTC.
///
/// The offset is demanded: a server reads a time without one in its own `timezone`, and refuses most
/// abbreviations of zones. JSON and `Display` are RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecoveryTime(DateTime<Utc>);

impl RecoveryTime {
    /// The instant.
    #[must_use]
    pub fn instant(&self) -> DateTime<Utc> {
        self.0
    }

    /// As a server of any `timezone` and `DateStyle` reads it: `2026-11-21 03:15:00.000000+00`. Below the
    /// microsecond, which is all PostgreSQL keeps, the time is cut.
    #[must_use]
    pub fn for_server(&self) -> String {
        self.0.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
    }
}

impl fmt::Display for RecoveryTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl FromStr for RecoveryTime {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.to_utc())
            .filter(|time| (1..=9999).contains(&time.year()))
            .map(Self)
            .ok_or_else(|| {
                let expected = "a time with its offset from UTC, like 2026-11-21T03:15:00+01:00";
                PgTypeError::invalid("recovery target time", text, expected)
            })
    }
}

serde_as_text!(RecoveryTime);

/// The number of a transaction. A JSON number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct TransactionId(u64);

impl TransactionId {
    /// The transaction of this number, with or without the epoch in its high half (`txid_current()` gives it,
    /// `xmin` does not).
    ///
    /// # Errors
    /// [`PgTypeError::Invalid`] for the first three numbers of an epoch, which no transaction gets.
    pub fn new(number: u64) -> Result<Self, PgTypeError> {
        if number & u64::from(u32::MAX) < 3 {
            let text = number.to_string();
            return Err(PgTypeError::invalid("transaction", &text, "a number from 3 up"));
        }
        Ok(Self(number))
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for TransactionId {
    type Error = PgTypeError;

    fn try_from(number: u64) -> Result<Self, PgTypeError> {
        Self::new(number)
    }
}

impl From<TransactionId> for u64 {
    fn from(xid: TransactionId) -> Self {
        xid.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TransactionId {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        // The server would take 010 for 8 and 0x10 for 16; here digits are decimal or refused.
        let decimal = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        text.parse()
            .ok()
            .filter(|_| decimal)
            .and_then(|number| Self::new(number).ok())
            .ok_or_else(|| PgTypeError::invalid("transaction", text, "a number from 3 up"))
    }
}

/// The name of a restore point (`pg_create_restore_point`): 1 to 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestorePointName(String);

impl RestorePointName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RestorePointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RestorePointName {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        // MAXFNAMELEN is 64 with the terminating zero.
        if !(1..=63).contains(&text.len()) || text.contains('\0') {
            return Err(PgTypeError::invalid("restore point name", text, "1 to 63 bytes"));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(RestorePointName);

/// Along which timeline recovery goes (`recovery_target_timeline`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetTimeline {
    /// The newest one in the WAL archive that descends from the backup's.
    Latest,
    /// The backup's own.
    Current,
    /// This one.
    Id(TimelineId),
}

impl fmt::Display for TargetTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Current => f.write_str("current"),
            Self::Id(timeline) => timeline.fmt(f),
        }
    }
}

impl FromStr for TargetTimeline {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        match text {
            "latest" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            number => number.parse().map(Self::Id).map_err(|_| {
                let expected = "latest, current, or a number from 1 up";
                PgTypeError::invalid("recovery target timeline", text, expected)
            }),
        }
    }
}

serde_as_text!(TargetTimeline);

/// What the server does when recovery has reached its target (`recovery_target_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetAction {
    /// It waits, open for queries, until it is promoted or shut down.
    Pause,
    /// It begins a new timeline and becomes a primary.
    Promote,
    /// It shuts down.
    Shutdown,
}

impl fmt::Display for TargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Shutdown => "shutdown",
        })
    }
}

impl FromStr for TargetAction {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        [Self::Pause, Self::Promote, Self::Shutdown]
            .into_iter()
            .find(|action| action.to_string() == text)
            .ok_or_else(|| {
                PgTypeError::invalid("recovery target action", text, "pause, promote or shutdown")
            })
    }
}

serde_as_text!(TargetAction);

#[cfg(test)]
mod tests;

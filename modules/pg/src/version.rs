//! Versions of the server, and what differs between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::PgTypeError;
use crate::text::serde_as_text;

/// A server's version, as `server_version_num` gives it. Text like `15.18` for people and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion(u32);

impl ServerVersion {
    /// From `server_version_num`: 150018 is 15.18.
    #[must_use]
    pub const fn from_num(number: u32) -> Self {
        Self(number)
    }

    /// As `server_version_num` gives it.
    #[must_use]
    pub const fn as_num(self) -> u32 {
        self.0
    }

    /// Its major version.
    ///
    /// # Errors
    /// [`PgTypeError::UnsupportedVersion`] for a major these modules do not know.
    pub fn major(self) -> Result<MajorVersion, PgTypeError> {
        MajorVersion::from_number(self.0 / 10_000)
            .ok_or(PgTypeError::UnsupportedVersion { version: self })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = (self.0 / 10_000, self.0 % 10_000);
        if first >= 10 {
            write!(f, "{first}.{rest}")
        } else {
            // Before 10 a major version had two parts: 90624 is 9.6.24.
            write!(f, "{first}.{}.{}", rest / 100, rest % 100)
        }
    }
}

impl FromStr for ServerVersion {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        let number = |part: &str| {
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok())?
        };
        let parts =
            text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        match parts {
            Some((major @ 10..=9999, minor @ 0..=9999)) => Ok(Self(major * 10_000 + minor)),
            _ => Err(PgTypeError::invalid(
                "server version",
                text,
                "a major and a minor version, like 15.18",
            )),
        }
    }
}

serde_as_text!(ServerVersion);

/// A major version these modules know. Whatever differs between majors is asked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum MajorVersion {
    /// PostgreSQL 13.
    V13,
    /// PostgreSQL 14.
    V14,
    /// PostgreSQL 15.
    V15,
    /// PostgreSQL 16.
    V16,
    /// PostgreSQL 17.
    V17,
    /// PostgreSQL 18.
    V18,
}

impl MajorVersion {
    /// The oldest major supported.
    pub const OLDEST: Self = Self::V13;
    /// The newest major supported.
    pub const NEWEST: Self = Self::V18;
    /// All of them, oldest first.
    pub const ALL: [Self; 6] = [Self::V13, Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    /// Its number, 13 to 18.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V13 => 13,
            Self::V14 => 14,
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|major| major.number() == number)
    }

    /// The function that starts a backup; renamed in 15, when exclusive backups went away.
    #[must_use]
    pub fn backup_start_function(self) -> &'static str {
        if self.has_exclusive_backups() { "pg_start_backup" } else { "pg_backup_start" }
    }

    /// The function that stops a backup.
    #[must_use]
    pub fn backup_stop_function(self) -> &'static str {
        if self.has_exclusive_backups() { "pg_stop_backup" } else { "pg_backup_stop" }
    }

    /// Whether start and stop take an `exclusive` argument, which must then be false.
    #[must_use]
    pub fn has_exclusive_backups(self) -> bool {
        self < Self::V15
    }

    /// Whether `idle_session_timeout` exists, which would end a quiet backup session.
    #[must_use]
    pub fn has_idle_session_timeout(self) -> bool {
        self >= Self::V14
    }

    /// Whether `client_connection_check_interval` exists.
    #[must_use]
    pub fn has_client_connection_check(self) -> bool {
        self >= Self::V14
    }

    /// Whether `transaction_timeout` exists.
    #[must_use]
    pub fn has_transaction_timeout(self) -> bool {
        self >= Self::V17
    }

    /// Whether `pg_get_wal_replay_pause_state()` exists.
    #[must_use]
    pub fn has_wal_replay_pause_state(self) -> bool {
        self >= Self::V14
    }

    /// Whether `pg_checkpoint` and the other roles of 15 exist (`CHECKPOINT` is for superusers before).
    #[must_use]
    pub fn has_checkpoint_role(self) -> bool {
        self >= Self::V15
    }

    /// Whether `archive_library` exists.
    #[must_use]
    pub fn has_archive_library(self) -> bool {
        self >= Self::V15
    }

    /// Whether a starting server tells from time to time how far it is (`log_startup_progress_interval`).
    #[must_use]
    pub fn has_startup_progress(self) -> bool {
        self >= Self::V15
    }

    /// Whether event triggers, also those at a login, can be turned off by the setting `event_triggers`.
    #[must_use]
    pub fn has_event_triggers_setting(self) -> bool {
        self >= Self::V17
    }

    /// Whether `pg_amcheck` exists.
    #[must_use]
    pub fn has_amcheck_program(self) -> bool {
        self >= Self::V14
    }

    /// Whether a database records the version of its default collation.
    #[must_use]
    pub fn has_database_collation_version(self) -> bool {
        self >= Self::V15
    }

    /// Whether the server summarises WAL for incremental backups (`summarize_wal`, `pg_wal/summaries`).
    #[must_use]
    pub fn has_wal_summaries(self) -> bool {
        self >= Self::V17
    }

    /// Whether `initdb` turns data checksums on unless told otherwise.
    #[must_use]
    pub fn has_checksums_by_default(self) -> bool {
        self >= Self::V18
    }

    /// The layout of its system catalogues, as the control file and `pg_control_system()` give it.
    #[must_use]
    pub fn catalog_version(self) -> u32 {
        match self {
            Self::V13 => 202_007_201,
            Self::V14 => 202_107_181,
            Self::V15 => 202_209_061,
            Self::V16 => 202_307_071,
            Self::V17 => 202_406_281,
            Self::V18 => 202_506_291,
        }
    }

    /// The major whose servers write this catalogue version; `None` for an unknown one.
    #[must_use]
    pub fn from_catalog_version(version: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|major| major.catalog_version() == version)
    }

    /// Whether a backslash in `tablespace_map` is escaped; before 14 only line breaks are.
    #[must_use]
    pub(crate) fn escapes_backslash_in_tablespace_map(self) -> bool {
        self >= Self::V14
    }

    /// The number every page of its WAL begins with (`XLOG_PAGE_MAGIC`).
    #[must_use]
    pub fn wal_magic(self) -> u16 {
        match self {
            Self::V13 => 0xD106,
            Self::V14 => 0xD10D,
            Self::V15 => 0xD110,
            Self::V16 => 0xD113,
            Self::V17 => 0xD116,
            Self::V18 => 0xD118,
        }
    }
}

impl TryFrom<u32> for MajorVersion {
    type Error = PgTypeError;

    fn try_from(number: u32) -> Result<Self, PgTypeError> {
        Self::from_number(number).ok_or_else(|| unknown_major(&number.to_string()))
    }
}

impl From<MajorVersion> for u32 {
    fn from(major: MajorVersion) -> Self {
        major.number()
    }
}

impl fmt::Display for MajorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl FromStr for MajorVersion {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        Self::ALL
            .into_iter()
            .find(|major| major.to_string() == text)
            .ok_or_else(|| unknown_major(text))
    }
}

fn unknown_major(text: &str) -> PgTypeError {
    PgTypeError::invalid("major version", text, "a number from 13 to 18")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_people_write_them() {
        let version = ServerVersion::from_num(150_018);
        assert_eq!(version.to_string(), "15.18");
        assert_eq!(version.major().unwrap(), MajorVersion::V15);
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"15.18\"");
        assert_eq!(serde_json::from_str::<ServerVersion>("\"15.18\"").unwrap(), version);
        assert_eq!("18.0".parse::<ServerVersion>().unwrap().as_num(), 180_000);
        assert_eq!(ServerVersion::from_num(90_624).to_string(), "9.6.24");
    }

    #[test]
    fn unknown_majors_are_errors() {
        for number in [0, 90_624, 120_022, 190_000, u32::MAX] {
            assert_eq!(
                ServerVersion::from_num(number).major().unwrap_err().kind(),
                "unsupported_version"
            );
        }
        assert!(serde_json::from_str::<MajorVersion>("12").is_err());
        for text in ["", "12", "19", "15.1", " 15", "+15"] {
            let error = text.parse::<MajorVersion>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid major version \"{text}\": expected a number from 13 to 18")
            );
        }
    }

    #[test]
    fn refuses_other_text() {
        for text in
            ["", "15", "15.", ".1", "15.1.2", "+15.1", "99999.1", "9.6", "15.10000", "16beta1"]
        {
            let error = text.parse::<ServerVersion>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid server version \"{text}\": expected a major and a minor version, like 15.18"
                )
            );
        }
    }

    #[test]
    fn majors_go_there_and_back() {
        for major in MajorVersion::ALL {
            assert_eq!(major.to_string().parse::<MajorVersion>().unwrap(), major);
            let json = serde_json::to_string(&major).unwrap();
            assert_eq!(json, major.to_string());
            assert_eq!(serde_json::from_str::<MajorVersion>(&json).unwrap(), major);
        }
    }

    #[test]
    fn answers_by_major() {
        let row = |major: MajorVersion| {
            (
                major.backup_start_function(),
                major.backup_stop_function(),
                major.has_idle_session_timeout(),
                major.has_transaction_timeout(),
                major.has_wal_replay_pause_state(),
            )
        };
        assert_eq!(
            row(MajorVersion::V13),
            ("pg_start_backup", "pg_stop_backup", false, false, false)
        );
        assert_eq!(
            row(MajorVersion::V14),
            ("pg_start_backup", "pg_stop_backup", true, false, true)
        );
        assert_eq!(
            row(MajorVersion::V15),
            ("pg_backup_start", "pg_backup_stop", true, false, true)
        );
        assert_eq!(row(MajorVersion::V17), ("pg_backup_start", "pg_backup_stop", true, true, true));
        assert!(
            !MajorVersion::V14.has_checkpoint_role() && MajorVersion::V15.has_checkpoint_role()
        );
        assert!(
            !MajorVersion::V14.has_database_collation_version()
                && MajorVersion::V15.has_database_collation_version()
        );
        assert!(!MajorVersion::V16.has_wal_summaries() && MajorVersion::V17.has_wal_summaries());
        assert!(
            !MajorVersion::V17.has_checksums_by_default()
                && MajorVersion::V18.has_checksums_by_default()
        );
    }
}

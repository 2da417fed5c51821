//! Timelines.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::PgTypeError;

/// A timeline's number, from 1 up. Decimal for people and in JSON; hexadecimal only inside file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline `initdb` makes.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The timeline of this number.
    ///
    /// # Errors
    /// [`PgTypeError::Invalid`] for 0, which no timeline has.
    pub fn new(number: u32) -> Result<Self, PgTypeError> {
        NonZeroU32::new(number).map(Self).ok_or_else(|| {
            PgTypeError::invalid("timeline", &number.to_string(), "a number from 1 up")
        })
    }

    /// Its number.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0.get()
    }

    /// The name of its history file in `pg_wal` and in a WAL archive, `00000002.history`. The first
    /// timeline has none.
    #[must_use]
    pub fn history_file(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl TryFrom<u32> for TimelineId {
    type Error = PgTypeError;

    fn try_from(number: u32) -> Result<Self, PgTypeError> {
        Self::new(number)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TimelineId {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        // `parse` alone would accept a plus sign.
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(PgTypeError::invalid("timeline", text, "a number from 1 up")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_for_people_hexadecimal_in_file_names() {
        let timeline: TimelineId = "26".parse().unwrap();
        assert_eq!(timeline.as_u32(), 26);
        assert_eq!(timeline.to_string(), "26");
        assert_eq!(timeline.history_file(), "0000001A.history");
        assert_eq!(serde_json::to_string(&timeline).unwrap(), "26");
        assert_eq!(serde_json::from_str::<TimelineId>("26").unwrap(), timeline);
        assert!(serde_json::from_str::<TimelineId>("0").is_err());
    }

    #[test]
    fn refuses_what_is_no_timeline() {
        for text in ["", "0", "+1", "-1", "1A", "4294967296", " 1"] {
            let error = text.parse::<TimelineId>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid timeline \"{text}\": expected a number from 1 up")
            );
        }
        assert!(TimelineId::new(0).is_err());
        assert_eq!(TimelineId::try_from(1).unwrap(), TimelineId::FIRST);
    }
}

//! The number `initdb` gives a database cluster.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::PgTypeError;

/// The number `initdb` gives a database cluster, kept by all its copies and standbys.
///
/// A JSON string: the number has more digits than a JSON number keeps in many readers, Jinja's
/// among them. A number is accepted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemIdentifier(u64);

impl SystemIdentifier {
    /// The number itself.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl From<u64> for SystemIdentifier {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// SQL has no unsigned numbers: `pg_control_system()` gives the same 64 bits as a signed one.
impl From<i64> for SystemIdentifier {
    fn from(number: i64) -> Self {
        Self(number.cast_unsigned())
    }
}

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemIdentifier {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(PgTypeError::invalid("system identifier", text, "an unsigned 64-bit number")),
        }
    }
}

impl Serialize for SystemIdentifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SystemIdentifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText)
    }
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = SystemIdentifier;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a system identifier, as text or as a number")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<SystemIdentifier, E> {
        Ok(SystemIdentifier(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SystemIdentifier, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_string_that_may_come_as_a_number() {
        let identifier = SystemIdentifier::from(7_301_234_567_890_123_456_u64);
        let text = "\"7301234567890123456\"";
        assert_eq!(serde_json::to_string(&identifier).unwrap(), text);
        assert_eq!(serde_json::from_str::<SystemIdentifier>(text).unwrap(), identifier);
        assert_eq!(
            serde_json::from_str::<SystemIdentifier>("7301234567890123456").unwrap(),
            identifier
        );
        for wrong in ["-1", "1.5", "\"-1\"", "\"\"", "null"] {
            assert!(serde_json::from_str::<SystemIdentifier>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_signed_form_of_sql_is_the_same_number() {
        assert_eq!(SystemIdentifier::from(-1_i64).as_u64(), u64::MAX);
    }

    #[test]
    fn refuses_other_text() {
        let error = "18446744073709551616".parse::<SystemIdentifier>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid system identifier \"18446744073709551616\": expected an unsigned 64-bit number"
        );
        assert!("+1".parse::<SystemIdentifier>().is_err());
    }
}

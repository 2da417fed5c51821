//! Names of replication slots.

use std::fmt;
use std::str::FromStr;

use crate::PgTypeError;
use crate::text::serde_as_text;

/// The longest name PostgreSQL keeps whole (`NAMEDATALEN - 1`).
const LONGEST: usize = 63;

/// The name of a replication slot: 1 to 63 lower-case letters, digits and underscores
/// (`ReplicationSlotValidateName`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName(String);

impl SlotName {
    /// The nearest name PostgreSQL accepts: capitals become small, other characters an underscore, and
    /// what is too long loses its beginning, since the end of our names is what tells them apart.
    ///
    /// # Errors
    /// [`PgTypeError::Invalid`] for an empty text.
    pub fn nearest(text: &str) -> Result<Self, PgTypeError> {
        let allowed = |c: char| if is_allowed(c) { c } else { '_' };
        let name: Vec<char> = text.chars().map(|c| allowed(c.to_ascii_lowercase())).collect();
        let from = name.len().saturating_sub(LONGEST);
        name.iter().skip(from).collect::<String>().parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SlotName {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        if !(1..=LONGEST).contains(&text.len()) || !text.chars().all(is_allowed) {
            let expected = "1 to 63 lower-case letters, digits and underscores";
            return Err(PgTypeError::invalid("replication slot name", text, expected));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(SlotName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_postgresql_accepts() {
        let name: SlotName = "backstay_20261121t031500z_3f9c".parse().unwrap();
        assert_eq!(name.as_str(), "backstay_20261121t031500z_3f9c");
        for text in ["", "A", "a-b", "a.b", "é", &"a".repeat(64)] {
            let error = text.parse::<SlotName>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid replication slot name \"{text}\": expected 1 to 63 lower-case letters, digits and underscores"
                )
            );
        }
    }

    #[test]
    fn finds_the_nearest_name() {
        let nearest = |text: &str| SlotName::nearest(text).unwrap().to_string();
        assert_eq!(nearest("backstay-20261121T031500Z-3f9c"), "backstay_20261121t031500z_3f9c");
        assert_eq!(nearest("é.x"), "__x");
        let long = format!("{}-tail", "x".repeat(200));
        assert_eq!(nearest(&long).len(), 63);
        assert!(nearest(&long).ends_with("x_tail"));
        assert!(SlotName::nearest("").is_err());
    }
}

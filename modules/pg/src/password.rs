//! Passwords.

use std::fmt;

use serde::Deserialize;

/// A password. It has no `Display` and no `Serialize`, and its `Debug` shows nothing of it, so that it
/// cannot reach a reply, a record or a log by accident.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// The text itself, for the one place that sends it to the server.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_shown() {
        let password: Password = serde_json::from_str("\"secret\"").unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
        assert_eq!(password.expose(), "secret");
        assert_eq!(password, Password::from("secret".to_owned()));
    }
}

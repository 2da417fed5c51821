//! What a task hands to the next: the handle of a session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::SessionError;

/// The longest handle, in bytes: a cluster's name and a backup's id of 100 each.
/// It becomes a file name, which may have 255.
const LONGEST: usize = 201;

/// The handle of a session: `<cluster>.<backup id>`, so that a `rescue` can say
/// it even when `backup_start` never answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    /// The handle of this backup of this cluster.
    ///
    /// # Errors
    /// When the two together are no file name.
    pub fn new(cluster: &str, backup_id: &str) -> Result<SessionId, SessionError> {
        format!("{cluster}.{backup_id}").parse()
    }

    /// The handle as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = SessionError;

    fn from_str(text: &str) -> Result<Self, SessionError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let split = text
            .split_once('.')
            .is_some_and(|(cluster, backup)| !cluster.is_empty() && !backup.is_empty());
        if !split || text.len() > LONGEST || !text.chars().all(allowed) {
            return Err(SessionError::Handle(text.to_owned()));
        }
        Ok(SessionId(text.to_owned()))
    }
}

impl TryFrom<String> for SessionId {
    type Error = SessionError;

    fn try_from(text: String) -> Result<Self, SessionError> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> String {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_a_file_name_and_nothing_else() {
        assert_eq!(
            SessionId::new("main", "20261121T031500Z-3f9c").unwrap().as_str(),
            "main.20261121T031500Z-3f9c"
        );
        for text in [
            "",
            "main",
            ".x",
            "main.",
            "../x.y",
            "a.b/c",
            "a.b\n",
            &format!("a.{}", "b".repeat(200)),
        ] {
            let error = text.parse::<SessionId>().unwrap_err();
            assert_eq!(error.kind(), "invalid_argument");
            assert!(error.to_string().starts_with("\""), "{error}");
        }
    }
}

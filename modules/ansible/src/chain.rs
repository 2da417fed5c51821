//! How an error becomes text. The only place that prints chains: a single
//! `postgres::Error` by itself says only "db error".

use std::error::Error;

use serde_json::{Map, Value, json};

/// Why a task failed, ready for the reply.
#[derive(Debug, Clone)]
pub struct Failure {
    /// A stable word a playbook may branch on.
    pub kind: &'static str,
    /// What happened, the whole chain of causes.
    pub message: String,
    /// What to do about it: whole sentences.
    pub hints: Vec<String>,
    /// Whether the same task may succeed when run again.
    pub retryable: bool,
    /// Values of the module's own, such as `backup_mode`.
    pub values: Map<String, Value>,
}

impl Failure {
    /// A failure that has no error type behind it.
    #[must_use]
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
            hints: vec![],
            retryable: false,
            values: Map::new(),
        }
    }

    /// An option or a combination of options that cannot be used.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure::new("invalid_argument", message)
    }

    /// A failure from an error and all its causes.
    #[must_use]
    pub fn from_error(
        error: &(dyn Error + 'static),
        kind: &'static str,
        hints: Vec<String>,
    ) -> Self {
        Failure { hints, ..Failure::new(kind, chain(error)) }
    }

    /// The same failure with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same failure with one more value in the reply.
    #[must_use]
    pub fn value(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// The reply's `msg`: the message, then one line for each hint.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for hint in &self.hints {
            text.push_str("\nHINT: ");
            text.push_str(hint);
        }
        text
    }

    /// The keys of a failed reply.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = self.values.clone();
        map.insert("failed".into(), json!(true));
        map.insert("changed".into(), json!(false));
        map.insert("msg".into(), json!(self.text()));
        map.insert("error_kind".into(), json!(self.kind));
        map.insert("hints".into(), json!(self.hints));
        map.insert("retryable".into(), json!(self.retryable));
        map
    }
}

/// An error and its causes as one line; a cause that its effect already quotes
/// is not said twice.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not stop the backup \"nightly\"")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_chain_names_every_cause_once() {
        let outer = Outer(std::io::Error::other("backup is not in progress"));
        assert_eq!(
            chain(&outer),
            "could not stop the backup \"nightly\": backup is not in progress"
        );
    }

    #[test]
    fn hints_follow_the_message_on_lines_of_their_own() {
        let failure = Failure::invalid("no").hint("Is it on?").value("backup_mode", "off");
        assert_eq!(failure.text(), "no\nHINT: Is it on?");
        let map = failure.to_map();
        assert_eq!(map["error_kind"], "invalid_argument");
        assert_eq!(map["backup_mode"], "off");
        assert_eq!(map["changed"], false);
    }
}

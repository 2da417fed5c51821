//! The one JSON line that goes back. The only place a module's reply is
//! printed.

use std::io::Write;

use serde_json::{Map, Value, json};

use crate::chain::Failure;
use crate::invocation::Invocation;

/// What a masked secret looks like, as Ansible masks it.
const MASK: &str = "********";

/// A difference in a file, for `--diff`.
#[derive(Debug, Clone, Default)]
pub struct Diff {
    /// The file's content before.
    pub before: String,
    /// The file's content after.
    pub after: String,
    /// The file's path.
    pub path: String,
}

/// What a module that succeeded has to say.
#[derive(Debug, Clone, Default)]
pub struct Returns {
    /// Whether the world changed.
    pub changed: bool,
    /// The module's own values.
    pub values: Map<String, Value>,
    /// What a person should know although nothing failed.
    pub warnings: Vec<String>,
    /// Files that changed.
    pub diff: Vec<Diff>,
}

impl Returns {
    /// Returns with these values, a JSON object.
    #[must_use]
    pub fn new(changed: bool, values: Value) -> Returns {
        Returns { changed, values: object(values), ..Returns::default() }
    }

    /// The same with warnings.
    #[must_use]
    pub fn warn(mut self, warnings: Vec<String>) -> Returns {
        self.warnings.extend(warnings);
        self
    }
}

/// The keys of a JSON object; anything else has none.
#[must_use]
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The finished line, and whether the task failed.
#[derive(Debug, Clone)]
pub struct Reply {
    map: Map<String, Value>,
}

impl Reply {
    /// Builds the reply of one request. Secrets are masked in every string.
    #[must_use]
    pub fn new(
        result: Result<Returns, Failure>,
        invocation: Option<&Invocation>,
        secrets: &[String],
    ) -> Reply {
        let mut map = match result {
            Ok(returns) => success(returns, invocation.is_some_and(|asked| asked.diff)),
            Err(failure) => failure.to_map(),
        };
        if let Some(asked) = invocation.filter(|asked| asked.inject_invocation) {
            map.insert("invocation".into(), json!({"module_args": asked.options}));
        }
        let mut value = Value::Object(map);
        let mut longest_first: Vec<&str> =
            secrets.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        mask(&mut value, &longest_first);
        match value {
            Value::Object(map) => Reply { map },
            _ => Reply { map: Map::new() },
        }
    }

    /// A reply read back from the journal.
    #[must_use]
    pub fn from_map(map: Map<String, Value>) -> Reply {
        Reply { map }
    }

    /// Whether the task failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.map.get("failed").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Adds a key, such as an async job's id.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) {
        self.map.insert(key.into(), value.into());
    }

    /// The reply as one line of JSON without a line end.
    #[must_use]
    pub fn line(&self) -> String {
        Value::Object(self.map.clone()).to_string()
    }

    /// Prints the line and says the exit status: 0 or 1. Never 255, which ssh
    /// would report as an unreachable host.
    pub fn print(&self) -> u8 {
        let mut out = std::io::stdout().lock();
        let line = self.line();
        // A reader that is gone cannot be told so; the journal has the reply.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        u8::from(self.failed())
    }
}

fn success(returns: Returns, diff_wanted: bool) -> Map<String, Value> {
    let mut map = returns.values;
    map.insert("changed".into(), json!(returns.changed));
    if !returns.warnings.is_empty() {
        map.insert("warnings".into(), json!(returns.warnings));
    }
    if diff_wanted && !returns.diff.is_empty() {
        let shown = returns.diff.iter().map(|diff| {
            json!({"before": diff.before, "after": diff.after, "before_header": diff.path, "after_header": diff.path})
        });
        map.insert("diff".into(), shown.collect());
    }
    map
}

fn mask(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => {
            for secret in secrets {
                if text.contains(secret) {
                    *text = text.replace(secret, MASK);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secrets)),
        Value::Object(map) => map.values_mut().for_each(|item| mask(item, secrets)),
        // A password of digits is a number where nobody quoted it.
        Value::Number(number) if secrets.contains(&number.to_string().as_str()) => {
            *value = Value::from(MASK);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_everywhere_the_longest_first() {
        let raw = br#"{"login_password":"hush-hush","_ansible_module_name":"x"}"#;
        let invocation = Invocation::parse(raw).unwrap();
        let failure = Failure::invalid("password \"hush-hush\" and hush");
        let reply =
            Reply::new(Err(failure), Some(&invocation), &["hush".into(), "hush-hush".into()]);
        assert!(reply.failed());
        assert!(!reply.line().contains("hush"), "{}", reply.line());
        let raw = br#"{"login_password":471100,"_ansible_module_name":"x"}"#;
        let invocation = Invocation::parse(raw).unwrap();
        let reply = Reply::new(Ok(Returns::default()), Some(&invocation), &["471100".to_owned()]);
        assert!(!reply.line().contains("471100"), "{}", reply.line());
    }

    #[test]
    fn a_diff_is_given_only_when_asked_for() {
        let returns =
            Returns { diff: vec![Diff::default()], ..Returns::new(true, json!({"a": 1})) };
        let mut invocation = Invocation::parse(b"{}").unwrap();
        assert!(
            !Reply::new(Ok(returns.clone()), Some(&invocation), &[])
                .line()
                .contains("before_header")
        );
        invocation.diff = true;
        assert!(Reply::new(Ok(returns), Some(&invocation), &[]).line().contains("before_header"));
    }
}

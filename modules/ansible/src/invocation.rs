//! What Ansible sent: the task's options apart from the `_ansible_*` keys.

use serde_json::{Map, Value};

use crate::chain::Failure;

/// The largest request taken, in bytes. Ansible's own requests are a few
/// kilobytes; a limit keeps a broken sender from filling memory.
pub const REQUEST_LIMIT: usize = 16 << 20;

/// One request.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The module's name without its collection.
    pub module: String,
    /// The task's options as the playbook gave them.
    pub options: Map<String, Value>,
    /// Whether nothing may be changed.
    pub check_mode: bool,
    /// Whether differences are wanted.
    pub diff: bool,
    /// Whether the reply should repeat the options (masked). ansible-core
    /// before 2.21 expects it always, later ones say so.
    pub inject_invocation: bool,
    /// Made once per action run; the same when ssh runs a command again.
    pub request_id: Option<String>,
}

impl Invocation {
    /// Reads a request. Unknown `_ansible_*` keys are ignored, since every
    /// ansible-core adds or drops some.
    ///
    /// # Errors
    /// When the bytes are not a JSON object, or no module is named.
    pub fn parse(raw: &[u8]) -> Result<Invocation, Failure> {
        if raw.len() > REQUEST_LIMIT {
            return Err(Failure::invalid(format!(
                "the request has {} bytes, more than the {REQUEST_LIMIT} allowed",
                raw.len()
            )));
        }
        let value: Value = serde_json::from_slice(raw)
            .map_err(|error| Failure::invalid(format!("the request is not JSON: {error}")))?;
        let Value::Object(all) = value else {
            return Err(Failure::invalid("the request is not a JSON object"));
        };
        let (mut options, mut meta) = (Map::new(), Map::new());
        let mut request_id = None;
        for (key, value) in all {
            if key == "_backstay_request_id" {
                request_id = value.as_str().filter(|id| is_token(id)).map(str::to_owned);
            } else if let Some(name) = key.strip_prefix("_ansible_") {
                meta.insert(name.to_owned(), value);
            } else {
                options.insert(key, value);
            }
        }
        let truth =
            |name: &str, otherwise| meta.get(name).and_then(Value::as_bool).unwrap_or(otherwise);
        let full = meta.get("module_name").and_then(Value::as_str).unwrap_or_default();
        Ok(Invocation {
            module: full.rsplit('.').next().unwrap_or_default().to_owned(),
            options,
            check_mode: truth("check_mode", false),
            diff: truth("diff", false),
            inject_invocation: truth("inject_invocation", true),
            request_id,
        })
    }
}

/// Whether a request id is fit to be part of a file name.
fn is_token(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_kept_apart_from_ansible_keys() {
        let raw = br#"{"session":"a","_ansible_module_name":"backstay.postgresql.backup_stop",
            "_ansible_check_mode":true,"_ansible_unheard_of":[1],"_backstay_request_id":"0123456789abcdef"}"#;
        let invocation = Invocation::parse(raw).unwrap();
        assert_eq!(invocation.module, "backup_stop");
        assert!(invocation.check_mode && !invocation.diff && invocation.inject_invocation);
        assert_eq!(invocation.options.len(), 1);
        assert_eq!(invocation.request_id.as_deref(), Some("0123456789abcdef"));
    }

    #[test]
    fn a_request_id_that_is_no_token_is_dropped() {
        let invocation =
            Invocation::parse(br#"{"_backstay_request_id":"../../etc/passwd"}"#).unwrap();
        assert_eq!(invocation.request_id, None);
    }

    #[test]
    fn a_request_that_is_no_object_says_so() {
        assert_eq!(
            Invocation::parse(b"[]").unwrap_err().message,
            "the request is not a JSON object"
        );
        assert!(
            Invocation::parse(b"{").unwrap_err().message.starts_with("the request is not JSON: ")
        );
    }
}

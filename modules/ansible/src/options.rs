//! Values of options: coerced as Ansible coerces them, so that `"5432"` and
//! `5432`, `yes` and `true` are the same.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::chain::Failure;
use crate::spec::{Default, Kind, OptionSpec};

const TRUE: [&str; 6] = ["y", "yes", "on", "1", "true", "t"];
const FALSE: [&str; 6] = ["n", "no", "off", "0", "false", "f"];

/// The options of one task, checked against their specifications.
#[derive(Debug, Clone)]
pub struct Options {
    values: Map<String, Value>,
    secrets: Vec<String>,
}

impl Options {
    /// Checks and coerces a task's options.
    ///
    /// # Errors
    /// Of kind `invalid_argument`: an unknown option, a missing one, one given
    /// under two names, a value of another type or outside the choices.
    pub fn parse(specs: &[OptionSpec], given: &Map<String, Value>) -> Result<Options, Failure> {
        refuse_unknown(specs, given)?;
        let mut options = Options { values: Map::new(), secrets: vec![] };
        for spec in specs {
            let Some(value) = pick(spec, given)? else {
                if spec.required {
                    return Err(Failure::invalid(format!(
                        "missing required option \"{}\"",
                        spec.name
                    )));
                }
                options.fill_default(spec);
                continue;
            };
            let coerced = coerce(spec, value)?;
            if spec.secret {
                remember(&coerced, &mut options.secrets);
            } else if let Value::Object(map) = &coerced {
                let named = map.iter().filter(|(name, _)| sounds_secret(name));
                named.for_each(|(_, value)| remember(value, &mut options.secrets));
            }
            options.values.insert(spec.name.to_owned(), coerced);
        }
        Ok(options)
    }

    fn fill_default(&mut self, spec: &OptionSpec) {
        let default = match spec.default {
            Default::None => return,
            Default::Str(text) => Value::from(text),
            Default::Int(number) => Value::from(number),
            Default::Bool(truth) => Value::from(truth),
        };
        self.values.insert(spec.name.to_owned(), default);
    }

    /// The values of secret options, to be masked.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// A string option. An empty string counts as not given: that is how a
    /// playbook's unset variable arrives.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A string option that is required or has a default.
    #[must_use]
    pub fn text_or_default(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// A path option.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// An absolute path option.
    ///
    /// # Errors
    /// When the path is relative: what it is relative to depends on the
    /// connection.
    pub fn absolute_path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        match self.path(name) {
            Some(path) if !path.is_absolute() => Err(Failure::invalid(format!(
                "option \"{name}\" must be an absolute path, not \"{}\"",
                path.display()
            ))),
            other => Ok(other),
        }
    }

    /// A whole number that must not be negative.
    ///
    /// # Errors
    /// When it is negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.values.get(name).and_then(Value::as_i64) {
            None => Ok(None),
            Some(number) => u64::try_from(number).map(Some).map_err(|_| {
                Failure::invalid(format!("option \"{name}\" must not be negative, it is {number}"))
            }),
        }
    }

    /// A truth value; absent counts as false.
    #[must_use]
    pub fn truth(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list of strings; absent counts as empty.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.values.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A dictionary, or a list of them, as what a module makes of it; absent is `None`.
    ///
    /// # Errors
    /// Naming the option when it does not have the fields of `T`.
    pub fn structure<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|error| {
            Failure::invalid(format!("option \"{name}\" is not what it should be: {error}"))
        })
    }

    /// A dictionary as pairs of strings, in the order given.
    ///
    /// # Errors
    /// When a value is itself a list or a dictionary.
    pub fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let mut pairs = vec![];
        for (key, value) in self.values.get(name).and_then(Value::as_object).into_iter().flatten() {
            let text = scalar(value).ok_or_else(|| {
                Failure::invalid(format!(
                    "\"{key}\" in option \"{name}\" must be a string or a number"
                ))
            })?;
            pairs.push((key.clone(), text));
        }
        Ok(pairs)
    }
}

fn refuse_unknown(specs: &[OptionSpec], given: &Map<String, Value>) -> Result<(), Failure> {
    let known =
        |key: &str| specs.iter().any(|spec| spec.name == key || spec.aliases.contains(&key));
    let unknown: Vec<&str> = given.keys().map(String::as_str).filter(|key| !known(key)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let mut supported: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    supported.sort_unstable();
    Err(Failure::invalid(format!(
        "Unsupported parameters: {}. Supported parameters include: {}.",
        unknown.join(", "),
        supported.join(", ")
    )))
}

/// The value given for an option under its name or one of its aliases; `null`
/// is how ansible-core 2.19 and later send an empty template, so it counts as
/// not given.
fn pick<'a>(
    spec: &OptionSpec,
    given: &'a Map<String, Value>,
) -> Result<Option<&'a Value>, Failure> {
    let names = std::iter::once(spec.name).chain(spec.aliases.iter().copied());
    let mut found: Option<(&str, &Value)> = None;
    for name in names {
        let Some(value) = given.get(name).filter(|value| !value.is_null()) else { continue };
        if let Some((first, _)) = found {
            return Err(Failure::invalid(format!(
                "\"{first}\" and \"{name}\" are the same option; give one"
            )));
        }
        found = Some((name, value));
    }
    Ok(found.map(|(_, value)| value))
}

fn coerce(spec: &OptionSpec, value: &Value) -> Result<Value, Failure> {
    let coerced = match spec.kind {
        Kind::Str => scalar(value).map(Value::from),
        Kind::Path => scalar(value).map(|text| Value::from(expand(&text))),
        Kind::Int => integer(value).map(Value::from),
        Kind::Bool => boolean(value).map(Value::from),
        Kind::StrList => strings(value),
        Kind::Dict => dictionary(value),
        Kind::DictList => dictionaries(value),
    };
    let coerced = coerced.ok_or_else(|| wrong_type(spec, value))?;
    within_choices(spec, value, coerced)
}

fn wrong_type(spec: &OptionSpec, value: &Value) -> Failure {
    let shown = if spec.secret { "its value".to_owned() } else { value.to_string() };
    Failure::invalid(format!(
        "option \"{}\" must be of type {}, {shown} is not",
        spec.name,
        spec.kind.name()
    ))
}

/// YAML turns an unquoted `off` into false before we see it, so a truth value
/// stands for the one choice that means the same.
fn within_choices(spec: &OptionSpec, given: &Value, coerced: Value) -> Result<Value, Failure> {
    if spec.choices.is_empty() {
        return Ok(coerced);
    }
    let text = coerced.as_str().unwrap_or_default();
    if spec.choices.contains(&text) || text.is_empty() {
        return Ok(coerced);
    }
    if let Value::Bool(truth) = given {
        let same = if *truth { TRUE } else { FALSE };
        let mut meant = spec.choices.iter().filter(|choice| same.contains(choice));
        if let (Some(choice), None) = (meant.next(), meant.next()) {
            return Ok(Value::from(*choice));
        }
    }
    Err(Failure::invalid(format!(
        "value of {} must be one of: {}, got: {text}",
        spec.name,
        spec.choices.join(", ")
    )))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".into()),
        Value::Bool(false) => Some("False".into()),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // Only a whole number of a size that a double holds exactly.
            (float.fract() == 0.0 && float.abs() < 9e15)
                .then(|| format!("{float:.0}").parse().ok())?
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Bool(truth) => return Some(*truth),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_lowercase(),
        _ => return None,
    };
    if TRUE.contains(&text.as_str()) {
        return Some(true);
    }
    FALSE.contains(&text.as_str()).then_some(false)
}

fn strings(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| scalar(item).map(Value::from))
            .collect::<Option<Vec<_>>>()
            .map(Value::from),
        Value::String(text) => Some(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .into(),
        ),
        Value::Number(number) => Some(vec![number.to_string()].into()),
        _ => None,
    }
}

fn dictionary(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.trim_start().starts_with('{') => {
            serde_json::from_str::<Map<String, Value>>(text).ok().map(Value::from)
        }
        Value::String(text) => {
            let mut map = Map::new();
            for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
                let (key, value) = part.split_once('=')?;
                map.insert(key.to_owned(), Value::from(value));
            }
            Some(map.into())
        }
        _ => None,
    }
}

/// A single one counts as a list of one, as with Ansible's own modules.
fn dictionaries(value: &Value) -> Option<Value> {
    match value {
        Value::Array(items) => {
            items.iter().map(dictionary).collect::<Option<Vec<_>>>().map(Value::from)
        }
        single => dictionary(single).map(|one| Value::from(vec![one])),
    }
}

/// `~`, `$NAME` and `${NAME}` as Ansible's path type expands them; an unknown
/// variable stays as it is written.
fn expand(text: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    let text = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => text.to_owned(),
    };
    let mut expanded = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, tail) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(pair) => pair,
            None => {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                after.split_at(end)
            }
        };
        match std::env::var(name) {
            Ok(value) if !name.is_empty() => {
                expanded.push_str(&value);
                rest = tail;
            }
            _ => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

/// Whether a key of a dictionary is one that people write passwords under, be
/// it an option's own or one that is refused.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pass", "secret", "token"].iter().any(|part| name.contains(part))
}

/// Every text inside a secret option, passwords in a dictionary included.
fn remember(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => secrets.push(text.clone()),
        Value::Number(number) => secrets.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| remember(item, secrets)),
        Value::Object(map) => map.values().for_each(|item| remember(item, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;

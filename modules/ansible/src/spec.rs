//! The description of a module's options, from which parsing, the error for an
//! unknown option and the check of the documentation twins all follow.

use serde_json::{Map, Value, json};

/// The type of an option, in Ansible's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `str`
    Str,
    /// `path`: a string in which `~` and environment variables are expanded
    Path,
    /// `int`
    Int,
    /// `bool`
    Bool,
    /// `list` with `elements: str`
    StrList,
    /// `dict`
    Dict,
    /// `list` with `elements: dict`
    DictList,
}

impl Kind {
    /// Ansible's name of the type, as documentation has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Str => "str",
            Kind::Path => "path",
            Kind::Int => "int",
            Kind::Bool => "bool",
            Kind::StrList | Kind::DictList => "list",
            Kind::Dict => "dict",
        }
    }
}

/// The default of an option, as documentation has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// No default: the option is absent when it is not given.
    None,
    /// A string or path.
    Str(&'static str),
    /// A whole number.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// One option of a module.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The name a playbook writes.
    pub name: &'static str,
    /// The type its value is coerced to.
    pub kind: Kind,
    /// Whether the task fails without it.
    pub required: bool,
    /// What it is when not given.
    pub default: Default,
    /// The only values allowed; empty means any.
    pub choices: &'static [&'static str],
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Whether its value is masked in every reply.
    pub secret: bool,
}

impl OptionSpec {
    /// An optional option without a default.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        OptionSpec {
            name,
            kind,
            required: false,
            default: Default::None,
            choices: &[],
            aliases: &[],
            secret: false,
        }
    }

    /// The same option, without which the task fails.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same option with a default.
    #[must_use]
    pub const fn default(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    /// The same option, limited to these values.
    #[must_use]
    pub const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// The same option with other names.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same option, masked in every reply.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The option as JSON, for the comparison with its documentation twin.
    #[must_use]
    pub fn describe(&self) -> Value {
        let mut described = Map::new();
        described.insert("type".into(), json!(self.kind.name()));
        described.insert("required".into(), json!(self.required));
        let default = match self.default {
            Default::None => Value::Null,
            Default::Str(text) => json!(text),
            Default::Int(number) => json!(number),
            Default::Bool(truth) => json!(truth),
        };
        described.insert("default".into(), default);
        described.insert("choices".into(), json!(self.choices));
        described.insert("aliases".into(), json!(self.aliases));
        described.insert("secret".into(), json!(self.secret));
        let elements = match self.kind {
            Kind::StrList => Some("str"),
            Kind::DictList => Some("dict"),
            _ => None,
        };
        if let Some(elements) = elements {
            described.insert("elements".into(), json!(elements));
        }
        Value::Object(described)
    }
}

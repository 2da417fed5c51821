//! Each module is written down twice: as options in Rust, which the executable
//! prints with `backstay specs`, and as a Python file of documentation, its
//! twin. Nothing but this check keeps the two the same.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value, json};

use crate::command::{ansible, command, output};
use crate::error::XtaskError;
use crate::layout::{Layout, stems};

/// What every option says about itself, with what is meant where it says nothing.
fn properties() -> [(&'static str, Value); 6] {
    [
        ("type", json!("str")),
        ("required", json!(false)),
        ("default", Value::Null),
        ("choices", json!([])),
        ("aliases", json!([])),
        ("elements", Value::Null),
    ]
}

/// Compares the staged collection with its own executable; gives what differs, one line each.
pub(crate) fn check(layout: &Layout) -> Result<Vec<String>, XtaskError> {
    let specs = specs(layout)?;
    let mut findings = files(layout, &specs)?;
    let documented: Vec<&String> =
        specs.keys().filter(|module| twin(layout, module).is_file()).collect();
    let docs = docs(layout, &documented)?;
    for module in documented {
        let options = docs.get(&full_name(module)).and_then(|twin| twin.pointer("/doc/options"));
        let options = options.and_then(Value::as_object).cloned().unwrap_or_default();
        let spec = specs.get(module).and_then(Value::as_object).cloned().unwrap_or_default();
        findings.extend(differences(module, &spec, &options));
    }
    Ok(findings)
}

fn full_name(module: &str) -> String {
    format!("backstay.postgresql.{module}")
}

fn twin(layout: &Layout, module: &str) -> std::path::PathBuf {
    layout.staged().join("plugins/modules").join(format!("{module}.py"))
}

/// The options of every module, as the executable knows them.
fn specs(layout: &Layout) -> Result<Map<String, Value>, XtaskError> {
    let executable =
        layout.staged().join(format!("native/linux-{}/backstay", std::env::consts::ARCH));
    let printed = output(command(&executable).arg("specs"))?;
    let specs: Map<String, Value> = parse("backstay", &printed)?;
    if specs.is_empty() {
        return Err(XtaskError::Unexpected("\"backstay specs\" names no module".to_owned()));
    }
    Ok(specs)
}

/// What `ansible-doc` understands of the twins, documentation fragments included.
fn docs(layout: &Layout, modules: &[&String]) -> Result<Map<String, Value>, XtaskError> {
    let mut asking = ansible(layout, "ansible-doc")?;
    asking
        .env("ANSIBLE_COLLECTIONS_PATH", layout.collections())
        .args(["--type", "module", "--json"]);
    asking.args(modules.iter().map(|module| full_name(module)));
    parse("ansible-doc", &output(&mut asking)?)
}

fn parse(program: &str, printed: &[u8]) -> Result<Map<String, Value>, XtaskError> {
    serde_json::from_slice(printed)
        .map_err(|source| XtaskError::Json { program: program.to_owned(), source })
}

/// Whether every module has its twin, its action plugin and its entry in the action group, and nothing else has.
fn files(layout: &Layout, specs: &Map<String, Value>) -> Result<Vec<String>, XtaskError> {
    let staged = layout.staged();
    let expected: BTreeSet<String> = specs.keys().cloned().collect();
    let runtime = staged.join("meta/runtime.yml");
    let runtime = fs::read_to_string(&runtime).map_err(XtaskError::file("read", &runtime))?;
    let places = [
        ("plugins/modules", stems(&staged.join("plugins/modules"), ".py")?, &expected),
        ("plugins/action", stems(&staged.join("plugins/action"), ".py")?, &expected),
        ("the action group \"all\"", action_group(&runtime, "all"), &expected),
    ];
    let mut findings = vec![];
    for (place, found, expected) in places {
        let found: BTreeSet<String> = found.into_iter().collect();
        findings.extend(
            expected.difference(&found).map(|module| format!("{module}: is missing in {place}")),
        );
        findings.extend(found.difference(expected).map(|module| {
            format!("{module}: is in {place}, and the executable has nothing for it")
        }));
    }
    for module in &expected {
        let action = staged.join("plugins/action").join(format!("{module}.py"));
        let names_itself = fs::read_to_string(&action)
            .is_ok_and(|text| text.contains(&format!("MODULE = \"{}\"", full_name(module))));
        if action.is_file() && !names_itself {
            findings.push(format!("{module}: its action plugin runs another module"));
        }
    }
    Ok(findings)
}

/// The entries of one action group of `meta/runtime.yml`.
fn action_group(runtime: &str, name: &str) -> Vec<String> {
    let heading = format!("{name}:");
    let group = runtime.lines().skip_while(|line| line.trim() != heading).skip(1);
    group.map_while(|line| line.trim().strip_prefix("- ")).map(str::to_owned).collect()
}

/// What one module's options and its documentation say differently.
fn differences(
    module: &str,
    spec: &Map<String, Value>,
    documented: &Map<String, Value>,
) -> Vec<String> {
    let names: BTreeSet<&String> = spec.keys().chain(documented.keys()).collect();
    let mut findings = vec![];
    for name in names {
        match (spec.get(name), documented.get(name)) {
            (Some(option), Some(twin)) => {
                for (property, otherwise) in properties() {
                    let (ours, theirs) =
                        (said(option, property, &otherwise), said(twin, property, &otherwise));
                    if ours != theirs {
                        findings.push(format!("{module}.{name}: {property} is {ours} in the executable, {theirs} in the documentation"));
                    }
                }
            }
            (Some(_), None) => findings.push(format!("{module}.{name}: is not documented")),
            _ => findings.push(format!(
                "{module}.{name}: is documented, and the executable does not know it"
            )),
        }
    }
    findings
}

/// What an option says of one property; choices may be documented as a list or with a description each.
fn said(option: &Value, property: &str, otherwise: &Value) -> Value {
    match option.get(property) {
        None | Some(Value::Null) => otherwise.clone(),
        Some(Value::Object(described)) if property == "choices" => {
            described.keys().cloned().collect()
        }
        Some(value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let spec = options(
            json!({"a": {"type": "str", "required": false, "default": null, "choices": [], "aliases": [], "secret": true}}),
        );
        assert!(differences("m", &spec, &options(json!({"a": {"description": ["x"]}}))).is_empty());
    }

    #[test]
    fn every_difference_is_named() {
        let spec = options(json!({"a": {"type": "int", "default": 5}, "b": {"type": "str"}}));
        let twin = options(json!({"a": {"type": "int", "default": "5"}, "c": {}}));
        assert_eq!(
            differences("m", &spec, &twin),
            [
                "m.a: default is 5 in the executable, \"5\" in the documentation",
                "m.b: is not documented",
                "m.c: is documented, and the executable does not know it",
            ]
        );
    }

    #[test]
    fn an_action_group_ends_where_its_list_ends() {
        let runtime = "action_groups:\n  all:\n    - a\n    - b\n  # why\n  login:\n    - a\nplugin_routing:\n  - c\n";
        assert_eq!(action_group(runtime, "all"), ["a", "b"]);
        assert_eq!(action_group(runtime, "login"), ["a"]);
        assert!(action_group(runtime, "none").is_empty());
    }
}

//! Each module is written down twice: as options in Rust, which its executable
//! prints with `specs`, and as a Python file of documentation, its
//! twin. Nothing but this check keeps the two the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Map, Value, json};

use crate::command::{ansible, command, output};
use crate::error::XtaskError;
use crate::layout::{Layout, stems};
use crate::stage::{place_of, tools};

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

/// The modules of each executable, and their options.
type Specs = BTreeMap<&'static str, Map<String, Value>>;

/// Compares the staged collection with its own executables; gives what differs, one line each.
pub(crate) fn check(layout: &Layout) -> Result<Vec<String>, XtaskError> {
    let by_tool = specs(layout)?;
    let mut findings = files(layout, &by_tool)?;
    let specs: Map<String, Value> = by_tool.into_values().flatten().collect();
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

/// The options of every module, as the staged executables know them.
fn specs(layout: &Layout) -> Result<Specs, XtaskError> {
    let mut all = Specs::new();
    for tool in tools() {
        let executable = layout.staged().join(place_of(tool));
        let specs = parse(tool, &output(command(&executable).arg("specs"))?)?;
        if specs.is_empty() {
            return Err(XtaskError::Unexpected(format!("\"{tool} specs\" names no module")));
        }
        all.insert(tool, specs);
    }
    Ok(all)
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

/// Whether every module has its twin, its action plugin and its entry in the action groups, and nothing else has.
fn files(layout: &Layout, by_tool: &Specs) -> Result<Vec<String>, XtaskError> {
    let staged = layout.staged();
    let runtime = staged.join("meta/runtime.yml");
    let runtime = fs::read_to_string(&runtime).map_err(XtaskError::file("read", &runtime))?;
    let mut findings = vec![];
    let mut named = BTreeSet::new();
    for (tool, specs) in by_tool {
        for module in specs.keys() {
            let action = staged.join("plugins/action").join(format!("{module}.py"));
            let Ok(text) = fs::read_to_string(&action) else { continue };
            findings.extend(action_plugin(tool, module, &text));
        }
        named.extend(specs.keys().cloned());
    }
    // The modules of an executable that was left out cannot be compared; their files are no finding.
    let known = |module: &String| named.contains(module) || by_tool.len() > 1 || !is_ebs(module);
    for (place, found) in [
        ("plugins/modules", stems(&staged.join("plugins/modules"), ".py")?),
        ("plugins/action", stems(&staged.join("plugins/action"), ".py")?),
        ("the action group \"all\"", action_group(&runtime, "all")),
    ] {
        let found: BTreeSet<String> = found.into_iter().filter(known).collect();
        findings.extend(difference(place, &named, &found));
    }
    let ebs: BTreeSet<String> = named.iter().filter(|module| is_ebs(module)).cloned().collect();
    if !ebs.is_empty() {
        let found = action_group(&runtime, "ebs").into_iter().collect();
        findings.extend(difference("the action group \"ebs\"", &ebs, &found));
    }
    Ok(findings)
}

/// Whether a module takes the options of AWS, as its name says.
fn is_ebs(module: &str) -> bool {
    module.starts_with("ebs_")
}

/// What is missing in a place, and what is there without a module.
fn difference(place: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let missing =
        expected.difference(found).map(|module| format!("{module}: is missing in {place}"));
    let more = found
        .difference(expected)
        .map(|module| format!("{module}: is in {place}, and no executable has anything for it"));
    missing.chain(more).collect()
}

/// What is wrong with the action plugin of one module.
fn action_plugin(tool: &str, module: &str, text: &str) -> Vec<String> {
    let mut findings = vec![];
    if !text.contains(&format!("MODULE = \"{}\"", full_name(module))) {
        findings.push(format!("{module}: its action plugin runs another module"));
    }
    let named = text.lines().find_map(|line| line.trim().strip_prefix("TOOL = "));
    let named = named.map_or("backstay", |tool| tool.trim_matches('"'));
    if named != tool {
        findings
            .push(format!("{module}: its action plugin asks \"{named}\", and \"{tool}\" has it"));
    }
    findings
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
    fn an_action_plugin_names_its_module_and_its_executable() {
        let plain = "    MODULE = \"backstay.postgresql.a\"\n";
        let ebs = format!("{plain}    TOOL = \"backstay-ebs\"\n");
        assert!(action_plugin("backstay", "a", plain).is_empty());
        assert!(action_plugin("backstay-ebs", "a", &ebs).is_empty());
        assert_eq!(
            action_plugin("backstay-ebs", "a", plain),
            ["a: its action plugin asks \"backstay\", and \"backstay-ebs\" has it"]
        );
        assert_eq!(
            action_plugin("backstay", "b", plain),
            ["b: its action plugin runs another module"]
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

//! Values as playbooks write them.

use super::*;
use serde_json::json;

const SPECS: &[OptionSpec] = &[
    OptionSpec::new("login_port", Kind::Int).aliases(&["port"]),
    OptionSpec::new("fast", Kind::Bool).default(Default::Bool(true)),
    OptionSpec::new("session", Kind::Str).required(),
    OptionSpec::new("archive_mode", Kind::Str).choices(&["off", "preserve"]),
    OptionSpec::new("login_password", Kind::Str).secret(),
    OptionSpec::new("command", Kind::StrList),
    OptionSpec::new("settings", Kind::Dict),
    OptionSpec::new("snapshots", Kind::DictList),
];

fn parse(value: Value) -> Result<Options, Failure> {
    Options::parse(SPECS, value.as_object().unwrap())
}

#[test]
fn text_and_number_are_the_same_port() {
    for port in [json!("5432"), json!(5432), json!(" 5432 "), json!(5432.0)] {
        let options = parse(json!({"session": "s", "port": port})).unwrap();
        assert_eq!(options.number("login_port").unwrap(), Some(5432));
    }
}

#[test]
fn every_spelling_of_a_truth_value_is_understood() {
    for (given, meant) in
        [(json!("yes"), true), (json!("On"), true), (json!(1), true), (json!("f"), false)]
    {
        assert_eq!(parse(json!({"session": "s", "fast": given})).unwrap().truth("fast"), meant);
    }
    let error = parse(json!({"session": "s", "fast": "perhaps"})).unwrap_err();
    assert_eq!(error.message, "option \"fast\" must be of type bool, \"perhaps\" is not");
}

#[test]
fn an_unknown_option_is_refused_with_those_there_are() {
    let error = parse(json!({"session": "s", "sesion": "t"})).unwrap_err();
    assert_eq!(
        error.message,
        "Unsupported parameters: sesion. Supported parameters include: archive_mode, command, fast, \
         login_password, login_port, session, settings, snapshots."
    );
}

#[test]
fn a_missing_option_and_an_option_given_twice_are_named() {
    assert_eq!(parse(json!({})).unwrap_err().message, "missing required option \"session\"");
    assert_eq!(
        parse(json!({"session": "s", "port": 1, "login_port": 1})).unwrap_err().message,
        "\"login_port\" and \"port\" are the same option; give one"
    );
}

#[test]
fn yaml_off_is_the_choice_off() {
    assert_eq!(
        parse(json!({"session": "s", "archive_mode": false})).unwrap().text("archive_mode"),
        Some("off")
    );
    assert_eq!(
        parse(json!({"session": "s", "archive_mode": "on"})).unwrap_err().message,
        "value of archive_mode must be one of: off, preserve, got: on"
    );
}

#[test]
fn a_secret_is_remembered_and_never_shown() {
    assert_eq!(
        parse(json!({"session": "s", "login_password": 12345})).unwrap().secrets(),
        ["12345"]
    );
    let settings = json!({"sslpassword": "hush", "PASSWORD": 471100, "work_mem": "4MB"});
    let options = parse(json!({"session": "s", "settings": settings})).unwrap();
    assert_eq!(options.secrets(), ["471100", "hush"]);
    let error = parse(json!({"session": "s", "login_password": ["hush"]})).unwrap_err();
    assert_eq!(error.message, "option \"login_password\" must be of type str, its value is not");
}

#[test]
fn lists_and_dictionaries_may_be_written_as_text() {
    let options =
        parse(json!({"session": "s", "command": "a, b", "settings": "port=5433 work_mem=4MB"}))
            .unwrap();
    assert_eq!(options.list("command"), ["a", "b"]);
    assert_eq!(options.pairs("settings").unwrap()[0], ("port".to_owned(), "5433".to_owned()));
}

#[test]
fn a_negative_number_and_a_relative_path_are_refused() {
    let options = parse(json!({"session": "not/absolute", "login_port": -1})).unwrap();
    assert_eq!(
        options.number("login_port").unwrap_err().message,
        "option \"login_port\" must not be negative, it is -1"
    );
    assert_eq!(
        options.absolute_path("session").unwrap_err().message,
        "option \"session\" must be an absolute path, not \"not/absolute\""
    );
}

#[test]
fn paths_expand_home_and_variables() {
    let home = std::env::var("HOME").unwrap();
    assert_eq!(expand("~/a"), format!("{home}/a"));
    assert_eq!(expand("${HOME}/a$"), format!("{home}/a$"));
    assert_eq!(expand("/x/$NOT_SET_ANYWHERE/y"), "/x/$NOT_SET_ANYWHERE/y");
}

#[test]
fn structures_are_read_and_refused_by_name() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Snapshot {
        id: u32,
    }
    let read = |mut given: serde_json::Value| {
        given["session"] = json!("s");
        Options::parse(SPECS, given.as_object().unwrap())
            .and_then(|options| options.structure::<Vec<Snapshot>>("snapshots"))
    };
    assert_eq!(read(json!({})).unwrap(), None);
    assert_eq!(read(json!({"snapshots": [{"id": 1}]})).unwrap(), Some(vec![Snapshot { id: 1 }]));
    assert_eq!(read(json!({"snapshots": {"id": 1}})).unwrap(), Some(vec![Snapshot { id: 1 }]));
    let refused = |given| read(given).unwrap_err().message;
    let text = "option \"snapshots\" is not what it should be: missing field `id`";
    assert_eq!(refused(json!({"snapshots": [{}]})), text);
    let text = "option \"snapshots\" must be of type list, [1] is not";
    assert_eq!(refused(json!({"snapshots": [1]})), text);
}

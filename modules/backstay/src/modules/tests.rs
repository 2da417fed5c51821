//! What each module refuses before it looks at anything, and what a reply says
//! of a session.

use ansible::{Failure, OptionSpec, Options, Task};
use serde_json::{Value, json};
use session::{SessionRecord, SessionState};

use super::backup_abort::{self, BackupAbort};
use super::backup_info::{self, BackupInfo};
use super::backup_start::{self, BackupStart};
use super::backup_stop::{self, BackupStop};
use super::cluster_restore::{self, ClusterRestore};
use super::snapshot_create::{self, SnapshotCreate};
use super::wal_fetch::{self, WalFetch};
use crate::registry;
use frame::sessions;

fn parse<T: Task>(specs: &[OptionSpec], given: &Value) -> Result<T, Failure> {
    Options::parse(specs, given.as_object().unwrap()).and_then(|options| T::parse(&options))
}

fn refusal<T: Task>(specs: &[OptionSpec], given: &Value) -> String {
    let failure = parse::<T>(specs, given).err().unwrap();
    assert_eq!(failure.kind, "invalid_argument", "{given}");
    failure.message
}

#[test]
fn every_module_refuses_what_it_does_not_know() {
    for module in registry::MODULES {
        let given = json!({"dance": true});
        let failure =
            Options::parse(&(module.options)(), given.as_object().unwrap()).err().unwrap();
        assert!(
            failure.message.starts_with("Unsupported parameters: dance. Supported parameters"),
            "{}: {}",
            module.name,
            failure.message
        );
        assert_eq!(failure.kind, "invalid_argument");
    }
}

#[test]
fn what_is_required_must_be_given() {
    let nothing = json!({});
    let missing = |name: &str| format!("missing required option \"{name}\"");
    let session = missing("session");
    assert_eq!(refusal::<BackupStop>(&backup_stop::options(), &nothing), session);
    assert_eq!(refusal::<SnapshotCreate>(&snapshot_create::options(), &nothing), session);
    assert_eq!(refusal::<WalFetch>(&wal_fetch::options(), &nothing), session);
    let repository = missing("repository");
    assert_eq!(refusal::<BackupStart>(&backup_start::options(), &nothing), repository);
    assert_eq!(refusal::<ClusterRestore>(&cluster_restore::options(), &nothing), repository);
    assert!(parse::<BackupInfo>(&backup_info::options(), &nothing).is_ok());
    assert!(parse::<BackupAbort>(&backup_abort::options(), &nothing).is_ok());
}

#[test]
fn a_handle_must_be_one() {
    let given = json!({"session": "x"});
    let text =
        "\"x\" is not a session: expected \"<cluster>.<backup id>\" as backup_start returns it";
    assert_eq!(refusal::<BackupAbort>(&backup_abort::options(), &given), text);
    assert_eq!(refusal::<BackupInfo>(&backup_info::options(), &given), text);
    assert_eq!(refusal::<BackupStop>(&backup_stop::options(), &given), text);
}

#[test]
fn backup_stop_refuses_columns_that_are_not_named() {
    let refused = |freshness: Value| {
        let given = json!({"session": "main.b", "freshness": freshness});
        refusal::<BackupStop>(&backup_stop::options(), &given)
    };
    let text = "option \"freshness\" is not what it should be: missing field `column`";
    assert_eq!(refused(json!([{"database": "a", "table": "t"}])), text);
    let text = "option \"freshness\" is not what it should be: unknown field `query`";
    assert!(refused(json!({"database": "a", "query": "select 1"})).starts_with(text));
    let given = json!({"session": "main.b", "row_counts": "estimate"});
    assert_eq!(
        refusal::<BackupStop>(&backup_stop::options(), &given),
        "value of row_counts must be one of: none, exact, got: estimate"
    );
    let given = json!({"session": "main.b", "row_counts": "exact", "freshness": []});
    assert!(parse::<BackupStop>(&backup_stop::options(), &given).is_ok());
}

#[test]
fn backup_start_refuses_values_that_make_no_sense() {
    let refused = |name: &str, value: Value| {
        let given = json!({"repository": "/r", (name): value});
        refusal::<BackupStart>(&backup_start::options(), &given)
    };
    assert_eq!(
        refused("max_duration", json!(0)),
        "option \"max_duration\" must be at least 1 second"
    );
    assert_eq!(
        refused("max_duration", json!(-1)),
        "option \"max_duration\" must not be negative, it is -1"
    );
    assert_eq!(
        refused("label", json!("a\nb")),
        "option \"label\" must be one line of at most 1024 bytes, it has 3"
    );
    assert_eq!(
        refused("runtime_directory", json!("run")),
        "option \"runtime_directory\" must be an absolute path, not \"run\""
    );
    assert_eq!(
        refused("archiver_check", json!("x")),
        "value of archiver_check must be one of: fail, warn, ignore, got: x"
    );
    assert!(refused("cluster", json!("a.b")).contains("\"a.b\""));
    assert!(refused("backup_id", json!("../x")).contains("\"../x\""));
}

#[test]
fn snapshot_create_refuses_options_that_do_not_fit_the_provider() {
    let refused = |given: Value| {
        let mut given = given;
        given["session"] = json!("main.b1");
        refusal::<SnapshotCreate>(&snapshot_create::options(), &given)
    };
    assert_eq!(
        refused(json!({"provider": "command"})),
        "provider \"command\" needs the option \"command\": the program and its arguments"
    );
    assert_eq!(
        refused(json!({"command": ["x"]})),
        "option \"command\" is only for the provider \"command\""
    );
    assert_eq!(refused(json!({"jobs": 0})), "option \"jobs\" must be from 1 to 64, it is 0");
    assert_eq!(refused(json!({"jobs": 65})), "option \"jobs\" must be from 1 to 64, it is 65");
    assert_eq!(refused(json!({"jobs": -2})), "option \"jobs\" must not be negative, it is -2");
}

#[test]
fn wal_fetch_needs_what_its_source_names() {
    let refused = |source: &str| {
        let given = json!({"session": "main.b1", "source": source});
        refusal::<WalFetch>(&wal_fetch::options(), &given)
    };
    assert_eq!(refused("archive"), "source \"archive\" needs the option \"archive_directory\"");
    assert_eq!(
        refused("restore_command"),
        "source \"restore_command\" needs the option \"restore_command\""
    );
}

#[test]
fn cluster_restore_takes_one_target() {
    let refused = |given: Value| {
        let mut given = given;
        given["repository"] = json!("/r");
        given["data_directory"] = json!("/d");
        refusal::<ClusterRestore>(&cluster_restore::options(), &given)
    };
    assert_eq!(
        refused(json!({"recovery_target": "immediate", "recovery_target_lsn": "0/3000028"})),
        "\"recovery_target\" and \"recovery_target_lsn\" exclude each other; give one target"
    );
    assert!(refused(json!({"recovery_target_lsn": "x"})).contains("\"x\""));
}

fn record() -> SessionRecord {
    serde_json::from_value(json!({
        "schema": 1, "session": "main.b1", "backup_id": "b1", "cluster": "main",
        "repository": "/r", "label": "nightly", "state": "stopped", "keeper": null,
        "socket": "/run/x",
        "server": {
            "address": "db:5432", "system_identifier": "7", "version": "15.18",
            "data_directory": "/d", "wal_directory": "/d/pg_wal", "wal_segment_size": 16_777_216,
            "tablespaces": [], "in_recovery": false,
        },
        "created_at": "2026-11-21T03:15:00.000Z", "deadline": "2026-11-21T04:15:00.000Z",
        "start": {
            "lsn": "0/3000028", "timeline": 1, "time": "2026-11-21T03:15:01Z",
            "postmaster_start_time": "x", "slot": null,
        },
        "stop": {
            "lsn": "0/3000138", "time": "2026-11-21T03:15:10Z",
            "label": {"size": 1, "sha256": "aa"}, "tablespace_map": null,
        },
        "snapshots": [{"id": "s"}], "ended": null,
    }))
    .unwrap()
}

#[test]
fn a_reply_tells_a_session_as_its_record_has_it() {
    let mut described = sessions::describe(&record());
    assert!(described.remove("age").unwrap().is_u64());
    let expected = json!({
        "session": "main.b1", "backup_id": "b1", "cluster": "main", "repository": "/r",
        "label": "nightly", "state": "stopped", "in_backup_mode": false, "remaining": 0,
        "keeper_pid": null, "server": "db:5432", "start_lsn": "0/3000028",
        "stop_lsn": "0/3000138", "timeline": 1, "deadline": "2026-11-21T04:15:00.000Z",
        "started_at": "2026-11-21T03:15:01Z", "stopped_at": "2026-11-21T03:15:10Z",
        "container": null, "reason": null, "snapshots": [{"id": "s"}],
    });
    assert_eq!(Value::Object(described), expected);
}

#[test]
fn a_session_without_a_keeper_is_told_as_lost() {
    let lost = SessionRecord { state: SessionState::InProgress, stop: None, ..record() };
    let described = sessions::describe(&lost);
    assert_eq!(described["state"], "lost");
    assert_eq!(described["in_backup_mode"], false);
    assert_eq!(described["reason"], "the keeper never came up after 2026-11-21T03:15:00.000Z");
    let failure = sessions::with_backup_mode(Failure::invalid("x"), &lost);
    assert_eq!(failure.values["backup_mode"], "off");
}

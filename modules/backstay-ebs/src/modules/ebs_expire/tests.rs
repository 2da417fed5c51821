use serde_json::{Value, json};

use super::*;

fn parsed(given: &Value) -> Result<EbsExpire, Failure> {
    Options::parse(&options(), given.as_object().unwrap())
        .and_then(|options| EbsExpire::parse(&options))
}

fn refusal(given: &Value) -> String {
    let failure = parsed(given).err().unwrap();
    assert_eq!(failure.kind, "invalid_argument", "{given}");
    failure.message
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(refusal(&json!({})), "missing required option \"repository\"");
    let with = |name: &str, value: Value| refusal(&json!({"repository": "/tmp", name: value}));
    assert_eq!(with("keep", json!(0)), "option \"keep\" must be at least 1, it is 0");
    assert_eq!(with("keep_days", json!(-1)), "option \"keep_days\" must not be negative, it is -1");
    assert!(with("backup_ids", json!(["../x"])).starts_with("invalid backup id \"../x\""));
}

#[test]
fn the_defaults_delete_only_what_is_unfinished() {
    let task = parsed(&json!({"repository": "/tmp"})).unwrap();
    assert!(task.unfinished && task.retention.keep.is_none() && task.retention.keep_for.is_none());
    assert_eq!(task.retention.grace, TimeDelta::days(1));
    assert_eq!(task.cluster, "main");
    let far = parsed(&json!({"repository": "/tmp", "keep_days": i64::MAX})).unwrap();
    assert_eq!(far.retention.keep_for, Some(TimeDelta::MAX));
}

#[test]
fn without_a_cluster_nothing_is_asked_for() {
    let directory = std::env::temp_dir().join("no such repository");
    let task = parsed(&json!({"repository": directory, "keep": 1})).unwrap();
    let plan = task.plan().unwrap();
    let preview = plan.preview();
    assert!(!preview.changed);
    assert_eq!(preview.values["expired"], json!([]));
    let text = format!(
        "there is no cluster \"main\" in the repository \"{}\": nothing was looked for",
        directory.display()
    );
    assert_eq!(preview.warnings, [text]);
    assert!(!task.apply(plan).unwrap().changed);
}

#[test]
fn refusals_are_told() {
    let spared = Spared { snapshot_id: "snap-1".into(), why: "it is locked".into() };
    let two = [spared.clone(), spared.clone()];
    let text = "snapshot \"snap-1\" was not deleted: it is locked; 1 more are in refused";
    assert_eq!(reply(&[], &[], &two, vec![]).warnings, [text]);
    let returns = reply(&[], &[], &[spared], vec![]);
    assert!(!returns.changed);
    assert_eq!(
        returns.values["refused"],
        json!([{"snapshot_id": "snap-1", "why": "it is locked"}])
    );
    assert_eq!(returns.warnings, ["snapshot \"snap-1\" was not deleted: it is locked"]);
    let gone = Expired { backup_id: "b1".into(), snapshots: vec!["snap-1".into()] };
    let returns = reply(std::slice::from_ref(&gone), &["b2".parse().unwrap()], &[], vec![]);
    assert!(returns.changed && returns.warnings.is_empty());
    assert_eq!(returns.values["kept"], json!(["b2"]));
    let failure = with_work(Failure::invalid("x"), &[gone], &[]);
    assert_eq!(failure.values["expired"], json!([{"backup_id": "b1", "snapshots": ["snap-1"]}]));
}

#[test]
fn only_what_the_snapshots_allow_is_given_up() {
    let id = |text: &str| text.parse::<BackupId>().unwrap();
    let gone = |id: &str| Expired { backup_id: id.into(), snapshots: vec![format!("snap-{id}")] };
    let listed = Listed {
        catalogue: expire::Catalogue {
            cluster: "main".into(),
            system_identifier: "7".into(),
            backups: std::collections::BTreeMap::new(),
            volumes: std::collections::BTreeSet::new(),
        },
        unwanted: vec![id("named"), id("bare")],
        outdated: vec![id("old"), id("elsewhere")],
        kept: vec![id("new")],
        warnings: vec![],
    };
    let expired = ["failed", "named", "old"].map(gone).into();
    let plan = planned(None, listed, expire::Verdict { expired, refused: vec![] });
    let ids = |ids: &[BackupId]| ids.iter().map(BackupId::to_string).collect::<Vec<_>>().join(" ");
    // One that was named is not to be restored even if it has no snapshots any more.
    assert_eq!(ids(&plan.mark), "named bare old");
    assert_eq!(ids(&plan.kept), "new elsewhere");
    let expired: Vec<&str> = plan.expired.iter().map(|one| one.backup_id.as_str()).collect();
    assert_eq!(expired, ["failed", "named", "old", "bare"]);
    assert!(plan.expired.last().unwrap().snapshots.is_empty());
}

use chrono::DateTime;

use super::*;
use crate::tags::tests::backup;

fn order() -> CopyOrder {
    CopyOrder {
        backup: backup(),
        snapshots: vec![],
        kms_key: Some("alias/other".into()),
        encrypted: None,
        completion_minutes: Some(15),
        tags: [("team".to_owned(), "new".to_owned())].into(),
        lookup: Duration::from_secs(60),
        patience: Duration::ZERO,
    }
}

fn snapshot(id: &str, second: i64, state: UploadState, tags: Tags) -> Snapshot {
    Snapshot {
        id: id.into(),
        volume_id: "vol-1".into(),
        state,
        progress: 100,
        started_at: DateTime::from_timestamp(second, 0).unwrap(),
        completed_at: None,
        gibibytes: 8,
        encrypted: false,
        kms_key: None,
        owner: "1".into(),
        message: None,
        tags,
    }
}

fn source() -> Snapshot {
    let own = [("team", "db"), ("aws:backup", "x")];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    snapshot("snap-1", 0, UploadState::Completed, backup().of_call("r", &own))
}

#[test]
fn a_copy_has_the_tags_of_its_source() {
    let call = call("eu-central-1", &order(), &source());
    let get = |key: &str| call.tags.get(key).map(String::as_str);
    assert_eq!((get("team"), get("aws:backup")), (Some("new"), None));
    assert_eq!((get(tag::SOURCE_SNAPSHOT), get(tag::BACKUP_ID)), (Some("snap-1"), Some("b1")));
    assert!(backup().prove(&call.tags));
    assert_eq!(call.description, "copy of snap-1 from eu-central-1: main b1");
    assert_eq!((call.encrypted, call.completion_minutes), (Some(true), Some(15)));
}

#[test]
fn a_completed_copy_comes_before_others_and_a_failed_one_is_none() {
    let tags = tags(&order(), &source());
    let copies = [
        snapshot("snap-2", 1, UploadState::Error, tags.clone()),
        snapshot("snap-3", 2, UploadState::Pending, tags.clone()),
        snapshot("snap-4", 3, UploadState::Completed, tags),
        source(),
    ];
    let id =
        |copies: &[Snapshot]| copy_of("snap-1", &order(), copies).map(|found| found.id.clone());
    assert_eq!(id(&copies).as_deref(), Some("snap-4"));
    assert_eq!(id(&copies[..2]).as_deref(), Some("snap-3"));
    assert_eq!(id(&copies[..1]), None);
    assert_eq!(id(&copies[3..]), None);
    assert!(copy_of("snap-9", &order(), &copies).is_none());
    let under = |key: Option<&str>| CopyOrder { kms_key: key.map(str::to_owned), ..order() };
    assert!(copy_of("snap-1", &under(Some("alias/third")), &copies).is_none());
    assert!(copy_of("snap-1", &under(None), &copies).is_some());
}

#[test]
fn what_is_not_the_backups_is_not_copied() {
    let text = |found: Option<&Snapshot>| {
        prove(&order(), "snap-1", found).map(|_| ()).unwrap_err().to_string()
    };
    assert!(prove(&order(), "snap-1", Some(&source())).is_ok());
    assert_eq!(text(None), "snapshot \"snap-1\" is not in this region and account");
    let foreign = Snapshot { tags: Tags::new(), ..source() };
    assert_eq!(
        text(Some(&foreign)),
        "snapshot \"snap-1\" is not of backup \"b1\" of cluster \"main\": its own tags say otherwise"
    );
    let pending = Snapshot { state: UploadState::Pending, ..source() };
    assert_eq!(
        text(Some(&pending)),
        "snapshot \"snap-1\" is not completed, and only then it can be copied"
    );
}

#[test]
fn two_lost_answers_are_told() {
    let call = call("eu-central-1", &order(), &source());
    let lost = EbsError::Lost { action: "CopySnapshot", reason: "timed out".into() };
    assert_eq!(
        unknown("eu-west-1", &order(), &call, lost).to_string(),
        "whether the snapshots were taken is unknown: two calls to copy \"snap-1\" to region \"eu-west-1\" were not \
         answered, and within 60 s no copy has turned up"
    );
}

use snapshot::UploadState;

use super::*;
use crate::TAKEN;

const DAY: TimeDelta = TimeDelta::days(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn rule() -> Option<Unfinished> {
    Some(Unfinished { grace: DAY, now: now() })
}

fn snapshot(id: &str, backup: &str, state: &str) -> Snapshot {
    let tags = [
        (tag::CLUSTER, "main"),
        (tag::SYSTEM_IDENTIFIER, "7"),
        (tag::BACKUP_ID, backup),
        (tag::START_LSN, "0/3000028"),
        (tag::STATE, state),
    ];
    Snapshot {
        id: id.into(),
        volume_id: "vol-1".into(),
        state: UploadState::Completed,
        progress: 100,
        started_at: now() - DAY * 2,
        completed_at: None,
        gibibytes: 8,
        encrypted: false,
        kms_key: None,
        owner: "123456789012".into(),
        message: None,
        tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

fn tagged(id: &str, key: &str, value: &str) -> Snapshot {
    let mut snapshot = snapshot(id, "b1", TAKEN);
    snapshot.tags.insert(key.to_owned(), value.to_owned());
    snapshot
}

fn catalogue(backups: &[(&str, Standing, &[&str])]) -> Catalogue {
    let one = |(id, standing, snapshots): &(&str, Standing, &[&str])| {
        let snapshots = snapshots.iter().map(|id| (*id).to_owned()).collect();
        let start_lsn = "0/3000028".to_owned();
        ((*id).to_owned(), Proposal { standing: *standing, start_lsn, snapshots })
    };
    let backups = backups.iter().map(one).collect();
    let volumes = ["vol-1".to_owned()].into();
    Catalogue { cluster: "main".into(), system_identifier: "7".into(), backups, volumes }
}

fn expired(verdict: &Verdict) -> Vec<String> {
    let one = |expired: &Expired| format!("{}: {}", expired.backup_id, expired.snapshots.join(" "));
    verdict.expired.iter().map(one).collect()
}

fn refused(verdict: &Verdict) -> Vec<String> {
    let one = |spared: &Spared| format!("{}: {}", spared.snapshot_id, spared.why);
    verdict.refused.iter().map(one).collect()
}

#[test]
fn what_is_outdated_goes_with_its_copies() {
    let catalogue = catalogue(&[
        ("b1", Standing::Outdated, &["snap-1", "snap-2"]),
        ("b2", Standing::Kept, &["snap-3"]),
    ]);
    let found = [
        snapshot("snap-1", "b1", TAKEN),
        snapshot("snap-2", "b1", TAKING),
        snapshot("snap-3", "b2", TAKEN),
        tagged("snap-9", tag::SOURCE_SNAPSHOT, "snap-1"),
    ];
    let verdict = judge(&catalogue, rule(), &found);
    assert_eq!(expired(&verdict), ["b1: snap-1 snap-2 snap-9"]);
    assert_eq!(verdict.refused, []);
}

#[test]
fn the_repository_cannot_have_others_snapshots_deleted() {
    let theirs: [&str; 5] = ["snap-1", "snap-2", "snap-3", "snap-4", "snap-5"];
    let catalogue =
        catalogue(&[("b1", Standing::Outdated, &theirs), ("b2", Standing::Kept, &["snap-3"])]);
    let bare = Snapshot { tags: crate::Tags::new(), ..snapshot("snap-4", "", "") };
    let mut nameless = snapshot("snap-5", "b1", TAKEN);
    nameless.tags.remove(tag::BACKUP_ID);
    let found = [
        tagged("snap-1", tag::CLUSTER, "other"),
        tagged("snap-2", tag::SYSTEM_IDENTIFIER, "8"),
        snapshot("snap-3", "b2", TAKEN),
        bare,
        nameless,
    ];
    let verdict = judge(&catalogue, rule(), &found);
    assert_eq!(verdict.expired, []);
    assert_eq!(
        refused(&verdict),
        [
            "snap-1: its tag \"backstay:cluster\" is \"other\", not \"main\"",
            "snap-2: its tag \"backstay:system-identifier\" is \"8\", not \"7\"",
            "snap-3: its tag \"backstay:backup-id\" is \"b2\", not \"b1\"",
            "snap-4: it has no tag \"backstay:cluster\"",
            "snap-5: it has no tag \"backstay:backup-id\"",
        ]
    );
}

#[test]
fn what_an_interrupted_task_left_of_a_kept_backup_goes_after_the_grace() {
    let catalogue =
        catalogue(&[("b1", Standing::Kept, &["snap-1"]), ("b2", Standing::Unreadable, &[])]);
    let mut copy = snapshot("snap-3", "b1", TAKING);
    copy.tags.insert(tag::SOURCE_SNAPSHOT.to_owned(), "snap-1".to_owned());
    let found = [
        // nobody has looked whether the upload is done, but it is the backup's
        snapshot("snap-1", "b1", TAKING),
        snapshot("snap-2", "b1", TAKING),
        copy,
        Snapshot { started_at: now() - DAY, ..snapshot("snap-4", "b1", TAKING) },
        snapshot("snap-5", "b2", TAKING),
    ];
    assert_eq!(expired(&judge(&catalogue, rule(), &found)), ["b1: snap-2"]);
    assert!(judge(&catalogue, None, &found).expired.is_empty());
}

#[test]
fn one_with_other_tags_does_not_hold_the_rest() {
    let catalogue = catalogue(&[("b1", Standing::Outdated, &["snap-1", "snap-2"])]);
    let found = [snapshot("snap-1", "b1", TAKEN), tagged("snap-2", tag::CLUSTER, "other")];
    let verdict = judge(&catalogue, rule(), &found);
    assert_eq!(expired(&verdict), ["b1: snap-1"]);
    assert_eq!(verdict.refused.len(), 1);
}

#[test]
fn a_backup_of_another_region_is_not_given_up() {
    let own: &[&str] = &["snap-1"];
    let copy = [tagged("snap-9", tag::SOURCE_SNAPSHOT, "snap-1")];
    let verdict = judge(&catalogue(&[("b1", Standing::Outdated, own)]), rule(), &copy);
    assert_eq!(verdict.expired, []);
    assert_eq!(
        refused(&verdict),
        ["snap-1: no snapshot of backup \"b1\" was found in this region and account"]
    );
    // Once it is given up, or somebody named it, its copies go wherever they are.
    let verdict = judge(&catalogue(&[("b1", Standing::Unwanted, own)]), rule(), &copy);
    assert_eq!(expired(&verdict), ["b1: snap-9"]);
    assert_eq!(verdict.refused, []);
}

#[test]
fn of_failed_backups_only_what_is_being_taken_goes() {
    let catalogue = catalogue(&[("b1", Standing::Failed, &["snap-1", "snap-2"])]);
    let young = Snapshot { started_at: now(), ..snapshot("snap-1", "b1", TAKING) };
    let found = [young, snapshot("snap-2", "b1", TAKEN)];
    assert_eq!(expired(&judge(&catalogue, rule(), &found)), ["b1: snap-1"]);
    assert_eq!(judge(&catalogue, None, &found), Verdict::default());
}

#[test]
fn of_unknown_backups_only_what_is_old_and_being_taken_goes() {
    let catalogue = catalogue(&[]);
    let at = |id, age| Snapshot { started_at: now() - age, ..snapshot(id, "b7", TAKING) };
    let found = [at("snap-1", DAY), at("snap-2", DAY * 2), snapshot("snap-3", "b7", TAKEN)];
    assert_eq!(expired(&judge(&catalogue, rule(), &found)), ["b7: snap-2"]);
    assert_eq!(judge(&catalogue, None, &found), Verdict::default());
    let mut stateless = snapshot("snap-4", "b7", TAKING);
    stateless.tags.remove(tag::STATE);
    assert_eq!(judge(&catalogue, rule(), &[stateless]), Verdict::default());
}

#[test]
fn a_backup_of_the_same_name_in_another_repository_is_not_ours() {
    let catalogue = catalogue(&[("b1", Standing::Failed, &[])]);
    let mut other = snapshot("snap-1", "b1", TAKING);
    other.tags.insert(tag::START_LSN.to_owned(), "0/9000028".to_owned());
    // nor one of another name, of volumes that no backup here is of
    let foreign = Snapshot { volume_id: "vol-9".into(), ..snapshot("snap-2", "b7", TAKING) };
    assert_eq!(judge(&catalogue, rule(), &[other.clone(), foreign]), Verdict::default());
    let named = [("b1", Standing::Outdated, &["snap-1"][..])];
    let verdict = judge(&super::tests::catalogue(&named), rule(), &[other]);
    let text = "snap-1: its tag \"backstay:start-lsn\" is \"0/9000028\", not \"0/3000028\"";
    assert_eq!(refused(&verdict)[0], text);
    assert_eq!(verdict.expired, []);
}

#[test]
fn what_is_found_twice_is_deleted_once() {
    let catalogue = catalogue(&[("b1", Standing::Unwanted, &["snap-1"])]);
    let found = [snapshot("snap-1", "b1", TAKEN), snapshot("snap-1", "b1", TAKEN)];
    assert_eq!(expired(&judge(&catalogue, rule(), &found)), ["b1: snap-1"]);
}

fn refusal(code: &str) -> EbsError {
    EbsError::Refused { action: "DeleteSnapshot", code: code.into(), message: "no".into() }
}

fn ids() -> Vec<String> {
    ["snap-1", "snap-2", "snap-3"].map(str::to_owned).into()
}

#[test]
fn a_locked_snapshot_stays_and_is_no_failure() {
    let locked = |id: &str| if id == "snap-1" { Err(refusal("SnapshotLocked")) } else { Ok(()) };
    let done = delete_by(&ids(), locked);
    assert_eq!(done.deleted, ["snap-2", "snap-3"]);
    let why = "EC2 refused DeleteSnapshot: SnapshotLocked: no".to_owned();
    assert_eq!(done.refused, [Spared { snapshot_id: "snap-1".into(), why }]);
    assert!(done.failed.is_none());
}

#[test]
fn a_missing_right_is_a_failure_after_all_were_tried() {
    let no = || Err(refusal("UnauthorizedOperation"));
    let done = delete_by(&ids(), |id| if id == "snap-3" { Ok(()) } else { no() });
    assert_eq!((done.deleted.len(), done.refused.len()), (1, 2));
    assert_eq!(done.failed.unwrap().kind(), "not_authorized");
}

#[test]
fn without_an_answer_the_rest_is_left() {
    let mut asked = 0;
    let done = delete_by(&ids(), |_| {
        asked += 1;
        Err(EbsError::Lost { action: "DeleteSnapshot", reason: "timed out".into() })
    });
    assert_eq!((asked, done.deleted.len(), done.refused.len()), (1, 0, 1));
    assert!(done.failed.unwrap().is_lost());
}

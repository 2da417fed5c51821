//! What EC2 can do to a set of snapshots: refuse it, lose the answer, make too few, fail later. Each ends in one whole
//! set on record or in none, and the task says whether the server is still in backup mode.

use std::collections::BTreeSet;
use std::time::Duration;

use backstay_tests::cloud::{assert_same, ids};
use backstay_tests::ec2::{Logged, Lost};
use backstay_tests::scene::{Reply, session};
use backstay_tests::{Cloud, Volumes, command, wait_until};
use nix::sys::signal::Signal;
use serde_json::json;

const SET: &str = "CreateSnapshots";

fn cloud() -> Option<Cloud> {
    Volumes::possible().then(|| Cloud::of(16))
}

/// The tag that tells one call from another.
fn request(call: &Logged) -> String {
    let name = call.parameters.iter().find(|(_, value)| *value == "backstay:request");
    let name = name.map(|(name, _)| name.replace(".Key", ".Value")).unwrap_or_default();
    call.parameters.get(&name).cloned().unwrap_or_default()
}

/// The whole set is on record with the session, and nothing else exists.
#[track_caller]
fn assert_one_set(cloud: &Cloud, id: &str, reply: &Reply) {
    assert_eq!(ids(&reply.result).len(), 3, "{:#}", reply.result);
    assert_same(&ids(&reply.result), &cloud.snapshot_ids());
    assert_same(&ids(&cloud.scene.info(id)), &cloud.snapshot_ids());
}

/// Ends the backup and what it took, so that the next one finds nothing.
#[track_caller]
fn clean(cloud: &Cloud, id: &str) {
    let _ = cloud.scene.ask(&cloud.scene.backup.abort(&session(id))).ok();
    for snapshot in cloud.snapshot_ids() {
        let _ = cloud.ec2().ask(&format!("Action=DeleteSnapshot&SnapshotId={snapshot}"));
    }
    cloud.ec2().on(SET).reset();
}

#[test]
fn a_refusal_that_passes_is_waited_for() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let on = cloud.ec2().on(SET).fail_times(2, "RequestLimitExceeded");
    let _ = on.fail_times(1, "InternalError").fail_times(1, "Unavailable");
    // after an internal error it is looked for, since that may have come afterwards
    let reply = cloud.snapshot("b1", &json!({"lookup_timeout": 2})).ok();
    assert_eq!(cloud.ec2().calls(SET).len(), 5);
    assert_eq!(reply.result["adopted"], json!(false));
    assert_one_set(&cloud, "b1", &reply);
    // each call has a tag of its own, by which its set can be told from another's
    let requests: BTreeSet<_> = cloud.ec2().calls(SET).iter().map(request).collect();
    assert_eq!(requests.len(), 5, "{requests:?}");
}

#[test]
fn a_refusal_that_lasts_ends_when_its_time_is_over() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).fail_times(100, "RequestLimitExceeded");
    let reply = cloud.snapshot("b1", &json!({"wait_timeout": 3}));
    reply.assert_tells(
        &["snapshot_timeout"],
        "on",
        &["within 3 s", "RequestLimitExceeded", "throttle"],
    );
    assert!(reply.took < Duration::from_secs(15), "{:?}", reply.took);
    assert!(cloud.snapshot_ids().is_empty());
}

#[test]
fn a_refusal_that_does_not_pass_ends_the_task_at_once_and_not_the_session() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let cases = [
        ("UnauthorizedOperation", "not_authorized"),
        ("InvalidVolume.NotFound", "api_failed"),
        ("IncorrectState", "api_failed"),
        ("InvalidParameterValue", "api_failed"),
    ];
    for (number, (code, kind)) in cases.into_iter().enumerate() {
        let _ = cloud.ec2().on(SET).fail_times(1, code);
        let reply = cloud.snapshot("b1", &json!({}));
        reply.assert_tells(&[kind], "on", &[code, "still in backup mode"]);
        assert_eq!(cloud.ec2().calls(SET).len(), number + 1);
    }
    assert!(cloud.snapshot_ids().is_empty());
    // the policy is mended, the same task run again
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_one_set(&cloud, "b1", &reply);
}

#[test]
fn a_limit_names_the_snapshots_that_are_pending() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on(SET).pending_for(Duration::from_secs(600));
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    cloud.start("b2");
    for code in ["ConcurrentSnapshotLimitExceeded", "SnapshotLimitExceeded"] {
        let _ = cloud.ec2().on(SET).fail_times(1, code);
        let reply = cloud.snapshot("b2", &json!({}));
        let pending = cloud.snapshot_ids();
        let mut texts = vec![code, "ebs_snapshot_wait"];
        texts.extend(pending.iter().map(String::as_str));
        reply.assert_tells(&["snapshot_limit_exceeded"], "on", &texts);
    }
    assert_eq!(cloud.ec2().calls(SET).len(), 3, "it was tried again");
}

/// Failure mode F9, and that what was just made is not seen at once.
#[test]
fn a_set_whose_answer_is_lost_is_found_by_its_tags() {
    let Some(cloud) = cloud() else { return };
    let on = cloud.ec2().on(SET).drop_answer_once();
    let _ = on.visible_after(Duration::from_secs(3)).pending_for(Duration::from_secs(1));
    cloud.start("b1");
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_eq!(reply.result["adopted"], json!(true));
    assert_eq!(cloud.ec2().calls(SET).len(), 1);
    assert_one_set(&cloud, "b1", &reply);
    cloud.stop_and_fetch("b1");
    let _ = cloud.ask(&cloud.task("ebs_snapshot_wait", "b1", &json!({"delay": 1}))).ok();
    let manifest = cloud.scene.manifest("b1");
    assert_eq!(manifest["state"], json!("complete"));
    assert_same(&ids(&manifest), &cloud.snapshot_ids());
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for_without_end() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on(SET).drop_answers(1, Lost::Hanging);
    cloud.start("b1");
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert!(reply.took < Duration::from_secs(60), "{:?}", reply.took);
    assert_eq!(reply.result["adopted"], json!(true));
    assert_one_set(&cloud, "b1", &reply);
}

#[test]
fn a_request_that_is_lost_is_made_once_more_and_no_more() {
    let Some(cloud) = cloud() else { return };
    let patience = json!({"lookup_timeout": 3});
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).drop_requests(1, Lost::Closed);
    let reply = cloud.snapshot("b1", &patience).ok();
    assert_eq!(cloud.ec2().calls(SET).len(), 2);
    assert_eq!(reply.result["adopted"], json!(false));
    assert_one_set(&cloud, "b1", &reply);
    clean(&cloud, "b1");

    cloud.start("b2");
    let _ = cloud.ec2().on(SET).drop_requests(5, Lost::Closed);
    let reply = cloud.snapshot("b2", &patience);
    reply.assert_tells(&["snapshot_failed"], "on", &["is unknown", "two calls were not answered"]);
    assert_eq!(cloud.ec2().calls(SET).len(), 4);
}

/// Two whole sets turn up after the task gave up. The next task of the session takes the first, and the other goes.
#[test]
fn of_two_sets_that_turn_up_late_one_is_kept() {
    let Some(cloud) = cloud() else { return };
    let late = Duration::from_secs(15);
    let _ = cloud.ec2().on(SET).drop_answers(2, Lost::Closed).visible_after(late);
    cloud.start("b1");
    let reply = cloud.snapshot("b1", &json!({"lookup_timeout": 2}));
    reply.assert_tells(&["snapshot_failed"], "on", &["is unknown"]);
    assert_eq!(cloud.snapshot_ids().len(), 6);
    let first: Vec<String> = cloud.snapshot_ids().into_iter().take(3).collect();
    std::thread::sleep(late);
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_eq!(reply.result["adopted"], json!(true));
    assert_eq!(cloud.ec2().calls(SET).len(), 2, "a third call was made");
    assert_one_set(&cloud, "b1", &reply);
    assert_same(&first, &cloud.snapshot_ids());
}

/// Another host, with a repository of its own, has a backup of the same name at the same time: its snapshots are not
/// this session's to adopt or to delete.
#[test]
fn a_set_of_another_hosts_session_of_the_same_name_is_left_alone() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let info = cloud.ask(&cloud.task("volume_info", "b1", &json!({}))).ok();
    let unused = cloud.volumes.add_unused(1);
    let of = |key: &str| info.result[key].as_str().unwrap_or_default().to_owned();
    let take = |system: &str, lsn: &str| {
        let mut form = format!(
            "Action=CreateSnapshot&VolumeId={unused}&TagSpecification.1.ResourceType=snapshot"
        );
        let tags = [
            ("cluster", "main"),
            ("backup-id", "b1"),
            ("session", "main.b1"),
            ("system-identifier", system),
            ("start-lsn", lsn),
            ("request", "other.1"),
            ("state", "taking"),
        ];
        for (number, (key, value)) in (1..).zip(tags) {
            let name = format!("&TagSpecification.1.Tag.{number}");
            form += &format!("{name}.Key=backstay:{key}{name}.Value={}", value.replace('/', "%2F"));
        }
        assert!(cloud.ec2().ask(&form).contains("snapshotId"));
    };
    take("7000000000000000001", "0/9000028");
    take(&of("system_identifier"), &of("start_lsn"));
    let others = cloud.snapshot_ids();
    let _ = cloud.ec2().on(SET).drop_answer_once();
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_eq!(reply.result["adopted"], json!(true));
    assert_eq!(ids(&reply.result).len(), 3);
    assert!(
        others.iter().all(|id| cloud.snapshot_ids().contains(id)),
        "others' snapshots were deleted"
    );
    assert_eq!(cloud.snapshot_ids().len(), 5);
}

/// As when a task is retried because its connection broke after the reply was made.
#[test]
fn a_session_has_one_set_however_often_it_is_asked_for() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let first = cloud.snapshot("b1", &json!({})).ok();
    let mut check = cloud.task("ebs_snapshot", "b1", &json!({}));
    check["check_mode"] = json!(true);
    assert_eq!(cloud.ask(&check).ok().result["changed"], json!(false));
    let second = cloud.snapshot("b1", &json!({})).ok();
    assert_eq!(second.result["changed"], json!(false));
    assert_eq!(second.result["snapshots"], first.result["snapshots"]);
    assert_eq!(cloud.ec2().calls(SET).len(), 1);
    assert_one_set(&cloud, "b1", &second);
}

/// Failure mode F10.
#[test]
fn a_set_that_is_not_whole_is_one_failed_snapshot_and_nothing_of_it_stays() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).leave_out(1);
    let reply = cloud.snapshot("b1", &json!({}));
    let missing = cloud.ids().into_iter().max().expect("three volumes");
    reply.assert_tells(&["snapshot_failed"], "on", &["2 snapshots of 3 volumes", &missing]);
    assert!(cloud.snapshot_ids().is_empty());
    assert!(ids(&cloud.scene.info("b1")).is_empty());

    // what cannot be deleted is named, and is expire's to delete
    let _ = cloud.ec2().on(SET).leave_out(1);
    let _ = cloud.ec2().on("DeleteSnapshot").fail_times(1, "UnauthorizedOperation");
    let reply = cloud.snapshot("b1", &json!({}));
    reply.assert_tells(&["snapshot_failed"], "on", &["ebs_expire"]);
    assert_eq!(reply.result["kept"], json!(cloud.snapshot_ids()));
    assert_eq!(cloud.snapshot_ids().len(), 1);

    // in this session only a part of a set is there, which is no set: the next task says so and cleans up
    let reply = cloud.snapshot("b1", &json!({"lookup_timeout": 2}));
    reply.assert_tells(&["snapshot_failed"], "on", &["not whole"]);
    assert!(cloud.snapshot_ids().is_empty());
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_one_set(&cloud, "b1", &reply);
}

#[test]
fn a_snapshot_too_many_is_deleted_and_told() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).add_one();
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_one_set(&cloud, "b1", &reply);
    let warnings = reply.result["warnings"].to_string();
    assert!(warnings.contains("more snapshots than were asked for"), "{warnings}");
    // each record is of its own volume
    for record in reply.result["snapshots"].as_array().into_iter().flatten() {
        let found = cloud.ec2().snapshot(record["id"].as_str().unwrap_or_default());
        assert_eq!(record["volume"]["volume_id"], json!(found.volume));
    }
}

#[test]
fn a_task_that_is_killed_after_the_call_is_followed_by_one_that_finds_its_set() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).drop_answers(1, Lost::Hanging);
    let asked = cloud.begin(&cloud.task("ebs_snapshot", "b1", &json!({})));
    wait_until("the set is taken", Duration::from_secs(20), || cloud.snapshot_ids().len() == 3);
    command::signal(asked.pid(), Signal::SIGKILL);
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert_eq!(reply.result["adopted"], json!(true));
    assert_eq!(cloud.ec2().calls(SET).len(), 1);
    assert_one_set(&cloud, "b1", &reply);
}

/// The keeper is killed while EC2 keeps the task waiting: nobody waits on, and nothing is taken.
#[test]
fn a_session_that_is_lost_meanwhile_ends_the_task() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).fail_times(1000, "RequestLimitExceeded");
    let asked = cloud.begin(&cloud.task("ebs_snapshot", "b1", &json!({})));
    wait_until("it is refused", Duration::from_secs(20), || cloud.ec2().calls(SET).len() > 1);
    let keeper = cloud.scene.info("b1")["keeper_pid"].as_u64().unwrap_or_default();
    command::signal(u32::try_from(keeper).unwrap_or_default(), Signal::SIGKILL);
    let reply = asked.reply();
    reply.assert_failed(&["backup_aborted"], "off");
    assert!(reply.took < Duration::from_secs(60), "{:?}", reply.took);
    assert!(cloud.snapshot_ids().is_empty());
    cloud.scene.wait_until_left();
}

/// The keeper is killed while the set is being taken: it belongs to no backup, and goes.
#[test]
fn a_set_of_a_session_that_is_lost_meanwhile_is_deleted() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.ec2().on(SET).delay(Duration::from_secs(4));
    let asked = cloud.begin(&cloud.task("ebs_snapshot", "b1", &json!({})));
    wait_until("the call is made", Duration::from_secs(20), || cloud.ec2().calls(SET).len() == 1);
    let keeper = cloud.scene.info("b1")["keeper_pid"].as_u64().unwrap_or_default();
    command::signal(u32::try_from(keeper).unwrap_or_default(), Signal::SIGKILL);
    let reply = asked.reply();
    reply.assert_tells(&["backup_aborted"], "off", &["have been deleted"]);
    assert!(cloud.snapshot_ids().is_empty());
    cloud.scene.wait_until_left();
}

#[test]
fn a_set_outside_the_window_is_refused() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    let reply = cloud.snapshot("b1", &json!({}));
    reply.assert_tells(&["backup_not_in_progress"], "off", &["main.b1", "between backup_start"]);
    assert_eq!(cloud.ec2().calls(SET).len(), 1);
}

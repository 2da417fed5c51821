//! EBS backups task by task: from another host, with the policies that are shipped, with credentials that end, copied,
//! expired, and against another EC2 than our own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backstay_tests::ec2::Key;
use backstay_tests::imds::Credentials;
use backstay_tests::scene::{Reply, merge, session};
use backstay_tests::{Ansible, Cloud, Core, Place, Volumes};
use serde_json::{Value, json};

fn cloud() -> Option<Cloud> {
    Volumes::possible().then(|| Cloud::of(15))
}

/// A policy that the collection ships.
fn policy(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../aws/iam-{name}.json"));
    let text = fs::read_to_string(&path).expect("the policy is in the repository");
    serde_json::from_str(&text).expect("a policy is JSON")
}

/// The options of the key `name`, which has the policy of that name.
fn by(cloud: &Cloud, name: &str) -> Value {
    cloud.ec2().add_key(Key::new(name).policy(&policy(name)));
    json!({"access_key": name, "secret_key": "secret", "region": "eu-central-1"})
}

/// The ids of the snapshots in a reply or a manifest, in order.
fn ids(values: &Value) -> Vec<String> {
    let mut ids = backstay_tests::cloud::ids(values);
    ids.sort();
    ids
}

/// Those that there are, in order.
fn there(cloud: &Cloud) -> Vec<String> {
    let mut ids = cloud.snapshot_ids();
    ids.sort();
    ids
}

/// A backup `id` by a key, uploaded.
#[track_caller]
fn take_by(cloud: &Cloud, id: &str, key: &Value) {
    cloud.start(id);
    let _ = cloud.snapshot(id, key).ok();
    cloud.stop_and_fetch(id);
    let mut wait = json!({"delay": 1});
    merge(&mut wait, key);
    let reply = cloud.ask(&cloud.task("ebs_snapshot_wait", id, &wait)).ok();
    assert!(reply.result["warnings"].is_null(), "{:#}", reply.result);
    assert_eq!(reply.word("manifest_state"), "complete");
}

/// The controller has credentials, and neither the session nor the devices; the database host has no credentials.
#[test]
fn a_set_is_taken_from_another_host() {
    let Some(cloud) = cloud() else { return };
    let key = by(&cloud, "backup");
    cloud.start("b1");
    let info = cloud.ask(&cloud.task("volume_info", "b1", &json!({}))).ok();
    let elsewhere = Place::new();
    let mut options = json!({
        "session": "main.b1",
        "state_directory": elsewhere.join("state"),
        "volumes": info.result,
    });
    merge(&mut options, &key);
    let delegated =
        |options: &Value| cloud.ask(&backstay_tests::backup::task("ebs_snapshot", &[options]));

    // volumes of another session, or of one that is over, are not taken
    let mut other = options.clone();
    other["session"] = json!("main.b2");
    let reply = delegated(&other);
    assert_eq!(reply.result["error_kind"], json!("invalid_argument"), "{:#}", reply.result);
    for text in ["\"main.b1\"", "\"main.b2\"", "volume_info"] {
        assert!(reply.message().contains(text), "{}", reply.message());
    }
    let mut bare = options.clone();
    bare["volumes"] = Value::Null;
    let reply = delegated(&bare);
    assert!(reply.message().contains("give volumes"), "{}", reply.message());

    let taken = delegated(&options).ok();
    assert_eq!(ids(&taken.result), there(&cloud));
    assert_eq!(cloud.scene.info("b1")["snapshots"], json!([]));
    // again, as when the answer to Ansible was lost
    let again = delegated(&options).ok();
    assert_eq!((&again.result["adopted"], ids(&again.result)), (&json!(true), there(&cloud)));

    let adopt = |snapshots: &Value| {
        let more = json!({"provider": "ebs", "snapshots": snapshots});
        cloud.ask(&cloud.task("snapshot_create", "b1", &more))
    };
    // one volume is not covered
    let mut two = taken.result["snapshots"].clone();
    let left_out = two.as_array_mut().and_then(Vec::pop).expect("three snapshots");
    let reply = adopt(&two);
    let path = left_out["covers"][0]["path"].as_str().unwrap_or_default();
    reply.assert_tells(&["snapshot_not_covered"], "on", &[path]);
    // one is older than the session
    let mut old = taken.result["snapshots"].clone();
    old[0]["started_at"] = json!("2026-01-01T00:00:00Z");
    let reply = adopt(&old);
    let id = old[0]["id"].as_str().unwrap_or_default();
    reply.assert_tells(
        &["snapshot_outside_backup", "snapshot_failed", "invalid_argument"],
        "on",
        &[id],
    );

    let _ = adopt(&taken.result["snapshots"]).ok();
    cloud.stop_and_fetch("b1");
    let mut wait = json!({"snapshots": taken.result["snapshots"], "delay": 1});
    merge(&mut wait, &key);
    let wait = backstay_tests::backup::task("ebs_snapshot_wait", &[&wait]);
    assert_eq!(cloud.ask(&wait).ok().word("state"), "completed");
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("uploading"));
    let mut where_both_are = json!({"backup_id": "b1", "delay": 1});
    merge(&mut where_both_are, &key);
    let reply = cloud.ask(&cloud.of_repository("ebs_snapshot_wait", &where_both_are)).ok();
    assert_eq!(reply.word("manifest_state"), "complete");
}

/// What each shipped policy lets its role do, and that it lets it do no more.
#[test]
fn the_policies_that_are_shipped_are_enough_and_no_more() {
    let Some(cloud) = cloud() else { return };
    let backup = by(&cloud, "backup");
    let restore = by(&cloud, "restore");
    let expire = by(&cloud, "expire");
    take_by(&cloud, "b1", &backup);
    take_by(&cloud, "b2", &backup);
    let all = there(&cloud);
    assert_eq!(all.len(), 6);

    // who takes backups cannot delete finished ones
    let expired = |key: &Value, more: &Value| {
        let mut options = json!({"keep": 1});
        merge(&mut options, key);
        merge(&mut options, more);
        cloud.ask(&cloud.of_repository("ebs_expire", &options))
    };
    let reply = expired(&backup, &json!({}));
    assert_eq!(reply.result["error_kind"], json!("not_authorized"), "{:#}", reply.result);
    assert_eq!(there(&cloud), all);
    // nor restore
    let reply = cloud.ask(&cloud.restore("b2", &backup));
    assert_eq!(reply.result["error_kind"], json!("not_authorized"), "{:#}", reply.result);

    // who restores does that, and takes it back, and nothing else
    let before = cloud.ec2().volumes().len();
    let restored = cloud.ask(&cloud.restore("b2", &restore)).ok();
    assert_eq!(cloud.ec2().volumes().len(), before + 3);
    let mut absent = json!({"state": "absent", "restore_id": restored.word("restore_id")});
    merge(&mut absent, &restore);
    let _ = cloud.ask(&cloud.of_repository("ebs_restore", &absent)).ok();
    assert_eq!(cloud.ec2().volumes().len(), before);
    let reply = expired(&restore, &json!({}));
    assert_eq!(reply.result["error_kind"], json!("not_authorized"), "{:#}", reply.result);
    cloud.start("b3");
    let reply = cloud.snapshot("b3", &expire);
    reply.assert_tells(&["not_authorized"], "on", &["CreateSnapshots", "folder aws"]);
    let _ = cloud.scene.ask(&cloud.scene.backup.abort(&session("b3"))).ok();

    // the first backup was marked before its snapshots could not be deleted: it goes now
    let reply = expired(&expire, &json!({})).ok();
    assert_eq!(reply.result["expired"][0]["backup_id"], json!("b1"), "{:#}", reply.result);
    assert_eq!(there(&cloud), ids(&cloud.scene.manifest("b2")));
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("expired"));
}

/// Failure mode F29: the role's credentials end while the task runs.
#[test]
fn credentials_that_end_meanwhile_are_replaced() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let first = Duration::from_secs(3);
    cloud.volumes.imds().set_credentials(&[
        // they say that they are good for longer than they are
        Credentials::expiring_in("FIRST", Duration::from_secs(3600)).rotating_in(first),
        Credentials::expiring_in("SECOND", Duration::from_secs(3600)),
    ]);
    cloud.ec2().add_key(Key::new("FIRST").session_token("token of FIRST").expires_in(first));
    cloud.ec2().add_key(Key::new("SECOND").session_token("token of SECOND"));
    // the call is kept waiting until they have ended
    let _ = cloud.ec2().on("CreateSnapshots").fail_times(4, "RequestLimitExceeded");
    let begun = std::time::Instant::now();
    let reply = cloud.snapshot("b1", &json!({})).ok();
    assert!(begun.elapsed() > first);
    assert_eq!(ids(&reply.result), there(&cloud));
    let keys: Vec<_> =
        cloud.ec2().calls("CreateSnapshots").into_iter().filter_map(|call| call.key).collect();
    assert_eq!(keys.first().map(String::as_str), Some("FIRST"));
    assert_eq!(keys.last().map(String::as_str), Some("SECOND"));
    assert_eq!(there(&cloud).len(), 3);
}

/// No credentials, as in a container when the hop limit is 1: the task says so before anything else.
#[test]
fn without_credentials_nothing_is_tried() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    cloud.volumes.imds().be_silent(true);
    let key = json!({"region": "eu-central-1", "instance_id": cloud.volumes.instance()});
    let reply = cloud.snapshot("b1", &key);
    reply.assert_tells(&["credentials_failed"], "on", &["no AWS credentials", "hop limit"]);
    assert!(reply.took < Duration::from_secs(60), "{:?}", reply.took);
    assert!(cloud.ec2().calls("CreateSnapshots").is_empty());
}

#[test]
fn copies_are_made_once_for_each_region_and_key() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b1");
    let copy = |more: &Value| -> Reply {
        let mut options = json!({"backup_id": "b1", "destination_region": "eu-west-1"});
        merge(&mut options, more);
        cloud.ask(&cloud.of_repository("ebs_snapshot_copy", &options))
    };
    // one call is throttled, the answer of another is lost
    let _ = cloud.ec2().on("CopySnapshot").fail_times(1, "RequestLimitExceeded").drop_answer_once();
    let first = copy(&json!({"wait": true})).ok();
    assert_eq!(first.result["changed"], json!(true));
    assert_eq!(cloud.ec2().snapshots().len(), 6);
    let again = copy(&json!({})).ok();
    assert_eq!(again.result["changed"], json!(false));
    assert_eq!(cloud.ec2().snapshots().len(), 6);
    let key = json!({"destination_region": "eu-central-1", "kms_key_id": "alias/vault"});
    for changed in [true, false] {
        assert_eq!(copy(&key).ok().result["changed"], json!(changed));
        assert_eq!(cloud.ec2().snapshots().len(), 9);
    }
    for copied in cloud.ec2().snapshots().iter().filter(|found| found.copied_from.is_some()) {
        assert_eq!(copied.tags["backstay:backup-id"], "b1");
        assert_eq!(Some(&copied.tags["backstay:source-snapshot"]), copied.copied_from.as_ref());
    }
    // those in the region of the backup go with it, those elsewhere when that region is expired
    cloud.take("b2");
    let expire = |region: &str| {
        let options = json!({"backup_ids": ["b1"], "grace": 0, "region": region});
        cloud.ask(&cloud.of_repository("ebs_expire", &options)).ok()
    };
    let _ = expire("eu-central-1");
    assert_eq!(cloud.ec2().snapshots().len(), 6);
    let _ = expire("eu-west-1");
    assert_eq!(there(&cloud), ids(&cloud.scene.manifest("b2")));
}

/// The lesson of a catalogue that was believed: what a manifest names is deleted only if its own tags agree.
#[test]
fn a_manifest_cannot_have_others_snapshots_deleted() {
    let Some(cloud) = cloud() else { return };
    cloud.take("b1");
    cloud.take("b2");
    let all = there(&cloud);
    let foreign = cloud.ec2().add_foreign_snapshot();
    let of_b2 = ids(&cloud.scene.manifest("b2"));
    let path = cloud.scene.backup_folder("b1").join("backup.json");
    let mut manifest = cloud.scene.manifest("b1");
    let victims = [&of_b2[0], &foreign];
    for (index, victim) in victims.into_iter().enumerate() {
        manifest["snapshots"][index]["id"] = json!(victim);
    }
    fs::write(&path, manifest.to_string()).expect("the repository is the test's");
    let options = json!({"backup_ids": ["b1"], "grace": 0});
    let reply = cloud.ask(&cloud.of_repository("ebs_expire", &options));
    // found by its own tags, the first backup's set is what goes, whatever the manifest says
    let gone: Vec<_> = all.iter().filter(|id| !there(&cloud).contains(id)).cloned().collect();
    assert!(of_b2.iter().all(|id| there(&cloud).contains(id)), "{:#}", reply.result);
    assert!(gone.len() <= 3, "{gone:?}");
    assert_eq!(cloud.ec2().snapshot(&foreign).owner, backstay_tests::ec2::OTHER_ACCOUNT);
    let refused = reply.result["refused"].to_string();
    assert!(refused.contains(victims[0].as_str()), "{:#}", reply.result);
}

/// A check run asks EC2 whether it would, and changes nothing anywhere.
#[test]
fn check_mode_asks_and_takes_nothing() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let mut task = cloud.task("ebs_snapshot", "b1", &json!({}));
    task["check_mode"] = json!(true);
    let reply = cloud.ask(&task).ok();
    assert_eq!(reply.result["changed"], json!(true));
    assert_eq!(reply.result["snapshots"].as_array().map(Vec::len), Some(3));
    assert!(there(&cloud).is_empty());
    cloud.ec2().add_key(Key::new("nobody").allow_only(&["DescribeVolumes", "DescribeSnapshots"]));
    task["backstay.postgresql.ebs_snapshot"]["access_key"] = json!("nobody");
    task["backstay.postgresql.ebs_snapshot"]["secret_key"] = json!("x");
    cloud.ask(&task).assert_tells(&["not_authorized"], "on", &["CreateSnapshots"]);
    assert!(there(&cloud).is_empty());
}

#[test]
fn locks_tags_and_fast_restores_are_as_they_are_asked_for() {
    let Some(cloud) = cloud() else { return };
    cloud.ec2().edit_volume(&cloud.data.volume, |volume| {
        let _ = volume.tags.insert("cost".to_owned(), "orders".to_owned());
        let _ = volume.tags.insert("team".to_owned(), "of the volume".to_owned());
    });
    let wishes = json!({
        "copy_tags": true,
        "tags": {"team": "db"},
        "description": "before the release",
        "lock_mode": "governance",
        "lock_duration": 7,
        "fast_restore_zones": ["eu-central-1a"],
    });
    cloud.start("b1");
    // that a lock failed is told, and the backup is whole
    let _ = cloud.ec2().on("LockSnapshot").pass_times(2).fail_times(1, "UnauthorizedOperation");
    let reply = cloud.snapshot("b1", &wishes).ok();
    let warnings = reply.result["warnings"].to_string();
    assert!(warnings.contains("could not be locked"), "{warnings}");
    let taken = cloud.ec2().snapshots();
    assert_eq!(taken.iter().filter(|found| found.lock.is_some()).count(), 2);
    for snapshot in &taken {
        assert_eq!(snapshot.tags["team"], "db");
        assert_eq!(snapshot.description, "before the release");
        assert_eq!(snapshot.fast_restore, ["eu-central-1a"]);
        let cost = snapshot.tags.get("cost").map(String::as_str);
        assert_eq!(cost, (snapshot.volume == cloud.data.volume).then_some("orders"));
        assert!(
            snapshot
                .lock
                .as_ref()
                .is_none_or(|lock| lock.mode == "governance" && lock.duration == 7)
        );
    }
    cloud.stop_and_fetch("b1");
    let _ = cloud.ask(&cloud.task("ebs_snapshot_wait", "b1", &json!({"delay": 1}))).ok();
    // a lock holds against ebs_expire, which says so and goes on with the others
    let options = json!({"backup_ids": ["b1"], "grace": 0});
    let reply = cloud.ask(&cloud.of_repository("ebs_expire", &options)).ok();
    assert_eq!(reply.result["refused"].as_array().map(Vec::len), Some(2), "{:#}", reply.result);
    assert!(reply.result["refused"].to_string().contains("is locked"), "{:#}", reply.result);
    assert_eq!(cloud.ec2().snapshots().len(), 2);
    assert_eq!(cloud.scene.manifest("b1")["state"], json!("expired"));
    // when the locks are over, the next run has the rest
    for snapshot in cloud.ec2().snapshots() {
        cloud.ec2().edit_snapshot(&snapshot.id, |found| found.lock = None);
    }
    let run = cloud.ask(&cloud.of_repository("ebs_expire", &json!({}))).ok();
    assert_eq!(run.result["changed"], json!(true));
    assert!(cloud.ec2().snapshots().is_empty());

    cloud.start("b2");
    let wrong = [
        (json!({"lock_duration": 7}), "lock_mode"),
        (json!({"lock_mode": "compliance"}), "lock_duration"),
        (json!({"lock_mode": "governance", "lock_duration": 0}), "it is 0"),
        (json!({"tags": {"backstay:cluster": "other"}}), "backstay:cluster"),
    ];
    for (options, text) in wrong {
        let reply = cloud.snapshot("b2", &options);
        assert_eq!(reply.result["error_kind"], json!("invalid_argument"), "{options}");
        assert!(reply.message().contains(text), "{}", reply.message());
    }
}

/// Who waits for an hour is told how far it is.
#[test]
fn a_play_that_waits_says_how_far_the_upload_is() {
    let Some(cloud) = cloud() else { return };
    let _ = cloud.ec2().on("CreateSnapshots").pending_for(Duration::from_secs(26));
    cloud.start("b1");
    let _ = cloud.snapshot("b1", &json!({})).ok();
    cloud.stop_and_fetch("b1");
    let variables = cloud.volumes.variables();
    let ansible = variables
        .iter()
        .fold(Ansible::local(Core::Oldest), |ansible, (name, value)| ansible.env(name, value));
    let task = cloud.of_repository("ebs_snapshot_wait", &json!({"backup_id": "b1", "delay": 1}));
    let run = ansible.tasks(&json!([task])).ok();
    assert_eq!(run.task("ebs_snapshot_wait").text("state"), "completed");
    let told = run.output.lines().find(|line| line.contains(" % uploaded, about"));
    let told = told.unwrap_or_else(|| panic!("nothing was told:\n{}", run.output));
    assert!(told.starts_with("target: snapshots ") && told.contains(" s left"), "{told}");
}

/// Who adds what `ebs_snapshot` has added on this host already adds nothing.
#[test]
fn snapshots_that_are_on_record_are_not_added_twice() {
    let Some(cloud) = cloud() else { return };
    cloud.start("b1");
    let taken = cloud.snapshot("b1", &json!({})).ok();
    let add = json!({"provider": "ebs", "snapshots": taken.result["snapshots"]});
    let _ = cloud.ask(&cloud.task("snapshot_create", "b1", &add)).ok();
    assert_eq!(ids(&cloud.scene.info("b1")), there(&cloud));
}

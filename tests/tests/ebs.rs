//! EBS backups end to end: real servers on real block devices, a scripted EC2 that makes real snapshots of them, the
//! collection's playbooks.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use backstay_tests::ansible::Running;
use backstay_tests::place::User;
use backstay_tests::scene::merge;
use backstay_tests::server::Stop;
use backstay_tests::{
    Ansible, Cloud, Core, Destination, Server, Volumes, Writer, amcheck, command, need, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn ansible(cloud: &Cloud) -> Ansible {
    let variables = cloud.volumes.variables();
    variables
        .iter()
        .fold(Ansible::local(Core::Newest), |ansible, (name, value)| ansible.env(name, value))
}

/// The variables of both playbooks.
fn variables(cloud: &Cloud, more: &Value) -> Value {
    let backup = &cloud.scene.backup;
    let mut options = backup.login().clone();
    options["state_directory"] = json!(backup.state_directory());
    let mut all = json!({"backstay_repository": backup.repository(), "backstay_options": options});
    merge(&mut all, more);
    all
}

/// Variables of `ebs_restore` that start the copy beside the original.
fn beside(cloud: &Cloud, destination: &Destination, more: &Value) -> Value {
    let mut settings = destination.settings();
    settings["ssl"] = json!("off");
    let mut all = json!({
        "backstay_mount_points": cloud.mapping(),
        "backstay_settings": settings,
        "backstay_recovery_options": {"bin_dir": cloud.scene.server.bin()},
    });
    merge(&mut all, more);
    variables(cloud, &all)
}

#[test]
fn a_backup_of_three_volumes_and_its_restore() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(17);
    cloud.ec2().on("CreateSnapshots").pending_for(Duration::from_secs(3));
    let ansible = ansible(&cloud);
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    let taken = variables(&cloud, &json!({"backstay_backup_id": "nightly"}));
    let run = ansible.playbook("backstay.postgresql.ebs_snapshot_backup", &taken).ok();
    let ledger = writer.stop();
    assert!(run.output.contains("backup nightly is complete"), "{}", run.output);
    assert_eq!(cloud.ec2().calls("CreateSnapshots").len(), 1);
    assert_eq!(cloud.ec2().calls("CreateSnapshot").len(), 0);
    let manifest = cloud.scene.manifest("nightly");
    assert_eq!(manifest["state"], json!("complete"));
    assert_eq!(manifest["snapshots"].as_array().map(Vec::len), Some(3));
    for snapshot in cloud.ec2().snapshots() {
        assert_eq!(snapshot.tags["backstay:state"], "taken");
        assert_eq!(snapshot.tags["backstay:backup-id"], "nightly");
        assert!(cloud.ids().contains(&snapshot.volume), "{snapshot:?}");
    }

    let destination = Destination::new(&User::of_servers(), Some(&cloud.restored("data")));
    let restored = beside(&cloud, &destination, &json!({}));
    let mut copy = Server::adopt(17, destination);
    copy.announce_log("the database system is");
    let _ = ansible.playbook("backstay.postgresql.ebs_restore", &restored).ok();
    let held = ledger.assert_all_in(&copy, run.task("Stop the backup").text("stop_lsn"));
    assert!(held >= 20, "only {held} transactions");
    amcheck(&copy);
}

/// The playbook is killed, with all that it started except the keeper, and run again.
#[test]
fn a_playbook_that_is_killed_at_any_step_is_run_again_and_leaves_nothing() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let cloud = Cloud::of(14);
    let ansible = ansible(&cloud);
    let _ = cloud.ec2().on("CreateSnapshots").pending_for(Duration::from_secs(2));
    let calls = |action: &str| cloud.ec2().calls(action).len();
    let state = |id: &str| backup_state(&cloud, id);
    // what has just been reached when it is killed, and the call of EC2's that takes long then
    let steps: [(&str, Option<&str>, Reached<'_>); 7] = [
        ("the session begins", None, &|id, _, _| cloud.scene.session_folder(id).exists()),
        ("the set is asked for", Some("CreateSnapshots"), &|_, _, before| {
            calls("CreateSnapshots") > before
        }),
        ("the set is on record", None, &|_, run, _| run.has_done("Take the snapshots")),
        ("the backup is stopped", None, &|id, _, _| state(id) == "stopped"),
        ("the WAL is there", None, &|id, _, _| state(id) == "uploading"),
        ("the upload is asked for", Some("DescribeSnapshots"), &|_, _, before| {
            calls("DescribeSnapshots") > before
        }),
        ("it is complete", None, &|id, _, _| state(id) == "complete"),
    ];
    let mut seen = BTreeSet::new();
    for (number, (step, slow, reached)) in steps.into_iter().enumerate() {
        let before = slow.map_or(0, calls);
        if let Some(action) = slow {
            let _ = cloud.ec2().on(action).delay(Duration::from_secs(3));
        }
        let killed = format!("killed-{number}");
        let taken = variables(&cloud, &json!({"backstay_backup_id": killed}));
        let running = ansible.start_playbook("backstay.postgresql.ebs_snapshot_backup", &taken);
        wait_until(step, Duration::from_secs(60), || reached(&killed, &running, before));
        kill(running.pid());
        let _ = running.wait();
        let _ = seen.insert(state(&killed));
        if let Some(action) = slow {
            // whoever was killed, EC2 does what it was asked for
            std::thread::sleep(Duration::from_secs(3));
            let _ = cloud.ec2().on(action).delay(Duration::ZERO);
        }

        let good = format!("good-{number}");
        // nothing that failed is kept for long, so that it can be seen to go
        let again =
            variables(&cloud, &json!({"backstay_backup_id": good, "backstay_clean_up": false}));
        let run = ansible.playbook("backstay.postgresql.ebs_snapshot_backup", &again).ok();
        assert!(run.output.contains(&format!("backup {good} is complete")), "{}", run.output);
        // after the stop the WAL stays within reach of a later wal_fetch, and that is all
        assert_ne!(cloud.scene.info(&killed)["in_backup_mode"], json!(true), "{step}");
        let expire = json!({"grace": 0});
        let _ = cloud.ask(&cloud.of_repository("ebs_expire", &expire)).ok();
        assert_no_orphans(&cloud, step);
    }
    // it was killed where it was meant to be
    for state in ["started", "stopped", "uploading", "complete"] {
        assert!(seen.contains(state), "{seen:?}");
    }
}

/// Whether the playbook that takes the backup of that id has come so far; the number of slow calls before it.
type Reached<'a> = &'a dyn Fn(&str, &Running, usize) -> bool;

/// The state in the backup manifest; empty where there is none yet.
fn backup_state(cloud: &Cloud, id: &str) -> String {
    let path = cloud.scene.backup_folder(id).join("backup.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
    manifest["state"].as_str().unwrap_or_default().to_owned()
}

/// Every snapshot is one of a backup that can be restored, and has all its others.
#[track_caller]
fn assert_no_orphans(cloud: &Cloud, step: &str) {
    let folder = cloud.scene.backup.repository().join("main/backups");
    let ids = std::fs::read_dir(folder).expect("backups").flatten();
    let ids = ids.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut named = BTreeSet::new();
    for id in ids {
        let manifest = cloud.scene.manifest(&id);
        let state = manifest["state"].as_str().unwrap_or_default().to_owned();
        if state == "complete" || state == "uploading" {
            let list = manifest["snapshots"].as_array().cloned().unwrap_or_default();
            assert_eq!(list.len(), 3, "killed in \"{step}\": {manifest:#}");
            named.extend(list.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())));
        } else {
            assert!(
                ["failed", "expired"].contains(&&*state),
                "killed in \"{step}\": {id} is {state}"
            );
        }
    }
    let there: BTreeSet<_> = cloud.ec2().snapshots().into_iter().map(|found| found.id).collect();
    assert_eq!(there, named, "killed in \"{step}\"");
}

/// Ends `ansible-playbook` and everything below it.
fn kill(pid: u32) {
    let mut all = command::descendants(pid);
    all.insert(0, pid);
    for pid in all {
        command::signal(pid, Signal::SIGKILL);
    }
}

/// What the above is worth: the same cluster under the same load, its volumes taken one by one and without backup mode,
/// as the console does it, does not come back whole. In some rounds it does, which is why people do it.
#[test]
fn single_snapshots_without_backup_mode_lose_transactions_or_do_not_start() {
    if !need::can_run(need::root()) || !Volumes::possible() {
        return;
    }
    let outcomes: Vec<Result<(), String>> = (0..4).map(one_by_one).collect();
    let broken = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    eprintln!("{broken} of {} rounds were lost: {outcomes:?}", outcomes.len());
    assert!(broken > 0, "every round came back whole: the tests of whole sets prove nothing");
}

/// One round; with the volumes in another order each time.
fn one_by_one(round: usize) -> Result<(), String> {
    let mut cloud = Cloud::of(17);
    let writer = Writer::start(&cloud.scene.server, 2);
    writer.wait_for(20);
    let mut volumes = cloud.ids();
    volumes.rotate_left(round % 3);
    let before = cloud.scene.server.query("select pg_current_wal_flush_lsn()");
    for volume in &volumes {
        let _ = cloud.ec2().ask(&format!("Action=CreateSnapshot&VolumeId={volume}"));
        // the next call takes a while, and the server goes on
        writer.wait_for(50);
        cloud.scene.server.execute("checkpoint");
    }
    let (ledger, _) = writer.stop_whatever_happened();
    let server = &mut cloud.scene.server;
    // the log of what comes back is not announced line by line: what it says is the result
    server.announce_log("");
    server.stop(Stop::Immediate);
    for mounted in [&cloud.space, &cloud.wal, &cloud.data] {
        command::run(Command::new("umount").arg(&mounted.mount_point));
    }
    let snapshots = cloud.ec2().snapshots();
    for (mounted, name) in
        [(&cloud.data, "data"), (&cloud.wal, "wal"), (&cloud.space, "data/tablespace 1")]
    {
        let taken = snapshots.iter().find(|found| found.volume == mounted.volume);
        let _ = cloud.volumes.copy(&taken.expect("each was taken").id, name);
    }
    let server = &mut cloud.scene.server;
    let _ = std::fs::remove_file(server.data_directory().join("postmaster.pid"));
    let come_back = std::panic::AssertUnwindSafe(|| {
        server.start();
        let _ = ledger.assert_all_in(server, &before);
        amcheck(server);
    });
    std::panic::catch_unwind(come_back).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

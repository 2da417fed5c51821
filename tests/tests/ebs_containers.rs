//! The question this collection began with: PostgreSQL in a Docker container on an EC2 instance, saved by EBS snapshots
//! in backup mode together with the WAL.

use std::time::Duration;

use backstay_tests::docker::{Data, Setup};
use backstay_tests::place::{SERVER_USER, User};
use backstay_tests::scene::{merged, session};
use backstay_tests::volumes::Format;
use backstay_tests::{
    Ansible, ContainerScene, ContainerServer, Core, Destination, Docker, Server, Volumes, amcheck,
};
use serde_json::{Value, json};

/// Volumes first: the engine must see what is mounted.
fn scene(volumes: &Volumes, major: u32) -> (ContainerScene, Value) {
    let data = volumes.add("data", Format::Xfs);
    let wal = volumes.add("wal", Format::Ext4);
    let _ = volumes.add_unused(1);
    let setup =
        Setup { major, data: Data::Layer, initdb: "--waldir=/srv/pg/wal", ..Setup::default() };
    let directories = [(&*data.mount_point, "/var/lib/pg"), (&*wal.mount_point, "/srv/pg")];
    let scene = ContainerScene::around(ContainerServer::start_on(&setup, &directories));
    // only what is flushed is sure to be in a snapshot of blocks
    let _ = scene.server.inside().query("alter system set fsync to on");
    let _ = scene.server.inside().query("select pg_reload_conf()");
    volumes.flush();
    let new = |name: &str| json!(volumes.mount_point("restored").join(name));
    let old =
        |mounted: &backstay_tests::volumes::Mounted| mounted.mount_point.display().to_string();
    let mapping = json!({old(&data): new("data"), old(&wal): new("wal")});
    (scene, mapping)
}

fn ansible(volumes: &Volumes, scene: &ContainerScene) -> Ansible {
    let (name, engine) = scene.server.docker().variable();
    let mut variables = volumes.variables();
    variables.push((name.to_owned(), engine));
    let local = Ansible::local(Core::Newest);
    variables.iter().fold(local, |ansible, (name, value)| ansible.env(name, value))
}

#[test]
fn a_server_in_docker_on_ebs_is_saved_and_restored_to_the_host() {
    if !(Docker::possible() && Volumes::possible()) {
        return;
    }
    let volumes = Volumes::start();
    volumes.ec2().on("CreateSnapshots").pending_for(Duration::from_secs(2));
    let (scene, mapping) = scene(&volumes, 15);
    let ansible = ansible(&volumes, &scene);
    let common = json!({
        "backstay_repository": scene.backup.repository(),
        "backstay_options": merged(scene.backup.login(), &json!({"state_directory": scene.backup.state_directory()})),
    });
    let writer = scene.server.inside().writer(0);
    writer.wait_for(50);
    let backup =
        json!({"backstay_container": scene.server.name(), "backstay_backup_id": "nightly"});
    let run =
        ansible.playbook("backstay.postgresql.ebs_snapshot_backup", &merged(&common, &backup)).ok();
    writer.wait_for(50);
    let ledger = writer.stop();
    scene.server.inside().wait_until_left();
    assert!(run.output.contains("backup nightly is complete"), "{}", run.output);
    assert_eq!(volumes.ec2().calls("CreateSnapshots").len(), 1);
    assert_eq!(volumes.ec2().snapshots().len(), 2);

    let destination =
        Destination::new(&User::of_servers(), Some(&volumes.mount_point("restored").join("data")));
    let rules = destination.socket_directory().join("pg_hba.conf");
    std::fs::write(&rules, "local all all trust\n").expect("a file in the test's place");
    let restore = json!({
        "backstay_options": {"state_directory": scene.backup.state_directory()},
        "backstay_mount_points": mapping,
        "backstay_owner": SERVER_USER,
        "backstay_settings": merged(&destination.settings(), &json!({"hba_file": rules})),
        "backstay_recovery_options": {
            "bin_dir": backstay_tests::server::bin_directory(15),
            "group": SERVER_USER,
        },
    });
    let mut copy = Server::adopt(15, destination);
    copy.announce_log("the database system is");
    let _ = ansible.playbook("backstay.postgresql.ebs_restore", &merged(&common, &restore)).ok();
    let held = ledger.assert_all_in(&copy, run.task("Stop the backup").text("stop_lsn"));
    assert!(held >= 50, "only {held} transactions");
    copy.execute("create extension amcheck");
    amcheck(&copy);
}

/// Of a server that flushes nothing, a snapshot of volumes may be older than the backup's start.
#[test]
fn a_server_without_fsync_is_warned_of() {
    if !(Docker::possible() && Volumes::possible()) {
        return;
    }
    let volumes = Volumes::start();
    let (scene, _) = scene(&volumes, 17);
    let start = scene.start("b1", &json!({}));
    assert!(!start.result["warnings"].to_string().contains("fsync"), "{:#}", start.result);
    let _ = scene.ask(&scene.backup.abort(&session("b1"))).ok();
    for sql in ["alter system set fsync to off", "select pg_reload_conf()"] {
        let _ = scene.server.inside().query(sql);
    }
    backstay_tests::wait_until("the setting holds", Duration::from_secs(10), || {
        scene.server.inside().query("show fsync") == "off"
    });
    let start = scene.start("b2", &json!({}));
    let warnings = start.result["warnings"].to_string();
    assert!(warnings.contains("fsync = off"), "{:#}", start.result);
    let _ = scene.ask(&scene.backup.abort(&session("b2"))).ok();
}

/// The engine restarts the container while EC2 keeps the task waiting: no snapshot is taken of what is no backup.
#[test]
fn a_container_that_is_restarted_while_ec2_keeps_waiting_ends_the_snapshot() {
    if !(Docker::possible() && Volumes::possible()) {
        return;
    }
    let volumes = Volumes::start();
    let (mut scene, _) = scene(&volumes, 16);
    scene.server.announce_log("terminating connection");
    let _ = scene.start("b1", &json!({}));
    let _ = volumes.ec2().on("CreateSnapshots").fail_times(1000, "RequestLimitExceeded");
    let options =
        merged(&session("b1"), &json!({"state_directory": scene.backup.state_directory()}));
    let ansible = ansible(&volumes, &scene);
    let running =
        ansible.start(&json!([{"name": "snapshot", "backstay.postgresql.ebs_snapshot": options}]));
    backstay_tests::wait_until("it is refused", Duration::from_secs(30), || {
        volumes.ec2().calls("CreateSnapshots").len() > 1
    });
    scene.server.docker().run(&["restart", "--time=20", scene.server.name()]);
    scene.server.wait_until_ready();
    let run = running.wait();
    let failed = run.failure();
    backstay_tests::scene::assert_failed(
        &failed.result,
        backstay_tests::docker::scene::LOST,
        "off",
    );
    assert!(volumes.ec2().snapshots().is_empty());
}

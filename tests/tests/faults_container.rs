//! What can happen to a container during a backup, what is no container to save,
//! and containers that would have the host's files saved.

use std::path::Path;
use std::time::Duration;

use backstay_tests::docker::Setup;
use backstay_tests::docker::scene::{LOST, SOON, ask};
use backstay_tests::place::User;
use backstay_tests::scene::{Asked, Reply, merged, session};
use backstay_tests::{Backup, ContainerScene, Docker, Place, wait_until};
use serde_json::{Value, json};

/// What PostgreSQL says of a shutdown.
const TERMINATED: &str = "terminating connection due to administrator command";

#[test]
fn a_container_that_is_restarted_made_again_or_paused_is_a_lost_session() {
    if !Docker::possible() {
        return;
    }
    let mut story = ContainerScene::of(&Setup { major: 15, ..Setup::default() });
    story.server.announce_log(TERMINATED);
    let name = story.server.name().to_owned();
    let _ = story.start("b1", &json!({}));
    story.server.docker().run(&["restart", "--time=20", &name]);
    story.server.wait_until_ready();
    story.assert_lost("b1", &[&name, "restarted"]);

    let _ = story.start("b2", &json!({}));
    story.server.docker().run(&["rm", "--force", &name]);
    story.server.create();
    story.assert_lost("b2", &[&name, "made again"]);
    story.server.inside().wait_until_left();

    // asked while it is paused
    let _ = story.start("b3", &json!({}));
    story.server.docker().run(&["pause", &name]);
    story.assert_lost("b3", &[&name, "paused"]);
    story.server.docker().run(&["unpause", &name]);
    story.server.inside().wait_until_left();

    // found by the keeper itself, asked when it goes on again
    let _ = story.start("b4", &json!({}));
    story.server.docker().run(&["pause", &name]);
    wait_until("the keeper has noticed", Duration::from_secs(30), || {
        let info = story.ask(&story.backup.info(&session("b4"))).ok();
        info.result["sessions"][0]["state"] == json!("aborted")
    });
    story.server.docker().run(&["unpause", &name]);
    story.assert_lost("b4", &[&name, "paused"]);
    story.server.inside().wait_until_left();

    // which is no reason that a new backup should not succeed
    let _ = story.start("b5", &json!({}));
    let _ = story.finish("b5");
}

/// After the stop the backup is only short of its WAL, which is where it was if
/// the files outlived the container.
#[test]
fn a_container_that_is_made_again_after_the_stop_misses_wal_by_name_and_a_paused_one_does_not() {
    if !Docker::possible() {
        return;
    }
    let story = ContainerScene::of(&Setup { major: 16, ..Setup::default() });
    let _ = story.start("b1", &json!({}));
    let _ = story.ask(&story.backup.snapshot(&session("b1"))).ok();
    let stop = story.ask(&story.backup.stop(&session("b1"))).ok();
    story.server.docker().run(&["rm", "--force", story.server.name()]);
    story.server.create();
    // the new server's recovery was a crash's, after which it needs that segment no more
    let fetch = merged(&session("b1"), &json!({"wait_timeout": 1}));
    let reply = story.ask(&story.backup.fetch(&fetch));
    let segment = stop.word("wal_start_segment");
    reply.assert_tells(&["wal_archive_timeout"], "off", &[segment, "within 1 s"]);
    assert_eq!(story.manifest("b1")["state"], json!("stopped"));

    // one that is only paused has it still
    let _ = story.start("b2", &json!({}));
    let _ = story.ask(&story.backup.snapshot(&session("b2"))).ok();
    let _ = story.ask(&story.backup.stop(&session("b2"))).ok();
    story.server.docker().run(&["pause", story.server.name()]);
    let reply = story.ask(&story.backup.fetch(&session("b2")));
    assert!(reply.took < SOON, "it took {:?}", reply.took);
    story.server.docker().run(&["unpause", story.server.name()]);
    assert_eq!(reply.ok().word("state"), "complete");
    assert_eq!(story.manifest("b2")["state"], json!("complete"));
    story.server.inside().wait_until_left();
}

#[test]
fn a_container_that_is_paused_during_a_copy_ends_it() {
    if !Docker::possible() {
        return;
    }
    let story = ContainerScene::of(&Setup { major: 17, ..Setup::default() });
    let name = story.server.name().to_owned();
    let _ = story.start("b1", &json!({}));
    let begun = story.backup.place().join("begun");
    let program = format!("touch '{}'; sleep 60", begun.display());
    let options = json!({"provider": "command", "command": ["/bin/sh", "-ec", program]});
    let task = story.backup.snapshot(&merged(&session("b1"), &options));
    let asked = Asked::of(&task, &User::current());
    wait_until("the program of the snapshot runs", Duration::from_secs(20), || begun.exists());
    story.server.docker().run(&["pause", &name]);
    let reply = asked.reply();
    assert!(reply.took < SOON, "it took {:?}", reply.took);
    let mode = reply.word("backup_mode").to_owned();
    reply.assert_tells(LOST, &mode, &[&name, "paused"]);
    story.server.docker().run(&["unpause", &name]);
    story.server.inside().wait_until_left();
}

#[test]
fn what_names_no_running_container_is_told() {
    if !Docker::possible() {
        return;
    }
    let story = ContainerScene::of(&Setup { major: 14, ..Setup::default() });
    let name = story.server.name().to_owned();
    let start = |more: Value| story.backup.start(&merged(&json!({"backup_id": "b1"}), &more));
    let missing = story.ask(&start(json!({"container": "no-such-container"})));
    assert_refused(&missing, &["container_not_found"], &["\"no-such-container\"", "docker"]);
    let both = story.ask(&start(json!({"login_pid": 1})));
    assert_refused(&both, &["invalid_argument"], &["container", "login_pid"]);
    let gone = story.ask(&start(json!({"container": null, "login_pid": 4_190_000})));
    assert_refused(&gone, &["process_not_found"], &["4190000"]);
    assert_needs_engine_and_root(&story);
    story.server.docker().run(&["pause", &name]);
    let paused = story.ask(&start(json!({})));
    assert_refused(&paused, &["container_not_running"], &[&name, "paused"]);
    story.server.docker().run(&["unpause", &name]);
    story.server.docker().run(&["stop", "--time=20", &name]);
    let stopped = story.ask(&start(json!({})));
    assert_refused(&stopped, &["container_not_running"], &[&name, "exited"]);
    assert!(!story.backup.repository().join("main/backups/b1").exists());
}

fn assert_needs_engine_and_root(story: &ContainerScene) {
    let id = json!({"backup_id": "b1"});
    let (variable, engine) = story.server.docker().variable();
    let nowhere = story.server.docker().place().join("nowhere");
    let nowhere = format!("unix://{}", nowhere.display());
    let reply = ask(&story.backup.start(&id), &User::current(), &[(variable, &nowhere)]);
    // a machine may have an engine of its own, which then knows no such container
    assert_refused(&reply, &["connection_failed", "container_not_found"], &[]);
    if !["/run/docker.sock", "/run/podman/podman.sock"].iter().any(|s| Path::new(s).exists()) {
        assert_refused(&reply, &["connection_failed"], &["/nowhere"]);
    }
    let nobody = Backup::by(story.backup.login().clone(), 14, &User::of_servers());
    let reply = ask(&nobody.start(&id), nobody.user(), &[(variable, &engine)]);
    assert_refused(&reply, &["insufficient_privilege"], &["container", "root"]);
}

/// The task failed before there was a backup, in one of these ways.
#[track_caller]
fn assert_refused(reply: &Reply, kinds: &[&str], texts: &[&str]) {
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert!(kinds.contains(&reply.word("error_kind")), "{:#}", reply.result);
    for text in texts {
        assert!(reply.message().contains(text), "\"{text}\" is not in: {}", reply.message());
    }
}

/// Links that lead out of the data directory lead to where the container's own
/// root has them; what the host has there stays unread.
#[test]
fn links_in_a_container_lead_to_nothing_of_the_host() {
    if !Docker::possible() {
        return;
    }
    let secret = Place::new();
    let outside = secret.path().display().to_string();
    std::fs::write(secret.join("secret"), "of the host").expect("a file in the test's place");
    let mut story =
        ContainerScene::of(&Setup { initdb: "--waldir=/srv/pg/wal", ..Setup::default() });
    // /srv/pg/link/ts1, by a link that counts more steps up than there are
    story.server.shell("mkdir -p /etc/real; ln -s ../../../../../../../../etc/real /srv/pg/link");
    story.add_tablespace("/srv/pg/link/ts1");
    story.assert_saves("b1", &json!({}), Some("/srv/pg/link/ts1"));

    // what is swapped in the middle of a backup
    let _ = story.start("b2", &json!({}));
    story.server.shell(&format!(
        "mv /etc/real/ts1 /etc/real/aside; ln -s {outside} /etc/real/ts1; \
         ln -s {outside}/secret /var/lib/pg/data/planted; ln -s {outside} /var/lib/pg/data/base/planted"
    ));
    let reply = story.ask(&story.backup.snapshot(&session("b2")));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    let _ = story.ask(&story.backup.abort(&session("b2"))).ok();
    assert!(!holds(&story.backup.repository(), "of the host"), "the host's file was copied");
    story.server.shell(
        "rm /etc/real/ts1 /var/lib/pg/data/planted /var/lib/pg/data/base/planted; \
         mv /etc/real/aside /etc/real/ts1",
    );

    // the server cannot go on without its WAL, but it has stopped the backup
    let _ = story.start("b3", &json!({}));
    let _ = story.ask(&story.backup.snapshot(&session("b3"))).ok();
    let stop = story.ask(&story.backup.stop(&session("b3"))).ok();
    std::fs::write(secret.join(stop.word("wal_start_segment")), "of the host")
        .expect("a file in the test's place");
    story.server.announce_log("");
    story.server.shell(&format!("mv /srv/pg/wal /srv/pg/aside; ln -s {outside} /srv/pg/wal"));
    let fetch = merged(&session("b3"), &json!({"wait_timeout": 2}));
    let reply = story.ask(&story.backup.fetch(&fetch));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert!(!holds(&story.backup.repository(), "of the host"), "the host's file was copied");
}

/// Whether a file below `directory` has this text.
fn holds(directory: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let kind = path.symlink_metadata().map(|found| found.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => holds(&path, text),
            Ok(kind) if kind.is_file() => {
                std::fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes())
            }
            _ => false,
        }
    })
}

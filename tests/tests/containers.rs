//! Servers in containers, saved from the host: reached through the container's
//! own socket or network, their files through its mounts.

use backstay_tests::docker::scene::{ask, assert_restores, restore_task};
use backstay_tests::docker::{Data, Engine, Setup};
use backstay_tests::inside::{Inside, Way};
use backstay_tests::place::User;
use backstay_tests::scene::{merged, session};
use backstay_tests::{
    Ansible, Backup, Become, Container, ContainerScene, Core, Destination, Docker, Nspawn, Server,
};
use serde_json::json;

/// The play of a user: data in a named volume, the server's own user believed by
/// the socket, whom the host has no name for. Only the first task asks the engine.
#[test]
fn a_play_saves_a_server_in_docker_and_restores_it_to_the_host() {
    if !Docker::possible() {
        return;
    }
    let story = ContainerScene::of(&Setup::default());
    let tablespace = "/var/lib/pg/ts1";
    story.add_tablespace(tablespace);
    let ansible = Ansible::local(Core::Newest).becoming(Become::Root);
    let writer = story.server.inside().writer(1);
    writer.wait_for(50);
    let (name, engine) = story.server.docker().variable();
    let mut start = story.backup.start(&json!({}));
    start["environment"] = json!({name: engine});
    let destination = Destination::new(&User::of_servers(), None);
    let none = json!({});
    let run = ansible.tasks(&json!([
        start,
        story.backup.info(&none),
        story.backup.snapshot(&none),
        story.backup.stop(&none),
        story.backup.fetch(&none),
        restore_task(&story.backup, &destination, Some(tablespace)),
    ]));
    let run = run.ok();
    writer.wait_for(50);
    let ledger = writer.stop();
    let info = &run.task("backup_info").result["sessions"][0];
    assert_eq!(info["in_backup_mode"], json!(true), "{info:#}");
    let restored = Server::adopt(story.server.setup().major, destination);
    let stop_lsn = run.task("backup_stop").text("stop_lsn");
    assert!(ledger.assert_all_in(&restored, stop_lsn) > 0);
    assert!(!run.output.contains(&engine), "the environment is in the play's output");
}

#[test]
fn a_server_is_found_by_the_beginning_of_an_id_and_proves_who_it_is_by_password() {
    if !Docker::possible() {
        return;
    }
    let setup = Setup {
        major: 16,
        data: Data::Bind,
        way: Way::Scram,
        initdb: "--waldir=/srv/pg/wal",
        ..Setup::default()
    };
    let story = ContainerScene::of(&setup);
    story.add_tablespace("/srv/pg/ts1");
    let id: String = story.server.id().chars().take(12).collect();
    story.assert_saves("b1", &json!({"container": id}), Some("/srv/pg/ts1"));
    // and a password that is wrong is the server's to refuse
    let mut story = story;
    story.server.announce_log("password authentication failed");
    let wrong = json!({"login_password": "wrong", "backup_id": "b2"});
    let reply = story.ask(&story.backup.start(&wrong));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert!(reply.message().contains("password authentication failed"), "{}", reply.message());
}

#[test]
fn a_server_without_a_socket_is_reached_through_its_own_network() {
    if !Docker::possible() {
        return;
    }
    let setup = Setup { major: 13, data: Data::Layer, way: Way::Network, ..Setup::default() };
    let story = ContainerScene::of(&setup);
    assert!(std::net::TcpStream::connect("127.0.0.1:5432").is_err(), "the host has one as well");
    story.assert_saves("b1", &json!({}), None);
}

/// A machine without an engine: the container is named by one of its processes.
#[test]
fn a_server_in_nspawn_is_saved_by_a_process_id() {
    if !Container::possible() {
        return;
    }
    for (major, way) in [(15, Way::Peer), (17, Way::Network)] {
        let server = Nspawn::start(major, way);
        // the container's first process, or the server's
        let pid = if way == Way::Peer { server.postmaster() } else { server.processes()[0] };
        let login = merged(&way.login(), &json!({"login_pid": pid}));
        let backup = Backup::by(login, major, &User::current());
        let inside: Inside = server.inside();
        let writer = inside.writer(0);
        writer.wait_for(50);
        let root = User::current();
        let _ = ask(&backup.start(&json!({"backup_id": "b1"})), &root, &[]).ok();
        writer.wait_for(50);
        let _ = ask(&backup.snapshot(&session("b1")), &root, &[]).ok();
        let stop = ask(&backup.stop(&session("b1")), &root, &[]).ok();
        let _ = ask(&backup.fetch(&session("b1")), &root, &[]).ok();
        writer.wait_for(50);
        let ledger = writer.stop();
        inside.wait_until_left();
        assert_restores(&backup, major, None, &ledger, stop.word("stop_lsn"));
    }
}

/// The container is not on EBS, as `volume_info` says in the server's words and
/// the host's.
#[test]
fn volume_info_names_what_the_container_is_on() {
    if !Docker::possible() {
        return;
    }
    let story = ContainerScene::of(&Setup { major: 18, data: Data::Layer, ..Setup::default() });
    let options = merged(
        story.backup.login(),
        &json!({"state_directory": story.backup.state_directory(), "instance": false}),
    );
    let reply = story.ask(&json!({"backstay.postgresql.volume_info": options}));
    assert_eq!(reply.result["failed"], json!(true), "{:#}", reply.result);
    assert_eq!(reply.word("error_kind"), "snapshot_not_covered");
    for text in ["/var/lib/pg/data", "overlay"] {
        assert!(reply.message().contains(text), "\"{text}\" is not in: {}", reply.message());
    }
}

/// Podman's socket answers as Docker's does, which its clients rely on, and so do we.
#[test]
fn a_server_in_podman_is_saved_and_its_restart_is_noticed() {
    if !Docker::possible_of(Engine::Podman) {
        return;
    }
    let setup = Setup { engine: Engine::Podman, major: 15, ..Setup::default() };
    let mut story = ContainerScene::of(&setup);
    story.assert_saves("b1", &json!({}), None);
    let reply = story.ask(&story.backup.start(&json!({"container": "no-such", "backup_id": "b2"})));
    assert_eq!(reply.result["error_kind"], json!("container_not_found"), "{:#}", reply.result);
    story.server.announce_log("terminating connection");
    let name = story.server.name().to_owned();
    let _ = story.start("b3", &json!({}));
    story.server.docker().run(&["pause", &name]);
    story.assert_lost("b3", &[&name, "paused"]);
    story.server.docker().run(&["unpause", &name]);
    story.server.inside().wait_until_left();
    let _ = story.start("b4", &json!({}));
    story.server.docker().run(&["restart", "--time=2", &name]);
    story.server.wait_until_ready();
    story.assert_lost("b4", &[&name, "restarted"]);
}

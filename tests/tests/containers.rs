//! Servers in containers, saved from the host: reached through the container's
//! own socket or network, their files through its mounts.

use std::path::Path;
use std::time::Duration;

use backstay_tests::collection::executable;
use backstay_tests::command::tied;
use backstay_tests::docker::{Data, Setup};
use backstay_tests::inside::{Inside, Way};
use backstay_tests::place::{SERVER_USER, User};
use backstay_tests::scene::{Asked, Reply, merge, merged, request, session};
use backstay_tests::{
    Ansible, Backup, Become, Container, ContainerServer, Core, Destination, Docker, Ledger, Nspawn,
    Place, Server, wait_until,
};
use serde_json::{Value, json};

/// What a lost session is.
const LOST: &[&str] = &["backup_aborted", "connection_lost"];
/// What PostgreSQL says of a shutdown.
const TERMINATED: &str = "terminating connection due to administrator command";

/// A server in Docker and a backup of it, by the name of its container.
struct Story {
    backup: Backup,
    server: ContainerServer,
}

impl Story {
    fn of(setup: &Setup) -> Self {
        let server = ContainerServer::start(setup);
        let login = merged(&setup.way.login(), &json!({"container": server.name()}));
        Self { backup: Backup::by(login, setup.major, &User::current()), server }
    }

    /// Asks the executable as root, who is told where the engine is.
    #[track_caller]
    fn ask(&self, task: &Value) -> Reply {
        let (name, engine) = self.server.docker().variable();
        ask(task, &User::current(), &[(name, &engine)])
    }

    #[track_caller]
    fn start(&self, id: &str, more: &Value) -> Reply {
        let reply = self.ask(&self.backup.start(&merged(&json!({"backup_id": id}), more))).ok();
        assert_eq!(reply.word("session"), format!("main.{id}"));
        reply
    }

    /// Snapshot, stop and WAL of the backup `id`; the reply of the stop.
    #[track_caller]
    fn finish(&self, id: &str) -> Reply {
        let _ = self.ask(&self.backup.snapshot(&session(id))).ok();
        let stop = self.ask(&self.backup.stop(&session(id))).ok();
        let fetch = self.ask(&self.backup.fetch(&session(id))).ok();
        assert_eq!(fetch.word("state"), "complete", "{:#}", fetch.result);
        stop
    }

    /// The session `id` is over, as asking for its stop says with these words,
    /// and stays over.
    #[track_caller]
    fn assert_lost(&self, id: &str, texts: &[&str]) {
        for task in [self.backup.snapshot(&session(id)), self.backup.stop(&session(id))] {
            let reply = self.ask(&task);
            let mode = reply.result["backup_mode"].as_str().unwrap_or_default().to_owned();
            assert!(["off", "unknown"].contains(&mode.as_str()), "{:#}", reply.result);
            reply.assert_tells(LOST, &mode, texts);
        }
        let info = self.ask(&self.backup.info(&session(id))).ok().result["sessions"][0].clone();
        assert_eq!(info["state"], json!("aborted"), "{info:#}");
        assert_eq!(info["in_backup_mode"], json!(false), "{info:#}");
    }

    /// The tablespace `ts1` in `directory` of the container.
    fn add_tablespace(&self, directory: &str) {
        self.server.shell(&format!("mkdir -p {directory}; chown postgres: {directory}"));
        self.server.inside().query(&format!("create tablespace ts1 location '{directory}'"));
    }
}

/// Asks the executable with these variables in its environment.
#[track_caller]
fn ask(task: &Value, user: &User, variables: &[(&str, &str)]) -> Reply {
    let mut command = tied(executable(), user);
    command.arg("run").envs(variables.iter().copied());
    Asked::by(command, &request(task)).reply()
}

/// Restores the newest backup to this host, and finds in it all that was
/// committed before `stop_lsn`. The old place of the only tablespace may be given.
#[track_caller]
fn assert_restores(
    backup: &Backup,
    major: u32,
    tablespace: Option<&str>,
    ledger: &Ledger,
    stop_lsn: &str,
) {
    let destination = Destination::new(&User::of_servers(), None);
    let _ = ask(&restore_task(backup, &destination, tablespace), &User::current(), &[]).ok();
    let restored = Server::adopt(major, destination);
    assert!(ledger.assert_all_in(&restored, stop_lsn) > 0);
}

/// `cluster_restore` to this host, where another rule says who is believed.
fn restore_task(backup: &Backup, destination: &Destination, tablespace: Option<&str>) -> Value {
    let place = destination.data_directory();
    let rules = place.with_file_name("pg_hba.conf");
    std::fs::write(&rules, "local all all trust\n").expect("a file in the test's place");
    let mut options = json!({
        "owner": SERVER_USER,
        "group": SERVER_USER,
        "settings": merged(&destination.settings(), &json!({"hba_file": rules})),
    });
    if let Some(old) = tablespace {
        merge(&mut options, &json!({"tablespace_mapping": {old: place.with_file_name("ts1")}}));
    }
    backup.restore_to(destination, &options)
}

/// A whole backup under load by the executable, and its restore to this host.
fn whole(story: &Story, id: &str, more: &Value, tablespace: Option<&str>) {
    let inside = story.server.inside();
    let writer = inside.writer(usize::from(tablespace.is_some()));
    writer.wait_for(50);
    let start = story.start(id, more);
    assert_eq!(start.word("state"), "in_progress");
    writer.wait_for(50);
    let stop = story.finish(id);
    writer.wait_for(50);
    let ledger = writer.stop();
    inside.wait_until_left();
    let stop_lsn = stop.word("stop_lsn");
    assert_restores(&story.backup, story.server.setup().major, tablespace, &ledger, stop_lsn);
}

/// The play of a user: data in a named volume, the server's own user believed by
/// the socket, whom the host has no name for. Only the first task asks the engine.
#[test]
fn a_play_saves_a_server_in_docker_and_restores_it_to_the_host() {
    if !Docker::possible() {
        return;
    }
    let story = Story::of(&Setup::default());
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
    let setup =
        Setup { major: 16, data: Data::Bind, way: Way::Scram, initdb: "--waldir=/srv/pg/wal" };
    let story = Story::of(&setup);
    story.add_tablespace("/srv/pg/ts1");
    let id: String = story.server.id().chars().take(12).collect();
    whole(&story, "b1", &json!({"container": id}), Some("/srv/pg/ts1"));
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
    let story = Story::of(&setup);
    assert!(std::net::TcpStream::connect("127.0.0.1:5432").is_err(), "the host has one as well");
    whole(&story, "b1", &json!({}), None);
}

#[test]
fn a_container_that_is_restarted_made_again_or_paused_is_a_lost_session() {
    if !Docker::possible() {
        return;
    }
    let mut story = Story::of(&Setup { major: 15, ..Setup::default() });
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
fn a_container_that_is_made_again_after_the_stop_does_not_make_wal_up() {
    if !Docker::possible() {
        return;
    }
    let story = Story::of(&Setup { major: 16, ..Setup::default() });
    let _ = story.start("b1", &json!({}));
    let _ = story.ask(&story.backup.snapshot(&session("b1"))).ok();
    let stop = story.ask(&story.backup.stop(&session("b1"))).ok();
    story.server.docker().run(&["rm", "--force", story.server.name()]);
    story.server.create();
    let fetch = merged(&session("b1"), &json!({"wait_timeout": 5}));
    let reply = story.ask(&story.backup.fetch(&fetch));
    println!("{:#} {:#}", stop.result, reply.result);
    assert_eq!(1, 2);
}

#[test]
fn a_container_that_is_paused_during_a_copy_ends_it() {
    if !Docker::possible() {
        return;
    }
    let story = Story::of(&Setup { major: 17, ..Setup::default() });
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
    assert!(reply.took < Duration::from_secs(40), "it took {:?}", reply.took);
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
    let story = Story::of(&Setup { major: 14, ..Setup::default() });
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

fn assert_needs_engine_and_root(story: &Story) {
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
    let mut story = Story::of(&Setup { initdb: "--waldir=/srv/pg/wal", ..Setup::default() });
    // /srv/pg/link/ts1, by a link that counts more steps up than there are
    story.server.shell("mkdir -p /etc/real; ln -s ../../../../../../../../etc/real /srv/pg/link");
    story.add_tablespace("/srv/pg/link/ts1");
    whole(&story, "b1", &json!({}), Some("/srv/pg/link/ts1"));

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
    let story = Story::of(&Setup { major: 18, data: Data::Layer, ..Setup::default() });
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

//! The fixtures of servers in containers themselves.

use backstay_tests::docker::{Data, OWNER, Setup};
use backstay_tests::inside::{DATA_DIRECTORY, SOCKETS, Way};
use backstay_tests::{Container, ContainerServer, Docker, Nspawn};

#[test]
fn a_server_in_docker_keeps_its_files_where_it_should_and_is_paused_and_made_again() {
    if !Docker::possible() {
        return;
    }
    let mut server = ContainerServer::start(&Setup { major: 14, ..Setup::default() });
    let before = server.inside();
    before.query("create table t as select 1 as one");
    let status = std::fs::read_to_string(format!("/proc/{}/status", before.pid()));
    assert!(status.expect("it runs").contains(&format!("Uid:\t{OWNER}")));
    assert!(nix::unistd::User::from_uid(OWNER.into()).expect("a user database").is_none());
    assert!(before.path(SOCKETS).join(".s.PGSQL.5432").exists());
    assert!(before.path(DATA_DIRECTORY).join("PG_VERSION").exists());
    let id = server.id();
    server.announce_log("terminating connection");
    server.docker().run(&["restart", "--time=20", server.name()]);
    server.wait_until_ready();
    assert_eq!((server.id(), server.inside().query("select one from t")), (id.clone(), "1".into()));
    server.docker().run(&["rm", "--force", server.name()]);
    server.create();
    assert_ne!(server.id(), id);
    assert_eq!(server.inside().query("select one from t"), "1");
    server.docker().run(&["pause", server.name()]);
    // left so: what is frozen must not outlive the engine either
    let pid = server.inside().pid();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn servers_in_docker_are_reached_in_each_way() {
    if !Docker::possible() {
        return;
    }
    for (data, way) in [(Data::Bind, Way::Scram), (Data::Layer, Way::Network)] {
        let server = ContainerServer::start(&Setup { data, way, ..Setup::default() });
        let writer = server.inside().writer(0);
        writer.wait_for(10);
        assert!(writer.stop().len() >= 10);
        let sockets = server.inside().path(SOCKETS).read_dir().expect("it is there").count();
        assert_eq!(sockets > 0, way != Way::Network);
        let outside = server.docker().place().join("bound/data/PG_VERSION");
        assert_eq!(outside.exists(), data == Data::Bind);
    }
}

#[test]
fn a_server_in_nspawn_is_reached() {
    if !Container::possible() {
        return;
    }
    let server = Nspawn::start(15, Way::Peer);
    assert!(server.processes().len() > 2);
    assert_eq!(server.inside().query("select 1"), "1");
    assert!(server.bound().join("data/PG_VERSION").exists());
    let pid = server.postmaster();
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

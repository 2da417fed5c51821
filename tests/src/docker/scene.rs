//! A server in a container, a backup of it, and the executable asked without
//! Ansible: what [`crate::Scene`] is for a server on the host.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ContainerServer, Setup};
use crate::backup::Backup;
use crate::collection::executable;
use crate::command::tied;
use crate::place::{SERVER_USER, User};
use crate::scene::{Asked, Reply, merge, merged, read_json, request, session};
use crate::server::{Destination, Server};
use crate::writer::Ledger;

/// What a lost session is.
pub const LOST: &[&str] = &["backup_aborted", "connection_lost"];
/// Nobody may wait for a server that answers nothing.
pub const SOON: Duration = Duration::from_secs(20);

/// A server in Docker and a backup of it, by the name of its container.
#[derive(Debug)]
pub struct ContainerScene {
    /// The tasks.
    pub backup: Backup,
    /// The server.
    pub server: ContainerServer,
}

impl ContainerScene {
    /// Of a new server like this.
    #[must_use]
    pub fn of(setup: &Setup) -> Self {
        Self::around(ContainerServer::start(setup))
    }

    /// Of this server.
    #[must_use]
    pub fn around(server: ContainerServer) -> Self {
        let setup = *server.setup();
        let login = merged(&setup.way.login(), &json!({"container": server.name()}));
        Self { backup: Backup::by(login, setup.major, &User::current()), server }
    }

    /// Asks the executable as root, who is told where the engine is.
    #[track_caller]
    #[must_use]
    pub fn ask(&self, task: &Value) -> Reply {
        let (name, engine) = self.server.docker().variable();
        ask(task, &User::current(), &[(name, &engine)])
    }

    /// Starts the backup `id` and gives the reply of `backup_start`.
    #[track_caller]
    pub fn start(&self, id: &str, more: &Value) -> Reply {
        let reply = self.ask(&self.backup.start(&merged(&json!({"backup_id": id}), more))).ok();
        assert_eq!(reply.word("session"), format!("main.{id}"));
        reply
    }

    /// Snapshot, stop and WAL of the backup `id`; the reply of the stop.
    #[track_caller]
    pub fn finish(&self, id: &str) -> Reply {
        let _ = self.ask(&self.backup.snapshot(&session(id))).ok();
        let stop = self.ask(&self.backup.stop(&session(id))).ok();
        let fetch = self.ask(&self.backup.fetch(&session(id))).ok();
        assert_eq!(fetch.word("state"), "complete", "{:#}", fetch.result);
        stop
    }

    /// The session `id` is over, as asking for its stop says with these words,
    /// and stays over.
    #[track_caller]
    pub fn assert_lost(&self, id: &str, texts: &[&str]) {
        for task in [self.backup.snapshot(&session(id)), self.backup.stop(&session(id))] {
            let reply = self.ask(&task);
            assert!(reply.took < SOON, "it took {:?}", reply.took);
            let mode = reply.result["backup_mode"].as_str().unwrap_or_default().to_owned();
            assert!(["off", "unknown"].contains(&mode.as_str()), "{:#}", reply.result);
            reply.assert_tells(LOST, &mode, texts);
        }
        let info = self.ask(&self.backup.info(&session(id))).ok().result["sessions"][0].clone();
        assert_eq!(info["state"], json!("aborted"), "{info:#}");
        assert_eq!(info["in_backup_mode"], json!(false), "{info:#}");
    }

    /// The manifest of the backup `id`.
    #[track_caller]
    #[must_use]
    pub fn manifest(&self, id: &str) -> Value {
        read_json(&self.backup.repository().join("main/backups").join(id).join("backup.json"))
    }

    /// The tablespace `ts1` in `directory` of the container.
    pub fn add_tablespace(&self, directory: &str) {
        self.server.shell(&format!("mkdir -p {directory}; chown postgres: {directory}"));
        self.server.inside().query(&format!("create tablespace ts1 location '{directory}'"));
    }

    /// A whole backup under load by the executable, and its restore to this host,
    /// with `more` options of `backup_start`. The tablespace `ts1` may be given.
    #[track_caller]
    pub fn assert_saves(&self, id: &str, more: &Value, tablespace: Option<&str>) {
        let inside = self.server.inside();
        let writer = inside.writer(usize::from(tablespace.is_some()));
        writer.wait_for(50);
        let start = self.start(id, more);
        assert_eq!(start.word("state"), "in_progress");
        writer.wait_for(50);
        let stop = self.finish(id);
        writer.wait_for(50);
        let ledger = writer.stop();
        inside.wait_until_left();
        let stop_lsn = stop.word("stop_lsn");
        assert_restores(&self.backup, self.server.setup().major, tablespace, &ledger, stop_lsn);
    }
}

/// Asks the executable with these variables in its environment.
#[track_caller]
#[must_use]
pub fn ask(task: &Value, user: &User, variables: &[(&str, &str)]) -> Reply {
    let mut command = tied(executable(), user);
    command.arg("run").envs(variables.iter().copied());
    Asked::by(command, &request(task)).reply()
}

/// Restores the newest backup to this host, and finds in it all that was
/// committed before `stop_lsn`. The old place of the only tablespace may be given.
///
/// # Panics
///
/// When it does not restore, with what is missing.
#[track_caller]
pub fn assert_restores(
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
///
/// # Panics
///
/// When the rule cannot be written.
#[must_use]
pub fn restore_task(backup: &Backup, destination: &Destination, tablespace: Option<&str>) -> Value {
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

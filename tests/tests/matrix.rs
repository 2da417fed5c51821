//! Four tasks and a restore, on every major, under write load. One row a major;
//! the other dimensions are rotated over the rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_tests::place::{LOGIN_USER, Place, User};
use backstay_tests::{
    Ansible, Auth, Backup, Become, Core, Destination, Login, Run, Server, SmallMount, Sshd, Writer,
    amcheck, need, wait_until,
};
use serde_json::{Value, json};

/// Which server is backed up.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Primary,
    Standby,
}

/// Over what, and as whom, the tasks run.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    LocalRoot,
    LocalBecomeServerUser,
    SshBecomeRoot,
    SshBecomeServerUser,
    /// the server belongs to the user who logs in
    SshWithoutBecome,
}

#[derive(Clone, Copy, PartialEq)]
enum Provider {
    Files,
    Btrfs,
}

/// Where `wal_fetch` takes the segments from.
#[derive(Clone, Copy, PartialEq)]
enum WalSource {
    PgWal,
    Archive,
    RestoreCommand,
}

struct Row {
    major: u32,
    role: Role,
    tablespaces: usize,
    wal_segment_size_mb: u32,
    over: Over,
    core: Core,
    login: Login,
    provider: Provider,
    wal: WalSource,
}

impl Row {
    fn user(&self) -> User {
        match self.over {
            Over::LocalRoot | Over::SshBecomeRoot => User::current(),
            Over::LocalBecomeServerUser | Over::SshBecomeServerUser => User::of_servers(),
            Over::SshWithoutBecome => User::named(LOGIN_USER),
        }
    }

    /// Whom the server belongs to.
    fn owner(&self) -> User {
        if self.over == Over::SshWithoutBecome {
            User::named(LOGIN_USER)
        } else {
            User::of_servers()
        }
    }

    fn ansible(&self, sshd: Option<&Sshd>) -> Ansible {
        let ansible =
            sshd.map_or_else(|| Ansible::local(self.core), |sshd| Ansible::ssh(self.core, sshd));
        match self.over {
            Over::LocalRoot | Over::SshWithoutBecome => ansible,
            Over::SshBecomeRoot => ansible.becoming(Become::Root),
            Over::LocalBecomeServerUser | Over::SshBecomeServerUser => {
                ansible.becoming(Become::User(User::of_servers().name))
            }
        }
    }

    fn uses_ssh(&self) -> bool {
        !matches!(self.over, Over::LocalRoot | Over::LocalBecomeServerUser)
    }
}

/// The servers of a row and what they stand on; dropped from top to bottom.
struct Servers {
    standby: Option<Server>,
    primary: Server,
    archive: PathBuf,
    btrfs: Option<SmallMount>,
    _place: Place,
}

impl Servers {
    fn of(row: &Row) -> Self {
        let place = Place::new();
        let owner = row.owner();
        let archive = place.join("archive");
        owner.make_directory(&archive);
        let btrfs = (row.provider == Provider::Btrfs).then(|| btrfs_with_subvolume(&owner));
        let mut builder = Server::builder()
            .major(row.major)
            .owner(owner.clone())
            .tablespaces(row.tablespaces)
            .wal_segment_size_mb(row.wal_segment_size_mb);
        if let Some(mount) = &btrfs {
            builder = builder.data_parent(&mount.path().join("cluster"));
        }
        let with_login = |builder: backstay_tests::server::Builder| match row.login {
            Login::Socket => builder,
            Login::Tls => builder.tls(true).auth(Auth::Scram),
        };
        if row.wal != WalSource::PgWal {
            // a standby of it does not archive: that it is the primary's archive is the usual case
            let command = format!("cp %p {}/%f", archive.display());
            builder = builder.setting("archive_mode", "on").setting("archive_command", &command);
        }
        if row.role == Role::Primary {
            builder = with_login(builder);
        }
        let primary = builder.start();
        let standby = (row.role == Role::Standby)
            .then(|| with_login(Server::builder().owner(owner).standby_of(&primary)).start());
        Self { standby, primary, archive, btrfs, _place: place }
    }

    /// The one that is backed up.
    fn source(&self) -> &Server {
        self.standby.as_ref().unwrap_or(&self.primary)
    }
}

fn btrfs_with_subvolume(owner: &User) -> SmallMount {
    let mount = SmallMount::of_kind("btrfs", 2048);
    let subvolume = mount.path().join("cluster");
    backstay_tests::command::run(
        std::process::Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&subvolume),
    );
    owner.make_directory(&subvolume);
    mount
}

fn snapshot_options(row: &Row, servers: &Servers) -> Value {
    match (row.provider, &servers.btrfs) {
        (Provider::Btrfs, Some(mount)) => {
            json!({"provider": "btrfs", "snapshot_directory": mount.path().join("snapshots")})
        }
        _ => json!({"provider": "files", "jobs": 2}),
    }
}

fn fetch_options(row: &Row, archive: &Path) -> Value {
    match row.wal {
        WalSource::PgWal => json!({"source": "pg_wal"}),
        WalSource::Archive => json!({"source": "archive", "archive_directory": archive}),
        WalSource::RestoreCommand => {
            json!({"source": "restore_command", "restore_command": format!("cp {}/%f %p", archive.display())})
        }
    }
}

fn check_replies(run: &Run, row: &Row, source: &Server) {
    let start = run.task("backup_start");
    assert_eq!(
        start.text("system_identifier"),
        source.query("select system_identifier from pg_control_system()")
    );
    assert_eq!(start.result["wal_segment_size"], json!(u64::from(row.wal_segment_size_mb) << 20));
    assert_eq!(start.result["tablespaces"].as_array().map(Vec::len), Some(row.tablespaces));
    assert_eq!(start.result["in_recovery"], json!(row.role == Role::Standby));
    assert_eq!(Path::new(start.text("data_directory")), source.data_directory());
    let info = &run.task("backup_info").result;
    assert_eq!(info["changed"], json!(false));
    assert_eq!(info["sessions"][0]["session"], start.result["session"]);
    assert_eq!(info["sessions"][0]["in_backup_mode"], json!(true));
    let stop = run.task("backup_stop");
    assert_eq!(stop.text("start_lsn"), start.text("start_lsn"));
    assert!(
        stop.text("backup_label").starts_with("START WAL LOCATION: "),
        "{}",
        stop.text("backup_label")
    );
    let mapped = stop.text("tablespace_map").lines().count();
    assert_eq!(mapped, row.tablespaces);
    let fetch = run.task("wal_fetch");
    assert_eq!(fetch.text("state"), "complete");
    assert_eq!(fetch.text("waldump"), "passed");
    assert_eq!(
        fetch.result["wal_segments"].as_array().map(Vec::len),
        stop.result["wal_segments"].as_u64().map(|n| usize::try_from(n).unwrap_or(0))
    );
}

fn run_row(row: &Row) {
    if !need::can_run(need::root()) {
        return;
    }
    let servers = Servers::of(row);
    let source = servers.source();
    let sshd = row.uses_ssh().then(Sshd::start);
    let ansible = row.ansible(sshd.as_ref());
    let backup = Backup::of(source, row.login, &row.user());
    let writer = Writer::start(&servers.primary, 3);
    writer.wait_for(50);
    if let Some(standby) = &servers.standby {
        wait_until("the standby has the writer's tables", Duration::from_secs(30), || {
            standby.says_true("select to_regclass('ledger') is not null")
        });
    }
    let run = ansible
        .tasks(&json!([
            backup.start(&json!({"label": "nightly \u{e9}"})),
            backup.info(&json!({})),
            backup.snapshot(&snapshot_options(row, &servers)),
            backup.stop(&json!({})),
            backup.fetch(&fetch_options(row, &servers.archive)),
        ]))
        .ok();
    writer.wait_for(20);
    let ledger = writer.stop();
    check_replies(&run, row, source);
    assert_eq!(
        source.query("select count(*) from pg_replication_slots"),
        "0",
        "a slot is left behind"
    );
    assert!(
        !source.data_directory().join("backup_label").exists(),
        "a label in the live data directory"
    );

    let parent = servers.btrfs.as_ref().map(|mount| mount.path().join("restored"));
    let destination = Destination::new(&row.owner(), parent.as_deref());
    let restore = backup.restore(source, &destination, &json!({"owner": row.owner().name}));
    let mut restored = Server::adopt(row.major, destination);
    restored.announce_log("the database system is");
    let reply = ansible.tasks(&json!([restore])).ok();
    let reply = reply.task("cluster_restore");
    assert_eq!(reply.result["started"], json!(true));
    assert_eq!(reply.result["in_recovery"], json!(false));
    let stop_lsn = run.task("backup_stop").text("stop_lsn");
    let held = ledger.assert_all_in(&restored, stop_lsn);
    assert!(held >= 50, "only {held} transactions were committed before {stop_lsn}");
    assert_eq!(restored.query("show archive_mode"), "off");
    assert_eq!(
        restored.query("select count(*) from pg_tablespace where oid >= 16384"),
        row.tablespaces.to_string()
    );
    amcheck(&restored);
}

#[test]
fn row_13_primary_tablespaces_local_root_socket() {
    run_row(&Row {
        major: 13,
        role: Role::Primary,
        tablespaces: 2,
        wal_segment_size_mb: 16,
        over: Over::LocalRoot,
        core: Core::Oldest,
        login: Login::Socket,
        provider: Provider::Files,
        wal: WalSource::PgWal,
    });
}

#[test]
fn row_14_standby_ssh_root_tls_archive() {
    run_row(&Row {
        major: 14,
        role: Role::Standby,
        tablespaces: 0,
        wal_segment_size_mb: 1,
        over: Over::SshBecomeRoot,
        core: Core::Newest,
        login: Login::Tls,
        provider: Provider::Files,
        wal: WalSource::Archive,
    });
}

#[test]
fn row_15_primary_ssh_become_server_user_restore_command() {
    run_row(&Row {
        major: 15,
        role: Role::Primary,
        tablespaces: 1,
        wal_segment_size_mb: 64,
        over: Over::SshBecomeServerUser,
        core: Core::Oldest,
        login: Login::Socket,
        provider: Provider::Files,
        wal: WalSource::RestoreCommand,
    });
}

#[test]
fn row_16_standby_tablespaces_local_become_server_user() {
    run_row(&Row {
        major: 16,
        role: Role::Standby,
        tablespaces: 1,
        wal_segment_size_mb: 16,
        over: Over::LocalBecomeServerUser,
        core: Core::Newest,
        login: Login::Socket,
        provider: Provider::Files,
        wal: WalSource::PgWal,
    });
}

#[test]
fn row_17_primary_btrfs_ssh_root_tls() {
    run_row(&Row {
        major: 17,
        role: Role::Primary,
        tablespaces: 1,
        wal_segment_size_mb: 1,
        over: Over::SshBecomeRoot,
        core: Core::Oldest,
        login: Login::Tls,
        provider: Provider::Btrfs,
        wal: WalSource::PgWal,
    });
}

#[test]
fn row_18_primary_ssh_without_become_tls() {
    run_row(&Row {
        major: 18,
        role: Role::Primary,
        tablespaces: 2,
        wal_segment_size_mb: 16,
        over: Over::SshWithoutBecome,
        core: Core::Newest,
        login: Login::Tls,
        provider: Provider::Files,
        wal: WalSource::PgWal,
    });
}

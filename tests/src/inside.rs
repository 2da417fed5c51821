//! Servers that are in a container, reached as this host sees them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use postgres::{Client, NoTls, SimpleQueryMessage};
use serde_json::{Value, json};

use crate::server::PASSWORD;
use crate::wait::wait_until;
use crate::writer::Writer;

/// The role that the fixtures log in as, a superuser whom every server in a
/// container believes.
pub const FIXTURE: &str = "fixture";
/// The data directory inside.
pub const DATA_DIRECTORY: &str = "/var/lib/pg/data";
/// The server's port inside.
pub const PORT: u16 = 5432;
/// The socket directory inside.
pub const SOCKETS: &str = "/run/postgresql";
/// The same as users know it; `/var/run` is a link.
pub const SOCKETS_BY_LINK: &str = "/var/run/postgresql";

/// What `/serve` of [`crate::docker::image_files`] is told in its environment.
#[must_use]
pub(crate) fn variables(way: Way, initdb: &str) -> Vec<(&'static str, String)> {
    let sockets = if way == Way::Network { "" } else { SOCKETS_BY_LINK };
    let settings = format!(
        "unix_socket_directories = '{sockets}'\nlisten_addresses = '127.0.0.1'\nfsync = off\n\
         shared_buffers = '16MB'\nlog_line_prefix = '%m [%p] %q%a '\nlc_messages = 'C'"
    );
    let believed = format!("local all {FIXTURE} trust\nhost all {FIXTURE} 127.0.0.1/32 trust\n");
    let rule = match way {
        Way::Peer => "local all all peer",
        Way::Scram => "local all all scram-sha-256",
        Way::Network => "host all all 127.0.0.1/32 scram-sha-256",
    };
    let password = PASSWORD.replace('\\', "\\\\").replace('\'', "''");
    let sql = format!(
        "set password_encryption = 'scram-sha-256';\nalter role postgres password E'{password}';\n\
         create role {FIXTURE} superuser login;"
    );
    vec![
        ("PG_SETTINGS", settings),
        ("PG_HBA", believed + rule),
        ("PG_SQL", sql),
        ("PG_INITDB", initdb.to_owned()),
    ]
}

/// How the server is reached, and how clients other than the fixtures prove who
/// they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Its Unix socket; the kernel says who they are.
    Peer,
    /// Its Unix socket; by [`PASSWORD`].
    Scram,
    /// 127.0.0.1 in its own network, where it has no socket; by [`PASSWORD`].
    Network,
}

impl Way {
    /// The login options of a module that is told the container.
    #[must_use]
    pub fn login(self) -> Value {
        let mut login = json!({"login_user": "postgres", "login_port": PORT});
        match self {
            Self::Network => login["login_host"] = json!("127.0.0.1"),
            Self::Peer | Self::Scram => login["login_unix_socket"] = json!(SOCKETS_BY_LINK),
        }
        if self != Self::Peer {
            login["login_password"] = json!(PASSWORD);
        }
        login
    }
}

/// A server in a container of any kind.
#[derive(Clone, Debug)]
pub struct Inside {
    pid: u32,
    way: Way,
}

impl Inside {
    /// The server that the process `pid`, as this host numbers it, is next to.
    #[must_use]
    pub fn of(pid: u32, way: Way) -> Self {
        Self { pid, way }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where this host sees what is at `path` inside; no link is resolved.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// A connection, over the socket or 127.0.0.1 inside.
    ///
    /// # Errors
    ///
    /// What the server, or the way to it, said.
    pub fn try_connect(&self) -> Result<Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.port(PORT).user(FIXTURE).dbname("postgres").application_name("fixture");
        config.connect_timeout(Duration::from_secs(10));
        if self.way != Way::Network {
            return config.host_path(self.path(SOCKETS)).connect(NoTls);
        }
        let network = File::open(format!("/proc/{}/ns/net", self.pid));
        config.host("127.0.0.1");
        let connecting = std::thread::spawn(move || {
            let network = network.expect("the container runs");
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter");
            config.connect(NoTls)
        });
        connecting.join().expect("the thread does not panic")
    }

    /// The same.
    ///
    /// # Panics
    ///
    /// When the server does not let us in.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        self.try_connect().unwrap_or_else(|e| panic!("could not connect to the container: {e:?}"))
    }

    /// Runs statements as `psql -qAt` would, with one column.
    ///
    /// # Panics
    ///
    /// When a statement fails.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        let messages =
            self.connect().simple_query(sql).unwrap_or_else(|e| panic!("\"{sql}\" failed: {e:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    /// Waits until it lets the fixtures in.
    pub(crate) fn wait_until_ready(&self) {
        wait_until("the server in the container lets us in", Duration::from_secs(60), || {
            self.try_connect().is_ok()
        });
    }

    /// Waits until no session of ours, and no slot, is left on the server.
    #[track_caller]
    pub fn wait_until_left(&self) {
        wait_until("the server has no session of ours", Duration::from_secs(30), || {
            self.query(
                "select (select count(*) from pg_stat_activity where application_name like 'backstay%') \
                 + (select count(*) from pg_replication_slots where slot_name like 'backstay%')",
            ) == "0"
        });
    }

    /// A writer on it.
    #[must_use]
    pub fn writer(&self, tablespaces: usize) -> Writer {
        Writer::by(&|| self.connect(), tablespaces, 2)
    }
}

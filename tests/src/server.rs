//! Real PostgreSQL servers.

mod builder;
mod destination;
mod lifecycle;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use postgres::{Client, NoTls, SimpleQueryMessage};

pub use builder::Builder;
pub use destination::Destination;

use crate::certificates::Certificates;
use crate::log::ServerLog;
use crate::place::{Place, Port, User};

/// How long a server may take to start, stop or promote on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The password of the superuser `postgres` where passwords are asked for.
pub const PASSWORD: &str = "a pass'word\\of tests";

/// Every major that we promise.
#[must_use]
pub fn majors() -> [u32; 6] {
    [13, 14, 15, 16, 17, 18]
}

/// The programs of one major.
///
/// # Panics
///
/// When `tests/setup/fetch-postgres` has not brought it.
#[must_use]
pub fn bin_directory(major: u32) -> PathBuf {
    let bin = crate::place::cache().join("postgresql").join(major.to_string()).join("bin");
    assert!(
        bin.join("postgres").exists(),
        "PostgreSQL {major} is not in {}: run make setup",
        bin.display()
    );
    bin
}

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Auth {
    /// Everybody is believed.
    Trust,
    /// The Unix socket believes everybody; TCP wants [`PASSWORD`] by SCRAM.
    Scram,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Sessions are ended, a shutdown checkpoint is written.
    Fast,
    /// As after a crash.
    Immediate,
}

/// A running server and its files.
#[derive(Debug)]
pub struct Server {
    major: u32,
    bin: PathBuf,
    data_directory: PathBuf,
    socket_directory: PathBuf,
    port: Port,
    user: User,
    tablespaces: Vec<PathBuf>,
    certificates: Option<Certificates>,
    auth: Auth,
    log: ServerLog,
    postmaster: Option<Child>,
    place: Place,
}

impl Server {
    /// Describes a server; [`Builder::start`] makes it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Takes charge of what a test restores to `destination`, started or not, so
    /// that it is stopped on drop.
    #[must_use]
    pub fn adopt(major: u32, destination: Destination) -> Self {
        Self {
            major,
            bin: bin_directory(major),
            data_directory: destination.data_directory(),
            socket_directory: destination.socket_directory(),
            log: ServerLog::at(&destination.log()),
            port: destination.port,
            user: destination.user,
            tablespaces: Vec::new(),
            certificates: None,
            auth: Auth::Trust,
            postmaster: None,
            place: destination.place,
        }
    }

    /// Its major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Where its programs are.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        &self.data_directory
    }

    /// Where its Unix socket is.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// Its port, of the socket and of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The operating-system user it runs as.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Where its tablespaces `ts1`, `ts2`, … are.
    #[must_use]
    pub fn tablespaces(&self) -> &[PathBuf] {
        &self.tablespaces
    }

    /// Its certificates, when it was built with TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// How TCP clients prove who they are.
    #[must_use]
    pub fn auth(&self) -> Auth {
        self.auth
    }

    /// The directory of the test's files; others may pass through it.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &ServerLog {
        &self.log
    }

    /// Says that log lines of `ERROR` or above with `text` in them are expected.
    pub fn announce_log(&mut self, text: &str) {
        self.log.announce(text);
    }

    /// Connection settings of the superuser over the Unix socket.
    #[must_use]
    pub fn config(&self) -> postgres::Config {
        let mut config = postgres::Config::new();
        config
            .host_path(&self.socket_directory)
            .port(self.port())
            .user("postgres")
            .dbname("postgres");
        config.application_name("fixture").connect_timeout(Duration::from_secs(10));
        config
    }

    /// A connection of the superuser over the Unix socket.
    ///
    /// # Panics
    ///
    /// When the server does not let us in.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        self.config()
            .connect(NoTls)
            .unwrap_or_else(|e| panic!("could not connect to the fixture's server: {e:?}"))
    }

    /// Runs statements as `psql -qAt` would: columns joined by `|`, rows by line
    /// ends.
    ///
    /// # Panics
    ///
    /// When a statement fails.
    #[track_caller]
    #[must_use]
    pub fn query(&self, sql: &str) -> String {
        let messages =
            self.connect().simple_query(sql).unwrap_or_else(|e| panic!("\"{sql}\" failed: {e:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let columns = (0..row.len()).map(|i| row.get(i).unwrap_or(""));
                Some(columns.collect::<Vec<_>>().join("|"))
            }
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    /// Runs statements whose results do not matter.
    ///
    /// # Panics
    ///
    /// When a statement fails.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        let _ = self.query(sql);
    }

    /// Whether the Unix socket lets us in and the server says what `sql` says it should: `t`.
    #[must_use]
    pub fn says_true(&self, sql: &str) -> bool {
        let Ok(mut client) = self.config().connect(NoTls) else { return false };
        client.query_one(sql, &[]).is_ok_and(|row| row.get(0))
    }

    /// The process id of the postmaster, as its pid file says.
    #[must_use]
    pub fn postmaster_pid(&self) -> Option<u32> {
        let file = fs::read_to_string(self.data_directory.join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }
}

//! What a server is to be like.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Auth, PASSWORD, Server, bin_directory};
use crate::certificates::Certificates;
use crate::command::{run, tied};
use crate::log::ServerLog;
use crate::place::{Place, Port, User};

/// A server before it is made. Without a word more: the newest major, a primary
/// without tablespaces, 16 MB segments, trust.
#[derive(Debug)]
pub struct Builder {
    major: u32,
    wal_segment_size_mb: u32,
    tablespaces: usize,
    tls: bool,
    auth: Auth,
    settings: Vec<(String, String)>,
    data_parent: Option<PathBuf>,
    wal_directory: Option<PathBuf>,
    owner: Option<User>,
    primary: Option<Primary>,
}

#[derive(Debug)]
struct Primary {
    socket_directory: PathBuf,
    port: u16,
    tablespaces: Vec<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            major: 18,
            wal_segment_size_mb: 16,
            tablespaces: 0,
            tls: false,
            auth: Auth::Trust,
            settings: Vec::new(),
            data_parent: None,
            wal_directory: None,
            owner: None,
            primary: None,
        }
    }
}

impl Builder {
    /// The major version, 13 to 18.
    #[must_use]
    pub fn major(mut self, major: u32) -> Self {
        self.major = major;
        self
    }

    /// `initdb --wal-segsize`.
    #[must_use]
    pub fn wal_segment_size_mb(mut self, size: u32) -> Self {
        self.wal_segment_size_mb = size;
        self
    }

    /// How many tablespaces to make: `ts1`, `ts2`, …
    #[must_use]
    pub fn tablespaces(mut self, count: usize) -> Self {
        self.tablespaces = count;
        self
    }

    /// Whether TCP is TLS only, with a certificate for 127.0.0.1 and localhost.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// How TCP clients prove who they are.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// A line of `postgresql.conf`; the value is quoted here.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the data directory `data` and the tablespaces are made, instead of
    /// the test's own place.
    #[must_use]
    pub fn data_parent(mut self, directory: &Path) -> Self {
        self.data_parent = Some(directory.to_path_buf());
        self
    }

    /// `initdb --waldir`.
    #[must_use]
    pub fn wal_directory(mut self, directory: &Path) -> Self {
        self.wal_directory = Some(directory.to_path_buf());
        self
    }

    /// The operating-system user it runs as, instead of the usual one of tests.
    #[must_use]
    pub fn owner(mut self, user: User) -> Self {
        self.owner = Some(user);
        self
    }

    /// A standby of `primary`, made by `pg_basebackup`, of the same major.
    #[must_use]
    pub fn standby_of(mut self, primary: &Server) -> Self {
        self.major = primary.major();
        self.primary = Some(Primary {
            socket_directory: primary.socket_directory().to_path_buf(),
            port: primary.port(),
            tablespaces: primary.tablespaces().to_vec(),
        });
        self
    }

    /// Makes the cluster and starts the server.
    ///
    /// # Panics
    ///
    /// When it cannot be made or does not start.
    #[must_use]
    pub fn start(self) -> Server {
        let place = Place::new();
        let user = self.owner.clone().unwrap_or_else(User::of_servers);
        let parent = self.data_parent.clone().unwrap_or_else(|| place.join("cluster"));
        let own = self.data_parent.is_none();
        if own {
            user.make_directory(&parent);
        }
        let socket_directory = place.join("s");
        user.make_directory(&socket_directory);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&socket_directory, open).expect("chmod of an own directory");
        let certificates = self.tls.then(|| Certificates::make(&place.join("tls"), &user));
        let mut server = Server {
            major: self.major,
            bin: bin_directory(self.major),
            data_directory: parent.join("data"),
            socket_directory,
            port: Port::free(),
            user,
            tablespaces: Vec::new(),
            certificates,
            auth: self.auth,
            log: ServerLog::at(&place.join("server.log")),
            postmaster: None,
            place,
        };
        match &self.primary {
            Some(primary) => copy_primary(&mut server, primary, &parent),
            None => self.initialise(&server),
        }
        self.configure(&server);
        server.start();
        if self.primary.is_none() {
            self.populate(&mut server, &parent);
        }
        server
    }

    fn initialise(&self, server: &Server) {
        let mut initdb = tied(server.bin.join("initdb"), &server.user);
        initdb.arg("-D").arg(&server.data_directory).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]);
        initdb.args(["--locale=C.UTF-8", "--encoding=UTF8", "--data-checksums"]);
        initdb.arg(format!("--wal-segsize={}", self.wal_segment_size_mb));
        if let Some(directory) = &self.wal_directory {
            initdb.arg("--waldir").arg(directory);
        }
        run(&mut initdb);
    }

    fn configure(&self, server: &Server) {
        let mut lines = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", server.port().to_string()),
            ("unix_socket_directories", server.socket_directory.display().to_string()),
            ("max_connections", "50".to_owned()),
            ("shared_buffers", "16MB".to_owned()),
            ("log_line_prefix", "%m [%p] %q%a ".to_owned()),
            ("lc_messages", "C".to_owned()),
            // a killed server finds what it wrote: only the machine's crash would not
            ("fsync", "off".to_owned()),
        ];
        if let Some(tls) = &server.certificates {
            lines.push(("ssl", "on".to_owned()));
            lines.push(("ssl_cert_file", tls.certificate.display().to_string()));
            lines.push(("ssl_key_file", tls.key.display().to_string()));
        }
        if let Some(primary) = &self.primary {
            let socket = primary.socket_directory.display();
            let info = format!(
                "host={socket} port={} user=postgres application_name=standby",
                primary.port
            );
            lines.push(("primary_conninfo", info));
            lines.push(("hot_standby_feedback", "on".to_owned()));
        }
        let mut text = String::new();
        let given = self.settings.iter().map(|(n, v)| (n.as_str(), v.clone()));
        for (name, value) in lines.into_iter().chain(given) {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        append(&server.data_directory.join("postgresql.conf"), &text);
        let kind = if self.tls { "hostssl" } else { "host" };
        let method = if self.auth == Auth::Scram { "scram-sha-256" } else { "trust" };
        let rules = format!(
            "local all all trust\nlocal replication all trust\n{kind} all all 127.0.0.1/32 {method}\n"
        );
        fs::write(server.data_directory.join("pg_hba.conf"), rules)
            .expect("pg_hba.conf can be written");
    }

    fn populate(&self, server: &mut Server, parent: &Path) {
        let password = PASSWORD.replace('\'', "''");
        server.execute(&format!(
            "set password_encryption = 'scram-sha-256'; alter role postgres password E'{}'",
            password.replace('\\', "\\\\")
        ));
        server.execute("create extension amcheck");
        for number in 1..=self.tablespaces {
            let location = parent.join(format!("tablespace {number}"));
            server.user.make_directory(&location);
            server.execute(&format!(
                "create tablespace ts{number} location '{}'",
                location.display()
            ));
            server.tablespaces.push(location);
        }
    }
}

fn copy_primary(server: &mut Server, primary: &Primary, parent: &Path) {
    let mut copy = tied(server.bin.join("pg_basebackup"), &server.user);
    copy.arg("-D").arg(&server.data_directory).args([
        "-X",
        "stream",
        "-c",
        "fast",
        "-R",
        "--no-sync",
    ]);
    copy.args(["-U", "postgres", "-p", &primary.port.to_string(), "-h"])
        .arg(&primary.socket_directory);
    for (number, old) in primary.tablespaces.iter().enumerate() {
        let new = parent.join(format!("tablespace {}", number + 1));
        copy.arg(format!("--tablespace-mapping={}={}", old.display(), new.display()));
        server.tablespaces.push(new);
    }
    run(&mut copy);
    // our own primary_conninfo stands in postgresql.conf
    fs::write(server.data_directory.join("postgresql.auto.conf"), "")
        .expect("postgresql.auto.conf can be written");
    // which of the two is dropped first is the test's choice
    for line in [
        "could not receive data from WAL stream",
        "could not connect to the primary server",
        "could not send end-of-streaming message",
        "terminating walreceiver",
    ] {
        server.log.announce(line);
    }
}

fn append(path: &Path, text: &str) {
    let before = fs::read_to_string(path).expect("postgresql.conf can be read");
    fs::write(path, before + text).expect("postgresql.conf can be written");
}

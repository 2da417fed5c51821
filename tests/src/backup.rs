//! The tasks of a backup as a playbook has them, for one server and one login.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::place::{Place, User};
use crate::server::{self, Auth, Destination, Server};

/// Which way the modules log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Login {
    /// The Unix socket, believed.
    Socket,
    /// 127.0.0.1, TLS with `verify-full`, SCRAM.
    Tls,
}

/// A repository, a state and a runtime directory of the test's own, and the
/// tasks that use them. Each task is named after its module and registers its
/// result under that name; the later ones take the session from `backup_start`.
#[derive(Debug)]
pub struct Backup {
    login: Value,
    bin: PathBuf,
    user: User,
    place: Place,
}

impl Backup {
    /// Of `server`, by modules that run as `user` on the host.
    #[must_use]
    pub fn of(server: &Server, login: Login, user: &User) -> Self {
        let login = match login {
            Login::Socket => json!({
                "login_unix_socket": server.socket_directory(),
                "login_port": server.port(),
                "login_user": "postgres",
            }),
            Login::Tls => json!({
                "login_host": "127.0.0.1",
                "login_port": server.port(),
                "login_user": "postgres",
                "login_password": if server.auth() == Auth::Scram { server::PASSWORD } else { "" },
                "ssl_mode": "verify-full",
                "ca_cert": server.certificates().map(|c| &c.authority),
            }),
        };
        Self::by(login, server.major(), user)
    }

    /// Of the server of this major that the login options lead to, by modules
    /// that run as `user` on the host.
    ///
    /// # Panics
    ///
    /// When its directories cannot be made.
    #[must_use]
    pub fn by(login: Value, major: u32, user: &User) -> Self {
        let place = Place::new();
        let own = place.join("b");
        user.make_directory(&own);
        // a keeper that root starts runs as the server's user, who passes through
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&own, open).expect("chmod of an own directory");
        Self { login, bin: server::bin_directory(major), user: user.clone(), place }
    }

    /// The repository's directory.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.place.join("b/repository")
    }

    /// Where session records are.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.place.join("b/state")
    }

    /// Where the keeper's socket is.
    #[must_use]
    pub fn runtime_directory(&self) -> PathBuf {
        self.place.join("b/run")
    }

    /// The directory that holds all of these.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The user whom the modules run as.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The login options.
    #[must_use]
    pub fn login(&self) -> &Value {
        &self.login
    }

    /// `backup_start`, with `more` options.
    #[must_use]
    pub fn start(&self, more: &Value) -> Value {
        let own = json!({
            "repository": self.repository(),
            "state_directory": self.state_directory(),
            "runtime_directory": self.runtime_directory(),
        });
        task("backup_start", &[&self.login, &own, more])
    }

    /// `backup_info` of every session.
    #[must_use]
    pub fn info(&self, more: &Value) -> Value {
        task("backup_info", &[&json!({"state_directory": self.state_directory()}), more])
    }

    /// `snapshot_create`, by the provider `files` unless `more` says otherwise.
    #[must_use]
    pub fn snapshot(&self, more: &Value) -> Value {
        task("snapshot_create", &[&self.session(), more])
    }

    /// `backup_stop`.
    #[must_use]
    pub fn stop(&self, more: &Value) -> Value {
        task("backup_stop", &[&self.session(), more])
    }

    /// `backup_abort`.
    #[must_use]
    pub fn abort(&self, more: &Value) -> Value {
        task("backup_abort", &[&self.session(), more])
    }

    /// `wal_fetch`.
    #[must_use]
    pub fn fetch(&self, more: &Value) -> Value {
        task(
            "wal_fetch",
            &[&self.session(), &json!({"bin_dir": self.bin, "waldump": "require"}), more],
        )
    }

    /// `cluster_restore` of the newest backup of `server` to `destination`,
    /// started.
    #[must_use]
    pub fn restore(&self, server: &Server, destination: &Destination, more: &Value) -> Value {
        let mapping = json!({"tablespace_mapping": destination.mapping(server)});
        self.restore_to(destination, &crate::scene::merged(&mapping, more))
    }

    /// The same of whatever server, whose tablespaces go where `more` says.
    #[must_use]
    pub fn restore_to(&self, destination: &Destination, more: &Value) -> Value {
        let own = json!({
            "repository": self.repository(),
            "data_directory": destination.data_directory(),
            "settings": destination.settings(),
            "bin_dir": self.bin,
            "start": true,
            "wait_timeout": 300,
        });
        task("cluster_restore", &[&own, more])
    }

    fn session(&self) -> Value {
        json!({"session": "{{ backup_start.session }}", "state_directory": self.state_directory()})
    }
}

/// A task of the collection's `module`, the later options before the earlier.
#[must_use]
pub fn task(module: &str, options: &[&Value]) -> Value {
    let mut all = serde_json::Map::new();
    for (name, value) in options.iter().filter_map(|o| o.as_object()).flatten() {
        // null is "not given", which takes back what stands before
        match value {
            Value::Null => drop(all.remove(name)),
            _ => drop(all.insert(name.clone(), value.clone())),
        }
    }
    json!({"name": module, (format!("backstay.postgresql.{module}")): all, "register": module})
}

//! Where a cluster is restored to.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Server;
use crate::place::{Place, Port, User};

/// Empty directories and a free port for a server that is to be restored.
#[derive(Debug)]
pub struct Destination {
    pub(super) user: User,
    pub(super) port: Port,
    pub(super) place: Place,
    parent: PathBuf,
}

impl Destination {
    /// For a server that `user` will own; its files go below `parent` where one
    /// is given, else into a place of their own.
    #[must_use]
    pub fn new(user: &User, parent: Option<&Path>) -> Self {
        let place = Place::new();
        let parent = parent.map_or_else(|| place.join("cluster"), Path::to_path_buf);
        for directory in [&parent, &place.join("s"), &place.join("log")] {
            user.make_directory(directory);
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory, open).expect("chmod of an own directory");
        }
        Self { user: user.clone(), port: Port::free(), place, parent }
    }

    /// Not there yet.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.parent.join("data")
    }

    /// Where its Unix socket will be.
    #[must_use]
    pub fn socket_directory(&self) -> PathBuf {
        self.place.join("s")
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.place.join("log/server.log")
    }

    /// The option `settings` of `cluster_restore`: endpoint and log of its own.
    #[must_use]
    pub fn settings(&self) -> Value {
        json!({
            "port": self.port.number(),
            "unix_socket_directories": self.socket_directory(),
            "listen_addresses": "",
            "logging_collector": true,
            "log_directory": self.place.join("log"),
            "log_filename": "server.log",
        })
    }

    /// The option `tablespace_mapping` for a backup of `server`.
    #[must_use]
    pub fn mapping(&self, server: &Server) -> Value {
        let pairs = server.tablespaces().iter().enumerate().map(|(number, old)| {
            let new = self.parent.join(format!("restored tablespace {}", number + 1));
            (old.display().to_string(), json!(new))
        });
        Value::Object(pairs.collect())
    }
}

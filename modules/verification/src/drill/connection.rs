//! Connections to the sandbox's server, and to no other.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use pg::{Endpoint, Login, LoginOptions, Server, ServerError};

use super::server::Running;

/// Connects through the directory that is held open, after a look at what is there: what runs inside may have put a link
/// in the socket's place, which would lead us to another server. It might do that after the look, too: so the server is
/// asked which it is.
pub(super) fn connect(
    running: &Running,
    user: &str,
    database: &str,
) -> Result<Server, ServerError> {
    let held = PathBuf::from(format!("/proc/self/fd/{}", running.directory.as_raw_fd()));
    let found = std::fs::symlink_metadata(held.join(".s.PGSQL.5432"));
    let is_socket = found.is_ok_and(|found| found.file_type().is_socket());
    let directory = if is_socket { held } else { PathBuf::from("/nonexistent") };
    let options = LoginOptions {
        user: Some(user.to_owned()),
        database: Some(database.to_owned()),
        port: Some(5432),
        unix_socket: Some(directory.clone()),
        ..LoginOptions::default()
    };
    let mut login = Login::resolve(options, &|_| None)?;
    login.endpoint = Endpoint::Socket(directory);
    login.connect_timeout = 30;
    let connected = Server::connect(&login, "backstay backup_verify");
    let mut server = connected.map_err(|error| match error {
        // The path through which it is reached says nothing to anybody.
        ServerError::Connect { user, source, .. } => {
            ServerError::Connect { server: "the sandbox's server".to_owned(), user, source }
        }
        other => other,
    })?;
    server.must_serve(&running.inside.data)?;
    Ok(server)
}

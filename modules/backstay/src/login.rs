//! The login options that every module talking to a server has.

use std::os::unix::fs::MetadataExt;

use ansible::{Failure, Options};
use frame::Explain;
use nix::unistd::{Gid, Uid, User, geteuid, seteuid};
use pg::{Login, LoginOptions, Password, Server};

use crate::inside::Named;

/// The login these options and the environment describe.
pub(crate) fn resolve(options: &Options, inside: Option<&Named>) -> Result<Login, Failure> {
    let given = LoginOptions {
        host: options.text("login_host").map(str::to_owned),
        port: options.number("login_port")?,
        user: options.text("login_user").map(str::to_owned),
        password: options.text("login_password").map(|text| Password::from(text.to_owned())),
        unix_socket: options.path("login_unix_socket"),
        database: options.text("login_db").map(str::to_owned),
        ssl_mode: options.text("ssl_mode").map(str::to_owned),
        ca_cert: options.path("ca_cert"),
        ssl_cert: options.path("ssl_cert"),
        ssl_key: options.path("ssl_key"),
        parameters: options.pairs("connect_params")?,
        inside: inside.map(|named| named.process.clone()),
    };
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut login =
        Login::resolve(given, &env).map_err(|error| pg::ServerError::from(error).explain())?;
    // As root, before the connection is made as another user.
    login.enter().map_err(|error| error.explain())?;
    Ok(login)
}

/// A user of the operating system. One who owns a socket in a container need not have a name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OsUser {
    /// User id.
    pub(crate) uid: Uid,
    /// Group id.
    pub(crate) gid: Gid,
}

impl From<User> for OsUser {
    fn from(user: User) -> OsUser {
        OsUser { uid: user.uid, gid: user.gid }
    }
}

/// The operating-system user who connects: the one asked for, or, when root
/// connects over a unix socket, the socket's owner, since "peer"
/// authentication asks for the server's own user. `None` is the current user.
pub(crate) fn operating_system_user(
    name: Option<&str>,
    login: &Login,
) -> Result<Option<OsUser>, Failure> {
    if let Some(name) = name {
        if login.inside.is_some() && login.socket_directory().is_none() {
            return Err(Failure::invalid(
                "option \"os_user\" is for a unix socket: a container's network can be entered by root alone",
            ));
        }
        let found = User::from_name(name).ok().flatten();
        let user = found.ok_or_else(|| {
            Failure::invalid(format!("os_user \"{name}\" is no user of this host"))
        })?;
        if user.uid != geteuid() && !geteuid().is_root() {
            let text = format!(
                "os_user \"{name}\" is not the user this task runs as, and only root can become another"
            );
            return Err(Failure::invalid(text).hint("Add become: true to the task."));
        }
        return Ok(Some(user.into()));
    }
    let Some(directory) = login.socket_directory() else { return Ok(None) };
    if !geteuid().is_root() {
        return Ok(None);
    }
    let socket = directory.join(format!(".s.PGSQL.{}", login.port));
    let Ok(found) = std::fs::metadata(socket) else { return Ok(None) };
    let owner = OsUser { uid: Uid::from_raw(found.uid()), gid: Gid::from_raw(found.gid()) };
    let known = User::from_uid(owner.uid).ok().flatten().filter(|_| login.inside.is_none());
    let user =
        known.map_or_else(|| login.inside.is_some().then_some(owner), |user| Some(user.into()));
    Ok(user.filter(|user| !user.uid.is_root()))
}

/// Connects as that user: the kernel tells the server the effective user.
pub(crate) fn connect(login: &Login, user: Option<OsUser>, name: &str) -> Result<Server, Failure> {
    let _borrowed = user.map(|user| Borrowed::become_user(user.uid)).transpose()?;
    Server::connect(login, name).map_err(|error| error.explain())
}

/// The effective user is another one until this is dropped.
struct Borrowed {
    back: Uid,
}

impl Borrowed {
    fn become_user(uid: Uid) -> Result<Borrowed, Failure> {
        let back = geteuid();
        seteuid(uid).map_err(|errno| {
            Failure::new("internal", format!("could not become user {uid}: {errno}"))
        })?;
        Ok(Borrowed { back })
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // From root's saved user id this cannot fail; if it did, every later
        // step would fail for want of permission, never act as the wrong user.
        let _ = seteuid(self.back);
    }
}

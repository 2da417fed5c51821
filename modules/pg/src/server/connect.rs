//! From a login to a connection.

use std::sync::mpsc;
use std::time::Duration;

use postgres::config::{ChannelBinding, SslMode as ClientSslMode};
use postgres::{Client, NoTls};

use crate::server_error::{Cause, ServerError};
use crate::{Endpoint, Login, SslMode, tls};

/// Connects within `connect_timeout`, 0 for no limit. The client's own limit is
/// for the socket alone: a server that takes the connection and then says
/// nothing, because it is stopped or its machine swaps, would be waited for
/// without end.
pub(super) fn open(login: &Login, application_name: &str) -> Result<Client, ServerError> {
    let mut login = login.clone();
    login.enter()?;
    let (say, hear) = mpsc::sync_channel(1);
    let (login_there, name) = (login.clone(), application_name.to_owned());
    // Not waited for when it is late: it ends with this process. It is also a thread of its own because it may
    // have to go into another network namespace, where nothing else of ours belongs.
    std::thread::spawn(move || {
        let _ = say.send(enter_network(&login_there).and_then(|()| connect(&login_there, &name)));
    });
    let limit = match login.connect_timeout {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds),
    };
    hear.recv_timeout(limit).unwrap_or_else(|_| {
        Err(ServerError::Connect {
            server: login.describe(),
            user: login.user.clone(),
            source: Cause::silence(login.connect_timeout),
        })
    })
}

fn enter_network(login: &Login) -> Result<(), ServerError> {
    let Some(network) = login.entrance.as_ref().and_then(|entrance| entrance.network()) else {
        return Ok(());
    };
    host::enter_network(network).map_err(|source| ServerError::Inside {
        server: login.describe(),
        source: host::HostError::Io {
            action: "enter",
            path: "its network namespace".into(),
            source,
        },
    })
}

fn connect(login: &Login, application_name: &str) -> Result<Client, ServerError> {
    let failed = |error: postgres::Error| ServerError::Connect {
        server: login.describe(),
        user: login.user.clone(),
        source: Cause::new(&error),
    };
    let mut config = configuration(login, application_name);
    if matches!(login.endpoint, Endpoint::Socket(_)) || login.ssl_mode == SslMode::Disable {
        return config.ssl_mode(ClientSslMode::Disable).connect(NoTls).map_err(failed);
    }
    if login.ssl_mode == SslMode::Allow
        && let Ok(client) = config.ssl_mode(ClientSslMode::Disable).connect(NoTls)
    {
        return Ok(client);
    }
    let mode = if login.ssl_mode == SslMode::Prefer {
        ClientSslMode::Prefer
    } else {
        ClientSslMode::Require
    };
    let connector = tls::connector(login)
        .map_err(|source| ServerError::Tls { server: login.describe(), source })?;
    config.ssl_mode(mode).connect(connector).map_err(failed)
}

fn configuration(login: &Login, application_name: &str) -> postgres::Config {
    let mut config = postgres::Config::new();
    match (&login.endpoint, login.socket_directory()) {
        (_, Some(directory)) => config.host_path(directory),
        (Endpoint::Socket(directory), None) => config.host_path(directory),
        (Endpoint::Tcp(host), None) => config.host(host),
    };
    if let Some(address) = login.hostaddr.as_ref().and_then(|text| text.parse().ok()) {
        config.hostaddr(address);
    }
    config
        .port(login.port)
        .user(&login.user)
        .dbname(&login.database)
        .application_name(application_name)
        .connect_timeout(Duration::from_secs(login.connect_timeout))
        .tcp_user_timeout(Duration::from_millis(login.tcp_user_timeout))
        .keepalives(login.keepalives.is_some());
    if let Some((idle, interval, count)) = login.keepalives {
        config
            .keepalives_idle(Duration::from_secs(idle))
            .keepalives_interval(Duration::from_secs(interval))
            .keepalives_retries(count);
    }
    if let Some(password) = &login.password {
        config.password(password.expose());
    }
    if let Some(options) = &login.options {
        config.options(options);
    }
    if login.require_channel_binding {
        config.channel_binding(ChannelBinding::Require);
    }
    config
}

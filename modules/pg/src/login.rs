//! How to reach a server: what a playbook gives, then libpq's environment
//! variables and password file, then libpq's defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Process;
use serde::{Deserialize, Serialize};

use crate::pgpass;
use crate::{Entrance, Password, ServerError};

/// The directories in which servers put their sockets: Debian's and Red Hat's
/// builds the first, PostgreSQL's own build the second.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// libpq parameters that `connect_params` may hold.
const KNOWN_PARAMETERS: [&str; 9] = [
    "channel_binding",
    "connect_timeout",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "options",
    "tcp_user_timeout",
];

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A unix socket in this directory.
    Socket(PathBuf),
    /// TCP to this host name or address.
    Tcp(String),
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted when the server insists.
    Allow,
    /// Encrypted when the server can.
    Prefer,
    /// Encrypted or not at all; the certificate is checked only when a root
    /// certificate is given.
    Require,
    /// And the certificate is signed by the root certificate.
    VerifyCa,
    /// And it names the host connected to.
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Result<SslMode, LoginError> {
        Ok(match text {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            other => return Err(LoginError::Value { name: "ssl_mode", value: other.to_owned() }),
        })
    }
}

/// Options that name a server, role and database, before the environment is
/// asked. Empty strings are to be given as `None`.
#[derive(Debug, Clone, Default)]
pub struct LoginOptions {
    /// Host name, address, or the absolute path of a socket directory.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u64>,
    /// Role.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Password>,
    /// Directory of the unix socket.
    pub unix_socket: Option<PathBuf>,
    /// Database.
    pub database: Option<String>,
    /// libpq's `sslmode`.
    pub ssl_mode: Option<String>,
    /// Root certificate, PEM.
    pub ca_cert: Option<PathBuf>,
    /// Client certificate, PEM.
    pub ssl_cert: Option<PathBuf>,
    /// Client key, PEM.
    pub ssl_key: Option<PathBuf>,
    /// Further libpq parameters.
    pub parameters: Vec<(String, String)>,
    /// A process in the server's container, if it has one.
    pub inside: Option<Process>,
}

/// Everything needed to connect. The password is left out of what is
/// serialized: it travels apart, see `session::launch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// A process whose root directory and network the endpoint is in; without, they are ours.
    #[serde(default)]
    pub inside: Option<Process>,
    /// What [`Login::enter`] opened.
    #[serde(skip)]
    pub entrance: Option<Arc<Entrance>>,
    /// Numeric address to use instead of looking the host up.
    pub hostaddr: Option<String>,
    /// Port, also part of a socket's name.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Database.
    pub database: String,
    /// Password, never serialized.
    #[serde(skip)]
    pub password: Option<Password>,
    /// libpq's `sslmode`.
    pub ssl_mode: SslMode,
    /// Root certificate, PEM.
    pub ca_cert: Option<PathBuf>,
    /// Client certificate, PEM.
    pub ssl_cert: Option<PathBuf>,
    /// Client key, PEM.
    pub ssl_key: Option<PathBuf>,
    /// libpq's `options`.
    pub options: Option<String>,
    /// Seconds to wait for a connection.
    pub connect_timeout: u64,
    /// TCP keepalives: idle and interval in seconds, count.
    pub keepalives: Option<(u64, u64, u32)>,
    /// Milliseconds after which unacknowledged data ends the connection.
    pub tcp_user_timeout: u64,
    /// Whether SCRAM must be bound to the TLS channel.
    pub require_channel_binding: bool,
}

/// A login that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A value outside its range.
    #[error("\"{value}\" is not a value that {name} can have")]
    Value {
        /// The option or variable.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// A libpq parameter that is not understood.
    #[error("connect_params has \"{0}\", which is not one of: {list}", list = KNOWN_PARAMETERS.join(", "))]
    Parameter(String),
    /// A parameter that has an option of its own.
    #[error("connect_params has \"{0}\", for which there is the option {1}")]
    HasOption(String, &'static str),
    /// Verification without anything to verify against.
    #[error(
        "ssl_mode \"{mode}\" needs a root certificate: ca_cert is not given and \"{tried}\" does not exist"
    )]
    NoRootCertificate {
        /// The mode asked for.
        mode: &'static str,
        /// libpq's default place.
        tried: String,
    },
}

impl Login {
    /// Completes options from the environment, the password file and libpq's
    /// defaults. The role's default is `postgres`, as in community.postgresql.
    ///
    /// # Errors
    /// When a value is out of range or does not fit the others.
    pub fn resolve(
        given: LoginOptions,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Login, LoginError> {
        let parameters = Parameters::read(&given.parameters, env)?;
        let port = port(given.port, env)?;
        let host = given.host.or_else(|| env("PGHOST"));
        let endpoint = endpoint(given.unix_socket, host, port, given.inside.as_ref());
        let ssl_mode = SslMode::parse(
            &given.ssl_mode.or_else(|| env("PGSSLMODE")).unwrap_or_else(|| "prefer".into()),
        )?;
        let home = env("HOME").map(PathBuf::from);
        let mut login = Login {
            ca_cert: root_certificate(given.ca_cert, &endpoint, ssl_mode, home.as_deref(), env)?,
            ssl_cert: given.ssl_cert.or_else(|| env("PGSSLCERT").map(PathBuf::from)),
            ssl_key: given.ssl_key.or_else(|| env("PGSSLKEY").map(PathBuf::from)),
            user: given.user.or_else(|| env("PGUSER")).unwrap_or_else(|| "postgres".into()),
            database: given
                .database
                .or_else(|| env("PGDATABASE"))
                .unwrap_or_else(|| "postgres".into()),
            password: given.password.or_else(|| env("PGPASSWORD").map(Password::from)),
            hostaddr: parameters.hostaddr,
            options: parameters.options,
            connect_timeout: parameters.connect_timeout,
            keepalives: parameters.keepalives,
            tcp_user_timeout: parameters.tcp_user_timeout,
            require_channel_binding: parameters.require_channel_binding,
            inside: given.inside,
            entrance: None,
            endpoint,
            port,
            ssl_mode,
        };
        if login.password.is_none() {
            let file = env("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(|| home.map(|home| home.join(".pgpass")));
            login.password = file.and_then(|file| pgpass::look_up(&file, &login));
        }
        Ok(login)
    }

    /// Opens what only root reaches of the server's container, so that a connection can be made as another user.
    /// Without a container there is nothing to open.
    ///
    /// # Errors
    /// [`ServerError::Inside`].
    pub fn enter(&mut self) -> Result<(), ServerError> {
        if let Some(process) = self.inside.as_ref().filter(|_| self.entrance.is_none()) {
            let opened = Entrance::open(process, &self.endpoint, self.port)
                .map_err(|source| ServerError::Inside { server: self.describe(), source })?;
            self.entrance = Some(Arc::new(opened));
        }
        Ok(())
    }

    /// The directory of the server's socket as this process reaches it: after [`Login::enter`], where there is a
    /// container. `None` for TCP.
    #[must_use]
    pub fn socket_directory(&self) -> Option<PathBuf> {
        match (&self.endpoint, &self.entrance) {
            (Endpoint::Socket(_), Some(entrance)) => entrance.socket_directory(),
            (Endpoint::Socket(directory), None) => Some(directory.clone()),
            (Endpoint::Tcp(_), _) => None,
        }
    }

    /// The server as a person would name it, without secrets.
    #[must_use]
    pub fn describe(&self) -> String {
        let place = match &self.endpoint {
            Endpoint::Socket(directory) => {
                format!("{}/.s.PGSQL.{}", directory.display(), self.port)
            }
            Endpoint::Tcp(host) => format!("{host}:{}", self.port),
        };
        match &self.inside {
            Some(process) => format!("{place} of process {}", process.pid),
            None => place,
        }
    }
}

fn port(given: Option<u64>, env: &dyn Fn(&str) -> Option<String>) -> Result<u16, LoginError> {
    let text = given
        .map(|port| port.to_string())
        .or_else(|| env("PGPORT"))
        .unwrap_or_else(|| "5432".into());
    match text.parse::<u16>() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(LoginError::Value { name: "login_port", value: text }),
    }
}

/// Of a container the socket is looked for inside; where there is none, it has its own loopback interface.
fn endpoint(
    socket: Option<PathBuf>,
    host: Option<String>,
    port: u16,
    inside: Option<&Process>,
) -> Endpoint {
    if let Some(directory) = socket {
        return Endpoint::Socket(directory);
    }
    match host {
        Some(host) if host.starts_with('/') => Endpoint::Socket(PathBuf::from(host)),
        Some(host) => Endpoint::Tcp(host),
        None => {
            let has_socket = |directory: &&str| {
                let socket = Path::new(directory).join(format!(".s.PGSQL.{port}"));
                match inside {
                    Some(process) => process.resolve(&socket).is_ok(),
                    None => socket.exists(),
                }
            };
            let [first, _] = SOCKET_DIRECTORIES;
            match (SOCKET_DIRECTORIES.into_iter().find(has_socket), inside) {
                (Some(found), _) => Endpoint::Socket(found.into()),
                (None, Some(_)) => Endpoint::Tcp("127.0.0.1".into()),
                (None, None) => Endpoint::Socket(first.into()),
            }
        }
    }
}

/// libpq looks into `~/.postgresql/root.crt`; with it, `require` verifies the
/// chain as `verify-ca` does.
fn root_certificate(
    given: Option<PathBuf>,
    endpoint: &Endpoint,
    mode: SslMode,
    home: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<PathBuf>, LoginError> {
    let named = given.or_else(|| env("PGSSLROOTCERT").map(PathBuf::from));
    if named.is_some() {
        return Ok(named);
    }
    let usual = home.map(|home| home.join(".postgresql/root.crt"));
    if let Some(found) = usual.as_ref().filter(|path| path.exists()) {
        return Ok(Some(found.clone()));
    }
    let mode = match (endpoint, mode) {
        (Endpoint::Tcp(_), SslMode::VerifyCa) => "verify-ca",
        (Endpoint::Tcp(_), SslMode::VerifyFull) => "verify-full",
        _ => return Ok(None),
    };
    let tried =
        usual.map_or_else(|| "~/.postgresql/root.crt".into(), |path| path.display().to_string());
    Err(LoginError::NoRootCertificate { mode, tried })
}

/// The libpq parameters that have no option of their own.
struct Parameters {
    hostaddr: Option<String>,
    options: Option<String>,
    connect_timeout: u64,
    keepalives: Option<(u64, u64, u32)>,
    tcp_user_timeout: u64,
    require_channel_binding: bool,
}

impl Parameters {
    fn read(
        given: &[(String, String)],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, LoginError> {
        for (name, _) in given {
            refuse_parameter(name)?;
        }
        let find = |name: &str, variable: &str| {
            let given = given.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            given.or_else(|| if variable.is_empty() { None } else { env(variable) })
        };
        let number = |name: &'static str, variable: &str, otherwise: u64| match find(name, variable)
        {
            None => Ok(otherwise),
            Some(text) => text.parse::<u64>().map_err(|_| LoginError::Value { name, value: text }),
        };
        // Silent firewalls ended the control sessions of other tools (Barman's
        // issue 665, pg_probackup's 649), hence not the kernel's two hours.
        let idle = number("keepalives_idle", "", 30)?;
        let interval = number("keepalives_interval", "", 10)?;
        let count = u32::try_from(number("keepalives_count", "", 3)?).unwrap_or(u32::MAX);
        Ok(Parameters {
            hostaddr: find("hostaddr", "PGHOSTADDR"),
            options: find("options", "PGOPTIONS"),
            connect_timeout: number("connect_timeout", "PGCONNECT_TIMEOUT", 15)?,
            keepalives: (number("keepalives", "", 1)? != 0).then_some((idle, interval, count)),
            tcp_user_timeout: number("tcp_user_timeout", "", 60_000)?,
            require_channel_binding: find("channel_binding", "PGCHANNELBINDING").as_deref()
                == Some("require"),
        })
    }
}

fn refuse_parameter(name: &str) -> Result<(), LoginError> {
    let option = match name {
        _ if KNOWN_PARAMETERS.contains(&name) => return Ok(()),
        "host" => "login_host",
        "port" => "login_port",
        "user" => "login_user",
        "password" | "passfile" => "login_password",
        "dbname" => "login_db",
        "sslmode" => "ssl_mode",
        "sslrootcert" => "ca_cert",
        "sslcert" => "ssl_cert",
        "sslkey" => "ssl_key",
        _ => return Err(LoginError::Parameter(name.to_owned())),
    };
    Err(LoginError::HasOption(name.to_owned(), option))
}

#[cfg(test)]
mod tests;

//! The login options that every module accepts.

use ansible::{Kind, OptionSpec};

/// The options of community.postgresql, by the same names, and those that name the container a server is in.
pub const LOGIN_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("login_host", Kind::Str).aliases(&["host"]),
    OptionSpec::new("login_port", Kind::Int).aliases(&["port"]),
    OptionSpec::new("login_user", Kind::Str).aliases(&["login"]),
    OptionSpec::new("login_password", Kind::Str).secret(),
    OptionSpec::new("login_unix_socket", Kind::Str).aliases(&["unix_socket"]),
    OptionSpec::new("login_db", Kind::Str).aliases(&["db"]),
    OptionSpec::new("ssl_mode", Kind::Str).choices(&[
        "disable",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
    ]),
    OptionSpec::new("ca_cert", Kind::Path).aliases(&["ssl_rootcert"]),
    OptionSpec::new("ssl_cert", Kind::Path),
    OptionSpec::new("ssl_key", Kind::Path),
    OptionSpec::new("connect_params", Kind::Dict),
    OptionSpec::new("container", Kind::Str),
    OptionSpec::new("login_pid", Kind::Int),
];

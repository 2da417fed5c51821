use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

#[test]
fn libpq_defaults_apply_when_nothing_is_given() {
    let login = Login::resolve(LoginOptions::default(), &nothing).unwrap();
    assert_eq!(
        (login.user.as_str(), login.port, login.ssl_mode),
        ("postgres", 5432, SslMode::Prefer)
    );
    assert!(matches!(login.endpoint, Endpoint::Socket(_)));
}

#[test]
fn options_come_before_the_environment() {
    let env = |name: &str| match name {
        "PGHOST" => Some("db.example".into()),
        "PGPORT" => Some("6000".into()),
        "PGUSER" => Some("backup".into()),
        "PGPASSWORD" => Some("hush".into()),
        _ => None,
    };
    let given = LoginOptions { port: Some(5433), ..LoginOptions::default() };
    let login = Login::resolve(given, &env).unwrap();
    assert_eq!(login.describe(), "db.example:5433");
    assert_eq!(login.user, "backup");
    assert_eq!(login.password.unwrap().expose(), "hush");
}

#[test]
fn a_password_is_never_serialized() {
    let given = LoginOptions {
        password: Some(Password::from("hush".to_owned())),
        ..LoginOptions::default()
    };
    let login = Login::resolve(given, &nothing).unwrap();
    assert!(!serde_json::to_string(&login).unwrap().contains("hush"));
    assert!(!format!("{login:?}").contains("hush"));
}

#[test]
fn wrong_values_are_named() {
    let text = |given: LoginOptions| Login::resolve(given, &nothing).unwrap_err().to_string();
    let port = LoginOptions { port: Some(70_000), ..LoginOptions::default() };
    assert_eq!(text(port), "\"70000\" is not a value that login_port can have");
    let own = LoginOptions {
        parameters: vec![("sslmode".into(), "x".into())],
        ..LoginOptions::default()
    };
    assert_eq!(text(own), "connect_params has \"sslmode\", for which there is the option ssl_mode");
    let unknown =
        LoginOptions { parameters: vec![("dance".into(), "x".into())], ..LoginOptions::default() };
    assert!(text(unknown).starts_with(
        "connect_params has \"dance\", which is not one of: channel_binding, connect_timeout, "
    ));
    let mode = LoginOptions { ssl_mode: Some("x".into()), ..LoginOptions::default() };
    assert_eq!(text(mode), "\"x\" is not a value that ssl_mode can have");
    let full = LoginOptions {
        host: Some("db".into()),
        ssl_mode: Some("verify-full".into()),
        ..LoginOptions::default()
    };
    assert_eq!(
        text(full),
        "ssl_mode \"verify-full\" needs a root certificate: ca_cert is not given and \
         \"~/.postgresql/root.crt\" does not exist"
    );
}

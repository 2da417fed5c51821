//! The checks against real servers, and the words of every one that fails.

mod asked;
mod counted;
mod host;

use std::time::Duration;

use backstay_tests::Server as Real;
use pg::{Login, LoginOptions, Server, ServerError};

use super::*;

const MOMENT: Duration = Duration::from_secs(20);

fn login(server: &Real, database: &str) -> Result<Server, ServerError> {
    let given = LoginOptions {
        unix_socket: Some(server.socket_directory().to_owned()),
        port: Some(server.port().into()),
        user: Some("postgres".into()),
        database: Some(database.into()),
        ..LoginOptions::default()
    };
    let login = Login::resolve(given, &|_| None).map_err(ServerError::from)?;
    Server::connect(&login, "checks")
}

/// The check failed with this message and these details.
#[track_caller]
fn assert_failed(check: &Check, message: &str, details: &[&str]) {
    assert_eq!(check.outcome, Outcome::Failed, "{check:#?}");
    assert_eq!(check.message, message);
    assert_eq!(check.details, details);
}

#[track_caller]
fn assert_ok(check: &Check, message: &str) {
    assert_eq!(check.outcome, Outcome::Ok, "{check:#?}");
    assert_eq!(check.message, message, "{check:#?}");
    assert_eq!(check.details, [""; 0]);
    assert!(check.seconds > 0.0);
}

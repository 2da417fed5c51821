//! A live server, and all the SQL there is.
//!
//! [`Server`] owns its connection and offers no way to run other statements:
//! each statement is a named method, its functions and views are qualified by
//! their schema, and the search path is pinned as a second lock. The one
//! exception is a user's own query of a restored copy: [`Server::ask`]. A connection
//! is never replaced: a backup ends with the session that started it.

mod backup;
mod connect;
mod counting;
mod facts;
mod health;
mod indexes;
mod progress;
mod query;
mod restored;

use postgres::types::PgLsn;
use postgres::{Client, Row};

use crate::server_error::ServerError;
use crate::{Login, Lsn, MajorVersion, PgTypeError, ServerVersion, TimelineId};

pub use backup::BackupStop;
pub use counting::{Counted, Horizon, Table};
pub use facts::{Facts, Identity};
pub use health::{Archiver, Privileges};
pub use indexes::BtreeIndex;
pub use progress::RecoveryProgress;
pub use query::Answer;
pub use restored::{CollationChange, Database, Extension, Library, RecoveryEnd, TableFile};

/// A connection to a server of a supported version, ready for a backup.
pub struct Server {
    client: Client,
    major: MajorVersion,
    version: ServerVersion,
}

impl Server {
    /// Connects and prepares the session: no timeout that could end it, no
    /// foreign search path. Every setting is read back.
    ///
    /// # Errors
    /// When there is no connection, the version is not supported, or a setting
    /// does not hold.
    pub fn connect(login: &Login, application_name: &str) -> Result<Server, ServerError> {
        let mut client = connect::open(login, application_name)?;
        let doing = "ask for the server's version";
        let row = client
            .query_one("SELECT pg_catalog.current_setting('server_version_num')::int4", &[])
            .map_err(ServerError::statement(doing))?;
        let number: i32 = get(&row, 0, doing)?;
        let version = ServerVersion::from_num(u32::try_from(number).unwrap_or_default());
        let major = version.major().map_err(ServerError::Version)?;
        let mut server = Server { client, major, version };
        server.prepare()?;
        Ok(server)
    }

    /// Each of these timeouts has ended backups of other tools; each is read
    /// back because a role or database setting cannot override `SET`, but a
    /// pooler can swallow it.
    fn prepare(&mut self) -> Result<(), ServerError> {
        let mut settings = vec![
            ("search_path", "pg_catalog"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("client_min_messages", "warning"),
            ("max_parallel_workers_per_gather", "0"),
        ];
        if self.major.has_idle_session_timeout() {
            settings.push(("idle_session_timeout", "0"));
        }
        if self.major.has_client_connection_check() {
            // Else the backend of a dead keeper would first end its starting
            // checkpoint, which may take minutes, and only then notice.
            settings.push(("client_connection_check_interval", "5s"));
        }
        if self.major.has_transaction_timeout() {
            settings.push(("transaction_timeout", "0"));
        }
        let set: Vec<String> =
            settings.iter().map(|(name, value)| format!("SET {name} TO '{value}';")).collect();
        let doing = "prepare the session";
        self.client.batch_execute(&set.concat()).map_err(ServerError::statement(doing))?;
        let columns: Vec<String> = settings
            .iter()
            .map(|(name, _)| format!("pg_catalog.current_setting('{name}')"))
            .collect();
        let row = self
            .client
            .query_one(&format!("SELECT {}", columns.join(", ")), &[])
            .map_err(ServerError::statement(doing))?;
        for (index, (name, wanted)) in settings.into_iter().enumerate() {
            let value: String = get(&row, index, doing)?;
            if value != wanted {
                return Err(ServerError::Setting { name, wanted, value });
            }
        }
        Ok(())
    }

    /// Its major version.
    #[must_use]
    pub fn major(&self) -> MajorVersion {
        self.major
    }
}

fn get<'a, T: postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
    doing: &'static str,
) -> Result<T, ServerError> {
    row.try_get(column).map_err(ServerError::statement(doing))
}

fn lsn(row: &Row, column: usize, doing: &'static str) -> Result<Lsn, ServerError> {
    get::<PgLsn>(row, column, doing).map(|lsn| Lsn::from(u64::from(lsn)))
}

fn timeline_id(number: i32, doing: &'static str) -> Result<TimelineId, ServerError> {
    TimelineId::new(number.cast_unsigned())
        .map_err(|source: PgTypeError| ServerError::Answer { doing, source })
}

/// A name as SQL has it: in double quotes.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it, also where a backslash would mean something.
fn literal(text: &str) -> String {
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_what_they_are() {
        assert_eq!(identifier("or\"ders"), "\"or\"\"ders\"");
        assert_eq!(literal("it's \\"), " E'it''s \\\\'");
    }
}

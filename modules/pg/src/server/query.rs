//! A user's own query of a restored server.
//!
//! The only statements that are not written here. They are run on a copy of the data, read only, and only the part
//! that proves backups does so.

use std::time::Duration;

use chrono::{DateTime, Utc};
use postgres::SimpleQueryMessage;
use postgres::types::Type;

use super::{Server, get};
use crate::server_error::ServerError;

/// What a query returned, as text, as `psql` would show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Whether the first column is of type `timestamp without time zone`, which says nothing without a time zone.
    pub without_zone: bool,
    /// Its rows; a null is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// Whether there were more rows than asked for.
    pub more: bool,
}

impl Server {
    /// Runs a user's query in a read-only transaction, for at most so long, and gives at most so many of its rows.
    /// Names in it are looked up as the role and the database have it, unlike in all other statements here.
    ///
    /// # Errors
    /// When it is not one single statement that returns rows, it fails, or it takes longer.
    pub fn ask(
        &mut self,
        query: &str,
        timeout: Duration,
        most_rows: usize,
    ) -> Result<Answer, ServerError> {
        let answer = self.ask_in_transaction(query, timeout, most_rows);
        let ended = self.client.batch_execute("ROLLBACK");
        let answer = answer?;
        ended.map_err(ServerError::statement("end the query's transaction"))?;
        Ok(answer)
    }

    fn ask_in_transaction(
        &mut self,
        query: &str,
        timeout: Duration,
        most_rows: usize,
    ) -> Result<Answer, ServerError> {
        let failed = ServerError::statement("run the query");
        // Not longer than the server can say; 0 would be without end.
        let limit = timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
        self.client
            .batch_execute(&format!(
                "START TRANSACTION READ ONLY; SET LOCAL statement_timeout TO {limit}; \
                 SET LOCAL search_path TO DEFAULT; SET LOCAL DateStyle TO 'ISO'; SET LOCAL IntervalStyle TO DEFAULT"
            ))
            .map_err(&failed)?;
        // Prepared statements are single ones, so that nothing in the text can end the transaction; and what is
        // returned is told without being run.
        let prepared = self.client.prepare(query).map_err(&failed)?;
        let columns = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let without_zone =
            prepared.columns().first().is_some_and(|column| column.type_() == &Type::TIMESTAMP);
        // Through a cursor, as that gives rows in pieces and in text whatever their types are.
        let declare = format!("DECLARE backstay_query NO SCROLL CURSOR WITHOUT HOLD FOR\n{query}");
        self.client.execute(&declare, &[]).map_err(&failed)?;
        let fetch = format!("FETCH FORWARD {} FROM backstay_query", most_rows.saturating_add(1));
        let messages = self.client.simple_query(&fetch).map_err(&failed)?;
        let mut rows: Vec<Vec<Option<String>>> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect();
        let more = rows.len() > most_rows;
        rows.truncate(most_rows);
        Ok(Answer { columns, without_zone, rows, more })
    }

    /// A value as the server reads it as a time: without a time zone in it, in the setting `TimeZone` of this session,
    /// which is that of the database and the role.
    ///
    /// # Errors
    /// When it is none, or is infinite.
    pub fn instant(&mut self, text: &str) -> Result<DateTime<Utc>, ServerError> {
        let doing = "read a value as a time";
        let row = self
            .client
            .query_one(
                "SELECT (EXTRACT(epoch FROM $1::text::timestamptz) * 1000000)::int8",
                &[&text],
            )
            .map_err(ServerError::statement(doing))?;
        let micros: i64 = get(&row, 0, doing)?;
        Ok(DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// The setting `TimeZone` of this session.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn time_zone(&mut self) -> Result<String, ServerError> {
        let doing = "ask for the time zone";
        let row = self
            .client
            .query_one("SELECT pg_catalog.current_setting('TimeZone')", &[])
            .map_err(ServerError::statement(doing))?;
        get(&row, 0, doing)
    }
}

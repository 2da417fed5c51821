//! Counting rows so that every restore of a backup must have them.
//!
//! A row version whose transaction had ended at a point *before* the stop of a backup, and that is still there at a
//! point *after* it, was there at the stop, too. What is counted:
//!
//! - Born before: `xmin` precedes the oldest transaction that ran at the first point ([`Horizon::xmin`]). A snapshot's
//!   list of running transactions would find more rows, but it has no subtransactions, and on a standby it is empty.
//! - Not dying: `xmax` is none that may be running at the second point. Its commit may be in WAL already although it
//!   still waits for a synchronous standby, and then a restore replays it.
//!
//! `xmin` and `xmax` are 32 bit, and a frozen row keeps its old one. `age()` counts from the next transaction and goes
//! round, so only what lies between a point and now is new; what is so old that it looks new again is left out, which
//! makes the count smaller, never too large. The next transaction is that of the moment at which the statement was
//! planned, but its rows are those of a snapshot taken afterwards: on a busy server what is new has an age below 0, too.
//! So the newest 100 million transactions after that moment are new as well.

use std::time::Duration;

use postgres::Row;

use super::{Server, get, identifier, literal, lsn};
use crate::Lsn;
use crate::server_error::ServerError;

/// A point before the stop of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// The oldest transaction that was running, as 64 bits: every one before it had ended.
    pub xmin: u64,
    /// Where WAL was afterwards: the ends of all those transactions are before it.
    pub lsn: Lsn,
}

/// A table that holds rows of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whether the role may read it.
    pub readable: bool,
    /// Whether it had this name in this schema at the horizon.
    pub settled: bool,
}

/// What was counted in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its rows now.
    pub rows: u64,
    /// Those of them that every restore of the backup must have.
    pub at_least: u64,
    /// The largest value in those of them, for each column asked for; as text, times in UTC.
    pub newest: Vec<Option<String>>,
}

/// Types whose largest value can be asked for, as `format_type` names them.
const ORDERED_TYPES: [&str; 7] = [
    "timestamp with time zone",
    "timestamp without time zone",
    "date",
    "bigint",
    "integer",
    "smallint",
    "numeric",
];

impl Server {
    /// The point that is now.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn horizon(&mut self) -> Result<Horizon, ServerError> {
        let doing = "ask which transactions have ended";
        // The statement's snapshot is made before it reads where WAL is.
        let row = self
            .client
            .query_one(
                "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8, \
                        CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                             ELSE pg_catalog.pg_current_wal_insert_lsn() END",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let xmin: i64 = get(&row, 0, doing)?;
        Ok(Horizon { xmin: xmin.cast_unsigned(), lsn: lsn(&row, 1, doing)? })
    }

    /// Up to where in WAL a restore may go and still have what is counted after this was asked.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn counted_until(&mut self) -> Result<Lsn, ServerError> {
        let doing = "ask where WAL is";
        let row = self
            .client
            .query_one(
                "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                             ELSE pg_catalog.pg_current_wal_insert_lsn() END",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        lsn(&row, 0, doing)
    }

    /// Ends every later statement after so long, and after another time when it waits for a lock; times are written in
    /// UTC from now on.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn limit_statements(&mut self, all: Duration, lock: Duration) -> Result<(), ServerError> {
        let millis = |time: Duration| time.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
        self.client
            .batch_execute(&format!(
                "SET statement_timeout TO {}; SET lock_timeout TO {}; SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'",
                millis(all),
                millis(lock)
            ))
            .map_err(ServerError::statement("limit the time of statements"))
    }

    /// The ordinary, permanent tables of this database, partitions among them, the smallest first.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn tables(&mut self, horizon: Horizon) -> Result<Vec<Table>, ServerError> {
        let doing = "list the tables";
        let rows = self
            .client
            .query(
                "SELECT c.oid, n.nspname::text, c.relname::text, \
                        pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                          AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
                        NOT pg_catalog.age(c.xmin) BETWEEN -100000000 AND pg_catalog.age($1::text::xid) \
                          AND NOT pg_catalog.age(n.xmin) BETWEEN -100000000 AND pg_catalog.age($1::text::xid) \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
                   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
                 ORDER BY c.relpages, n.nspname, c.relname",
                &[&low_half(horizon.xmin)],
            )
            .map_err(ServerError::statement(doing))?;
        let table = |row: &Row| {
            Ok(Table {
                oid: get(row, 0, doing)?,
                schema: get(row, 1, doing)?,
                name: get(row, 2, doing)?,
                readable: get(row, 3, doing)?,
                settled: get(row, 4, doing)?,
            })
        };
        rows.iter().map(table).collect()
    }

    /// Counts the rows of a table. `None` when it is not the one that [`Server::tables`] has seen any more, since
    /// another one was given its name.
    ///
    /// # Errors
    /// When it was dropped, may not be read, or one of the limits was reached.
    pub fn count(
        &mut self,
        table: &Table,
        columns: &[&str],
        horizon: Horizon,
    ) -> Result<Option<Counted>, ServerError> {
        let doing = "count the rows";
        let settled = "NOT pg_catalog.age(t.xmin) BETWEEN -100000000 AND (SELECT pg_catalog.age($1::text::xid)) \
                       AND NOT pg_catalog.age(t.xmax) BETWEEN -100000000 AND \
                         (SELECT pg_catalog.age((pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric \
                                                 % 4294967296)::text::xid))";
        let newest: Vec<String> = columns
            .iter()
            .map(|column| {
                format!("pg_catalog.max(t.{}) FILTER (WHERE {settled})::text", identifier(column))
            })
            .collect();
        let statement = format!(
            "SELECT (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = $2::text AND c.relname = $3::text \
                       AND NOT pg_catalog.age(c.xmin) BETWEEN -100000000 AND pg_catalog.age($1::text::xid)), \
                    pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {settled}), ARRAY[{}]::text[] \
             FROM ONLY {}.{} t",
            newest.join(", "),
            identifier(&table.schema),
            identifier(&table.name)
        );
        let row = self
            .client
            .query_one(&statement, &[&low_half(horizon.xmin), &table.schema, &table.name])
            .map_err(ServerError::statement(doing))?;
        let oid: Option<u32> = get(&row, 0, doing)?;
        let (rows, at_least): (i64, i64) = (get(&row, 1, doing)?, get(&row, 2, doing)?);
        let counted = Counted {
            rows: rows.cast_unsigned(),
            at_least: at_least.cast_unsigned(),
            newest: get(&row, 3, doing)?,
        };
        Ok((oid == Some(table.oid)).then_some(counted))
    }

    /// The type of a column, if it has an order that makes sense of a largest value: times, dates and numbers.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn ordered_type(
        &mut self,
        schema: &str,
        table: &str,
        column: &str,
    ) -> Result<Option<&'static str>, ServerError> {
        let doing = "ask for the type of a column";
        let row = self
            .client
            .query_opt(
                "SELECT pg_catalog.format_type(a.atttypid, NULL) \
                 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1::text AND c.relname = $2::text AND a.attname = $3::text \
                   AND a.attnum > 0 AND NOT a.attisdropped",
                &[&schema, &table, &column],
            )
            .map_err(ServerError::statement(doing))?;
        let found: Option<String> = row.map(|row| get(&row, 0, doing)).transpose()?;
        Ok(found.and_then(|name| ORDERED_TYPES.into_iter().find(|known| *known == name)))
    }

    /// The rows of a table of a restored server; `None` when there is no such table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn restored_rows(&mut self, schema: &str, table: &str) -> Result<Option<u64>, ServerError> {
        let doing = "count the rows";
        if !self.has_table(schema, table)? {
            return Ok(None);
        }
        let statement = format!(
            "SELECT pg_catalog.count(*) FROM ONLY {}.{}",
            identifier(schema),
            identifier(table)
        );
        let row = self.client.query_one(&statement, &[]).map_err(ServerError::statement(doing))?;
        let rows: i64 = get(&row, 0, doing)?;
        Ok(Some(rows.cast_unsigned()))
    }

    /// The largest value of a column of a restored server, and whether it is not less than `value` of this type, which
    /// must be one that [`Server::ordered_type`] gives.
    ///
    /// # Errors
    /// When it cannot be read, or the type is another one.
    pub fn restored_newest(
        &mut self,
        place: (&str, &str, &str),
        kind: &str,
        value: &str,
    ) -> Result<(Option<String>, bool), ServerError> {
        let doing = "read the newest value";
        let (schema, table, column) = place;
        // Not as it is written in a file: it becomes part of a statement.
        let kind = ORDERED_TYPES.into_iter().find(|known| *known == kind).unwrap_or("numeric");
        let column = identifier(column);
        let statement = format!(
            "SELECT pg_catalog.max({column})::text, COALESCE(pg_catalog.max({column}) >= CAST({} AS {kind}), false) \
             FROM ONLY {}.{}",
            literal(value),
            identifier(schema),
            identifier(table)
        );
        let row = self.client.query_one(&statement, &[]).map_err(ServerError::statement(doing))?;
        Ok((get(&row, 0, doing)?, get(&row, 1, doing)?))
    }

    fn has_table(&mut self, schema: &str, table: &str) -> Result<bool, ServerError> {
        let doing = "look for a table";
        let row = self
            .client
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
                                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                                WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p'))",
                &[&schema, &table],
            )
            .map_err(ServerError::statement(doing))?;
        get(&row, 0, doing)
    }
}

/// A transaction as the system columns have it.
fn low_half(transaction: u64) -> String {
    (transaction & u64::from(u32::MAX)).to_string()
}

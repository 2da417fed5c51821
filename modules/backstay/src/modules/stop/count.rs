//! Counting the tables of one database.

use std::time::{Duration, Instant};

use ansible::chain::chain;
use pg::{Counted, Horizon, Lsn, Server, ServerError, Table};
use repository::{ColumnValue, CountedFrom, DatabaseCounts, NotCounted, TableCount};

use super::counting::{Column, Counting};

/// A table that is locked for longer is left out: it is being altered, or a maintenance job has it.
const LOCK: Duration = Duration::from_secs(5);

/// A database, or all that is asked of it, could not be counted.
pub(super) fn not_counted(database: &str, reason: String) -> DatabaseCounts {
    DatabaseCounts {
        name: database.to_owned(),
        until_lsn: Lsn::INVALID,
        tables: vec![],
        newest: vec![],
        not_counted: vec![NotCounted { what: database.to_owned(), reason }],
    }
}

/// Counts until the time is up. Each table is a statement of its own: none is held back by another, and no old snapshot
/// keeps vacuum from its work for longer than one table takes.
pub(super) fn database(
    asked: &Counting,
    server: &mut Server,
    name: &str,
    from: &CountedFrom,
    until: Instant,
) -> DatabaseCounts {
    let horizon = Horizon { xmin: from.transaction, lsn: from.lsn };
    let listed = server
        .limit_statements(left(until).max(LOCK), LOCK)
        .and_then(|()| server.counted_until())
        .and_then(|until_lsn| Ok((until_lsn, server.tables(horizon)?)));
    let (until_lsn, tables) = match listed {
        Ok(listed) => listed,
        Err(error) => return not_counted(name, chain(&error)),
    };
    let wanted: Vec<&Column> =
        asked.freshness.iter().filter(|column| column.database == name).collect();
    let mut counts = DatabaseCounts { until_lsn, ..not_counted(name, String::new()) };
    counts.not_counted.clear();
    let mut one = One { server, counts: &mut counts, horizon, until };
    for table in &tables {
        let columns: Vec<&Column> = wanted
            .iter()
            .copied()
            .filter(|column| column.schema == table.schema && column.table == table.name)
            .collect();
        if asked.all || !columns.is_empty() {
            one.table(asked.all, table, &columns);
        }
    }
    for column in wanted {
        let there = |table: &Table| column.schema == table.schema && column.table == table.name;
        if !tables.iter().any(there) {
            let reason = "there is no such table that holds rows itself";
            one.leave_out(&column.schema, &column.table, reason.into());
        }
    }
    counts
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// The counting of one database as far as it has come.
struct One<'a> {
    server: &'a mut Server,
    counts: &'a mut DatabaseCounts,
    horizon: Horizon,
    until: Instant,
}

impl One<'_> {
    fn table(&mut self, note_rows: bool, table: &Table, columns: &[&Column]) {
        if !table.readable {
            let reason = "the role may not read it (pg_read_all_data lets it read everything, from PostgreSQL 14 on)";
            return self.leave_out(&table.schema, &table.name, reason.into());
        }
        if !table.settled {
            let reason = "it was made or altered during the backup";
            return self.leave_out(&table.schema, &table.name, reason.into());
        }
        let typed = self.typed(table, columns);
        let names: Vec<&str> = typed.iter().map(|(column, _)| column.column.as_str()).collect();
        match self.count(table, &names) {
            Ok(Some(counted)) => self.note(note_rows, table, &typed, counted),
            Ok(None) => {
                let reason = "it was made or altered during the backup";
                self.leave_out(&table.schema, &table.name, reason.into());
            }
            Err(reason) => self.leave_out(&table.schema, &table.name, reason),
        }
    }

    fn count(&mut self, table: &Table, columns: &[&str]) -> Result<Option<Counted>, String> {
        let left = left(self.until);
        if left.is_zero() {
            return Err("row_counts_timeout was over".into());
        }
        let words = |error: ServerError| chain(&error);
        self.server.limit_statements(left, LOCK).map_err(words)?;
        self.server.count(table, columns, self.horizon).map_err(words)
    }

    /// The columns whose largest value means something, with their types.
    fn typed<'c>(
        &mut self,
        table: &Table,
        columns: &[&'c Column],
    ) -> Vec<(&'c Column, &'static str)> {
        let mut typed = vec![];
        for column in columns {
            match self.server.ordered_type(&table.schema, &table.name, &column.column) {
                Ok(Some(kind)) => typed.push((*column, kind)),
                Ok(None) => {
                    let reason = format!(
                        "column \"{}\" is not there, or is no time, date or number",
                        column.column
                    );
                    self.leave_out(&table.schema, &table.name, reason);
                }
                Err(error) => self.leave_out(&table.schema, &table.name, chain(&error)),
            }
        }
        typed
    }

    fn note(
        &mut self,
        note_rows: bool,
        table: &Table,
        typed: &[(&Column, &'static str)],
        counted: Counted,
    ) {
        let (schema, name) = (&table.schema, &table.name);
        if note_rows {
            let (rows, at_least) = (counted.rows, counted.at_least);
            let count = TableCount { schema: schema.clone(), name: name.clone(), rows, at_least };
            self.counts.tables.push(count);
        }
        for ((column, kind), value) in typed.iter().zip(counted.newest) {
            self.counts.newest.push(ColumnValue {
                schema: schema.clone(),
                table: name.clone(),
                column: column.column.clone(),
                kind: (*kind).to_owned(),
                value,
            });
        }
    }

    fn leave_out(&mut self, schema: &str, table: &str, reason: String) {
        let what = format!("{}.{schema}.{table}", self.counts.name);
        self.counts.not_counted.push(NotCounted { what, reason });
    }
}

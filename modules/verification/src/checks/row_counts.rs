//! Whether every table has the rows it must have.

use std::collections::BTreeMap;

use pg::{Lsn, Server, ServerError};
use repository::{ColumnValue, DatabaseCounts, RowCounts, TableCount};

use super::{Connect, Work, grouped, many, words};
use crate::report::{Check, Outcome};

/// How the tables did, in numbers.
#[derive(Default)]
struct Score {
    tables: usize,
    /// Of these, those with exactly the rows they must have.
    exact: usize,
    rows: u64,
    newest: usize,
    not_counted: usize,
    /// What has less, but was asked for in a restore that went on further than the counting.
    perhaps_deleted: Vec<String>,
}

/// Compares every recorded table with the restored one. `replayed` is where recovery ended: only up to where the rows
/// were counted must they all be there.
pub(crate) fn row_counts(
    connect: &Connect,
    recorded: Option<&RowCounts>,
    replayed: Option<Lsn>,
) -> Check {
    let mut work = Work::begin("row_counts");
    let Some(recorded) = recorded else {
        let text = "no row counts were recorded when the backup was taken: give backup_stop row_counts: exact";
        return work.end(Outcome::Skipped, text.into());
    };
    if let Some(replayed) = replayed.filter(|lsn| *lsn < recorded.from.lsn) {
        // Of a standby, the backup may end before what the standby had replayed.
        let text = format!(
            "recovery ended at {replayed}, before {}, where the rows were counted",
            recorded.from.lsn
        );
        return work.end(Outcome::Skipped, text);
    }
    let mut score = Score::default();
    for database in &recorded.databases {
        score.not_counted += database.not_counted.len();
        if database.tables.is_empty() && database.newest.is_empty() {
            continue;
        }
        let later = replayed.is_some_and(|lsn| lsn > database.until_lsn);
        let mut less = vec![];
        match connect(&database.name) {
            Err(error) => work.details.push(format!("{}: {}", database.name, words(&error))),
            Ok(mut server) => compare(&mut server, database, &mut score, &mut less),
        }
        if later { &mut score.perhaps_deleted } else { &mut work.details }.append(&mut less);
    }
    conclude(work, score)
}

fn compare(
    server: &mut Server,
    database: &DatabaseCounts,
    score: &mut Score,
    less: &mut Vec<String>,
) {
    let mut absent = BTreeMap::new();
    for table in &database.tables {
        score.tables += 1;
        let place = format!("{}.{}.{}", database.name, table.schema, table.name);
        match compare_table(server, table, score) {
            Ok(None) => {}
            Ok(Some(told)) => {
                less.push(format!("{place}: {told}"));
                absent.insert((&table.schema, &table.name), ());
            }
            Err(error) => less.push(format!("{place}: {}", words(&error))),
        }
    }
    for column in &database.newest {
        // Said already.
        if absent.contains_key(&(&column.schema, &column.table)) {
            continue;
        }
        let place =
            format!("{}.{}.{}.{}", database.name, column.schema, column.table, column.column);
        match compare_newest(server, column, score) {
            Ok(None) => {}
            Ok(Some(told)) => less.push(format!("{place}: {told}")),
            Err(error) => less.push(format!("{place}: {}", words(&error))),
        }
    }
}

fn compare_table(
    server: &mut Server,
    table: &TableCount,
    score: &mut Score,
) -> Result<Option<String>, ServerError> {
    let Some(rows) = server.restored_rows(&table.schema, &table.name)? else {
        return Ok(Some(format!(
            "there is no such table, it had {} rows",
            grouped(table.at_least)
        )));
    };
    score.rows = score.rows.saturating_add(rows);
    if rows < table.at_least {
        let text = format!("{} rows of at least {}", grouped(rows), grouped(table.at_least));
        return Ok(Some(text));
    }
    score.exact += usize::from(rows == table.at_least);
    Ok(None)
}

fn compare_newest(
    server: &mut Server,
    column: &ColumnValue,
    score: &mut Score,
) -> Result<Option<String>, ServerError> {
    let Some(wanted) = &column.value else { return Ok(None) };
    score.newest += 1;
    let place = (column.schema.as_str(), column.table.as_str(), column.column.as_str());
    let (found, enough) = server.restored_newest(place, &column.kind, wanted)?;
    let found = found.map_or_else(|| "none".to_owned(), |found| format!("\"{found}\""));
    Ok((!enough).then(|| format!("the newest value is {found}, it was \"{wanted}\"")))
}

fn conclude(mut work: Work, score: Score) -> Check {
    let failed = work.details.len();
    let deleted = score.perhaps_deleted.len();
    if deleted > 0 {
        let named: Vec<&str> = score.perhaps_deleted.iter().take(10).map(String::as_str).collect();
        work.find(
            format!(
                "{} less than was counted, but recovery went on further than the counting, so that rows may have been \
                 deleted in order: {}",
                if deleted == 1 { "1 table or column has".to_owned() } else { format!("{deleted} tables or columns have") },
                named.join("; ")
            ),
            vec![],
        );
    }
    let all = many(score.tables, "table");
    let rest = match score.not_counted {
        0 => String::new(),
        left => {
            format!("; {} could not be counted when the backup was taken", grouped(left as u64))
        }
    };
    if failed > 0 {
        let verb = if failed == 1 { "1 thing is" } else { "things are" };
        let number = if failed == 1 { String::new() } else { format!("{failed} ") };
        return work.end(
            Outcome::Failed,
            format!(
                "{number}{verb} less than was counted when the backup was taken, in {all}{rest}"
            ),
        );
    }
    if score.tables + score.newest == 0 {
        return work
            .end(Outcome::Skipped, format!("nothing was counted when the backup was taken{rest}"));
    }
    let verb = if score.tables == 1 { "has" } else { "have" };
    let exactly = match score.exact {
        exact if exact == score.tables => ", exactly".to_owned(),
        exact => format!(", {} exactly", many(exact, "table")),
    };
    work.end(
        Outcome::Ok,
        format!(
            "{all} {verb} at least the rows that were counted when the backup was taken{exactly}, {} in all{rest}",
            many_rows(score.rows)
        ),
    )
}

fn many_rows(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(rows)) }
}

//! What was counted, and counting it.

use chrono::Utc;
use pg::Horizon;
use repository::{
    BackupManifest, ColumnValue, CountedFrom, DatabaseCounts, NotCounted, RowCounts, TableCount,
};

use super::*;

fn counts(horizon: Horizon, database: DatabaseCounts) -> RowCounts {
    let from = CountedFrom { lsn: horizon.lsn, transaction: horizon.xmin, time: Utc::now() };
    RowCounts { schema: BackupManifest::SCHEMA, from, databases: vec![database] }
}

/// What was written around the two points in time: each row counts only if every restore between them has it.
#[test]
fn only_rows_count_that_were_there_all_the_time() {
    for major in [13, 18] {
        let real = Real::builder().major(major).setting("max_prepared_transactions", "5").start();
        real.execute("create table t (a int, b int); insert into t select g, 0 from generate_series(1, 100) g");
        let count = |server: &mut Server, horizon| {
            let tables = server.tables(horizon).unwrap();
            let table = tables.iter().find(|table| table.name == "t").unwrap();
            assert!(table.settled && table.readable);
            let counted = server.count(table, &["a"], horizon).unwrap().unwrap();
            (counted.rows, counted.at_least, counted.newest)
        };
        let newest = |value: &str| vec![Some(value.to_owned())];
        // Runs at the first point, in a savepoint: its own number is not in a snapshot's list.
        let mut running = real.connect();
        running.batch_execute("begin; savepoint s; insert into t values (201, 0)").unwrap();
        // Committed before the first point, but after a transaction that runs.
        real.execute("insert into t values (202, 0)");
        let mut server = login(&real, "postgres").unwrap();
        let horizon = server.horizon().unwrap();
        running.batch_execute("commit").unwrap();
        real.execute("insert into t values (203, 0); update t set b = 1 where a <= 10; delete from t where a in (11, 12)");
        assert_eq!(count(&mut server, horizon), (101, 88, newest("100")));
        // Runs at the second point, and may be replayed by a restore: its commit may be in WAL already.
        let mut deleting = real.connect();
        deleting.batch_execute("begin; delete from t where a = 100").unwrap();
        real.execute("begin; delete from t where a = 99; prepare transaction 'p'");
        assert_eq!(count(&mut server, horizon), (101, 86, newest("98")));
        deleting.batch_execute("rollback").unwrap();
        real.execute("rollback prepared 'p'");
        // A lock on rows is no deletion, once it is over; frozen rows keep their numbers.
        real.execute("select count(*) from (select from t for update) t");
        real.execute("vacuum freeze t");
        assert_eq!(count(&mut server, horizon), (101, 88, newest("100")));
        // Another table of that name is not the one that was listed.
        let listed = server.tables(horizon).unwrap();
        let table = listed.iter().find(|table| table.name == "t").unwrap();
        real.execute("create table other (a int); alter table t rename to was; alter table other rename to t");
        assert_eq!(server.count(table, &[], horizon).unwrap(), None);
        let renamed = server.tables(horizon).unwrap();
        assert!(renamed.iter().all(|table| !table.settled), "{renamed:?}");
        // Rewritten, it has not been altered, but nobody can tell.
        let horizon = server.horizon().unwrap();
        real.execute("vacuum full was");
        let rewritten = server.tables(horizon).unwrap();
        assert!(rewritten.iter().any(|table| table.name == "was" && !table.settled));
    }
}

fn table(name: &str, at_least: u64) -> TableCount {
    TableCount { schema: "public".into(), name: name.into(), rows: at_least, at_least }
}

fn newest(value: &str) -> ColumnValue {
    ColumnValue {
        schema: "public".into(),
        table: "orders".into(),
        column: "created".into(),
        kind: "timestamp with time zone".into(),
        value: Some(value.into()),
    }
}

/// A server, where it stood, and what was counted there.
fn shop() -> (Real, Horizon, DatabaseCounts) {
    let real = Real::builder().major(14).start();
    real.execute(
        "create table orders as select g as id, timestamptz '2026-11-21 03:00+00' + g * interval '1 s' as created
           from generate_series(1, 1080) g; create table few as select 1 as a; create table \"No\"\"body\" ()",
    );
    let mut server = login(&real, "postgres").unwrap();
    let horizon = server.horizon().unwrap();
    let until_lsn = server.counted_until().unwrap();
    let database = DatabaseCounts {
        name: "postgres".into(),
        until_lsn,
        tables: vec![table("orders", 1080), table("few", 0), table("No\"body", 0)],
        newest: vec![newest("2026-11-21 03:18:00+00")],
        not_counted: vec![],
    };
    drop(server);
    (real, horizon, database)
}

#[test]
fn fewer_rows_than_were_counted_fail() {
    let (mut real, horizon, database) = shop();
    real.announce_log("database \"nowhere\" does not exist");
    let connect = |name: &str| login(&real, name);
    let good = counts(horizon, database.clone());
    assert_ok(
        &row_counts(&connect, Some(&good), Some(database.until_lsn)),
        "3 tables have at least the rows that were counted when the backup was taken, 2 tables exactly, 1,081 rows in all",
    );

    let left = NotCounted { what: "x".into(), reason: "y".into() };
    let worse = DatabaseCounts {
        tables: vec![table("orders", 1081), table("gone", 1_000_080), table("few", 1)],
        newest: vec![newest("2026-11-21 03:18:00+00")],
        not_counted: vec![left],
        ..database.clone()
    };
    let less = [
        "postgres.public.orders: 1,080 rows of at least 1,081",
        "postgres.public.gone: there is no such table, it had 1,000,080 rows",
    ];
    let message = "2 things are less than was counted when the backup was taken, in 3 tables; 1 could not be counted when \
                   the backup was taken";
    assert_failed(&row_counts(&connect, Some(&counts(horizon, worse)), None), message, &less);

    let older = DatabaseCounts {
        tables: vec![],
        newest: vec![newest("2026-11-21 03:18:01+00")],
        ..database.clone()
    };
    let check = row_counts(&connect, Some(&counts(horizon, older)), None);
    assert_eq!(check.outcome, Outcome::Failed);
    assert!(
        check.details[0]
            .starts_with("postgres.public.orders.created: the newest value is \"2026-11-21 ")
            && check.details[0].ends_with("\", it was \"2026-11-21 03:18:01+00\""),
        "{check:#?}"
    );

    let gone = DatabaseCounts { name: "nowhere".into(), ..database };
    let check = row_counts(&connect, Some(&counts(horizon, gone)), None);
    assert_eq!(check.outcome, Outcome::Failed);
    assert!(check.details[0].contains("FATAL: database \"nowhere\" does not exist"), "{check:#?}");
}

#[test]
fn rows_count_for_recoveries_that_ended_in_between() {
    let (real, horizon, database) = shop();
    let connect = |name: &str| login(&real, name);
    let good = counts(horizon, database.clone());
    let until_lsn = database.until_lsn;
    let worse = DatabaseCounts { tables: vec![table("orders", 1081), table("few", 2)], ..database };
    let worse = counts(horizon, worse);
    // Recovery that went on further may have replayed deletions; one that ended earlier proves nothing.
    let later = until_lsn.checked_add(1);
    let check = row_counts(&connect, Some(&worse), later);
    assert_eq!((check.outcome, check.findings.len()), (Outcome::Ok, 1), "{check:#?}");
    assert!(check.findings[0].message.starts_with(
        "2 tables or columns have less than was counted, but recovery went on further than the counting, so that rows may \
         have been deleted in order: postgres.public.orders: 1,080 rows of at least 1,081; "
    ));
    let check = row_counts(&connect, Some(&good), horizon.lsn.checked_sub(1));
    assert_eq!(check.outcome, Outcome::Skipped);
    assert!(check.message.starts_with("recovery ended at "), "{}", check.message);
    let check = row_counts(&connect, None, None);
    assert_eq!(check.outcome, Outcome::Skipped);
    assert_eq!(
        check.message,
        "no row counts were recorded when the backup was taken: give backup_stop row_counts: exact"
    );
}

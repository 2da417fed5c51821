//! What users ask for.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::*;

fn query(text: &str, more: Value) -> UserQuery {
    let mut all = json!({"name": "q", "database": "postgres", "query": text});
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

/// A server with some orders, which the queries below ask for.
fn shop() -> Real {
    let mut server = Real::builder().major(16).start();
    for words in [
        "cannot execute DROP TABLE in a read-only",
        "statement timeout",
        "multiple commands",
        "does not exist",
        "syntax error",
        "invalid input syntax",
    ] {
        server.announce_log(words);
    }
    server.execute(
        "create table orders as select g as id, timestamptz '2026-11-21 03:00+00' as created from generate_series(1, 12) g;
         create function break() returns int language plpgsql as 'begin drop table orders; return 1; end'",
    );
    server
}

#[test]
fn queries_that_return_what_is_expected() {
    let server = shop();
    let connect = |database: &str| login(&server, database);
    let good = [
        query("select count(*) from orders;", json!({"expect": 12, "min": 12, "max": 12.5})),
        query(
            "select id, 'x' from orders order by id limit 2 -- two",
            json!({"expect": [[1, "x"], [2, "x"]]}),
        ),
        query(
            "select max(created) from orders",
            json!({"min": "2026-11-21 02:59:59+00", "max": "2026-11-21 03:00Z"}),
        ),
        query("table orders", json!({})),
        query(
            "with a as (select 1 as b) select b, null as c from a",
            json!({"expect": [{"b": 1, "c": null}]}),
        ),
    ];
    assert_ok(&queries(&connect, &good, MOMENT), "5 queries return what is expected");
    assert_ok(&queries(&connect, &good[..1], MOMENT), "1 query returns what is expected");
    let skipped = queries(&connect, &[], MOMENT);
    assert_eq!(
        (skipped.outcome, skipped.message.as_str()),
        (Outcome::Skipped, "no queries were given")
    );
}

/// What a query is told that is wrong.
fn told(server: &Real, text: &str, more: Value, told: &str) {
    let connect = |database: &str| login(server, database);
    let limit = Duration::from_millis(if text.contains("sleep") { 200 } else { 20_000 });
    let check = queries(&connect, &[query(text, more)], limit);
    let detail = format!("query \"q\" in database \"postgres\": {told}");
    assert_failed(&check, "1 of 1 query does not return what is expected", &[&detail]);
}

#[test]
fn queries_tell_what_they_returned_and_what_was_expected() {
    let server = shop();
    for (text, more, expected) in [
        ("select count(*) from orders", json!({"expect": 13}), "it returned 12, expected 13"),
        (
            "select count(*) from orders",
            json!({"min": 20}),
            "it returned 12, less than the minimum 20",
        ),
        (
            "select count(*) from orders",
            json!({"max": 1}),
            "it returned 12, more than the maximum 1",
        ),
        (
            "select * from orders where id > 100",
            json!({}),
            "it returned no row, expected at least one",
        ),
        ("select id from orders", json!({"min": 1}), "it returned 12 rows, expected one"),
        ("select null", json!({"min": 1}), "it returned null, which cannot be compared with 1"),
        (
            "select max(created) from orders",
            json!({"min": "2026-11-22"}),
            "it returned \"2026-11-21 03:00:00+00\", less than the minimum \"2026-11-22\"",
        ),
        (
            "select 'x'",
            json!({"min": 1}),
            "it returned \"x\", which cannot be compared with 1 as numbers or times",
        ),
    ] {
        told(&server, text, more, expected);
    }
}

#[test]
fn queries_can_change_nothing_and_end_in_time() {
    let server = shop();
    let connect = |database: &str| login(&server, database);
    for (text, more, expected) in [
        (
            "select * from no_such",
            json!({}),
            "could not run the query: ERROR: relation \"no_such\" does not exist",
        ),
        (
            "select 1; drop table orders",
            json!({}),
            "could not run the query: ERROR: cannot insert multiple commands into a prepared statement",
        ),
        (
            "select break()",
            json!({}),
            "could not run the query: ERROR: cannot execute DROP TABLE in a read-only transaction",
        ),
        (
            "drop table orders",
            json!({}),
            "could not run the query: ERROR: syntax error at or near \"drop\"",
        ),
        (
            "select pg_sleep(20)",
            json!({}),
            "could not run the query: ERROR: canceling statement due to statement timeout",
        ),
    ] {
        told(&server, text, more, expected);
    }
    assert_eq!(server.query("select count(*) from orders"), "12");
    let check = queries(&connect, &[query("select 1", json!({"database": "nowhere"}))], MOMENT);
    assert!(check.details[0].contains("FATAL: database \"nowhere\" does not exist"), "{check:#?}");
}

#[test]
fn the_newest_data_counts() {
    let mut server = Real::builder().major(15).start();
    server.announce_log("invalid input syntax for type timestamp");
    server.execute("alter database postgres set timezone to 'Asia/Kolkata'");
    let connect = |database: &str| login(&server, database);
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let now = time("2026-11-21T12:00:00Z");
    let commit = Some((time("2026-11-20T09:59:00Z"), "the last commit is"));
    let fresh = |text: &str| FreshnessQuery { database: "postgres".into(), query: text.into() };
    let (day, two) = (Some(Duration::from_secs(86_400)), Some(Duration::from_secs(172_800)));

    let told = "the last commit is of 2026-11-20T09:59:00Z, 1 d 2 h old";
    assert_ok(
        &max_age(&connect, commit, &[], now, two),
        &format!("{told}, within the 2 d allowed"),
    );
    assert_failed(
        &max_age(&connect, commit, &[], now, day),
        &format!("{told}, more than the 1 d allowed"),
        &[],
    );
    let check = max_age(&connect, commit, &[], now, None);
    assert_eq!(
        (check.outcome, check.message),
        (Outcome::Skipped, format!("max_age was not given; {told}"))
    );
    assert_failed(
        &max_age(&connect, None, &[], now, day),
        "whether the newest data is within the 1 d allowed cannot be told: no commit was replayed, and no freshness query \
         was given",
        &[],
    );
    let newer = fresh("select timestamptz '2026-11-21 11:00+00'");
    assert_ok(
        &max_age(&connect, commit, &[newer], now, day),
        "the newest data in database \"postgres\" is of 2026-11-21T11:00:00Z, 1 h old, within the 1 d allowed",
    );
    let without = fresh("select timestamp '2026-11-21 16:30'");
    assert_ok(
        &max_age(&connect, commit, &[without], now, day),
        "the newest data in database \"postgres\" is 2026-11-21 16:30:00 without a time zone, in Asia/Kolkata, of \
         2026-11-21T11:00:00Z, 1 h old, within the 1 d allowed",
    );
    for (text, told) in [
        ("select null", "it returned null, expected a time"),
        ("select now() where false", "it returned no row, expected one"),
        (
            "select 'soon'",
            "could not read a value as a time: ERROR: invalid input syntax for type timestamp with time zone: \"soon\"",
        ),
    ] {
        assert_failed(
            &max_age(&connect, commit, &[fresh(text)], now, day),
            "a query for the newest data does not return a time",
            &[&format!("in database \"postgres\": {told}")],
        );
    }
}

#[test]
fn every_query_for_the_newest_data_must_be_satisfied() {
    let server = Real::builder().major(15).start();
    server.execute("alter database postgres set timezone to 'Asia/Kolkata'");
    let connect = |database: &str| login(&server, database);
    let fresh = |text: &str| FreshnessQuery { database: "postgres".into(), query: text.into() };
    let now = "2026-11-21T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let day = Some(Duration::from_secs(86_400));
    let (newer, older) =
        (fresh("select timestamptz '2026-11-21 11:00+00'"), fresh("select timestamp '2026-11-18'"));
    let young = Some((now, "the last commit is"));
    assert_failed(
        &max_age(&connect, young, &[newer, older], now, day),
        "the newest data in database \"postgres\" is 2026-11-18 00:00:00 without a time zone, in Asia/Kolkata, of \
         2026-11-17T18:30:00Z, 3 d 17 h old, more than the 1 d allowed",
        &[],
    );
}

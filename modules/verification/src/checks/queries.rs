//! The user's own queries.

use std::cmp::Ordering;
use std::time::Duration;

use pg::{Answer, Server};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expectation::{compare, order, shown, single};
use super::{Connect, Work, many, words};
use crate::report::{Check, Outcome};

/// Expected rows are written by a person: there are no more of them.
const MOST_ROWS: usize = 1000;

/// A query that the restored database must answer, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    /// Its name in the report; none: the query itself.
    #[serde(default)]
    pub name: Option<String>,
    /// The database.
    pub database: String,
    /// One single query.
    pub query: String,
    /// A scalar for the first column of the only row, or a list of all rows, each a list of values or a dictionary by
    /// column. Text is compared as text, a number by its value.
    #[serde(default)]
    pub expect: Option<Value>,
    /// The least that the first column of the only row may be: a number or a time.
    #[serde(default)]
    pub min: Option<Value>,
    /// The most that it may be.
    #[serde(default)]
    pub max: Option<Value>,
}

/// Runs the user's queries, each in a read-only transaction and for at most `timeout`. One without an expectation must
/// return at least one row.
pub(crate) fn queries(connect: &Connect, queries: &[UserQuery], timeout: Duration) -> Check {
    let mut work = Work::begin("queries");
    if queries.is_empty() {
        return work.end(Outcome::Skipped, "no queries were given".into());
    }
    for query in queries {
        if let Err(told) = ask(connect, query, timeout) {
            work.details.push(format!(
                "query \"{}\" in database \"{}\": {told}",
                query.name.as_ref().unwrap_or(&query.query),
                query.database
            ));
        }
    }
    let failed = work.details.len();
    if failed == 0 {
        let verb = if queries.len() == 1 { "returns" } else { "return" };
        let all = many(queries.len(), "query");
        return work.end(Outcome::Ok, format!("{all} {verb} what is expected"));
    }
    let verb = if failed == 1 { "does" } else { "do" };
    let all = many(queries.len(), "query");
    work.end(Outcome::Failed, format!("{failed} of {all} {verb} not return what is expected"))
}

fn ask(connect: &Connect, query: &UserQuery, timeout: Duration) -> Result<(), String> {
    let mut server = connect(&query.database).map_err(|error| words(&error))?;
    let answer = server.ask(&query.query, timeout, MOST_ROWS).map_err(|error| words(&error))?;
    if let Some(expected) = &query.expect {
        compare(&answer, expected)?;
    }
    bound(&mut server, &answer, query.min.as_ref(), Ordering::Less, "less than the minimum")?;
    bound(&mut server, &answer, query.max.as_ref(), Ordering::Greater, "more than the maximum")?;
    let asked = query.expect.is_some() || query.min.is_some() || query.max.is_some();
    if !asked && answer.rows.is_empty() {
        return Err("it returned no row, expected at least one".into());
    }
    Ok(())
}

fn bound(
    server: &mut Server,
    answer: &Answer,
    limit: Option<&Value>,
    wrong: Ordering,
    words: &str,
) -> Result<(), String> {
    let Some(limit) = limit else { return Ok(()) };
    let limit = match limit {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let Some(found) = single(answer)? else {
        return Err(format!("it returned null, which cannot be compared with {limit}"));
    };
    let found_order = match order(found, &limit) {
        Some(order) => order,
        None => match (server.instant(found), server.instant(&limit)) {
            (Ok(found), Ok(limit)) => found.cmp(&limit),
            _ => {
                return Err(format!(
                    "it returned {}, which cannot be compared with {} as numbers or times",
                    shown(Some(found)),
                    shown(Some(&limit))
                ));
            }
        },
    };
    if found_order == wrong {
        return Err(format!("it returned {}, {words} {}", shown(Some(found)), shown(Some(&limit))));
    }
    Ok(())
}

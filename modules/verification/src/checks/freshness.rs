//! How old the newest data is.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::expectation::single;
use super::{Connect, Work, words};
use crate::report::{Check, Outcome};

/// Queries of one value may take so long: without an index on the column, a whole table is read.
const LIMIT: Duration = Duration::from_secs(3600);

/// A query for the time of the newest data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreshnessQuery {
    /// The database.
    pub database: String,
    /// One single query that returns one time.
    pub query: String,
}

/// Compares the age of the newest data with `limit`. With queries, what each of them returns must be young enough, and the
/// oldest is told: a commit of whatever kind, such as one of autovacuum, says nothing of the tables that the user named.
/// Without, it is what is `known` without asking (a time, and what it is: "the last commit is").
pub(crate) fn max_age(
    connect: &Connect,
    known: Option<(DateTime<Utc>, &str)>,
    freshness: &[FreshnessQuery],
    now: DateTime<Utc>,
    limit: Option<Duration>,
) -> Check {
    let mut work = Work::begin("max_age");
    let known = known.filter(|_| freshness.is_empty());
    let mut oldest = known.map(|(time, said)| (time, said.to_owned()));
    for query in freshness {
        match ask(connect, query) {
            Err(told) => work.details.push(format!("in database \"{}\": {told}", query.database)),
            Ok((time, said)) => {
                if oldest.as_ref().is_none_or(|(oldest, _)| time < *oldest) {
                    oldest = Some((time, said));
                }
            }
        }
    }
    if !work.details.is_empty() {
        let text = "a query for the newest data does not return a time";
        return work.end(Outcome::Failed, text.into());
    }
    judge(work, oldest, now, limit)
}

fn judge(
    work: Work,
    newest: Option<(DateTime<Utc>, String)>,
    now: DateTime<Utc>,
    limit: Option<Duration>,
) -> Check {
    let said = newest.as_ref().map(|(time, said)| {
        let age = now.signed_duration_since(time).max(TimeDelta::zero());
        format!("{said} of {}, {} old", time.to_rfc3339_opts(SecondsFormat::Secs, true), span(age))
    });
    match (newest, said, limit) {
        (_, Some(said), None) => {
            work.end(Outcome::Skipped, format!("max_age was not given; {said}"))
        }
        (_, None, None) => work.end(Outcome::Skipped, "max_age was not given".into()),
        (Some((time, _)), Some(said), Some(limit)) => {
            let allowed = TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
            let old = now.signed_duration_since(time) > allowed;
            let (outcome, words) =
                if old { (Outcome::Failed, "more than") } else { (Outcome::Ok, "within") };
            work.end(outcome, format!("{said}, {words} the {} allowed", span(allowed)))
        }
        (_, _, Some(limit)) => {
            let allowed = span(TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX));
            let text = format!(
                "whether the newest data is within the {allowed} allowed cannot be told: no commit was replayed, and no \
                 freshness query was given"
            );
            work.end(Outcome::Failed, text)
        }
    }
}

fn ask(connect: &Connect, query: &FreshnessQuery) -> Result<(DateTime<Utc>, String), String> {
    let mut server = connect(&query.database).map_err(|error| words(&error))?;
    let answer = server.ask(&query.query, LIMIT, 2).map_err(|error| words(&error))?;
    let Some(found) = single(&answer)? else {
        return Err("it returned null, expected a time".into());
    };
    let time = server.instant(found).map_err(|error| words(&error))?;
    let mut said = format!("the newest data in database \"{}\" is", query.database);
    if answer.without_zone {
        let zone = server.time_zone().map_err(|error| words(&error))?;
        said.push_str(&format!(" {found} without a time zone, in {zone},"));
    }
    Ok((time, said))
}

/// `26 h`, `3 d 4 h`, `5 min 10 s`: the two largest parts.
fn span(time: TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let told: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if told.is_empty() { "0 s".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_parts() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (93_600, "1 d 2 h"), (90_061, "1 d 1 h")]
        {
            assert_eq!(span(TimeDelta::seconds(seconds)), text);
        }
    }
}

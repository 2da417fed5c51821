//! What a recovered server is asked.
//!
//! Each check is a function that asks over connections it gets from a [`Connect`], and gives a [`Check`]. None fails
//! itself: what cannot be asked is what it found.

mod collations;
mod databases;
mod expectation;
mod freshness;
mod indexes;
mod libraries;
mod queries;
mod row_counts;
#[cfg(test)]
mod tests;

use std::time::Instant;

use pg::{Server, ServerError};

use crate::chain as words;
use crate::report::{Check, Finding, Outcome};
use crate::words::{counted, thousands as grouped};

pub(crate) use collations::collations;
pub(crate) use databases::databases;
pub use freshness::FreshnessQuery;
pub(crate) use freshness::max_age;
pub(crate) use indexes::indexes;
pub(crate) use libraries::libraries;
pub use queries::UserQuery;
pub(crate) use queries::queries;
pub(crate) use row_counts::row_counts;

/// Connects to the recovered server's database of this name, as a superuser.
pub(crate) type Connect<'a> = dyn Fn(&str) -> Result<Server, ServerError> + 'a;

/// The database that every cluster has, unless somebody dropped it.
const FIRST: &str = "postgres";

/// No more lines of details than this.
const MOST_DETAILS: usize = 100;

/// A check at work.
struct Work {
    name: &'static str,
    begun: Instant,
    details: Vec<String>,
    findings: Vec<Finding>,
}

impl Work {
    fn begin(name: &'static str) -> Work {
        Work { name, begun: Instant::now(), details: vec![], findings: vec![] }
    }

    fn find(&mut self, message: String, sql: Vec<String>) {
        self.findings.push(Finding { message, sql });
    }

    fn end(mut self, outcome: Outcome, message: String) -> Check {
        let more = self.details.len().saturating_sub(MOST_DETAILS);
        if more > 0 {
            // The line that says so is one of them.
            self.details.truncate(MOST_DETAILS.saturating_sub(1));
            self.details.push(format!("and {} more", more.saturating_add(1)));
        }
        Check {
            name: self.name.to_owned(),
            outcome,
            message,
            details: self.details,
            findings: self.findings,
            seconds: self.begun.elapsed().as_secs_f64(),
        }
    }

    /// The server could not even be asked.
    fn unable(self, error: &ServerError) -> Check {
        self.end(Outcome::Failed, words(error))
    }
}

/// The databases that can be connected to, in a server's own order.
pub(crate) fn connectable(connect: &Connect) -> Result<Vec<String>, ServerError> {
    let all = connect(FIRST)?.databases()?;
    Ok(all
        .into_iter()
        .filter(|database| database.accepts_connections && !database.invalid)
        .map(|database| database.name)
        .collect())
}

/// `"a", "b" and "c"`; no more than ten of them.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().take(10).map(|name| format!("\"{name}\"")).collect();
    let more = names.len().saturating_sub(10);
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) if more == 0 => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {more} more", quoted.join(", ")),
    }
}

/// `1 database`, `2 databases`.
fn many(number: usize, one: &str) -> String {
    counted(u64::try_from(number).unwrap_or(u64::MAX), one)
}

/// A name as SQL needs it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

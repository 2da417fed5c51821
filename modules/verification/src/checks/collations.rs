//! Whether text is sorted here as it was where the indexes were built.

use pg::{CollationChange, ServerError};

use super::{Connect, FIRST, Work, connectable, many, words};
use crate::report::{Check, Outcome};

/// A finding names so many indexes.
const NAMED: usize = 10;

/// Compares the recorded versions of collations with those of this host. A difference is a finding: indexes on text may
/// be out of order here, and will be wherever the host is like this one.
pub(crate) fn collations(connect: &Connect) -> Check {
    let mut work = Work::begin("collations");
    let asked = connect(FIRST).and_then(|mut server| server.changed_databases());
    let (changed, recorded) = match asked {
        Ok(Some(changed)) => (changed, true),
        Ok(None) => (vec![], false),
        Err(error) => return work.unable(&error),
    };
    let databases = match connectable(connect) {
        Ok(databases) => databases,
        Err(error) => return work.unable(&error),
    };
    let defaults = changed.len();
    changed.into_iter().for_each(|change| find_default(&mut work, &change));
    let (mut used, mut unused) = (0, 0);
    for database in &databases {
        match in_database(connect, database) {
            Err(error) => work.details.push(format!("{database}: {}", words(&error))),
            Ok(changes) => {
                for change in changes {
                    if change.indexes.is_empty() {
                        unused += 1;
                        continue;
                    }
                    used += 1;
                    find_collation(&mut work, database, &change);
                }
            }
        }
    }
    work.end(Outcome::Ok, message(defaults, used, unused, recorded))
}

fn in_database(connect: &Connect, name: &str) -> Result<Vec<CollationChange>, ServerError> {
    connect(name)?.changed_collations()
}

fn message(defaults: usize, used: usize, unused: usize, recorded: bool) -> String {
    let mut message = if defaults + used == 0 {
        "text is sorted here as where the indexes were built".to_owned()
    } else {
        let mut parts = vec![];
        if defaults > 0 {
            parts.push(format!("the default collation of {}", many(defaults, "database")));
        }
        if used > 0 {
            parts.push(format!("{} that indexes use", many(used, "collation")));
        }
        let verb = if defaults + used == 1 { "has" } else { "have" };
        format!("{} {verb} another version on this host", parts.join(" and "))
    };
    if unused > 0 {
        message.push_str(&format!("; so does {} that no index uses", many(unused, "collation")));
    }
    if !recorded {
        message.push_str(
            "; that of the databases' default collations is not known, as PostgreSQL records it from 15 on",
        );
    }
    message
}

fn find_default(work: &mut Work, change: &CollationChange) {
    let name = &change.name;
    work.find(
        format!(
            "the default collation of database {name} {}: indexes on text may be out of order",
            versions(change)
        ),
        vec![
            format!("REINDEX DATABASE {name};"),
            format!("ALTER DATABASE {name} REFRESH COLLATION VERSION;"),
        ],
    );
}

fn find_collation(work: &mut Work, database: &str, change: &CollationChange) {
    let named: Vec<&str> = change.indexes.iter().take(NAMED).map(String::as_str).collect();
    let more = match change.indexes.len() {
        count if count <= NAMED => String::new(),
        count if count > 100 => " and more".to_owned(),
        count => format!(" and {} more", count.saturating_sub(NAMED)),
    };
    let mut sql: Vec<String> =
        change.indexes.iter().map(|index| format!("REINDEX INDEX {index};")).collect();
    if change.indexes.len() > NAMED {
        // A list that is cut would look as if it were whole.
        sql = vec![format!("REINDEX DATABASE {};", super::quoted(database))];
    }
    sql.push(format!("ALTER COLLATION {} REFRESH VERSION;", change.name));
    work.find(
        format!(
            "collation {} of database \"{database}\" {}: these indexes may be out of order: {}{more}",
            change.name,
            versions(change),
            named.join(", ")
        ),
        sql,
    );
}

fn versions(change: &CollationChange) -> String {
    match &change.actual {
        Some(actual) => {
            format!("was version {} and is {actual} on this host", change.recorded)
        }
        None => format!("was version {} and is not there on this host", change.recorded),
    }
}

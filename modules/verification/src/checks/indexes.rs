//! Whether every index holds every row, where there is no program that asks.

use super::{Connect, Work, connectable, words};
use crate::report::{Check, Outcome};

/// Checks every B-tree index of every database over connections. PostgreSQL 13 has no `pg_amcheck`, and nothing that
/// looks at the structure of tables.
pub(crate) fn indexes(connect: &Connect) -> Check {
    let mut work = Work::begin("indexes");
    let databases = match connectable(connect) {
        Ok(databases) => databases,
        Err(error) => return work.unable(&error),
    };
    let mut checked = 0_usize;
    for database in databases {
        let listed = connect(&database).and_then(|mut server| {
            let indexes = server.btree_indexes()?;
            Ok((server, indexes))
        });
        let (mut server, indexes) = match listed {
            Ok(found) => found,
            Err(error) => {
                work.details.push(format!("{database}: {}", words(&error)));
                continue;
            }
        };
        for index in indexes {
            checked += 1;
            if let Err(error) = server.check_index(&index) {
                work.details.push(format!("{database}.{}: {}", index.name, words(&error)));
            }
        }
    }
    match work.details.first().cloned() {
        None => work.end(
            Outcome::Ok,
            format!(
                "B-tree indexes are sound, and every row is in its indexes ({checked} checked); the structure of tables was not looked at, as PostgreSQL 13 has no pg_amcheck"
            ),
        ),
        Some(first) => work.end(Outcome::Failed, first),
    }
}

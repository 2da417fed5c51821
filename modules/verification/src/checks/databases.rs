//! Whether every database accepts a connection.

use super::{Connect, FIRST, Work, listed, many, quoted, words};
use crate::report::{Check, Outcome};

/// Connects to every database that accepts connections. That reads the catalogues a session begins with, and finds a
/// locale that this host does not have.
pub(crate) fn databases(connect: &Connect) -> Check {
    let mut work = Work::begin("databases");
    let all = match connect(FIRST).and_then(|mut server| server.databases()) {
        Ok(all) => all,
        Err(error) => return work.unable(&error),
    };
    let (mut tried, mut closed) = (0_usize, vec![]);
    for database in all {
        if database.invalid {
            work.find(
                format!("database \"{}\" is what an interrupted DROP DATABASE left", database.name),
                vec![format!("DROP DATABASE {};", quoted(&database.name))],
            );
            closed.push(database.name);
        } else if !database.accepts_connections {
            closed.push(database.name);
        } else {
            tried += 1;
            if let Err(error) = connect(&database.name) {
                work.details.push(format!("{}: {}", database.name, words(&error)));
            }
        }
    }
    let rest = if closed.is_empty() {
        String::new()
    } else {
        format!("; not tried, as nobody can connect to it: {}", listed(&closed))
    };
    let failed = work.details.len();
    if failed == 0 {
        let verb = if tried == 1 { "accepts" } else { "accept" };
        return work
            .end(Outcome::Ok, format!("{} {verb} connections{rest}", many(tried, "database")));
    }
    let verb = if failed == 1 { "does" } else { "do" };
    work.end(
        Outcome::Failed,
        format!("{failed} of {} {verb} not accept a connection{rest}", many(tried, "database")),
    )
}

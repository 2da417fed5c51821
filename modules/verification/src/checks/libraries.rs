//! Whether this host has what the databases' extensions and functions need.

use std::collections::{BTreeMap, BTreeSet};

use pg::{MajorVersion, ServerError};

use super::{Connect, FIRST, Work, connectable, listed, many, words};
use crate::report::{Check, Outcome};

/// What the databases need of their host, and what of it is missing.
#[derive(Default)]
struct Needs {
    extensions: BTreeSet<String>,
    /// Names with versions, and the databases that have them.
    missing_extensions: BTreeMap<(String, String), Vec<String>>,
    libraries: BTreeSet<String>,
    /// Libraries with the reason, and the databases with functions in them.
    missing_libraries: BTreeMap<(String, String), Vec<String>>,
}

/// Looks for the files of every extension, and loads every library that functions are in. What is missing is a finding:
/// it is this host that lacks it, not the backup.
pub(crate) fn libraries(connect: &Connect) -> Check {
    let mut work = Work::begin("libraries");
    let databases = match connectable(connect) {
        Ok(databases) => databases,
        Err(error) => return work.unable(&error),
    };
    let mut needs = Needs::default();
    let mut unasked = vec![];
    for database in &databases {
        // Those that cannot be connected to are what the check of databases tells.
        if let Err(error) = needs.of(connect, database) {
            work.details.push(format!("{database}: {}", words(&error)));
            unasked.push(database.clone());
        }
    }
    let major = connect(FIRST).map_or(MajorVersion::NEWEST, |server| server.major());
    needs.find(&mut work, major);
    let mut message = needs.message();
    if !unasked.is_empty() {
        message.push_str(&format!("; not asked: {}", listed(&unasked)));
    }
    work.end(Outcome::Ok, message)
}

impl Needs {
    fn of(&mut self, connect: &Connect, database: &str) -> Result<(), ServerError> {
        let mut server = connect(database)?;
        let mut absent = vec![];
        for extension in server.extensions()? {
            if !extension.available {
                absent.push(extension.name.clone());
                let key = (extension.name.clone(), extension.version);
                self.missing_extensions.entry(key).or_default().push(database.to_owned());
            }
            self.extensions.insert(extension.name);
        }
        let libraries = server.libraries()?;
        drop(server);
        for library in libraries {
            let first = self.libraries.insert(library.name.clone());
            // That an extension's library is missing as well need not be said.
            if library.extension.is_some_and(|name| absent.contains(&name)) {
                continue;
            }
            let known =
                self.missing_libraries.iter_mut().find(|((name, _), _)| *name == library.name);
            if let Some((_, databases)) = known {
                databases.push(database.to_owned());
            } else if first
                && let Err(error) = connect(database)?.load_library(&library.name)
                && error.is_unloadable()
            {
                // A session of its own for each: one that must not be loaded so late may end it.
                let key = (library.name, words(&error));
                self.missing_libraries.insert(key, vec![database.to_owned()]);
            }
        }
        Ok(())
    }

    fn find(&self, work: &mut Work, major: MajorVersion) {
        for ((name, version), databases) in &self.missing_extensions {
            work.find(
                format!(
                    "extension \"{name}\" {version} of {} is not installed on this host: after a real restore, what \
                     uses it fails until the package that has it for PostgreSQL {major} is installed",
                    in_databases(databases)
                ),
                vec![],
            );
        }
        for ((name, reason), databases) in &self.missing_libraries {
            work.find(
                format!(
                    "functions of {} are in the library \"{name}\", which cannot be loaded on this host: {reason}",
                    in_databases(databases)
                ),
                vec![],
            );
        }
    }

    fn message(&self) -> String {
        let (missing, all) = (&self.missing_extensions, &self.extensions);
        let names: BTreeSet<&String> = missing.keys().map(|(name, _)| name).collect();
        let mut message = match names.len() {
            0 if all.len() == 1 => "the only extension is installed on this host".to_owned(),
            0 => format!("all {} are installed on this host", many(all.len(), "extension")),
            1 => format!("1 of {} is not installed on this host", many(all.len(), "extension")),
            more => {
                format!("{more} of {} are not installed on this host", many(all.len(), "extension"))
            }
        };
        let libraries = many(self.libraries.len(), "library");
        match self.missing_libraries.len() {
            0 if names.is_empty() && !self.libraries.is_empty() => {
                message.push_str(&format!("; {libraries} can be loaded"));
            }
            0 => {}
            missing => message.push_str(&format!("; {missing} of {libraries} cannot be loaded")),
        }
        message
    }
}

fn in_databases(names: &[String]) -> String {
    let noun = if names.len() == 1 { "database" } else { "databases" };
    format!("{noun} {}", listed(names))
}

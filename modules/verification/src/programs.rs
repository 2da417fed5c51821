//! Checks by PostgreSQL's own programs, run in the sandbox.

use std::path::Path;
use std::time::Duration;

use sandbox::{Command, Ran, Sandbox, SandboxError};

use crate::clone::Inside;
use crate::ledger::Found;
use crate::recovering::program;
use crate::words::counted;

/// How the programs are called.
pub(crate) struct Programs<'a> {
    pub(crate) sandbox: &'a mut Sandbox,
    pub(crate) bin_dir: &'a Path,
    pub(crate) inside: &'a Inside,
    /// A superuser of the restored cluster.
    pub(crate) user: &'a str,
    pub(crate) jobs: usize,
    pub(crate) watch: &'a dyn Fn() -> Result<(), String>,
}

/// More lines of a program's complaints are not kept here; the report cuts them once more.
const LINES: usize = 200;

impl Programs<'_> {
    /// Reads every row of every database, by dumping them to nothing.
    pub(crate) fn dump(&mut self, databases: &[String]) -> Found {
        let mut problems = vec![];
        let globals = ["--globals-only".to_owned()];
        let mut runs =
            vec![("pg_dumpall", "the roles and tablespaces".to_owned(), globals.to_vec())];
        for name in databases {
            let arguments = vec![format!("--dbname={}", connection_string(name))];
            runs.push(("pg_dump", format!("database \"{name}\""), arguments));
        }
        for (name, what, more) in runs {
            let mut args =
                ["--file=/dev/null", "--no-sync", "--no-password"].map(str::to_owned).to_vec();
            args.extend(self.connection());
            args.extend(more);
            match self.run(name, args) {
                Ok(ran) if ran.status == 0 => {}
                Ok(ran) => {
                    problems.push(format!("{what}: {}", first_line(&ran)));
                    problems.extend(lines(&ran).into_iter().skip(1));
                }
                Err(found) => return found,
            }
        }
        match problems.first() {
            None => {
                let number = u64::try_from(databases.len()).unwrap_or(u64::MAX);
                Found::ok(format!("{} dumped to nothing", counted(number, "database")))
            }
            Some(first) => Found::failed(format!("could not dump {first}")).details(problems),
        }
    }

    /// Compares the checksum of every page, with the server stopped.
    pub(crate) fn page_checksums(&mut self) -> Found {
        let args = vec!["--check".to_owned(), format!("--pgdata={}", self.inside.data.display())];
        match self.run("pg_checksums", args) {
            Ok(ran) if ran.status == 0 => {
                let blocks = ran.stdout.lines().find_map(|line| {
                    line.split_once("Blocks scanned:").map(|(_, number)| number.trim().to_owned())
                });
                Found::ok(format!("{} pages have the right checksum", blocks.unwrap_or_default()))
            }
            Ok(ran) => {
                let wrong: Vec<String> = lines(&ran)
                    .into_iter()
                    .filter(|line| line.contains("checksum verification failed"))
                    .collect();
                let count = wrong.len();
                let message = if count == 0 {
                    format!("pg_checksums failed: {}", first_line(&ran))
                } else {
                    let verb = if count == 1 { "page has" } else { "pages have" };
                    format!("{count} {verb} a wrong checksum")
                };
                Found::failed(message).details(if count == 0 { lines(&ran) } else { wrong })
            }
            Err(found) => found,
        }
    }

    /// Compares every B-tree index with its table, and looks at the structure of both.
    pub(crate) fn indexes(&mut self) -> Found {
        let mut args: Vec<String> = [
            "--all",
            "--install-missing",
            "--heapallindexed",
            "--parent-check",
            "--rootdescend",
            "--no-password",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--jobs={}", self.jobs.max(1)));
        args.extend(self.connection());
        match self.run("pg_amcheck", args) {
            Ok(ran) if ran.status == 0 => Found::ok(
                "every table and every B-tree index is sound, and every row is in its indexes",
            ),
            Ok(ran) => {
                let said: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
                // What is damaged, and below it how.
                let words: Vec<&str> = said.iter().map(|line| line.trim()).take(2).collect();
                let message = if words.is_empty() { first_line(&ran) } else { words.join(" ") };
                let details: Vec<String> =
                    said.into_iter().chain(lines(&ran)).take(LINES).collect();
                Found::failed(format!("pg_amcheck found: {message}")).details(details)
            }
            Err(found) => found,
        }
    }

    fn connection(&self) -> Vec<String> {
        vec![
            format!("--host={}", self.inside.shared.display()),
            "--port=5432".to_owned(),
            format!("--username={}", self.user),
        ]
    }

    /// Runs one; what is not its own answer becomes a finding: it is not there, or its time is over.
    fn run(&mut self, name: &str, args: Vec<String>) -> Result<Ran, Found> {
        let command = Command { program: program(self.bin_dir, name), args };
        self.sandbox.run(&command, None::<Duration>, self.watch).map_err(|error| match error {
            SandboxError::Inside { reason, .. } if reason.contains("No such file") => {
                Found::skipped(format!("\"{name}\" is not installed beside the server's programs"))
            }
            error => Found::failed(crate::chain(&error)),
        })
    }
}

/// A database's name, whatever it is made of, as `pg_dump` takes it.
fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn lines(ran: &Ran) -> Vec<String> {
    ran.stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(LINES)
        .map(str::to_owned)
        .collect()
}

fn first_line(ran: &Ran) -> String {
    lines(ran).into_iter().next().unwrap_or_else(|| format!("exit status {}", ran.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_databases_are_quoted() {
        assert_eq!(connection_string("a'b\\c d=e"), "dbname='a\\'b\\\\c d=e'");
    }

    #[test]
    fn the_first_line_says_it() {
        let ran = Ran { status: 3, stdout: String::new(), stderr: "\n a\nb\n".to_owned() };
        assert_eq!((first_line(&ran).as_str(), lines(&ran).len()), ("a", 2));
        assert_eq!(first_line(&Ran { stderr: String::new(), ..ran }), "exit status 3");
    }
}

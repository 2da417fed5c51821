//! The checks that ask the recovered server.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use pg::{Server, ServerError};
use repository::RowCounts;
use sandbox::{Change, ServerState};

use super::Drill;
use super::connection::connect;
use super::server::Running;
use crate::checks;
use crate::ledger::Found;
use crate::material::Material;
use crate::recovering::Ended;
use crate::report::{Level, Outcome};

/// A user's query may take so long when the drill itself has no limit.
const QUERY_LIMIT: Duration = Duration::from_secs(3600);

/// A fast stop writes a checkpoint of what was changed meanwhile.
const STOP_LIMIT: Duration = Duration::from_secs(300);

impl Drill<'_> {
    /// Everything that needs the running server, and in the end what needs it stopped.
    pub(super) fn ask(&mut self, running: &mut Running) {
        self.ask_over_connections(running);
        if self.plan.demand.level < Level::Read {
            return;
        }
        if self.plan.demand.self_test && !self.damage_a_table(running) {
            return;
        }
        self.count_rows(running);
        self.run_programs(running);
        self.check_pages(running);
    }

    fn ask_over_connections(&mut self, running: &Running) {
        let demand = self.plan.demand.clone();
        let user = demand.login_user.as_str();
        let connect = |database: &str| connect_to(running, user, database);
        let last_commit = self.evidence.as_ref().and_then(|evidence| evidence.last_commit);
        let newest = self.newest(last_commit);
        let timeout = demand.timeout.unwrap_or(QUERY_LIMIT);
        let ledger = &mut self.ledger;
        ledger.add(checks::databases(&connect));
        ledger.add(checks::libraries(&connect));
        ledger.add(checks::collations(&connect));
        let (fresh, limit) = (&demand.freshness, demand.max_age);
        ledger.add(checks::max_age(&connect, newest, fresh, Utc::now(), limit));
        ledger.add(checks::queries(&connect, &demand.queries, timeout));
        self.judge_time(demand.max_recovery_time);
    }

    /// The time from which the data's age is counted, and what it is: without a commit in the WAL the data is at least as
    /// new as the backup.
    pub(super) fn newest(
        &self,
        last_commit: Option<DateTime<Utc>>,
    ) -> Option<(DateTime<Utc>, &'static str)> {
        let Material { subject, checkpoint_time, .. } = &self.plan.material;
        let stop = subject
            .stop_time
            .map(|time| (time, "the WAL holds no commit, and the stop of the backup is"));
        let checkpoint = checkpoint_time
            .map(|time| (time, "the WAL holds no commit, and the checkpoint of the backup is"));
        last_commit.map(|time| (time, "the last commit is")).or(stop).or(checkpoint)
    }

    fn judge_time(&mut self, limit: Option<Duration>) {
        let found = match (&self.recovery, limit) {
            (_, None) => Found::skipped("max_recovery_time was not given"),
            (None, Some(_)) => Found::skipped("the time of recovery was not measured"),
            (Some(times), Some(limit)) => {
                let text = format!(
                    "recovery took {:.1} s (files {:.1} s, server {:.1} s), {} s are allowed",
                    times.total,
                    times.materialise,
                    times.total - times.materialise,
                    limit.as_secs()
                );
                if times.total > limit.as_secs_f64() {
                    Found::failed(text)
                } else {
                    Found::ok(text)
                }
            }
        };
        self.ledger.check("max_recovery_time", || found);
    }

    /// A connection to the sandbox's server.
    pub(super) fn connect(&self, running: &Running, database: &str) -> Result<Server, ServerError> {
        connect_to(running, &self.plan.demand.login_user, database)
    }

    fn count_rows(&mut self, running: &Running) {
        let recorded = match &self.plan.material.ours {
            None => Ok(None),
            Some(ours) => RowCounts::read(&ours.folder, ours.backup.manifest()),
        };
        let replayed = self.evidence.as_ref().and_then(|evidence| evidence.replay_lsn);
        let connect = |database: &str| self.connect(running, database);
        match recorded {
            Ok(recorded) => {
                let check = checks::row_counts(&connect, recorded.as_ref(), replayed);
                self.ledger.add(check);
            }
            Err(error) => {
                let problem = crate::chain(&error);
                self.ledger.check("row_counts", || Found::failed(problem));
            }
        }
    }

    fn run_programs(&mut self, running: &mut Running) {
        let databases = checks::connectable(&|database| self.connect(running, database));
        let has_amcheck = self.plan.material.major.is_none_or(|major| major.has_amcheck_program());
        let Self { plan, ledger, watch, .. } = self;
        let mut programs = running.programs(&plan.demand, *watch);
        ledger.check("dump", || match databases {
            Ok(databases) => programs.dump(&databases),
            Err(error) => Found::failed(crate::chain(&error)),
        });
        if plan.demand.level < Level::Full {
            return;
        }
        if has_amcheck {
            ledger.check("indexes", || programs.indexes());
        } else {
            let user = plan.demand.login_user.as_str();
            ledger.add(checks::indexes(&|database| connect_to(running, user, database)));
        }
    }

    /// Needs the server stopped; it is started again only for somebody who wants to keep it.
    fn check_pages(&mut self, running: &mut Running) {
        let control = running.sandbox.read(&running.inside.control_file(), 8192);
        let with_checksums = control
            .ok()
            .and_then(|bytes| pg::ControlFile::parse(Path::new("pg_control"), &bytes).ok());
        if with_checksums.is_some_and(|control| !control.data_checksums) {
            self.ledger.skip("page_checksums", "the cluster has no data checksums");
            return;
        }
        if let Err(problem) = self.stop(running) {
            self.ledger.check("page_checksums", || Found::failed(problem));
            return;
        }
        let Self { plan, ledger, watch, .. } = self;
        let mut programs = running.programs(&plan.demand, *watch);
        ledger.check("page_checksums", || programs.page_checksums());
        if self.plan.demand.keep {
            let _ = self.start_again(running);
        }
    }

    /// Stops the server as for maintenance, so that its files are whole.
    fn stop(&mut self, running: &mut Running) -> Result<(), String> {
        let failed = |error: sandbox::SandboxError| crate::chain(&error);
        running.sandbox.signal(Signal::SIGINT).map_err(failed)?;
        let begun = std::time::Instant::now();
        loop {
            match running.sandbox.server().map_err(failed)? {
                ServerState::Running => {}
                ServerState::Ended(0) | ServerState::Absent => return Ok(()),
                ServerState::Ended(status) => {
                    return Err(format!(
                        "the server did not stop in order, its exit status is {status}"
                    ));
                }
            }
            (self.watch)()?;
            if begun.elapsed() > STOP_LIMIT {
                return Err(format!("the server did not stop within {} s", STOP_LIMIT.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn start_again(&mut self, running: &mut Running) -> Result<(), String> {
        let ended = running.start(self.plan.demand.patience, self.watch);
        match ended {
            Ok(Ended::Ready) => Ok(()),
            Ok(other) => Err(format!("the server could not be started again: {other:?}")),
            Err(error) => Err(crate::chain(&error)),
        }
    }

    /// For the self-test: makes a page of a table unreadable. Whether there was one.
    fn damage_a_table(&mut self, running: &mut Running) -> bool {
        let victim = self.find_victim(running).and_then(|(table, path)| {
            self.stop(running)?;
            let path = running.inside.data.join(path);
            // The page header says where its rows are: nonsense there is an invalid page for every reader.
            let nonsense = Change::Overwrite { path, offset: 8, bytes: vec![0xFF; 16] };
            running.sandbox.change(vec![nonsense]).map_err(|error| crate::chain(&error))?;
            self.start_again(running)?;
            Ok(table)
        });
        match victim {
            Ok(table) => {
                self.damaged = Some(format!("the first page of table {table}"));
                true
            }
            Err(problem) => {
                self.ledger.check("self_test", || Found::failed(problem));
                false
            }
        }
    }

    fn find_victim(&self, running: &Running) -> Result<(String, String), String> {
        let words = |error: ServerError| crate::chain(&error);
        let connect = |database: &str| self.connect(running, database);
        let databases = checks::connectable(&connect).map_err(words)?;
        let mut spare = None;
        for database in databases {
            let mut server = connect(&database).map_err(words)?;
            if let Some(found) = server.largest_table().map_err(words)? {
                let named = (format!("{database}.{}", found.name), found.path);
                if found.of_users {
                    return Ok(named);
                }
                spare = Some(named);
            }
        }
        spare.ok_or_else(|| "there is no table that could be damaged".to_owned())
    }

    /// The self-test's verdict: what was damaged must have been found.
    pub(super) fn judge_self_test(&mut self) {
        let Some(damaged) = self.damaged.clone() else { return };
        let finders: Vec<String> = self
            .ledger
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .map(|check| format!("{} ({})", check.name, check.message))
            .collect();
        let found = if finders.is_empty() {
            Found::failed(format!("{damaged} was damaged on purpose, and no check found it"))
        } else {
            Found::ok(format!(
                "{damaged} was damaged on purpose, and found by {}",
                finders.join(", ")
            ))
        };
        self.ledger.check("self_test", || found);
    }
}

/// To list databases, any that every cluster has will do.
fn connect_to(running: &Running, user: &str, database: &str) -> Result<Server, ServerError> {
    match connect(running, user, database) {
        Err(error) if database == "postgres" && crate::chain(&error).contains("does not exist") => {
            connect(running, user, "template1").map_err(|_| error)
        }
        other => other,
    }
}

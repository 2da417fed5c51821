//! The part of a drill for which a server runs.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pg::ControlFile;
use sandbox::{Answered, Answers, Place, Sandbox, SandboxError, ServerState};

use super::guard::guarded;
use super::{Drill, Kept, naming_the_disk};
use crate::VerificationError;
use crate::clone::Inside;
use crate::ledger::Found;
use crate::materialise::Made;
use crate::programs::Programs;
use crate::recovering::{Ended, Recovering};
use crate::report::{Evidence, Outcome, RecoveryTimes};
use crate::request::Demand;
use crate::server_log::ServerLog;
use crate::wal_source;

/// All that belongs to the sandbox's server.
pub(super) struct Running {
    pub(super) sandbox: Sandbox,
    pub(super) inside: Inside,
    pub(super) log: ServerLog,
    pub(super) answers: Answers,
    /// Set when nobody asks for WAL any more.
    pub(super) enough_wal: Arc<AtomicBool>,
    pub(super) bin_dir: PathBuf,
    pub(super) shared: PathBuf,
    /// The shared directory, held open: a socket in it is reached whatever its path is.
    pub(super) directory: File,
}

impl Running {
    /// Starts the server and waits until it accepts connections, ends, or stands still for so long.
    pub(super) fn start(
        &mut self,
        patience: Duration,
        watch: &dyn Fn() -> Result<(), String>,
    ) -> Result<Ended, SandboxError> {
        let mut recovering = Recovering {
            sandbox: &mut self.sandbox,
            log: &mut self.log,
            answers: &self.answers,
            inside: &self.inside,
            patience,
        };
        recovering.start(&self.bin_dir, watch)
    }

    /// PostgreSQL's own programs, as the drill calls them.
    pub(super) fn programs<'a>(
        &'a mut self,
        demand: &'a Demand,
        watch: &'a dyn Fn() -> Result<(), String>,
    ) -> Programs<'a> {
        Programs {
            sandbox: &mut self.sandbox,
            bin_dir: &self.bin_dir,
            inside: &self.inside,
            user: &demand.login_user,
            jobs: demand.jobs,
            watch,
        }
    }
}

impl Drill<'_> {
    /// Starts a server on the copy and makes every check that needs one.
    ///
    /// # Errors
    /// Only when there can be no sandbox: anything else is the failure of a check.
    pub(super) fn recover(&mut self, place: &Place, made: &Made) -> Result<(), VerificationError> {
        let control = match ControlFile::read(&made.data.join("global/pg_control")) {
            Ok(control) => control,
            Err(error) => return self.cannot_recover(crate::chain(&error)),
        };
        let installed = match self.installed() {
            Ok(found) => found,
            Err(problem) => return self.cannot_recover(problem),
        };
        let begin = self.ledger.elapsed();
        let mut running = match self.prepare(place, made, &control, installed) {
            Ok(running) => running,
            Err(VerificationError::Sandbox(error @ SandboxError::Inside { .. })) => {
                return self.cannot_recover(naming_the_disk(crate::chain(&error), place));
            }
            // The label is damaged, which its own check has found too.
            Err(VerificationError::Repository(error)) => {
                return self.cannot_recover(crate::chain(&error));
            }
            Err(error) => return Err(error),
        };
        self.ledger.note_phase("prepare", begin);
        let (stopped, watch) = (self.ledger.stopped.clone(), self.watch);
        guarded(running.sandbox.pid(), watch, &stopped, || {
            if self.check_recovery(&mut running, place) == Outcome::Ok {
                self.ask(&mut running);
            }
        });
        wal_source::end(&running.enough_wal, &running.answers);
        if self.failed() {
            self.log = running.log.last_words();
        }
        if self.plan.demand.keep && matches!(running.sandbox.server(), Ok(ServerState::Running)) {
            let socket_directory = running.shared.clone();
            let pid = running.sandbox.keep()?;
            self.kept = Some(Kept { pid, socket_directory });
            return Ok(());
        }
        self.ledger.phase("stop", || running.sandbox.close());
        Ok(())
    }

    fn cannot_recover(&mut self, problem: String) -> Result<(), VerificationError> {
        self.ledger.check("recovery", || Found::failed(problem));
        Ok(())
    }

    fn check_recovery(&mut self, running: &mut Running, place: &Place) -> Outcome {
        let started = Utc::now();
        let begin = self.ledger.elapsed();
        let mut found = self.recover_to_the_end(running);
        found.message = naming_the_disk(found.message, place);
        let seconds = self.ledger.note_phase("recover", begin);
        self.note_times(running, started, seconds);
        let outcome = found.outcome;
        self.ledger.push(found.check("recovery", seconds));
        outcome
    }

    fn recover_to_the_end(&mut self, running: &mut Running) -> Found {
        let ended = running.start(self.plan.demand.patience, self.watch);
        let answered = running.answers.so_far();
        match ended {
            Ok(Ended::Ready) => self.judge_recovery(running),
            Ok(Ended::Died(status)) => died(&mut running.log, status, &answered),
            Ok(Ended::Stalled(time)) => Found::failed(format!(
                "recovery made no progress for {} s{}",
                time.as_secs(),
                wal_source::waiting_for(&answered)
            ))
            .details(running.log.last_words()),
            Err(error) => Found::failed(crate::chain(&error)).details(running.log.last_words()),
        }
    }

    /// "Ready to accept connections" alone is said by a wrong restore too.
    fn judge_recovery(&mut self, running: &mut Running) -> Found {
        let told = running.log.told.clone();
        let Some((_, at)) = told.consistent.filter(|_| !told.crash_recovery) else {
            return Found::failed(
                "the server recovered as after a crash, so it has seen no backup_label: it began at the wrong place in WAL, and its data may be damaged",
            );
        };
        let control = running.sandbox.read(&running.inside.control_file(), 8192);
        let control = control.map_err(|error| crate::chain(&error)).and_then(|bytes| {
            ControlFile::parse(&running.inside.control_file(), &bytes)
                .map_err(|error| crate::chain(&error))
        });
        match control {
            Ok(control) if control.backup_end_awaited => {
                return Found::failed(
                    "the end of the backup was not replayed, says the control file",
                );
            }
            Ok(_) => {}
            Err(problem) => return Found::failed(problem),
        }
        let end = self
            .connect(running, "postgres")
            .and_then(|mut server| server.recovery_end())
            .map_err(|error| crate::chain(&error));
        let end = match end {
            Ok(end) if end.in_recovery => {
                return Found::failed("the server says that it is still in recovery");
            }
            Ok(end) => end,
            Err(problem) => {
                let role = format!("role \"{}\" does not exist", self.plan.demand.login_user);
                let way_out = if problem.contains(&role) {
                    ": name a superuser of this database cluster with the option superuser"
                } else {
                    ""
                };
                return Found::failed(format!("the server could not be asked: {problem}{way_out}"));
            }
        };
        let replayed = end.replay_lsn;
        self.note_evidence(running, &end);
        let stop = self.plan.material.subject.stop_lsn;
        if let Some((replayed, stop)) = replayed.zip(stop).filter(|(at, stop)| at < stop) {
            return Found::failed(format!(
                "recovery ended at {replayed}, before the end of the backup at {stop}"
            ));
        }
        let at = at.map_or_else(String::new, |at| format!(" at {at}"));
        let end = replayed.map_or_else(String::new, |lsn| format!(", replayed to {lsn}"));
        Found::ok(format!("consistent{at}, end of the backup replayed{end}"))
    }

    fn note_times(&mut self, running: &Running, started: DateTime<Utc>, seconds: f64) {
        let told = &running.log.told;
        let since = |at: Option<DateTime<Utc>>, from: DateTime<Utc>| {
            at.map(|at| (at - from).as_seconds_f64().max(0.0))
        };
        let Some((consistent_at, _)) = told.consistent else { return };
        let materialise = self
            .ledger
            .phases
            .iter()
            .find(|phase| phase.name == "materialise")
            .map_or(0.0, |phase| phase.seconds);
        let consistent = since(Some(consistent_at), started).unwrap_or(0.0);
        let replay = since(told.redo_done, consistent_at).unwrap_or(0.0);
        let ready = (seconds - consistent - replay).max(0.0);
        let total = materialise + seconds;
        self.recovery = Some(RecoveryTimes { materialise, consistent, replay, ready, total });
    }

    fn note_evidence(&mut self, running: &Running, end: &pg::RecoveryEnd) {
        let last_commit = end.last_transaction.or(running.log.told.last_commit);
        let replay_lsn = end.replay_lsn;
        let newest = self.newest(last_commit);
        let segments = running.answers.so_far().found.len();
        self.evidence = Some(Evidence {
            replay_lsn,
            timeline: self.plan.material.subject.timeline,
            last_commit,
            age: newest.map(|(at, _)| (Utc::now() - at).as_seconds_f64()),
            wal_segments: u64::try_from(segments).unwrap_or(u64::MAX),
        });
    }
}

fn died(log: &mut ServerLog, status: i32, answered: &Answered) -> Found {
    let words = log.last_words();
    let said = ["PANIC:", "FATAL:"].iter().find_map(|severity| log.first(severity));
    let mut message = match said {
        Some(said) if said.ends_with("contains errors") => {
            format!("the server ended: {}", log.setting_refused().unwrap_or(said))
        }
        Some(said) => format!("the server ended: {said}"),
        None => format!("the server ended with status {status}"),
    };
    if let Some(failure) = &answered.failure {
        message.push_str(&format!(" (WAL could not be fetched: {failure})"));
    } else if let Some(missing) = answered.missing.iter().rev().find(|name| name.len() == 24) {
        message.push_str(&format!(" (the first WAL segment that was not to be had: {missing})"));
    }
    Found::failed(message).details(words)
}

//! The drill itself.

mod ask;
mod connection;
mod guard;
mod installation;
mod outcome;
mod prepare;
mod server;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use chrono::Utc;
use sandbox::Place;

use crate::examine::{self, WalPlan};
use crate::files;
use crate::ledger::{Found, Ledger};
use crate::material::{self, Directories, Files};
use crate::materialise::{self, Made, Making};
use crate::plan::{DrillPlan, Installed};
use crate::report::{Evidence, Level, RecoveryTimes, Report, SandboxUsed};
use crate::request::Sandboxing;
use crate::{VerificationError, plan};

/// What a drill came to.
#[derive(Debug, Clone)]
pub struct Held {
    /// The report.
    pub report: Report,
    /// The sandbox, when it was to stay.
    pub kept: Option<Kept>,
    /// Work directories of earlier drills that were found and removed.
    pub cleared: Vec<PathBuf>,
}

/// A sandbox that was left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The process whose end ends it and removes its files.
    pub pid: u32,
    /// The directory of the server's socket; its port is 5432.
    pub socket_directory: PathBuf,
}

/// Says whether to go on, or why not.
pub type Watch<'a> = dyn Fn() -> Result<(), String> + Sync + 'a;

/// A drill under way.
pub(crate) struct Drill<'a> {
    pub(crate) plan: DrillPlan,
    pub(crate) ledger: Ledger,
    pub(crate) watch: &'a Watch<'a>,
    pub(crate) sandbox_used: Option<SandboxUsed>,
    pub(crate) recovery: Option<RecoveryTimes>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) log: Vec<String>,
    pub(crate) kept: Option<Kept>,
    /// What the self-test has damaged.
    damaged: Option<String>,
}

/// Holds the drill. `watch` is asked several times a second whether to go on.
///
/// # Errors
/// [`VerificationError`] when it could not be held. Everything that was made is removed again then.
pub fn hold(plan: DrillPlan, watch: &Watch<'_>) -> Result<Held, VerificationError> {
    let (began, started, timeout) = (Instant::now(), Utc::now(), plan.demand.timeout);
    let watch = move || match timeout {
        Some(limit) if began.elapsed() >= limit => {
            Err(format!("the drill did not end within {} s", limit.as_secs()))
        }
        _ => watch(),
    };
    let mut drill = Drill {
        plan,
        ledger: Ledger::new(),
        watch: &watch,
        sandbox_used: None,
        recovery: None,
        evidence: None,
        log: Vec::new(),
        kept: None,
        damaged: None,
    };
    if let Files::Directories(directories) = drill.plan.material.files.clone() {
        drill.examine(&directories, true);
        if drill.plan.demand.level == Level::Manifest {
            return Ok(drill.finish(started, None, Vec::new()));
        }
    }
    let place = work::place(&drill.plan)?;
    let cleared = place.cleared.clone();
    let mut made = None;
    let result = drill.materialise(&place).and_then(|done| {
        made = done;
        match &made {
            Some(made) if drill.plan.demand.level > Level::Manifest => drill.recover(&place, made),
            _ => Ok(()),
        }
    });
    let materialized = made.map(|made| made.describe(place.path(), drill.is_tar()));
    let begin = drill.ledger.elapsed();
    if drill.kept.is_some() {
        place.leave();
    } else {
        place.remove()?;
        drill.ledger.note_phase("teardown", begin);
    }
    result?;
    Ok(drill.finish(started, materialized, cleared))
}

impl Drill<'_> {
    /// The checks that need no server. `files`: whether the files are compared with their list here.
    fn examine(&mut self, directories: &Directories, files: bool) {
        let Self { plan, ledger, watch, .. } = self;
        let material = &plan.material;
        if files {
            let stop = || watch().is_err();
            ledger.check("files", || files::check(material, directories, plan.demand.jobs, &stop));
        }
        let data = &directories.data;
        ledger.check("label", || examine::label(material, data));
        ledger.check("control_file", || examine::control_file(material, data));
        let waldump = material.major.and_then(|major| {
            pg::bin::find_server_program("pg_waldump", major, plan.demand.bin_dir.as_deref(), None)
        });
        let wal = WalPlan {
            has_command: plan.demand.restore_command.is_some(),
            waldump: waldump.as_deref(),
            data,
        };
        ledger.check("wal", || examine::wal(material, &wal));
    }

    /// Makes the writable copy; none when it could not be made, and then a check says why.
    ///
    /// # Errors
    /// When only the unpacked files show that there can be no drill on this host.
    fn materialise(&mut self, place: &Place) -> Result<Option<Made>, VerificationError> {
        let making = Making {
            place,
            run_as: self.plan.run_as,
            way: self.plan.demand.way,
            level: self.plan.demand.level,
            jobs: self.plan.demand.jobs,
            isolated: self.plan.demand.sandboxing == Sandboxing::Isolated,
            with_wal: self.plan.material.ours.is_none(),
            watch: self.watch,
        };
        let begin = self.ledger.elapsed();
        let made = match self.plan.material.files.clone() {
            Files::Directories(directories) => materialise::make(&directories, &making),
            Files::Tar(tar) => self.unpack(&tar, &making),
        };
        self.ledger.note_phase("materialise", begin);
        match made {
            Ok(made) => {
                if self.is_tar() {
                    self.look_inside(&made)?;
                }
                Ok(Some(made))
            }
            Err(problem) => {
                let problem = naming_the_disk(problem, place);
                let found = Found::failed(format!("the copy could not be made: {problem}"));
                let name = if self.is_tar() { "files" } else { "recovery" };
                self.ledger.check(name, || found);
                Ok(None)
            }
        }
    }

    fn is_tar(&self) -> bool {
        matches!(self.plan.material.files, Files::Tar(_))
    }

    fn unpack(&mut self, tar: &basebackup::TarBackup, making: &Making<'_>) -> Result<Made, String> {
        let copy = materialise::copy_place(making.place)?;
        let root = nix::unistd::geteuid().is_root();
        let owner = root.then_some((making.run_as.uid, making.run_as.gid));
        let stop = || (self.watch)().is_err();
        let manifest = self.plan.material.manifest.as_ref();
        let unpacked = files::unpack(tar, manifest, &copy, owner, &stop)?;
        let found = files::unpacked(&self.plan.material, &unpacked);
        self.ledger.check("files", || found);
        let tablespaces =
            tar.tablespaces.keys().map(|oid| (*oid, copy.join(format!("tablespace{oid}"))));
        let mut made = Made::at(copy.join("data"), tablespaces.collect());
        made.bytes = unpacked.bytes;
        Ok(made)
    }

    /// Only now it can be seen what the tar files hold.
    fn look_inside(&mut self, made: &Made) -> Result<(), VerificationError> {
        material::learn(&mut self.plan.material, &made.data);
        if let Some(major) =
            self.plan.material.major.filter(|_| plan::needs_programs(&self.plan.demand))
        {
            self.plan.server = Some(plan::programs(&self.plan.demand, major)?);
        }
        let directories = Directories {
            data: made.data.clone(),
            tablespaces: made.tablespaces.clone(),
            snapshots: Vec::new(),
        };
        self.examine(&directories, false);
        Ok(())
    }

    /// The server's programs.
    fn installed(&self) -> Result<Installed, String> {
        self.plan.server.clone().ok_or_else(|| "the major version of the backup cannot be told: PG_VERSION is missing or not one of 13 to 18".to_owned())
    }

    fn failed(&self) -> bool {
        self.ledger.any_failed()
    }
}

/// A full disk is the work directory's: nothing else is written to.
fn naming_the_disk(problem: String, place: &Place) -> String {
    if !problem.contains("No space left on device") && !problem.contains("Disk quota exceeded") {
        return problem;
    }
    format!(
        "{problem}: the disk of the work directory \"{}\" is too small, work_directory can name another",
        place.path().display()
    )
}

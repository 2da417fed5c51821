//! What a drill would do, found out without changing anything.

use std::path::{Path, PathBuf};

use nix::unistd::{User, getegid, geteuid};
use pg::MajorVersion;
use program::Program;
use sandbox::RunAs;

use crate::VerificationError;
use crate::material::{self, Files, Material};
use crate::report::{Level, Subject};
use crate::request::{Demand, Input, Sandboxing, Way};

/// A drill that nothing is known to stand in the way of.
#[derive(Debug, Clone)]
pub struct DrillPlan {
    pub(crate) demand: Demand,
    pub(crate) material: Material,
    pub(crate) run_as: RunAs,
    /// The server's programs; none yet for tar files, whose version is inside.
    pub(crate) server: Option<Installed>,
}

/// A server's programs on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Their directory.
    pub(crate) bin_dir: PathBuf,
    /// Their version: `15.18`.
    pub(crate) version: String,
}

impl DrillPlan {
    /// The backup, as far as it is known without unpacking.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.material.subject
    }

    /// The directory of the server's programs, if it is known already.
    #[must_use]
    pub fn bin_dir(&self) -> Option<&Path> {
        self.server.as_ref().map(|found| found.bin_dir.as_path())
    }
}

/// Finds out what the drill would do. Reads labels and manifests, but no data.
///
/// # Errors
/// [`VerificationError`]: what there is cannot be verified, or not here.
pub fn plan(demand: &Demand) -> Result<DrillPlan, VerificationError> {
    let material = material::find(&demand.input)?;
    check_way(demand, &material)?;
    check_settings(demand)?;
    check_keep(demand)?;
    if demand.self_test && demand.level == Level::Manifest {
        let problem = "at level manifest nothing is copied that could be damaged: give level recover, read or full";
        return Err(VerificationError::Invalid {
            option: "self_test",
            problem: problem.to_owned(),
        });
    }
    let run_as = run_as(demand, &material)?;
    let server = match material.major {
        Some(major) if needs_programs(demand) => Some(programs(demand, major)?),
        _ => None,
    };
    Ok(DrillPlan { demand: demand.clone(), material, run_as, server })
}

/// Without a server only WAL is read by a program, and then one of the wrong version would blame the backup.
pub(crate) fn needs_programs(demand: &Demand) -> bool {
    demand.level > Level::Manifest || demand.bin_dir.is_some()
}

fn check_way(demand: &Demand, material: &Material) -> Result<(), VerificationError> {
    let invalid = |problem: &str| {
        Err(VerificationError::Invalid { option: "materialize", problem: problem.to_owned() })
    };
    let mounted = matches!(demand.input, Input::Repository { mounted: Some(_), .. });
    match (&material.files, demand.way) {
        (Files::Tar(_), Way::Auto | Way::Copy) => Ok(()),
        (Files::Tar(_), _) => invalid("tar files can only be unpacked: leave it at auto"),
        (Files::Directories(_), Way::InPlace) if !mounted => invalid(
            "in_place would change the backup itself: it is for data_directory, volumes made from snapshots to be thrown away",
        ),
        (Files::Directories(directories), Way::Snapshot) if directories.snapshots.is_empty() => {
            invalid("the backup is no btrfs snapshot")
        }
        _ => Ok(()),
    }
}

/// An engine's container hangs on its client, which hangs on us.
fn check_keep(demand: &Demand) -> Result<(), VerificationError> {
    match demand.sandboxing {
        Sandboxing::Engine(engine) if demand.keep => Err(VerificationError::Invalid {
            option: "keep",
            problem: format!(
                "a sandbox of {} cannot be kept: leave sandbox at auto",
                engine.name()
            ),
        }),
        _ => Ok(()),
    }
}

/// What keeps the server apart, and what the drill itself relies on, cannot be changed.
fn check_settings(demand: &Demand) -> Result<(), VerificationError> {
    for (name, value) in &demand.settings {
        let invalid = |problem: &str| {
            Err(VerificationError::Invalid {
                option: "settings",
                problem: format!("\"{name}\" {problem}"),
            })
        };
        let known = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if !known || name.is_empty() || name.starts_with("include") {
            return invalid("is not the name of a server setting");
        }
        if crate::clone::is_ours(&name.to_ascii_lowercase()) {
            return invalid(
                "keeps the server apart or belongs to the drill, and cannot be changed",
            );
        }
        if value.contains(['\n', '\r', '\0']) {
            return invalid("has a value with a line break or a zero byte");
        }
    }
    Ok(())
}

/// The user that the server runs as: the one asked for; without root, ourselves; else the owner of the files, and for those
/// of root "postgres".
fn run_as(demand: &Demand, material: &Material) -> Result<RunAs, VerificationError> {
    let invalid = |problem: String| VerificationError::Invalid { option: "os_user", problem };
    let us = geteuid();
    let named = |name: &str| {
        let found = User::from_name(name).ok().flatten();
        found.map(|user| RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    };
    let wanted = match &demand.os_user {
        Some(name) => Some(
            named(name).ok_or_else(|| invalid(format!("\"{name}\" is no user of this host")))?,
        ),
        None if !us.is_root() => Some(RunAs { uid: us.as_raw(), gid: getegid().as_raw() }),
        None => {
            let (uid, gid) = material::owner(match &material.files {
                Files::Directories(found) => &found.data,
                Files::Tar(found) => &found.base.path,
            })?;
            Some(RunAs { uid, gid }).filter(|found| found.uid != 0)
        }
    };
    let run_as = wanted.or_else(|| named("postgres")).ok_or_else(|| {
        invalid("the files belong to root and there is no user \"postgres\": name the user that the server is to run as".to_owned())
    })?;
    if run_as.uid == 0 {
        return Err(invalid("is root, and the server refuses to run as root".to_owned()));
    }
    if !us.is_root() && run_as.uid != us.as_raw() {
        return Err(invalid(format!(
            "is user {}, but this task runs as user {us}, and only root can become another",
            run_as.uid
        )));
    }
    Ok(run_as)
}

/// The server's programs of this major version.
pub(crate) fn programs(
    demand: &Demand,
    major: MajorVersion,
) -> Result<Installed, VerificationError> {
    let missing =
        || VerificationError::ProgramMissing { name: "postgres", major: major.to_string() };
    let found = pg::bin::find_server_program("postgres", major, demand.bin_dir.as_deref(), None)
        .ok_or_else(missing)?;
    let bin_dir = found.parent().ok_or_else(missing)?.to_path_buf();
    let bin_dir = bin_dir.canonicalize().map_err(VerificationError::io("find", &bin_dir))?;
    let output = Program::new(bin_dir.join("postgres")).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match text {
        Ok(text) if major_of(version_of(&text)) == Some(major) => {
            let version = version_of(&text).to_owned();
            Ok(Installed { bin_dir, version })
        }
        Ok(text) => Err(VerificationError::Invalid {
            option: "bin_dir",
            problem: format!(
                "\"{}\" holds {text}, but the backup is of PostgreSQL {major}",
                bin_dir.display()
            ),
        }),
        Err(_) => Err(missing()),
    }
}

/// `15.18` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version_of(text: &str) -> &str {
    let number = text.split_once("(PostgreSQL) ").map_or("", |(_, number)| number);
    number.split(char::is_whitespace).next().unwrap_or_default()
}

fn major_of(version: &str) -> Option<MajorVersion> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

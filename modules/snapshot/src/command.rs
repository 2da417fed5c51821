//! Snapshots by a program of the operator's: LVM, ZFS, a storage array.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use host::Mounts;
use program::Program;
use serde::Deserialize;

use crate::coverage;
use crate::error::stopped;
use crate::layout::WAL_DIRECTORY;
use crate::provider::Watch;
use crate::sources::{Role, Sources};
use crate::{PlannedPart, SnapshotError, SnapshotPlan, SnapshotProvider, SnapshotRecord};

const PROVIDER: &str = "command";
/// How much of a line that is not understood is shown.
const SHOWN: usize = 200;

/// Runs a program of the operator's that makes a snapshot of every filesystem the database cluster is on.
///
/// The program is started without a shell, in `/`, with nothing in its environment but `PATH`, `LC_ALL=C` and:
///
/// | variable | value |
/// |---|---|
/// | `BACKSTAY_LABEL`, `BACKSTAY_BACKUP_ID`, `BACKSTAY_CLUSTER` | the backup |
/// | `BACKSTAY_MOUNT_POINTS` | all mount points to be snapshotted, one a line |
/// | `BACKSTAY_DEVICES` | what is mounted there, in the same order: `/dev/mapper/vg-data`, `pool/data` |
/// | `BACKSTAY_DATA_DIRECTORY`, `BACKSTAY_WAL_DIRECTORY` | absolute paths, symbolic links resolved |
/// | `BACKSTAY_TABLESPACES` | `oid:path`, one a line; empty when there are none |
///
/// To standard output it prints one JSON object a line and nothing else: `{"id": "…", "mount_point": "/data"}`, with
/// an optional `"path"` where the snapshot is mounted on this machine. Every mount point must be named, once; several
/// may have the same id (a consistency group). When the server is a standby, the mount point of the data directory is
/// the last one given, and must be snapshotted last unless all are of the same instant.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The backup's label.
    pub label: String,
    /// The backup's id.
    pub backup_id: String,
    /// The name of the database cluster in the repository.
    pub cluster: String,
    /// How long the program may take.
    pub timeout: Duration,
}

impl SnapshotProvider for Command {
    fn plan(&self, sources: &Sources) -> Result<SnapshotPlan, SnapshotError> {
        self.check_program()?;
        let sources = sources.resolve()?;
        let mounts = Mounts::read()?;
        coverage::check_nested(&sources, &mounts)?;
        let mut parts: Vec<PlannedPart> = Vec::new();
        // The data directory's mount point is the last, for those programs that take one snapshot after another.
        let (data, others): (Vec<_>, Vec<_>) =
            sources.all().iter().partition(|source| source.role == Role::DataDirectory);
        let last = mounts.of(&sources.data_directory()?.path)?;
        for source in others.into_iter().chain(data) {
            let mount = mounts.of(&source.path)?;
            match parts.iter_mut().find(|part| part.mount_point == mount.point) {
                Some(part) => part.covers.push(source.clone()),
                None => parts.push(PlannedPart {
                    source: mount.point.clone(),
                    path: None,
                    mount_point: mount.point.clone(),
                    device: mount.device.clone(),
                    covers: vec![source.clone()],
                }),
            }
        }
        parts.sort_by_key(|part| part.mount_point == last.point);
        Ok(SnapshotPlan { provider: PROVIDER, parts, bytes: 0 })
    }

    fn take(
        &self,
        plan: &SnapshotPlan,
        watch: Watch<'_>,
    ) -> Result<Vec<SnapshotRecord>, SnapshotError> {
        let started_at = Utc::now();
        let program = self.program_path()?;
        let action = "make snapshots with program";
        let output = self
            .prepare(&program, plan)
            .run_watched(watch)
            .map_err(SnapshotError::program(action, &program))?;
        let finished_at = Utc::now();
        let lines = self.parse(&output.stdout, plan)?;
        let record = |part| self.record(part, &lines, (started_at, finished_at));
        let records = plan.parts.iter().map(record).collect::<Result<_, _>>()?;
        watch().map_err(stopped)?;
        Ok(records)
    }
}

/// One line of what the program prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    mount_point: PathBuf,
    path: Option<PathBuf>,
}

impl Command {
    fn name(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    fn program_path(&self) -> Result<PathBuf, SnapshotError> {
        let name = self.name();
        if name.is_empty() {
            return Err(SnapshotError::InvalidSetup("the snapshot command is empty"));
        }
        if name.contains('/') {
            return Ok(PathBuf::from(name));
        }
        program::find(name, &[])
            .ok_or_else(|| SnapshotError::CommandNotFound { program: name.to_owned() })
    }

    fn check_program(&self) -> Result<(), SnapshotError> {
        let path = self.program_path()?;
        if !path.is_absolute() {
            return Err(SnapshotError::InvalidSetup(
                "the snapshot command must be an absolute path or the name of a program",
            ));
        }
        if !path.is_file() {
            return Err(SnapshotError::CommandNotFound { program: self.name().to_owned() });
        }
        Ok(())
    }

    fn prepare(&self, program: &Path, plan: &SnapshotPlan) -> Program {
        let lines = |texts: Vec<String>| texts.join("\n");
        let sources = || plan.parts.iter().flat_map(|part| &part.covers);
        let path = |role: Role| {
            sources().find(|source| source.role == role).map(|source| source.path.clone())
        };
        let data = path(Role::DataDirectory).unwrap_or_default();
        let wal = path(Role::Wal).unwrap_or_else(|| data.join(WAL_DIRECTORY));
        let tablespaces = sources().filter_map(|source| match source.role {
            Role::Tablespace(oid) => Some(format!("{oid}:{}", source.path.display())),
            _ => None,
        });
        let mount_points = plan.parts.iter().map(|part| part.mount_point.display().to_string());
        let devices = plan.parts.iter().map(|part| part.device.clone());
        Program::new(program)
            .args(self.argv.iter().skip(1))
            .deadline(self.timeout)
            .env("BACKSTAY_LABEL", &self.label)
            .env("BACKSTAY_BACKUP_ID", &self.backup_id)
            .env("BACKSTAY_CLUSTER", &self.cluster)
            .env("BACKSTAY_MOUNT_POINTS", lines(mount_points.collect()))
            .env("BACKSTAY_DEVICES", lines(devices.collect()))
            .env("BACKSTAY_DATA_DIRECTORY", &data)
            .env("BACKSTAY_WAL_DIRECTORY", &wal)
            .env("BACKSTAY_TABLESPACES", lines(tablespaces.collect()))
    }

    /// What the program printed, by mount point.
    fn parse(
        &self,
        stdout: &[u8],
        plan: &SnapshotPlan,
    ) -> Result<BTreeMap<PathBuf, Line>, SnapshotError> {
        let mut lines = BTreeMap::new();
        for text in stdout.split(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(text);
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(text)
                .map_err(|error| self.refuse(&error.to_string(), text))?;
            if line.id.trim().is_empty() {
                return Err(self.refuse("the id is empty", text));
            }
            if !plan.parts.iter().any(|part| part.mount_point == line.mount_point) {
                return Err(self.refuse("the mount point is none of those it was given", text));
            }
            if lines.contains_key(&line.mount_point) {
                return Err(self.refuse("the mount point was named before", text));
            }
            lines.insert(line.mount_point.clone(), line);
        }
        Ok(lines)
    }

    fn refuse(&self, why: &str, line: &str) -> SnapshotError {
        SnapshotError::CommandOutput {
            program: self.name().to_owned(),
            why: why.to_owned(),
            line: format!("{:?}", line.chars().take(SHOWN).collect::<String>()),
        }
    }

    fn record(
        &self,
        part: &PlannedPart,
        lines: &BTreeMap<PathBuf, Line>,
        (started_at, finished_at): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<SnapshotRecord, SnapshotError> {
        let Some(line) = lines.get(&part.mount_point) else {
            return Err(self.missing(part, lines));
        };
        Ok(SnapshotRecord {
            id: line.id.clone(),
            provider: PROVIDER.to_owned(),
            source: part.source.clone(),
            path: line.path.clone(),
            mount_point: part.mount_point.clone(),
            covers: part.covers.clone(),
            started_at,
            finished_at,
            bytes: None,
            files: None,
            reflinked: None,
            listing: None,
            notes: Vec::new(),
            volume: None,
        })
    }

    fn missing(&self, part: &PlannedPart, lines: &BTreeMap<PathBuf, Line>) -> SnapshotError {
        let Some(what) = part.covers.first() else { return SnapshotError::NoDataDirectory };
        SnapshotError::CommandMissing {
            program: self.name().to_owned(),
            mount_point: part.mount_point.clone(),
            what: what.clone(),
            made: lines.values().map(|line| line.id.clone()).collect(),
        }
    }
}

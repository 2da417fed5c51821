//! `wal_fetch`: every WAL segment from start to stop into the backup; then, and
//! only then, the backup is complete.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use pg::{ExpectedWal, Lsn, LsnRange, WalSegmentName};
use repository::wal::{self, Archive, FetchedSegment, PgWal, RestoreCommand, WalSource, Wanted};
use repository::{BackupFolder, BackupManifest, BackupState, FileEntry};
use serde_json::{Map, Value, json};
use session::{
    Client, ServerRecord, SessionId, SessionRecord, SessionState, StartRecord, StopRecord, Store,
};
use snapshot::SnapshotRecord;

use super::backup_stop;
use frame::{Explain, manifest, sessions};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        sessions::SESSION,
        OptionSpec::new("source", Kind::Str)
            .choices(&["auto", "pg_wal", "archive", "restore_command"])
            .default(Default::Str("auto")),
        OptionSpec::new("archive_directory", Kind::Path),
        OptionSpec::new("restore_command", Kind::Str),
        OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(300)),
        OptionSpec::new("waldump", Kind::Str)
            .choices(&["auto", "require", "skip"])
            .default(Default::Str("auto")),
        OptionSpec::new("bin_dir", Kind::Path),
    ])
}

/// The module.
pub(crate) struct WalFetch {
    store: Store,
    session: SessionId,
    source: String,
    archive: Option<PathBuf>,
    restore_command: Option<String>,
    patience: u64,
    waldump: String,
    bin_dir: Option<PathBuf>,
}

/// What is to be fetched.
pub(crate) struct Plan {
    record: SessionRecord,
    start: StartRecord,
    stop: StopRecord,
    segments: Vec<WalSegmentName>,
    folder: BackupFolder,
    manifest: BackupManifest,
}

impl Plan {
    /// Whether all WAL is there.
    fn is_complete(&self) -> bool {
        matches!(self.manifest.state, BackupState::Complete | BackupState::Uploading)
    }
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let mut values = sessions::describe(&self.record);
        let names = self.segments.iter().map(|segment| json!({"name": segment.to_string()}));
        values.insert("wal_segments".into(), names.collect());
        Returns { values, changed: !self.is_complete(), ..Returns::default() }
    }
}

impl Task for WalFetch {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let task = WalFetch {
            store: sessions::store(options)?,
            session: sessions::handle(options)?,
            source: options.text_or_default("source"),
            archive: options.absolute_path("archive_directory")?,
            restore_command: options.text("restore_command").map(str::to_owned),
            patience: options.number("wait_timeout")?.unwrap_or_default(),
            waldump: options.text_or_default("waldump"),
            bin_dir: options.absolute_path("bin_dir")?,
        };
        match (task.source.as_str(), &task.archive, &task.restore_command) {
            ("archive", None, _) => {
                Err(Failure::invalid("source \"archive\" needs the option \"archive_directory\""))
            }
            ("restore_command", _, None) => Err(Failure::invalid(
                "source \"restore_command\" needs the option \"restore_command\"",
            )),
            _ => Ok(task),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let record = self.store.read(&self.session).map_err(|error| error.explain())?;
        self.look(record.clone()).map_err(|failure| sessions::with_backup_mode(failure, &record))
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        self.work(&plan).map_err(|failure| sessions::with_backup_mode(failure, &plan.record))
    }
}

impl WalFetch {
    fn work(&self, plan: &Plan) -> Result<Returns, Failure> {
        let (fetched, history) = self.fetch(plan)?;
        let checked = self.check_records(plan)?;
        let changed = !plan.is_complete();
        let record = self.complete(plan, &fetched, history)?;
        let mut values: Map<String, Value> = sessions::describe(&record);
        let named = fetched.iter().map(|segment| {
            json!({
                "name": segment.entry.name.as_str().trim_start_matches("wal/"),
                "size": segment.entry.size,
                "sha256": segment.entry.sha256,
                "source": segment.source,
            })
        });
        values.insert("wal_segments".into(), named.collect());
        values.insert("waldump".into(), json!(checked));
        values.insert("manifest".into(), json!(plan.folder.manifest_path()));
        let manifest = plan.folder.read().map_err(|error| error.explain())?;
        values.insert("manifest_state".into(), json!(manifest.state));
        Ok(Returns { values, changed, ..Returns::default() })
    }

    fn look(&self, record: SessionRecord) -> Result<Plan, Failure> {
        let (Some(start), Some(stop)) = (record.start.clone(), record.stop.clone()) else {
            return Err(self.not_stopped(&record));
        };
        let segments = backup_stop::segments(&record, &start, &stop)?;
        let folder = manifest::folder(&record)?;
        let manifest = manifest::read(&folder, &record)?;
        if manifest.stop.is_none() {
            return Err(Failure::new(
                "backup_not_in_progress",
                format!(
                    "the label of backup \"{}\" is not in the repository yet",
                    record.backup_id
                ),
            )
            .hint("Run backup_stop again: it brings the label there."));
        }
        if manifest.snapshots.is_empty() {
            return Err(Failure::new(
                "snapshot_failed",
                format!("no snapshot was taken in session \"{}\", so there is nothing to complete", record.session),
            )
            .hint("A snapshot must be taken with snapshot_create between backup_start and backup_stop."));
        }
        Ok(Plan { record, start, stop, segments, folder, manifest })
    }

    fn not_stopped(&self, record: &SessionRecord) -> Failure {
        let state = record.state_now();
        let error = match record.reason() {
            Some(reason) => session::SessionError::Ended { session: self.session.clone(), reason },
            None => session::SessionError::WrongState {
                session: self.session.clone(),
                state: state.as_str(),
                wanted: SessionState::Stopped.as_str(),
            },
        };
        let failure = error.explain();
        if state == SessionState::InProgress {
            return failure.hint("Run backup_stop first.");
        }
        failure
    }

    fn fetch(&self, plan: &Plan) -> Result<(Vec<FetchedSegment>, Option<FileEntry>), Failure> {
        let expected = ExpectedWal {
            system_identifier: plan.record.server.system_identifier,
            segment_size: plan.record.server.wal_segment_size,
            major: plan
                .record
                .server
                .version
                .major()
                .map_err(|error| pg::ServerError::Version(error).explain())?,
        };
        let client =
            Client::find(&self.store, &self.session, Duration::from_secs(sessions::PATIENCE)).ok();
        let client = client.filter(|client| client.record().keeper_is_alive());
        let on_disk = || -> Option<Lsn> { client.as_ref()?.wal_on_disk().ok() };
        let server = &plan.record.server;
        let pg_wal = PgWal {
            directory: wal_directory(server),
            segment_size: server.wal_segment_size,
            stop: plan.stop.lsn,
            on_disk: &on_disk,
        };
        let archive = self
            .archive
            .clone()
            .map(|directory| Archive { directory, segment_size: server.wal_segment_size });
        let command = self.command(plan)?;
        let mut sources: Vec<&dyn WalSource> = vec![];
        if matches!(self.source.as_str(), "auto" | "pg_wal") {
            sources.push(&pg_wal);
        }
        if let Some(archive) =
            archive.as_ref().filter(|_| matches!(self.source.as_str(), "auto" | "archive"))
        {
            sources.push(archive);
        }
        if let Some(command) =
            command.as_ref().filter(|_| matches!(self.source.as_str(), "auto" | "restore_command"))
        {
            sources.push(command);
        }
        let wanted = Wanted {
            segments: &plan.segments,
            timeline: plan.start.timeline,
            expected,
            patience: Duration::from_secs(self.patience),
        };
        let segments = wal::fetch(&plan.folder, &wanted, &sources, &plan.manifest.files)
            .map_err(|error| error.explain())?;
        let history =
            wal::fetch_history(&plan.folder, &wanted, &sources).map_err(|error| error.explain())?;
        Ok((segments, history))
    }

    fn command(&self, plan: &Plan) -> Result<Option<RestoreCommand>, Failure> {
        let Some(command) = self.restore_command.clone() else { return Ok(None) };
        let scratch = plan.folder.local_path().join("wal");
        durable::private_directory(&scratch, None, 0o700)
            .map_err(|error| Failure::from_error(&error, "internal", error.hints()))?;
        Ok(Some(RestoreCommand {
            command,
            scratch,
            patience: Duration::from_secs(self.patience.max(1)),
            stop: Arc::default(),
        }))
    }

    /// Reads every record of the range as recovery would.
    fn check_records(&self, plan: &Plan) -> Result<&'static str, Failure> {
        if self.waldump == "skip" {
            return Ok("skipped");
        }
        let server = &plan.record.server;
        let major =
            server.version.major().map_err(|error| pg::ServerError::Version(error).explain())?;
        let postmaster = match server.inside {
            // Inside a container processes have other numbers.
            Some(_) => None,
            None => pg::PostmasterPid::read(&server.data_directory).ok().flatten(),
        };
        let postmaster = postmaster.map(|found| found.pid);
        let Some(program) =
            pg::bin::find_server_program("pg_waldump", major, self.bin_dir.as_deref(), postmaster)
        else {
            if self.waldump == "auto" {
                return Ok("not_found");
            }
            let text = format!(
                "pg_waldump of PostgreSQL {major} was not found, and waldump is \"require\""
            );
            return Err(Failure::new("program_failed", text)
                .hint("Give bin_dir, the directory of the server's programs."));
        };
        let invalid = |error: pg::PgTypeError| Failure::from_error(&error, "internal", vec![]);
        let range = LsnRange::new(plan.start.lsn, plan.stop.lsn).map_err(invalid)?;
        let directory = plan.folder.local_path().join("wal");
        pg::waldump::check(&program, &directory, plan.start.timeline, range)
            .map_err(|error| Failure::from_error(&error, "verification_failed", error.hints()))?;
        Ok("passed")
    }

    /// The manifest first: were the slot let go before, a crash in between
    /// would leave a backup that is not complete and WAL that is gone.
    fn complete(
        &self,
        plan: &Plan,
        fetched: &[FetchedSegment],
        history: Option<FileEntry>,
    ) -> Result<SessionRecord, Failure> {
        let mut manifest = plan.manifest.clone();
        manifest.files.retain(|file| !file.name.as_str().starts_with("wal/"));
        manifest.files.extend(fetched.iter().map(|segment| segment.entry.clone()).chain(history));
        let uploaded = manifest.snapshots.iter().all(SnapshotRecord::is_uploaded);
        manifest.state = if uploaded { BackupState::Complete } else { BackupState::Uploading };
        if manifest != plan.manifest {
            plan.folder.update(&manifest).map_err(|error| error.explain())?;
        }
        if plan.record.keeper_is_alive()
            && let Ok(client) =
                Client::find(&self.store, &self.session, Duration::from_secs(sessions::PATIENCE))
        {
            // A keeper that is gone by now holds nothing that must be let go.
            let _ = client.release();
        }
        let mut record = self.store.read(&self.session).map_err(|error| error.explain())?;
        if record.state != SessionState::Complete {
            record.state = SessionState::Complete;
            self.store.write(&record).map_err(|error| error.explain())?;
        }
        Ok(record)
    }
}

/// Where the server's WAL can be read. What a container alone has mounted is reached through its process; the files
/// are believed for what is in them.
fn wal_directory(server: &ServerRecord) -> PathBuf {
    match (server.on_host(), &server.inside) {
        (Some(directories), _) => directories.wal_directory,
        (None, Some(inside)) => inside.process.reach(&server.wal_directory),
        (None, None) => server.wal_directory.clone(),
    }
}

//! `backup_stop`: leaves backup mode and keeps the label and the tablespace
//! map, byte for byte. If asked, it counts rows afterwards.

use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use base64::{Engine, engine::general_purpose::STANDARD};
use pg::{LsnRange, WalSegmentName};
use repository::{BackupFolder, BackupManifest, BackupState};
use serde_json::json;
use session::{Client, SessionId, SessionRecord, SessionState, StartRecord, StopRecord, Store};

use frame::{Explain, manifest, sessions};

use super::stop::counting::{self, Counting};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    let own =
        [sessions::SESSION, OptionSpec::new("wait_timeout", Kind::Int).default(Default::Int(300))];
    sessions::options(&[&own[..], &counting::OPTIONS].concat())
}

/// The module.
pub(crate) struct BackupStop {
    store: Store,
    session: SessionId,
    patience: u64,
    counting: Option<Counting>,
}

/// What there is to do.
pub(crate) enum Plan {
    /// The server is in backup mode.
    Stop(Box<Client>),
    /// It was stopped before; the answer is on disk.
    Stopped(Box<SessionRecord>),
}

impl Preview for Plan {
    fn preview(&self) -> Returns {
        let (changed, record) = match self {
            Plan::Stop(client) => (true, client.record()),
            Plan::Stopped(record) => (false, &**record),
        };
        Returns { values: sessions::describe(record), changed, ..Returns::default() }
    }
}

impl Task for BackupStop {
    type Plan = Plan;

    fn parse(options: &Options) -> Result<Self, Failure> {
        Ok(BackupStop {
            store: sessions::store(options)?,
            session: sessions::handle(options)?,
            patience: options.number("wait_timeout")?.unwrap_or_default().max(1),
            counting: Counting::parse(options)?,
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let record = self.store.read(&self.session).map_err(|error| error.explain())?;
        if matches!(record.state, SessionState::Stopped | SessionState::Complete) {
            return Ok(Plan::Stopped(Box::new(record)));
        }
        let client = sessions::client(&self.store, &self.session, self.patience)?;
        client.status().map_err(|error| error.explain())?;
        Ok(Plan::Stop(Box::new(client)))
    }

    fn apply(&self, plan: Plan) -> Result<Returns, Failure> {
        let mut warnings = vec![];
        let (changed, record) = match plan {
            Plan::Stop(client) => {
                let asked = self.counting.as_ref();
                warnings
                    .extend(asked.and_then(|counting| counting.look(&self.store, client.record())));
                (true, client.stop().map_err(|error| error.explain())?)
            }
            Plan::Stopped(record) => (false, *record),
        };
        self.report(changed, &record)
            .and_then(|returns| self.count(&record, returns.warn(warnings)))
            .map_err(|failure| sessions::with_backup_mode(failure, &record))
    }
}

impl BackupStop {
    /// Brings the answer into the repository, then says it. Also when asked
    /// again: the repository may have been out of reach the first time.
    fn report(&self, changed: bool, record: &SessionRecord) -> Result<Returns, Failure> {
        let (Some(start), Some(stop)) = (&record.start, &record.stop) else {
            return Err(Failure::new(
                "internal",
                format!("the record of session \"{}\" has no stop", record.session),
            ));
        };
        let label = self.load(session::LABEL, &stop.label)?;
        let map = match &stop.tablespace_map {
            None => vec![],
            Some(saved) => self.load(session::TABLESPACE_MAP, saved)?,
        };
        let folder = manifest::folder(record)?;
        let mut kept = manifest::read(&folder, record)?;
        if kept.state == BackupState::Started {
            note_stop(&mut kept, record, start, stop)?;
            let mut names = vec![(session::LABEL, &label)];
            if stop.tablespace_map.is_some() {
                names.push((session::TABLESPACE_MAP, &map));
            }
            for (name, bytes) in names {
                let entry = folder.put(name, bytes.clone()).map_err(|error| error.explain())?;
                kept.files.retain(|file| file.name != entry.name);
                kept.files.push(entry);
            }
            note_listing(&mut kept, &folder)?;
            folder.update(&kept).map_err(|error| error.explain())?;
        }
        let mut values = sessions::describe(record);
        let range = segments(record, start, stop)?;
        for (name, value) in [
            ("backup_label", json!(String::from_utf8_lossy(&label))),
            ("backup_label_base64", json!(STANDARD.encode(&label))),
            ("tablespace_map", json!(String::from_utf8_lossy(&map))),
            ("tablespace_map_base64", json!(STANDARD.encode(&map))),
            ("stop_time", json!(stop.time)),
            ("wal_start_segment", json!(range.first().map(ToString::to_string))),
            ("wal_stop_segment", json!(range.last().map(ToString::to_string))),
            ("wal_segments", json!(range.len())),
            ("manifest", json!(folder.manifest_path())),
            ("row_counts", json!(null)),
        ] {
            values.insert(name.to_owned(), value);
        }
        Ok(Returns { values, changed, ..Returns::default() })
    }

    /// Backup mode is left, and label and map are in the repository: from here on nothing can be lost.
    fn count(&self, record: &SessionRecord, mut returns: Returns) -> Result<Returns, Failure> {
        // Without a look at the server before the stop there is nothing to be counted, and that was said.
        let Some(counting) = self.counting.as_ref().filter(|_| returns.warnings.is_empty()) else {
            return Ok(returns);
        };
        let (said, warnings) = counting.finish(&self.store, record, &manifest::folder(record)?)?;
        returns.values.insert("row_counts".to_owned(), said);
        Ok(returns.warn(warnings))
    }

    fn load(&self, name: &str, saved: &session::Saved) -> Result<Vec<u8>, Failure> {
        self.store.load(&self.session, name, saved).map_err(|error| error.explain())
    }
}

fn note_stop(
    kept: &mut BackupManifest,
    record: &SessionRecord,
    start: &StartRecord,
    stop: &StopRecord,
) -> Result<(), Failure> {
    let size = record.server.wal_segment_size;
    let last = WalSegmentName::ending_at(start.timeline, stop.lsn, size);
    kept.state = BackupState::Stopped;
    kept.stop = Some(manifest::point(stop.lsn, &stop.time, last)?);
    kept.timeline = start.timeline;
    kept.snapshots = record
        .snapshots
        .iter()
        .filter_map(|value| serde_json::from_value(value.clone()).ok())
        .collect();
    Ok(())
}

/// The list of copied files is part of the backup, and must still be the one
/// that the snapshot was noted with.
fn note_listing(kept: &mut BackupManifest, folder: &BackupFolder) -> Result<(), Failure> {
    let listings: Vec<_> =
        kept.snapshots.iter().filter_map(|snapshot| snapshot.listing.clone()).collect();
    for listing in listings {
        let entry = folder.entry(&listing.path).map_err(|error| error.explain())?;
        if entry.sha256.to_string() != listing.sha256 {
            return Err(Failure::new(
                "checksum_mismatch",
                format!(
                    "\"{}\" was changed after the snapshot: its SHA-256 is {}, {} was noted",
                    listing.path, entry.sha256, listing.sha256
                ),
            ));
        }
        kept.files.retain(|file| file.name != entry.name);
        kept.files.push(entry);
    }
    Ok(())
}

/// The WAL segments a restore of this backup needs.
pub(crate) fn segments(
    record: &SessionRecord,
    start: &StartRecord,
    stop: &StopRecord,
) -> Result<Vec<WalSegmentName>, Failure> {
    let invalid = |error: pg::PgTypeError| Failure::from_error(&error, "internal", vec![]);
    let range = LsnRange::new(start.lsn, stop.lsn).map_err(invalid)?;
    Ok(WalSegmentName::range(start.timeline, range, record.server.wal_segment_size).collect())
}

//! Checks that need no server: the label, the control file, WAL.

use std::os::unix::fs::FileExt;
use std::path::Path;

use pg::{
    BackupLabel, BackupLabelFile, ControlFile, ExpectedWal, LsnRange, MajorVersion,
    SystemIdentifier, WalPageHeader, WalSegmentName,
};

use crate::ledger::Found;
use crate::material::{self, Material, Ours};
use crate::words::counted;

/// The label: is it there, does the server understand it, is it this backup's?
pub(crate) fn label(material: &Material, data: &Path) -> Found {
    let bytes = match &material.ours {
        Some(ours) => ours.folder.get(ours.backup.label()).map_err(|error| crate::chain(&error)),
        None => material::read_label(data).ok_or_else(|| {
            "there is no backup_label: a server would recover from the wrong checkpoint and be damaged without a word".to_owned()
        }),
    };
    let label = bytes.and_then(|bytes| {
        BackupLabelFile::new(bytes).parse().map_err(|error| crate::chain(&error))
    });
    match label.and_then(|label| is_of_this_backup(material, data, &label).map(|()| label)) {
        Ok(label) => Found::ok(format!(
            "backup_label \"{}\" starts at {} on timeline {}, taken from a {}",
            label.label,
            label.start_lsn,
            label.start_timeline,
            if label.backup_from == pg::BackupFrom::Standby { "standby" } else { "primary" }
        )),
        Err(problem) => Found::failed(problem),
    }
}

fn is_of_this_backup(material: &Material, data: &Path, label: &BackupLabel) -> Result<(), String> {
    let known = match (&material.ours, &material.manifest) {
        (Some(ours), _) => {
            let manifest = ours.backup.manifest();
            Some((manifest.start.lsn, manifest.timeline, "the backup's record"))
        }
        (None, Some(manifest)) => manifest
            .wal_ranges
            .first()
            .map(|range| (range.lsns.start(), range.timeline, "backup_manifest")),
        _ => None,
    };
    if let Some((lsn, timeline, whose)) = known
        && (lsn, timeline) != (label.start_lsn, label.start_timeline)
    {
        return Err(format!(
            "backup_label is of another backup: it starts at {} on timeline {}, {whose} says {lsn} on timeline {timeline}",
            label.start_lsn, label.start_timeline
        ));
    }
    // The control file is copied last, so it can be newer than the label, but never older. That of another database
    // cluster says nothing of this label.
    if let Ok(control) = ControlFile::read(&data.join("global/pg_control"))
        && expected_identifier(material).is_none_or(|id| id == control.system_identifier)
        && control.checkpoint < label.checkpoint_lsn
    {
        return Err(format!(
            "backup_label is of a later backup: its checkpoint is at {}, the last one that the control file knows at {}",
            label.checkpoint_lsn, control.checkpoint
        ));
    }
    Ok(())
}

/// The database cluster that the backup says it is of. PostgreSQL's own list of files names it since 17.
fn expected_identifier(material: &Material) -> Option<SystemIdentifier> {
    let ours = material.ours.as_ref().map(|ours| ours.backup.manifest().system_identifier);
    let theirs = material.manifest.as_ref().and_then(|manifest| manifest.system_identifier);
    ours.or(theirs)
}

/// The control file: whole, of this database cluster, of this major version.
pub(crate) fn control_file(material: &Material, data: &Path) -> Found {
    let control = match ControlFile::read(&data.join("global/pg_control")) {
        Ok(control) => control,
        Err(error) => return Found::failed(crate::chain(&error)),
    };
    if let Some(expected) =
        expected_identifier(material).filter(|id| *id != control.system_identifier)
    {
        return Found::failed(format!(
            "the files are of another database cluster: the control file's system identifier is {}, the backup's is {expected}",
            control.system_identifier
        ));
    }
    let major = MajorVersion::from_catalog_version(control.catalog_version);
    if let Some((major, expected)) = major.zip(material.major).filter(|(one, two)| one != two) {
        return Found::failed(format!(
            "the control file is of PostgreSQL {major}, the backup of PostgreSQL {expected}"
        ));
    }
    let Some(major) = major else {
        return Found::failed(format!(
            "the control file is of no released major version from 13 to 18: its catalogue version is {}",
            control.catalog_version
        ));
    };
    Found::ok(format!(
        "system identifier {}, PostgreSQL {major}, data checksums {}",
        control.system_identifier,
        if control.data_checksums { "on" } else { "off" }
    ))
}

/// Where WAL is read from besides the backup.
pub(crate) struct WalPlan<'a> {
    /// Whether there is a `restore_command`.
    pub(crate) has_command: bool,
    /// `pg_waldump` of the server's version.
    pub(crate) waldump: Option<&'a Path>,
    /// For questions that only a control file answers.
    pub(crate) data: &'a Path,
}

/// WAL: is every segment there from the start of the backup to its end, is each of this cluster and where its name says?
pub(crate) fn wal(material: &Material, plan: &WalPlan<'_>) -> Found {
    let control = match ControlFile::read(&plan.data.join("global/pg_control")) {
        Ok(control) => control,
        Err(_) => {
            return Found::skipped(
                "the control file cannot be read, which says what WAL must look like",
            );
        }
    };
    let Some(major) = MajorVersion::from_catalog_version(control.catalog_version) else {
        return Found::skipped("the control file is of an unknown version");
    };
    let expected = ExpectedWal {
        system_identifier: control.system_identifier,
        segment_size: control.wal_segment_size,
        major,
    };
    match &material.ours {
        Some(ours) => our_wal(ours, &expected, plan.waldump),
        None => their_wal(material, &expected, plan),
    }
}

fn our_wal(ours: &Ours, expected: &ExpectedWal, waldump: Option<&Path>) -> Found {
    let manifest = ours.backup.manifest();
    let mut problems = vec![];
    for entry in ours.backup.wal() {
        if let Err(error) = ours.folder.verify(entry) {
            problems.push(crate::chain(&error));
            continue;
        }
        let name = entry.name.as_str().trim_start_matches("wal/");
        problems.extend(header_problem(&ours.folder.path(&entry.name), name, expected));
    }
    let count = ours.backup.wal().len();
    let range = LsnRange::new(manifest.start.lsn, ours.backup.stop().lsn).ok();
    let directory = ours.folder.local_path().join("wal");
    judge(problems, count, range, || {
        let (program, range) = waldump.zip(range)?;
        Some(pg::waldump::check(program, &directory, manifest.timeline, range))
    })
}

fn their_wal(material: &Material, expected: &ExpectedWal, plan: &WalPlan<'_>) -> Found {
    let directory = plan.data.join("pg_wal");
    let label =
        material::read_label(plan.data).and_then(|bytes| BackupLabelFile::new(bytes).parse().ok());
    let Some(label) = label else {
        return Found::skipped("without a label it is not known where replay begins");
    };
    let first =
        WalSegmentName::containing(label.start_timeline, label.start_lsn, expected.segment_size);
    let there = |name: WalSegmentName| directory.join(name.to_string()).is_file();
    if !there(first) && plan.has_command {
        return Found::skipped(format!(
            "segment \"{first}\" is not in the backup: recovery gets it by restore_command"
        ));
    }
    let ranges = material.manifest.iter().flat_map(|manifest| &manifest.wal_ranges);
    let range = ranges.last().map(|range| (range.timeline, range.lsns));
    let names: Vec<WalSegmentName> = match range {
        Some((timeline, lsns)) => {
            WalSegmentName::range(timeline, lsns, expected.segment_size).collect()
        }
        // Nothing says where it ends: as far as it goes without a hole.
        None => std::iter::successors(Some(first), |name| name.next(expected.segment_size).ok())
            .take_while(|name| *name == first || there(*name))
            .collect(),
    };
    let mut problems = vec![];
    for name in &names {
        if there(*name) {
            let text = name.to_string();
            problems.extend(header_problem(&directory.join(&text), &text, expected));
        } else {
            problems.push(format!("WAL segment \"{name}\" is missing"));
        }
    }
    judge(problems, names.len(), range.map(|(_, lsns)| lsns), || {
        let (program, (timeline, lsns)) = plan.waldump.zip(range)?;
        Some(pg::waldump::check(program, &directory, timeline, lsns))
    })
}

/// Adds up. Only when every segment looks right its records are read, one after the other.
fn judge(
    problems: Vec<String>,
    count: usize,
    range: Option<LsnRange>,
    read: impl FnOnce() -> Option<Result<(), pg::WalError>>,
) -> Found {
    if let Some(first) = problems.first() {
        return Found::failed(first.clone()).details(problems);
    }
    let to = range
        .map_or_else(String::new, |range| format!(", from {} to {}", range.start(), range.end()));
    let segments = counted(u64::try_from(count).unwrap_or(u64::MAX), "segment");
    match read() {
        Some(Err(error)) => Found::failed(crate::chain(&error)),
        Some(Ok(())) => Found::ok(format!("{segments} without a gap{to}, every record read")),
        None if range.is_none() => Found::ok(format!(
            "{segments} without a gap; nothing says where the backup ends, recovery has to show it"
        )),
        None => Found::ok(format!(
            "{segments} without a gap{to}, by their headers (no pg_waldump here)"
        )),
    }
}

fn header_problem(path: &Path, name: &str, expected: &ExpectedWal) -> Option<String> {
    let mut beginning = [0; WalPageHeader::LENGTH];
    let read = material::open_regular(path).and_then(|file| {
        file.read_exact_at(&mut beginning, 0)?;
        file.metadata()
    });
    let size = match read {
        Ok(found) => found.len(),
        Err(error) => return Some(format!("could not read \"{}\": {error}", path.display())),
    };
    if size != expected.segment_size.bytes() {
        return Some(format!(
            "WAL segment \"{name}\" has {size} bytes instead of {}",
            expected.segment_size.bytes()
        ));
    }
    let name: WalSegmentName = name.parse().ok()?;
    WalPageHeader::check_segment(&beginning, name, expected).err().map(|error| crate::chain(&error))
}

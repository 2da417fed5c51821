//! What there is of a backup, wherever it comes from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use basebackup::{Format, Manifest, TarBackup};
use chrono::{DateTime, Utc};
use nix::fcntl::OFlag;
use pg::{BackupLabelFile, MajorVersion};
use repository::{BackupFolder, CompleteBackup, FileEntry};
use snapshot::{Role, SnapshotRecord};

use crate::VerificationError;
use crate::report::{Subject, SubjectKind};
use crate::request::{Input, Mounted};

/// A label is a few lines.
const LABEL_LIMIT: u64 = 64 * 1024;

/// The cluster's files.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    /// Directories that can be looked at.
    Directories(Directories),
    /// Tar files.
    Tar(TarBackup),
}

/// A data directory and its tablespaces, as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directories {
    pub(crate) data: PathBuf,
    pub(crate) tablespaces: Vec<(u32, PathBuf)>,
    /// The btrfs snapshots they are in.
    pub(crate) snapshots: Vec<SnapshotRecord>,
}

/// A backup of a repository: what its folder holds besides the files.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    pub(crate) backup: CompleteBackup,
    pub(crate) folder: BackupFolder,
    /// Whether `files.json` lists the files.
    pub(crate) listed: bool,
}

/// A backup, found.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    pub(crate) subject: Subject,
    pub(crate) files: Files,
    pub(crate) ours: Option<Ours>,
    /// PostgreSQL's own list of files.
    pub(crate) manifest: Option<Manifest>,
    /// Why there is a list that cannot be used.
    pub(crate) manifest_problem: Option<String>,
    /// As far as it is known before tar files are unpacked.
    pub(crate) major: Option<MajorVersion>,
    /// When the last checkpoint began that the control file knows: the data is at least as new. Known as `major` is.
    pub(crate) checkpoint_time: Option<DateTime<Utc>>,
}

impl Material {
    /// The files of WAL in the backup's folder, by their names.
    pub(crate) fn wal_entries(&self) -> BTreeMap<String, FileEntry> {
        let files = self.ours.iter().flat_map(|ours| &ours.backup.manifest().files);
        files
            .filter_map(|entry| {
                Some((entry.name.as_str().strip_prefix("wal/")?.to_owned(), entry.clone()))
            })
            .collect()
    }
}

/// Looks at what there is; reads labels and manifests, but no data.
pub(crate) fn find(input: &Input) -> Result<Material, VerificationError> {
    match input {
        Input::Repository { backup, folder, mounted } => ours(backup, folder, mounted.as_ref()),
        Input::Directory(path) => foreign(path),
    }
}

fn ours(
    backup: &CompleteBackup,
    folder: &BackupFolder,
    mounted: Option<&Mounted>,
) -> Result<Material, VerificationError> {
    let manifest = backup.manifest();
    let has = |provider: &str| manifest.snapshots.iter().any(|record| record.provider == provider);
    let listed = mounted.is_none() && has("files");
    let directories = match mounted {
        Some(mounted) => mounted_directories(backup, mounted)?,
        None if listed => copied(backup, folder),
        None if has("btrfs") => snapshots(backup)?,
        None => {
            return Err(no_source(
                backup,
                "its snapshots are not files that this host can reach: mount them (ebs_restore does, for EBS) and give data_directory",
            ));
        }
    };
    if !directories.data.is_dir() {
        let problem = format!("\"{}\" is not there", directories.data.display());
        return Err(no_source(backup, &problem));
    }
    let subject = Subject {
        kind: SubjectKind::Backstay,
        path: folder.local_path(),
        cluster: Some(manifest.cluster.to_string()),
        backup_id: Some(manifest.backup_id.to_string()),
        label: Some(manifest.label.clone()),
        system_identifier: Some(manifest.system_identifier),
        server_version: Some(manifest.server_version.to_string()),
        timeline: Some(manifest.timeline),
        from_standby: Some(manifest.in_recovery),
        start_lsn: Some(manifest.start.lsn),
        start_time: Some(manifest.start.time),
        stop_lsn: Some(backup.stop().lsn),
        stop_time: Some(backup.stop().time),
        bytes: manifest.snapshots.iter().filter_map(|record| record.bytes).reduce(|a, b| a + b),
    };
    Ok(Material {
        subject,
        files: Files::Directories(directories),
        ours: Some(Ours { backup: backup.clone(), folder: folder.clone(), listed }),
        manifest: None,
        manifest_problem: None,
        major: manifest.server_version.major().ok(),
        checkpoint_time: None,
    })
}

fn no_source(backup: &CompleteBackup, problem: &str) -> VerificationError {
    VerificationError::NoSource {
        backup: backup.manifest().backup_id.to_string(),
        problem: problem.to_owned(),
    }
}

fn copied(backup: &CompleteBackup, folder: &BackupFolder) -> Directories {
    let files = folder.files_path();
    let tablespaces = backup
        .manifest()
        .tablespaces
        .iter()
        .map(|one| (one.oid, files.join(format!("tablespaces/{}", one.oid))))
        .filter(|(_, path)| path.is_dir())
        .collect();
    Directories { data: files.join("data"), tablespaces, snapshots: Vec::new() }
}

fn mounted_directories(
    backup: &CompleteBackup,
    mounted: &Mounted,
) -> Result<Directories, VerificationError> {
    let mut tablespaces = vec![];
    for one in &backup.manifest().tablespaces {
        if one.location.starts_with(&backup.manifest().data_directory) {
            continue;
        }
        let now = mounted.tablespaces.get(&one.location).unwrap_or(&one.location);
        if !now.is_dir() {
            let problem = format!(
                "its tablespace {} is not at \"{}\": say with tablespace_mapping where it is mounted",
                one.oid,
                now.display()
            );
            return Err(no_source(backup, &problem));
        }
        tablespaces.push((one.oid, now.clone()));
    }
    Ok(Directories { data: mounted.data_directory.clone(), tablespaces, snapshots: Vec::new() })
}

fn snapshots(backup: &CompleteBackup) -> Result<Directories, VerificationError> {
    let records = &backup.manifest().snapshots;
    let place = |role: Role| {
        records.iter().filter(|record| record.provider == "btrfs").find_map(|record| {
            let source = record.covers.iter().find(|source| source.role == role)?;
            let below = source.path.strip_prefix(&record.source).unwrap_or(Path::new(""));
            let root = record.path.as_ref()?;
            Some(if below.as_os_str().is_empty() { root.clone() } else { root.join(below) })
        })
    };
    let data = place(Role::DataDirectory)
        .ok_or_else(|| no_source(backup, "no btrfs snapshot of it holds the data directory"))?;
    let mut tablespaces = vec![];
    for one in &backup.manifest().tablespaces {
        let Some(path) = place(Role::Tablespace(one.oid)) else {
            if one.location.starts_with(&backup.manifest().data_directory) {
                continue;
            }
            let problem = format!("no btrfs snapshot of it holds tablespace {}", one.oid);
            return Err(no_source(backup, &problem));
        };
        tablespaces.push((one.oid, path));
    }
    let snapshots = records.iter().filter(|record| record.provider == "btrfs").cloned().collect();
    Ok(Directories { data, tablespaces, snapshots })
}

fn foreign(path: &Path) -> Result<Material, VerificationError> {
    let format = Format::detect(path)?;
    let (kind, files, manifest_path) = match format {
        Format::Plain(plain) => {
            let data = plain.data;
            let tablespaces = linked_tablespaces(&data)?;
            let files = Files::Directories(Directories { data, tablespaces, snapshots: vec![] });
            (SubjectKind::BasebackupPlain, files, plain.manifest)
        }
        Format::Tar(tar) => {
            let manifest = tar.manifest.clone();
            (SubjectKind::BasebackupTar, Files::Tar(tar), manifest)
        }
    };
    let (manifest, manifest_problem) = match manifest_path.map(|path| Manifest::read(&path)) {
        None => (None, None),
        Some(Ok(manifest)) => (Some(manifest), None),
        Some(Err(error)) => (None, Some(crate::chain(&error))),
    };
    if manifest.as_ref().is_some_and(Manifest::is_incremental) {
        return Err(VerificationError::NoSource {
            backup: path.display().to_string(),
            problem: "it is an incremental backup: join it with those it builds on (pg_combinebackup) and verify the result".to_owned(),
        });
    }
    let mut material = Material {
        subject: unknown(kind, path),
        files,
        ours: None,
        manifest,
        manifest_problem,
        major: None,
        checkpoint_time: None,
    };
    if let Files::Directories(Directories { data, .. }) = &material.files {
        let data = data.clone();
        learn(&mut material, &data);
    }
    if let Some(range) = material.manifest.as_ref().and_then(|manifest| manifest.wal_ranges.last())
    {
        material.subject.stop_lsn = Some(range.lsns.end());
    }
    Ok(material)
}

fn unknown(kind: SubjectKind, path: &Path) -> Subject {
    Subject {
        kind,
        path: path.to_path_buf(),
        cluster: None,
        backup_id: None,
        label: None,
        system_identifier: None,
        server_version: None,
        timeline: None,
        from_standby: None,
        start_lsn: None,
        start_time: None,
        stop_lsn: None,
        stop_time: None,
        bytes: None,
    }
}

/// What the files of a data directory tell of the backup; what cannot be read is found out again by the checks.
pub(crate) fn learn(material: &mut Material, data: &Path) {
    let version = read_small(&data.join("PG_VERSION")).ok();
    let version = version.and_then(|bytes| String::from_utf8(bytes).ok());
    material.major = version.as_deref().and_then(|text| text.trim().parse().ok());
    let subject = &mut material.subject;
    subject.server_version = version.map(|text| text.trim().to_owned());
    if let Ok(control) = pg::ControlFile::read(&data.join("global/pg_control")) {
        subject.system_identifier = Some(control.system_identifier);
        subject.timeline = Some(control.timeline);
        material.checkpoint_time = Some(control.checkpoint_time);
    }
    let label = read_label(data).and_then(|bytes| BackupLabelFile::new(bytes).parse().ok());
    if let Some(label) = label {
        subject.start_lsn = Some(label.start_lsn);
        subject.timeline = Some(label.start_timeline);
        subject.from_standby = Some(label.backup_from == pg::BackupFrom::Standby);
        subject.label = Some(label.label);
    }
}

/// The label in a data directory, if there is one.
pub(crate) fn read_label(data: &Path) -> Option<Vec<u8>> {
    read_small(&data.join("backup_label")).ok()
}

/// The beginning of a small file.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    open_regular(path)?.take(LABEL_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file of a backup, which somebody else may have written: no link is followed, no pipe waited for.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// The tablespaces that the links of a plain backup lead to.
fn linked_tablespaces(data: &Path) -> Result<Vec<(u32, PathBuf)>, VerificationError> {
    let links = data.join("pg_tblspc");
    let Ok(entries) = fs::read_dir(&links) else { return Ok(vec![]) };
    let mut found = vec![];
    for entry in entries {
        let entry = entry.map_err(VerificationError::io("read directory", &links))?;
        let oid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(oid) = oid else { continue };
        if let Ok(target) = fs::read_link(entry.path()) {
            found.push((oid, links.join(target)));
        }
    }
    found.sort();
    Ok(found)
}

/// The user and group that own a directory.
pub(crate) fn owner(path: &Path) -> Result<(u32, u32), VerificationError> {
    let found = fs::metadata(path).map_err(VerificationError::io("examine", path))?;
    Ok((found.uid(), found.gid()))
}

//! The file `backup_manifest`: which files the backup consists of, and which WAL it needs.
//!
//! PostgreSQL's documentation, chapter "Backup Manifest Format"; `src/common/parse_manifest.c`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pg::{Lsn, LsnRange, SystemIdentifier, TimelineId};
use serde::Deserialize;

use crate::files::{inside, open_regular};
use crate::sum::{Hasher, from_hex};
use crate::{Algorithm, BasebackupError, Sum};

/// Longer ones are not read: a line has some 150 bytes, and a million files are many.
const LIMIT: u64 = 1 << 30;

/// What a base backup consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// 1 from PostgreSQL 13 on, 2 from 17 on.
    pub version: u64,
    /// The database cluster that it is a backup of; none before version 2.
    pub system_identifier: Option<SystemIdentifier>,
    /// Its files by their path relative to the data directory, tablespaces as `pg_tblspc/<oid>`. WAL and the manifest
    /// itself are not among them.
    pub files: BTreeMap<PathBuf, ManifestFile>,
    /// The WAL that recovery needs: mostly one range, and more if the timeline changed during the backup.
    pub wal_ranges: Vec<WalRange>,
}

/// One file of a base backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its size in bytes.
    pub size: u64,
    /// When it was changed last, as the server wrote it: `2026-11-21 03:00:00 GMT`.
    pub last_modified: String,
    /// Its checksum; none with `pg_basebackup --manifest-checksums=none`.
    pub checksum: Option<Sum>,
}

/// WAL that recovery needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRange {
    /// The timeline it was written on.
    pub timeline: TimelineId,
    /// From where to where.
    pub lsns: LsnRange,
}

impl Manifest {
    /// The name of its file.
    pub const FILE_NAME: &str = "backup_manifest";

    /// Reads the file `path`, which must be a regular one of at most 1 GiB.
    ///
    /// # Errors
    /// [`BasebackupError::ManifestFile`] with the reason of [`Manifest::parse`]; [`BasebackupError::Io`] and
    /// [`BasebackupError::NotRegular`] when it cannot be read.
    pub fn read(path: &Path) -> Result<Self, BasebackupError> {
        let unusable = |source| BasebackupError::ManifestFile {
            path: path.to_path_buf(),
            source: Box::new(source),
        };
        let (file, size) = open_regular(path)?;
        if size > LIMIT {
            return Err(unusable(BasebackupError::ManifestTooLarge { size, limit: LIMIT }));
        }
        let mut bytes = Vec::new();
        let read = file.take(LIMIT).read_to_end(&mut bytes);
        read.map_err(BasebackupError::io("read file", path))?;
        Self::parse(&bytes).map_err(unusable)
    }

    /// Reads a manifest, and verifies the checksum in its last line.
    ///
    /// # Errors
    /// [`BasebackupError::ManifestCutOff`], [`BasebackupError::ManifestChecksum`],
    /// [`BasebackupError::ManifestJson`], [`BasebackupError::ManifestVersion`],
    /// [`BasebackupError::ManifestEntry`] and [`BasebackupError::ManifestWal`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BasebackupError> {
        let summed = summed_part(bytes).ok_or(BasebackupError::ManifestCutOff)?;
        let json = |source| BasebackupError::ManifestJson { source };
        // First, since a newer version may have other fields.
        let Version { version } = serde_json::from_slice(bytes).map_err(json)?;
        if !(1..=2).contains(&version) {
            return Err(BasebackupError::ManifestVersion { version });
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(json)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(summed);
        let found = hasher.finish();
        if !found.to_string().eq_ignore_ascii_case(&raw.checksum) {
            return Err(BasebackupError::ManifestChecksum { found, expected: raw.checksum });
        }
        let mut files = BTreeMap::new();
        for file in raw.files {
            let (path, file) = file.read()?;
            if files.contains_key(&path) {
                return Err(BasebackupError::entry(&path, "it is there twice"));
            }
            files.insert(path, file);
        }
        let wal_ranges =
            raw.wal_ranges.into_iter().map(RawWalRange::read).collect::<Result<_, _>>()?;
        Ok(Self { version, system_identifier: raw.system_identifier, files, wal_ranges })
    }

    /// The sizes of all files together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Whether it is an incremental backup (17 and later): it cannot be started before `pg_combinebackup` has joined
    /// it with the ones it builds on.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        let names = self.files.keys().filter_map(|path| path.file_name()?.to_str());
        names.into_iter().any(|name| name.starts_with("INCREMENTAL."))
    }
}

/// What the last line's checksum is of: all lines before it.
fn summed_part(bytes: &[u8]) -> Option<&[u8]> {
    let lines = bytes.strip_suffix(b"\n")?;
    let last = lines.iter().rposition(|byte| *byte == b'\n')?;
    bytes.get(..=last)
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "PostgreSQL-Backup-Manifest-Version")]
    version: u64,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "System-Identifier")]
    system_identifier: Option<SystemIdentifier>,
    #[serde(rename = "Files")]
    files: Vec<RawFile>,
    #[serde(rename = "WAL-Ranges")]
    wal_ranges: Vec<RawWalRange>,
    #[serde(rename = "Manifest-Checksum")]
    checksum: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawFile {
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Last-Modified", default)]
    last_modified: String,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    checksum: Option<String>,
}

impl RawFile {
    fn read(self) -> Result<(PathBuf, ManifestFile), BasebackupError> {
        let path = match (self.path, self.encoded_path) {
            (Some(path), None) => PathBuf::from(path),
            (None, Some(encoded)) => match from_hex(&encoded) {
                Some(bytes) => PathBuf::from(OsString::from_vec(bytes)),
                None => {
                    return Err(BasebackupError::entry(
                        Path::new(&encoded),
                        "its path is not hexadecimal",
                    ));
                }
            },
            (Some(path), Some(_)) => {
                return Err(BasebackupError::entry(Path::new(&path), "it has two paths"));
            }
            (None, None) => return Err(BasebackupError::entry(Path::new(""), "it has no path")),
        };
        let Some(clean) = inside(&path) else {
            return Err(BasebackupError::entry(&path, "its path leads out of the data directory"));
        };
        let checksum = checksum(&clean, self.algorithm.as_deref(), self.checksum.as_deref())?;
        let file = ManifestFile { size: self.size, last_modified: self.last_modified, checksum };
        Ok((clean, file))
    }
}

fn checksum(
    path: &Path,
    algorithm: Option<&str>,
    digits: Option<&str>,
) -> Result<Option<Sum>, BasebackupError> {
    let (name, digits) = match (algorithm, digits) {
        (None, None) => return Ok(None),
        (Some(name), _) if name.eq_ignore_ascii_case("NONE") => return Ok(None),
        (Some(name), Some(digits)) => (name, digits),
        (Some(_), None) => return Err(BasebackupError::entry(path, "it has no checksum")),
        (None, Some(_)) => {
            return Err(BasebackupError::entry(path, "its checksum has no algorithm"));
        }
    };
    let Some(algorithm) = Algorithm::named(name) else {
        return Err(BasebackupError::entry(
            path,
            format!("checksum algorithm \"{name}\" is not known"),
        ));
    };
    match Sum::from_hex(algorithm, digits) {
        Some(sum) => Ok(Some(sum)),
        None => {
            Err(BasebackupError::entry(path, format!("\"{digits}\" is no {algorithm} checksum")))
        }
    }
}

#[derive(Deserialize)]
struct RawWalRange {
    #[serde(rename = "Timeline")]
    timeline: TimelineId,
    #[serde(rename = "Start-LSN")]
    start: Lsn,
    #[serde(rename = "End-LSN")]
    end: Lsn,
}

impl RawWalRange {
    fn read(self) -> Result<WalRange, BasebackupError> {
        match LsnRange::new(self.start, self.end) {
            Ok(lsns) => Ok(WalRange { timeline: self.timeline, lsns }),
            Err(source) => Err(BasebackupError::ManifestWal { source }),
        }
    }
}

#[cfg(test)]
mod tests;

//! Whether every file is what it was when the backup was taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use basebackup::{Algorithm, CheckPlain, Manifest, ManifestFile, Problem, Sum, Unpack, Unpacked};

use crate::ledger::Found;
use crate::material::{Directories, Material, Ours};
use crate::words::{counted, size};

/// Holds the files of a backup against the list that was made with it.
pub(crate) fn check(
    material: &Material,
    directories: &Directories,
    jobs: usize,
    stop: &dyn Fn() -> bool,
) -> Found {
    let manifest = match (&material.ours, &material.manifest) {
        (Some(ours), _) if ours.listed => match our_list(ours) {
            Ok(manifest) => manifest,
            Err(problem) => return Found::failed(problem),
        },
        (Some(_), _) => {
            return Found::skipped(
                "the backup is of a snapshot, which has no list of its files: level read checks the checksums of pages",
            );
        }
        (None, Some(manifest)) => manifest.clone(),
        (None, None) => return without_list(material),
    };
    let tablespaces: BTreeMap<u32, &PathBuf> =
        directories.tablespaces.iter().map(|(oid, path)| (*oid, path)).collect();
    let place = |oid: u32| tablespaces.get(&oid).map(|path| path.to_path_buf());
    let check = CheckPlain { data: &directories.data, tablespace: &place, jobs };
    match basebackup::check_plain(&check, &manifest, stop) {
        Ok(checked) => judge(checked.files, checked.bytes, &checked.problems, &manifest),
        Err(error) => Found::failed(crate::chain(&error)),
    }
}

/// What unpacking has found.
pub(crate) fn unpacked(material: &Material, unpacked: &Unpacked) -> Found {
    match &material.manifest {
        Some(manifest) => judge(unpacked.files, unpacked.bytes, &unpacked.problems, manifest),
        None if unpacked.problems.is_empty() => without_list(material),
        None => failed(&unpacked.problems),
    }
}

/// Unpacks tar files to `data` and below `tablespaces`.
pub(crate) fn unpack(
    tar: &basebackup::TarBackup,
    manifest: Option<&Manifest>,
    to: &Path,
    owner: Option<(u32, u32)>,
    stop: &dyn Fn() -> bool,
) -> Result<Unpacked, String> {
    let place = |oid: u32| to.join(format!("tablespace{oid}"));
    let unpack = Unpack { data: to.join("data"), tablespace: &place, owner, jobs: 2 };
    basebackup::unpack(tar, &unpack, manifest, stop).map_err(|error| crate::chain(&error))
}

fn without_list(material: &Material) -> Found {
    match &material.manifest_problem {
        Some(problem) => Found::failed(problem.clone()),
        None => Found::skipped(
            "there is no backup_manifest to compare the files with: level read checks the checksums of pages",
        ),
    }
}

fn judge(files: u64, bytes: u64, problems: &[Problem], manifest: &Manifest) -> Found {
    if !problems.is_empty() {
        return failed(problems);
    }
    let (files, bytes) = (counted(files, "file"), size(bytes));
    let algorithm = manifest.files.values().find_map(|file| file.checksum.as_ref());
    Found::ok(match algorithm {
        Some(sum) => format!(
            "{files}, {bytes}: each has its size and its checksum ({})",
            sum.algorithm().name()
        ),
        None => {
            format!("{files}, {bytes}: each has its size; the backup was taken without checksums")
        }
    })
}

fn failed(problems: &[Problem]) -> Found {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let first = lines.first().cloned().unwrap_or_default();
    let message =
        if lines.len() == 1 { first } else { format!("{first}, and {} more", lines.len() - 1) };
    Found::failed(message).details(lines)
}

/// `files.json` in the form of PostgreSQL's own list.
fn our_list(ours: &Ours) -> Result<Manifest, String> {
    let manifest = ours.backup.manifest();
    let entry = manifest.file("files.json").ok_or("the backup has no \"files.json\"")?;
    let bytes = ours.folder.get(entry).map_err(|error| crate::chain(&error))?;
    let listed = snapshot::parse_listing(&bytes)
        .map_err(|error| format!("\"files.json\" is not understood: {error}"))?;
    let mut files = BTreeMap::new();
    for file in listed.into_iter().filter(|file| file.link.is_none()) {
        let path = match file.path.strip_prefix("data/") {
            Some(below) => PathBuf::from(below),
            None => match file.path.strip_prefix("tablespaces/") {
                Some(below) => Path::new("pg_tblspc").join(below),
                None => {
                    return Err(format!(
                        "\"files.json\" lists \"{}\" outside the cluster",
                        file.path
                    ));
                }
            },
        };
        let checksum = Sum::from_hex(Algorithm::Sha256, &file.sha256);
        let checksum = Some(
            checksum
                .ok_or_else(|| format!("\"files.json\" has no SHA-256 of \"{}\"", file.path))?,
        );
        let last_modified = String::new();
        files.insert(path, ManifestFile { size: file.size, last_modified, checksum });
    }
    Ok(Manifest {
        version: 1,
        system_identifier: Some(manifest.system_identifier),
        files,
        wal_ranges: Vec::new(),
    })
}

//! Keeping a report.

use std::path::{Path, PathBuf};

use repository::BackupFolder;

use crate::report::Report;
use crate::{VerificationError, html};

/// Where a report was put: JSON, and the page.
pub type Stored = (PathBuf, PathBuf);

/// Puts the report beside the backup's manifest, where `backup_info` finds it.
///
/// # Errors
/// [`VerificationError::Repository`] when the repository cannot be written to.
pub fn store_beside(report: &Report, folder: &BackupFolder) -> Result<Stored, VerificationError> {
    let page = html(report);
    Ok(folder.put_verification(report.started, &json(report), page.as_bytes())?)
}

/// Puts the report into a directory, which is made if it is not there, readable for whoever may enter it. Its name is made
/// of the backup's and of the time at which the drill began; an older report of the same second is not changed.
///
/// # Errors
/// [`VerificationError::Io`] when it cannot be written.
pub fn store_in(report: &Report, directory: &Path) -> Result<Stored, VerificationError> {
    std::fs::create_dir_all(directory).map_err(VerificationError::io("make", directory))?;
    let stem = format!("{}-{}", file_name(report), report.started.format("%Y%m%dT%H%M%SZ"));
    let free = (1_u32..1000).map(|number| match number {
        1 => stem.clone(),
        _ => format!("{stem}-{number}"),
    });
    let stem = free.into_iter().find(|stem| !directory.join(format!("{stem}.json")).exists());
    let stem = stem.unwrap_or_default();
    let place = |ending: &str| directory.join(format!("{stem}.{ending}"));
    let (json_path, html_path) = (place("json"), place("html"));
    let write = |path: &Path, bytes: &[u8]| {
        durable::write(path, bytes, 0o644)
            .map_err(|source| VerificationError::io("write", path)(std::io::Error::other(source)))
    };
    write(&html_path, html(report).as_bytes())?;
    write(&json_path, &json(report))?;
    Ok((json_path, html_path))
}

/// The backup's name as a file's: `main-20261121T031500Z-3f9c`, or the last part of the directory it is in.
fn file_name(report: &Report) -> String {
    let subject = &report.subject;
    let name = match (&subject.cluster, &subject.backup_id) {
        (Some(cluster), Some(id)) => format!("{cluster}-{id}"),
        _ => subject
            .path
            .file_name()
            .map_or_else(|| "backup".to_owned(), |name| name.to_string_lossy().into_owned()),
    };
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

fn json(report: &Report) -> Vec<u8> {
    // A report is made of numbers, texts and lists: there is nothing in it that JSON does not have.
    let mut bytes = serde_json::to_vec_pretty(report).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

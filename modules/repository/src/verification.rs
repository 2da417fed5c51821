//! Reports of drills, beside the manifest of the backup that they proved.
//!
//! They are no files of the backup: no manifest names them, and a backup is none the worse without them.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::store::Failure;
use crate::{BackupFolder, EntryName, RepositoryError};

/// The folder of them in a backup's folder.
const FOLDER: &str = "verifications";

/// How the beginning of a drill is written in the names: `20261121T040000Z`.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// So many drills of one backup may begin within one second. More is no use, but a mistake.
const MOST: u32 = 1000;

/// Longer ones are no reports: the longest have a hundred lines of details for each check.
const LONGEST: u64 = 16 << 20;

/// The report of one drill, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVerification {
    /// When the drill began, to the second.
    pub started: DateTime<Utc>,
    /// The place of the report as JSON, on this machine.
    pub json: PathBuf,
    /// The place of the report as a page, on this machine; none when somebody removed it.
    pub html: Option<PathBuf>,
    /// The name of the JSON file in the backup's folder.
    name: EntryName,
    /// Its number among those of the same second, from 1.
    number: u32,
}

impl BackupFolder {
    /// Stores the report of a drill that began at `started`: `verifications/20261121T040000Z.json` and `.html`, or
    /// `20261121T040000Z-2.json` and so on when that name is taken. Returns the places of both, which are on disk
    /// then. Nothing that is there already is changed, the manifest neither.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`] when there is no such backup; [`RepositoryError::Directory`] and
    /// [`RepositoryError::Store`] when it cannot be written.
    pub fn put_verification(
        &self,
        started: DateTime<Utc>,
        json: &[u8],
        html: &[u8],
    ) -> Result<(PathBuf, PathBuf), RepositoryError> {
        self.require()?;
        self.make_folder(FOLDER)?;
        let stamp = started.format(STAMP);
        for number in 1..=MOST {
            let name = match number {
                1 => format!("{FOLDER}/{stamp}"),
                _ => format!("{FOLDER}/{stamp}-{number}"),
            };
            // The page first: a report that is listed, by its JSON, has its page.
            let (json_name, html_name) = (format!("{name}.json"), format!("{name}.html"));
            if self.put_new(&html_name, html)? && self.put_new(&json_name, json)? {
                let place = |name: &str| self.local_path().join(name);
                return Ok((place(&json_name), place(&html_name)));
            }
        }
        Err(RepositoryError::Invalid {
            what: "time of a drill",
            value: stamp.to_string(),
            expected: "one at which not a thousand drills of this backup began",
        })
    }

    /// The reports of the drills of this backup, newest last; none when it was never proved. What else is in their
    /// folder is passed over.
    ///
    /// # Errors
    /// [`RepositoryError::Store`] when the folder cannot be listed.
    pub fn verifications(&self) -> Result<Vec<StoredVerification>, RepositoryError> {
        let names = self.list(FOLDER)?;
        let mut found: Vec<StoredVerification> = names
            .iter()
            .filter_map(|file| {
                let (started, number) = parse(file.strip_suffix(".json")?)?;
                let name: EntryName = format!("{FOLDER}/{file}").parse().ok()?;
                let page = json_to_html(file);
                let html = names.contains(&page).then(|| self.local_path().join(FOLDER).join(page));
                Some(StoredVerification { started, json: self.path(&name), html, name, number })
            })
            .collect();
        found.sort_by_key(|stored| (stored.started, stored.number));
        Ok(found)
    }

    /// Reads one of them, as JSON.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Damaged`] for one that is too long, and
    /// [`RepositoryError::Store`].
    pub fn read_verification(
        &self,
        stored: &StoredVerification,
    ) -> Result<Vec<u8>, RepositoryError> {
        self.read_small(&stored.name, LONGEST)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, RepositoryError> {
        match self.create_file(name, bytes.to_vec()) {
            Ok(()) => Ok(true),
            Err(Failure::AlreadyExists) => Ok(false),
            Err(other) => Err(self.absent_or(other)),
        }
    }
}

/// The time and the number in a name without its ending.
fn parse(stem: &str) -> Option<(DateTime<Utc>, u32)> {
    let (stamp, number) = match stem.split_once('-') {
        Some((stamp, number)) => (stamp, number.parse().ok()?),
        None => (stem, 1),
    };
    let started = NaiveDateTime::parse_from_str(stamp, STAMP).ok()?;
    Some((started.and_utc(), number))
}

fn json_to_html(file: &str) -> String {
    format!("{}.html", file.trim_end_matches(".json"))
}

#[cfg(test)]
mod tests;

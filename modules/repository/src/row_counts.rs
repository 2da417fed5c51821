//! `row_counts.json`: the rows that every restore of a backup must have.
//!
//! A JSON object with the fields of [`RowCounts`], written as the manifest is:
//!
//! ```json
//! {
//!   "schema": 1,
//!   "from": {"lsn": "0/3000060", "transaction": 7421, "time": "2026-11-21T03:15:09.871Z"},
//!   "databases": [
//!     {
//!       "name": "app",
//!       "until_lsn": "0/4000148",
//!       "tables": [{"schema": "public", "name": "orders", "rows": 1000120, "at_least": 1000080}],
//!       "newest": [{"schema": "public", "table": "orders", "column": "created",
//!                   "type": "timestamp with time zone", "value": "2026-11-21 03:15:09.51+00"}],
//!       "not_counted": [{"what": "app.public.secrets", "reason": "the role may not read it"}]
//!     }
//!   ]
//! }
//! ```
//!
//! Rows are counted after the backup has stopped, but only those that had been committed before it did and are still
//! there: they were there at its end, whatever was written meanwhile. A restore must have them if its recovery ended
//! between `from.lsn` and the database's `until_lsn`; a recovery that goes on further may find them deleted.

use chrono::{DateTime, Utc};
use pg::Lsn;
use serde::{Deserialize, Serialize};

use crate::folder::{from_json, to_json};
use crate::{BackupFolder, BackupManifest, FileEntry, RepositoryError};

/// What was counted of one backup; see the module for how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// The layout of this record, as that of the manifest: [`BackupManifest::SCHEMA`].
    pub schema: u64,
    /// The point before the end of the backup.
    pub from: CountedFrom,
    /// What was counted, in each database that has tables.
    pub databases: Vec<DatabaseCounts>,
}

/// The point before the end of a backup from which on rows count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedFrom {
    /// Where WAL was.
    pub lsn: Lsn,
    /// Rows of this and later transactions do not count, as 64 bits.
    pub transaction: u64,
    /// When, by the clock of the host that asked.
    pub time: DateTime<Utc>,
}

/// What was counted in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCounts {
    /// The database.
    pub name: String,
    /// Where WAL was when its counting began.
    pub until_lsn: Lsn,
    /// Its tables.
    pub tables: Vec<TableCount>,
    /// Newest values of columns.
    pub newest: Vec<ColumnValue>,
    /// What could not be counted.
    pub not_counted: Vec<NotCounted>,
}

/// The rows of one table, without those of tables that inherit from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCount {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// How many rows it had when it was counted.
    pub rows: u64,
    /// How many of them every restore must have.
    pub at_least: u64,
}

/// The newest value of a column in the rows that every restore must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnValue {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Its type, as `format_type` names it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value as text, a time in UTC; null when there is none.
    pub value: Option<String>,
}

/// What could not be counted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCounted {
    /// A database, or a table as `database.schema.table`.
    pub what: String,
    /// Why, as a sentence without a period.
    pub reason: String,
}

impl RowCounts {
    /// Its name in a backup's folder.
    pub const FILE: &'static str = "row_counts.json";

    /// Reads it; `None` when the manifest names no such file.
    ///
    /// # Errors
    /// As [`BackupFolder::get`], and [`RepositoryError::UnknownSchema`] or [`RepositoryError::Damaged`] when it is no
    /// such record.
    pub fn read(
        folder: &BackupFolder,
        manifest: &BackupManifest,
    ) -> Result<Option<Self>, RepositoryError> {
        let Some(entry) = manifest.file(Self::FILE) else { return Ok(None) };
        let bytes = folder.get(entry)?;
        from_json(&folder.path(&entry.name), &bytes).map(Some)
    }

    /// Writes it into the backup's folder and returns the entry for the manifest.
    ///
    /// # Errors
    /// As [`BackupFolder::put`].
    pub fn write(&self, folder: &BackupFolder) -> Result<FileEntry, RepositoryError> {
        folder.put(Self::FILE, to_json(&folder.local_path().join(Self::FILE), self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repository;
    use crate::manifest::tests::started;

    fn counts() -> RowCounts {
        RowCounts {
            schema: BackupManifest::SCHEMA,
            from: CountedFrom {
                lsn: "0/3000060".parse().unwrap(),
                transaction: 7421,
                time: DateTime::UNIX_EPOCH,
            },
            databases: vec![DatabaseCounts {
                name: "app".into(),
                until_lsn: "0/4000148".parse().unwrap(),
                tables: vec![TableCount {
                    schema: "public".into(),
                    name: "orders".into(),
                    rows: 12,
                    at_least: 10,
                }],
                newest: vec![ColumnValue {
                    schema: "public".into(),
                    table: "orders".into(),
                    column: "created".into(),
                    kind: "date".into(),
                    value: Some("2026-11-21".into()),
                }],
                not_counted: vec![],
            }],
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_if_the_manifest_names_it() {
        let place = tempfile::tempdir().unwrap();
        let url = place.path().to_str().unwrap().parse().unwrap();
        let repository = Repository::open(&url).unwrap();
        let mut manifest = started("nightly");
        let folder = repository.backup(&manifest.cluster, &manifest.backup_id);
        folder.create(&manifest).unwrap();
        assert_eq!(RowCounts::read(&folder, &manifest).unwrap(), None);

        let entry = counts().write(&folder).unwrap();
        manifest.files.push(entry);
        assert_eq!(RowCounts::read(&folder, &manifest).unwrap(), Some(counts()));
        let json = serde_json::to_value(counts()).unwrap();
        assert_eq!(json["databases"][0]["newest"][0]["type"], "date");

        let changed = RowCounts { databases: vec![], ..counts() };
        changed.write(&folder).unwrap();
        let error = RowCounts::read(&folder, &manifest).unwrap_err();
        assert_eq!(error.kind(), "checksum_mismatch", "{error}");
    }
}

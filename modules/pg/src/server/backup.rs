//! The statements of a backup: slot, start, stop.

use super::{Server, get, lsn};
use crate::Lsn;
use crate::SlotName;
use crate::server_error::ServerError;

/// SQL for the server's clock as RFC 3339 in UTC.
const UTC_NOW: &str = "pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', \
                       'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

/// The answer of `pg_backup_stop`. Byte for byte as PostgreSQL would write the
/// two files: no change of encoding or line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStop {
    /// Where the backup ends.
    pub lsn: Lsn,
    /// Content of `backup_label`.
    pub label: Vec<u8>,
    /// Content of `tablespace_map`; empty means there must be no such file.
    pub tablespace_map: Vec<u8>,
    /// The server's clock at the stop, RFC 3339 in UTC.
    pub time: String,
}

impl Server {
    /// Makes a physical slot that vanishes with this session and holds the WAL
    /// from now on. Works in recovery as well.
    ///
    /// # Errors
    /// When no slot is free or the role has no `REPLICATION`.
    pub fn create_wal_slot(&mut self, name: &SlotName) -> Result<(), ServerError> {
        self.client
            .execute(
                "SELECT pg_catalog.pg_create_physical_replication_slot($1::text::name, true, true)",
                &[&name.as_str()],
            )
            .map(drop)
            .map_err(ServerError::statement("create a temporary replication slot to hold the WAL"))
    }

    /// Enters backup mode. Returns when the checkpoint is done: at once with
    /// `fast`, else spread over up to `checkpoint_timeout`.
    ///
    /// # Errors
    /// When the role may not, or a backup is in progress in this session.
    pub fn backup_start(&mut self, label: &str, fast: bool) -> Result<Lsn, ServerError> {
        let doing = "start the backup";
        let exclusive = if self.major.has_exclusive_backups() { ", false" } else { "" };
        let statement =
            format!("SELECT pg_catalog.{}($1, $2{exclusive})", self.major.backup_start_function());
        let row = self
            .client
            .query_one(&statement, &[&label, &fast])
            .map_err(ServerError::statement(doing))?;
        lsn(&row, 0, doing)
    }

    /// Leaves backup mode without waiting for the archive: a statement timeout
    /// or a cancel while PostgreSQL waits would lose the label for good.
    ///
    /// # Errors
    /// When no backup is in progress in this session, or a standby was
    /// promoted during the backup.
    pub fn backup_stop(&mut self) -> Result<BackupStop, ServerError> {
        let doing = "stop the backup";
        let exclusive = if self.major.has_exclusive_backups() { "false, " } else { "" };
        // convert_to() to the database's own encoding gives the stored bytes.
        let statement = format!(
            "SELECT lsn, \
                    pg_catalog.convert_to(labelfile, pg_catalog.getdatabaseencoding()), \
                    pg_catalog.convert_to(spcmapfile, pg_catalog.getdatabaseencoding()), \
                    {UTC_NOW} \
             FROM pg_catalog.{}({exclusive}false)",
            self.major.backup_stop_function()
        );
        let row = self.client.query_one(&statement, &[]).map_err(ServerError::statement(doing))?;
        let map: Option<Vec<u8>> = get(&row, 2, doing)?;
        Ok(BackupStop {
            lsn: lsn(&row, 0, doing)?,
            label: get(&row, 1, doing)?,
            tablespace_map: map.unwrap_or_default(),
            time: get(&row, 3, doing)?,
        })
    }

    /// The server's clock, RFC 3339 in UTC.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn clock(&mut self) -> Result<String, ServerError> {
        let doing = "read the server's clock";
        let row = self
            .client
            .query_one(&format!("SELECT {UTC_NOW}"), &[])
            .map_err(ServerError::statement(doing))?;
        get(&row, 0, doing)
    }
}

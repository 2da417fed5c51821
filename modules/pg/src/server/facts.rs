//! What a backup needs to know of a server before it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use postgres::Row;
use postgres::fallible_iterator::FallibleIterator;

use super::{Server, get, lsn, timeline_id};
use crate::server_error::ServerError;
use crate::{Lsn, ServerVersion, SystemIdentifier, Tablespace, TimelineId, WalSegmentSize};

/// Settings recovery needs at least as large as they were on the server the
/// backup is from ("Administrator Overview" of hot standby).
const RECOVERY_SETTINGS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// What tells one server, and one life of it, from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Of the database cluster.
    pub system_identifier: SystemIdentifier,
    /// The process serving this session.
    pub backend_pid: i32,
    /// When the server started, as text in its own precision.
    pub postmaster_start_time: String,
    /// Whether it is a standby (or recovering).
    pub in_recovery: bool,
    /// The newest timeline it has written or replayed.
    pub timeline: TimelineId,
}

/// What a backup needs to know of a server.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The release.
    pub version: ServerVersion,
    /// Version of the system catalogues.
    pub catalog_version: u32,
    /// Where the database cluster is, on the server's host.
    pub data_directory: PathBuf,
    /// `config_file`, `hba_file` and `ident_file`.
    pub config_files: BTreeMap<String, PathBuf>,
    /// Of this cluster.
    pub wal_segment_size: WalSegmentSize,
    /// Bytes in a page.
    pub block_size: u32,
    /// Whether pages have checksums.
    pub data_checksums: bool,
    /// `minimal`, `replica` or `logical`.
    pub wal_level: String,
    /// `off`, `on` or `always`.
    pub archive_mode: String,
    /// `cluster_name`, often empty.
    pub cluster_name: String,
    /// `port`, which for a unix socket is part of its name.
    pub port: u16,
    /// Whether the primary writes full pages; checked on a standby.
    pub full_page_writes: bool,
    /// Whether the server flushes what it writes (`fsync`).
    pub fsync: bool,
    /// Settings recovery needs at least as large.
    pub recovery_settings: BTreeMap<String, String>,
    /// Slots that can still be made.
    pub free_slots: i64,
    /// Location of the last checkpoint.
    pub checkpoint_lsn: Lsn,
}

/// How long to listen for what has arrived already, which needs one turn of the
/// client's event loop.
const MOMENT: Duration = Duration::from_millis(1);

impl Server {
    /// Takes in what the server has said without being asked. One that ends a
    /// session says why before it closes the connection, and whoever writes to
    /// that first hears only of a broken pipe.
    ///
    /// # Errors
    /// When the session was ended.
    pub fn hear(&mut self) -> Result<(), ServerError> {
        let mut said = self.client.notifications();
        let mut said = said.timeout_iter(MOMENT);
        said.next().map(drop).map_err(ServerError::statement("keep the session"))
    }

    /// Who this server is now. Also the heartbeat of a backup: a promoted
    /// standby, a restarted server or a swapped session differ in it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn identity(&mut self) -> Result<Identity, ServerError> {
        let doing = "ask the server who it is";
        let row = self
            .client
            .query_one(
                "SELECT s.system_identifier, pg_catalog.pg_backend_pid(), \
                        pg_catalog.pg_postmaster_start_time()::text, pg_catalog.pg_is_in_recovery(), \
                        GREATEST(c.timeline_id, r.min_recovery_end_timeline, w.received_tli) \
                 FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, \
                      pg_catalog.pg_control_recovery() r \
                      LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON true",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let system: i64 = get(&row, 0, doing)?;
        let timeline: i32 = get(&row, 4, doing)?;
        Ok(Identity {
            system_identifier: SystemIdentifier::from(system.cast_unsigned()),
            backend_pid: get(&row, 1, doing)?,
            postmaster_start_time: get(&row, 2, doing)?,
            in_recovery: get(&row, 3, doing)?,
            timeline: timeline_id(timeline, doing)?,
        })
    }

    /// Everything a backup records of the server.
    ///
    /// # Errors
    /// When the role may not read `data_directory`, or the connection is lost.
    pub fn facts(&mut self) -> Result<Facts, ServerError> {
        let doing = "read the server's settings";
        let row = self
            .client
            .query_one(
                "SELECT s.catalog_version_no, pg_catalog.current_setting('data_directory'), \
                        pg_catalog.current_setting('config_file'), pg_catalog.current_setting('hba_file'), \
                        pg_catalog.current_setting('ident_file'), \
                        pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), \
                        pg_catalog.current_setting('block_size')::int4, \
                        pg_catalog.current_setting('data_checksums')::bool, \
                        pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('archive_mode'), \
                        pg_catalog.current_setting('cluster_name'), pg_catalog.current_setting('port')::int4, \
                        c.full_page_writes, \
                        pg_catalog.current_setting('max_replication_slots')::int8 \
                          - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots), \
                        c.checkpoint_lsn, pg_catalog.current_setting('fsync')::bool \
                 FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let recovery_settings = self.recovery_settings()?;
        facts_from(&row, self.version, recovery_settings, doing)
    }

    fn recovery_settings(&mut self) -> Result<BTreeMap<String, String>, ServerError> {
        let doing = "read the settings that recovery needs";
        let names: Vec<&str> = RECOVERY_SETTINGS.to_vec();
        let rows = self
            .client
            .query(
                "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1)",
                &[&names],
            )
            .map_err(ServerError::statement(doing))?;
        rows.iter().map(|row| Ok((get(row, 0, doing)?, get(row, 1, doing)?))).collect()
    }

    /// Tablespaces outside the data directory.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn tablespaces(&mut self) -> Result<Vec<Tablespace>, ServerError> {
        let doing = "list the tablespaces";
        let rows = self
            .client
            .query(
                "SELECT oid, spcname::text, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace \
                 WHERE pg_catalog.pg_tablespace_location(oid) LIKE '/%' ORDER BY oid",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let tablespace = |row: &Row| {
            let location: String = get(row, 2, doing)?;
            Ok(Tablespace {
                oid: get(row, 0, doing)?,
                name: get(row, 1, doing)?,
                location: location.into(),
            })
        };
        rows.iter().map(tablespace).collect()
    }
}

fn facts_from(
    row: &Row,
    version: ServerVersion,
    recovery_settings: BTreeMap<String, String>,
    doing: &'static str,
) -> Result<Facts, ServerError> {
    let text = |column: usize| get::<String>(row, column, doing);
    let number = |column: usize| get::<i32>(row, column, doing).map(i32::cast_unsigned);
    let files = [("config_file", 2), ("hba_file", 3), ("ident_file", 4)];
    let config_files = files
        .into_iter()
        .map(|(name, column)| Ok((name.to_owned(), text(column)?.into())))
        .collect::<Result<_, ServerError>>()?;
    let segment: i64 = get(row, 5, doing)?;
    Ok(Facts {
        version,
        catalog_version: number(0)?,
        data_directory: text(1)?.into(),
        config_files,
        wal_segment_size: WalSegmentSize::from_bytes(segment.cast_unsigned())
            .map_err(|source| ServerError::Answer { doing, source })?,
        block_size: number(6)?,
        data_checksums: get(row, 7, doing)?,
        wal_level: text(8)?,
        archive_mode: text(9)?,
        cluster_name: text(10)?,
        port: u16::try_from(number(11)?).unwrap_or_default(),
        full_page_writes: get(row, 12, doing)?,
        recovery_settings,
        free_slots: get(row, 13, doing)?,
        checkpoint_lsn: lsn(row, 14, doing)?,
        fsync: get(row, 15, doing)?,
    })
}

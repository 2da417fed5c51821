//! What a recovered server tells of itself, its databases and what they need of their host.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use postgres::Row;
use postgres::types::PgLsn;

use super::{Server, get, literal, timeline_id};
use crate::server_error::ServerError;
use crate::{Lsn, SystemIdentifier, TimelineId};

/// How recovery ended, as far as the server knows it after promotion, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryEnd {
    /// Of the database cluster.
    pub system_identifier: SystemIdentifier,
    /// Whether it still recovers (or stands at its target).
    pub in_recovery: bool,
    /// The timeline it replays, or writes once it is promoted: then one of its own.
    pub timeline: TimelineId,
    /// Where replay is, or where it ended. None of a server that was started without recovery.
    pub replay_lsn: Option<Lsn>,
    /// Where WAL is: written, or replayed as long as it recovers.
    pub current_lsn: Option<Lsn>,
    /// The time of the last commit or abort that was replayed. It is kept after the promotion, until the server is
    /// restarted. None when the WAL held none, or recovery was without a signal file.
    pub last_transaction: Option<DateTime<Utc>>,
    /// The time of the newest checkpoint. The promoted server makes one of its own.
    pub checkpoint_time: Option<DateTime<Utc>>,
    /// Up to where recovery must go before the data is consistent; none after the promotion.
    pub min_recovery_end_lsn: Option<Lsn>,
    /// Where the backup started that is being recovered; none once its end was reached.
    pub backup_start_lsn: Option<Lsn>,
    /// Where it must have been recovered to, of a backup of a standby; none once that was reached.
    pub backup_end_lsn: Option<Lsn>,
    /// Whether the record that ends the backup must still come.
    pub end_of_backup_record_required: bool,
    /// Whether pages have checksums.
    pub data_checksums: bool,
}

/// A database of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Whether it may be connected to (`datallowconn`).
    pub accepts_connections: bool,
    /// Whether it is what an interrupted `DROP DATABASE` left (`datconnlimit` of -2), which nobody can connect to.
    pub invalid: bool,
}

/// An extension of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// The version that was created.
    pub version: String,
    /// Whether its files are on the server's host.
    pub available: bool,
}

/// A library that functions of a database are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// As the catalogue has it: `$libdir/postgis-3`, or a path.
    pub name: String,
    /// The extension whose functions these are; none of functions by themselves.
    pub extension: Option<String>,
}

/// A collation that was recorded with another version than the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollationChange {
    /// The database, or the collation qualified by its schema; quoted as SQL needs it.
    pub name: String,
    /// The version that was recorded.
    pub recorded: String,
    /// The version here; none when this host or build does not have it at all.
    pub actual: Option<String>,
    /// Indexes that are sorted by it, qualified and quoted, at most 101 of them; empty for a database.
    pub indexes: Vec<String>,
}

impl Server {
    /// Makes sure that this is the server of the data directory `wanted`, as the server itself names it: whoever answers
    /// on a socket may be another.
    ///
    /// # Errors
    /// [`ServerError::Elsewhere`] when it is another; when the role may not read `data_directory`, or the connection is
    /// lost.
    pub fn must_serve(&mut self, wanted: &Path) -> Result<(), ServerError> {
        let doing = "ask for the data directory";
        let row = self
            .client
            .query_one("SELECT pg_catalog.current_setting('data_directory')", &[])
            .map_err(ServerError::statement(doing))?;
        let found = PathBuf::from(get::<String>(&row, 0, doing)?);
        if found == wanted {
            return Ok(());
        }
        Err(ServerError::Elsewhere { found, wanted: wanted.to_path_buf() })
    }

    /// How recovery ended.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn recovery_end(&mut self) -> Result<RecoveryEnd, ServerError> {
        let doing = "ask how recovery ended";
        // The checkpoint may still name the timeline from before the promotion; the name of the current segment does
        // not.
        let row = self
            .client
            .query_one(
                "SELECT s.system_identifier, p.recovers, \
                        CASE WHEN p.recovers THEN GREATEST(c.timeline_id, r.min_recovery_end_timeline) \
                             ELSE ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(p.lsn), 1, 8))::bit(32)::int4 END, \
                        pg_catalog.pg_last_wal_replay_lsn(), p.lsn, \
                        (EXTRACT(epoch FROM pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::int8, \
                        (EXTRACT(epoch FROM c.checkpoint_time) * 1000000)::int8, \
                        r.min_recovery_end_lsn, r.backup_start_lsn, r.backup_end_lsn, r.end_of_backup_record_required, \
                        pg_catalog.current_setting('data_checksums')::bool \
                 FROM (SELECT q.recovers, CASE WHEN q.recovers THEN pg_catalog.pg_last_wal_replay_lsn() \
                                               ELSE pg_catalog.pg_current_wal_lsn() END AS lsn \
                       FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovers) q) p, \
                      pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, \
                      pg_catalog.pg_control_recovery() r",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        recovery_end(&row, doing)
    }

    /// Every database of the cluster, by name.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn databases(&mut self) -> Result<Vec<Database>, ServerError> {
        let doing = "list the databases";
        let rows = self
            .client
            .query(
                "SELECT datname::text, datallowconn, datconnlimit = -2 FROM pg_catalog.pg_database ORDER BY datname",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let database = |row: &Row| {
            Ok(Database {
                name: get(row, 0, doing)?,
                accepts_connections: get(row, 1, doing)?,
                invalid: get(row, 2, doing)?,
            })
        };
        rows.iter().map(database).collect()
    }

    /// The extensions of this database, and whether this host has their files.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn extensions(&mut self) -> Result<Vec<Extension>, ServerError> {
        let doing = "list the extensions";
        let rows = self
            .client
            .query(
                "SELECT e.extname::text, e.extversion, \
                        EXISTS (SELECT FROM pg_catalog.pg_available_extensions() a WHERE a.name = e.extname) \
                 FROM pg_catalog.pg_extension e ORDER BY e.extname",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        let extension = |row: &Row| {
            Ok(Extension {
                name: get(row, 0, doing)?,
                version: get(row, 1, doing)?,
                available: get(row, 2, doing)?,
            })
        };
        rows.iter().map(extension).collect()
    }

    /// The libraries of functions in C, without those that came with `initdb`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn libraries(&mut self) -> Result<Vec<Library>, ServerError> {
        let doing = "list the libraries of functions";
        // 16384 is FirstNormalObjectId: what is below was made by initdb.
        let rows = self
            .client
            .query(
                "SELECT p.probin, pg_catalog.min(e.extname::text) \
                 FROM pg_catalog.pg_proc p \
                      JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'c' \
                      LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass \
                           AND d.objid = p.oid AND d.refclassid = 'pg_catalog.pg_extension'::regclass \
                           AND d.deptype = 'e' \
                      LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
                 WHERE p.oid >= 16384 AND p.probin IS NOT NULL GROUP BY p.probin ORDER BY p.probin",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        rows.iter()
            .map(|row| Ok(Library { name: get(row, 0, doing)?, extension: get(row, 1, doing)? }))
            .collect()
    }

    /// Loads a library into this session, which is of no use for anything else then: what is loaded stays.
    ///
    /// # Errors
    /// When it is not there, a library that it needs is not, or it does not want to be loaded so late; which of them,
    /// [`ServerError::is_unloadable`] tells.
    pub fn load_library(&mut self, name: &str) -> Result<(), ServerError> {
        // By its English text alone is a library that misses another one known; a superuser may ask for it.
        let statement = format!("SET lc_messages TO 'C'; LOAD {}", literal(name));
        self.client.batch_execute(&statement).map_err(ServerError::statement("load the library"))
    }

    /// Databases whose default collation has another version here than was recorded. Before PostgreSQL 15 none was
    /// recorded, and this is `None`.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn changed_databases(&mut self) -> Result<Option<Vec<CollationChange>>, ServerError> {
        if !self.major.has_database_collation_version() {
            return Ok(None);
        }
        self.changes(
            "SELECT pg_catalog.quote_ident(datname), datcollversion, \
                    pg_catalog.pg_database_collation_actual_version(oid), ARRAY[]::text[] \
             FROM pg_catalog.pg_database \
             WHERE datallowconn AND datconnlimit <> -2 AND datcollversion IS NOT NULL \
               AND datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(oid) \
             ORDER BY datname",
        )
        .map(Some)
    }

    /// Collations of this database that have another version here than was recorded.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn changed_collations(&mut self) -> Result<Vec<CollationChange>, ServerError> {
        self.changes(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion, \
                    pg_catalog.pg_collation_actual_version(c.oid), \
                    ARRAY(SELECT pg_catalog.format('%I.%I', m.nspname, r.relname) \
                          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid \
                               JOIN pg_catalog.pg_namespace m ON m.oid = r.relnamespace \
                          WHERE c.oid = ANY (i.indcollation) AND r.relkind = 'i' ORDER BY 1 LIMIT 101) \
             FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
             WHERE c.collversion IS NOT NULL AND c.collprovider <> 'd' \
               AND c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid) \
             ORDER BY 1",
        )
    }

    fn changes(&mut self, statement: &str) -> Result<Vec<CollationChange>, ServerError> {
        let doing = "compare the versions of collations";
        let rows = self.client.query(statement, &[]).map_err(ServerError::statement(doing))?;
        let change = |row: &Row| {
            Ok(CollationChange {
                name: get(row, 0, doing)?,
                recorded: get(row, 1, doing)?,
                actual: get(row, 2, doing)?,
                indexes: get(row, 3, doing)?,
            })
        };
        rows.iter().map(change).collect()
    }
}

fn recovery_end(row: &Row, doing: &'static str) -> Result<RecoveryEnd, ServerError> {
    let place = |column: usize| {
        get::<Option<PgLsn>>(row, column, doing)
            .map(|found| found.map(|lsn| Lsn::from(u64::from(lsn))).filter(|lsn| !lsn.is_invalid()))
    };
    let time = |column: usize| {
        get::<Option<i64>>(row, column, doing)
            .map(|micros| micros.and_then(DateTime::from_timestamp_micros))
    };
    let system: i64 = get(row, 0, doing)?;
    Ok(RecoveryEnd {
        system_identifier: SystemIdentifier::from(system),
        in_recovery: get(row, 1, doing)?,
        timeline: timeline_id(get(row, 2, doing)?, doing)?,
        replay_lsn: place(3)?,
        current_lsn: place(4)?,
        last_transaction: time(5)?,
        checkpoint_time: time(6)?,
        min_recovery_end_lsn: place(7)?,
        backup_start_lsn: place(8)?,
        backup_end_lsn: place(9)?,
        end_of_backup_record_required: get(row, 10, doing)?,
        data_checksums: get(row, 11, doing)?,
    })
}

/// A table and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Its name, qualified by its schema, quoted as SQL needs it.
    pub name: String,
    /// Its main file below the data directory: `base/5/16384`.
    pub path: String,
    /// Whether it is none of the system's.
    pub of_users: bool,
}

impl Server {
    /// The largest permanent table of this database that has a page, users' tables before the system's.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn largest_table(&mut self) -> Result<Option<TableFile>, ServerError> {
        let doing = "look for the largest table";
        let row = self
            .client
            .query_opt(
                "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.pg_relation_filepath(c.oid), \
                        n.nspname NOT IN ('pg_catalog', 'information_schema') AS of_users \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'pg_toast' \
                   AND pg_catalog.pg_relation_size(c.oid) > 0 \
                   AND (n.nspname <> 'pg_catalog' OR c.relname = 'pg_rewrite') \
                 ORDER BY of_users DESC, pg_catalog.pg_relation_size(c.oid) DESC LIMIT 1",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        row.map(|row| {
            Ok(TableFile {
                name: get(&row, 0, doing)?,
                path: get(&row, 1, doing)?,
                of_users: get(&row, 2, doing)?,
            })
        })
        .transpose()
    }
}

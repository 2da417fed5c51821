//! How far WAL has come.

use postgres::types::PgLsn;

use super::{Server, get, lsn, timeline_id};
use crate::server_error::ServerError;
use crate::{Lsn, TimelineId};

/// How far a recovering server has come.
#[derive(Debug, Clone)]
pub struct RecoveryProgress {
    /// False once it has been promoted.
    pub in_recovery: bool,
    /// Whether it stands still at its target.
    pub paused: bool,
    /// The newest WAL replayed, or written once recovery is over.
    pub replay_lsn: Option<Lsn>,
    /// Its timeline.
    pub timeline: TimelineId,
}

impl Server {
    /// Up to where WAL is complete on disk: flushed on a primary, received or
    /// replayed on a standby.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn wal_on_disk(&mut self) -> Result<Lsn, ServerError> {
        let doing = "ask how far the WAL is on disk";
        let row = self
            .client
            .query_one(
                "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
                             THEN GREATEST(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) \
                             ELSE pg_catalog.pg_current_wal_flush_lsn() END",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        lsn(&row, 0, doing)
    }

    /// How far a recovering server has come.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn recovery_progress(&mut self) -> Result<RecoveryProgress, ServerError> {
        let doing = "ask how far recovery is";
        let paused = if self.major.has_wal_replay_pause_state() {
            "pg_catalog.pg_get_wal_replay_pause_state() = 'paused'"
        } else {
            "pg_catalog.pg_is_wal_replay_paused()"
        };
        let statement = format!(
            "SELECT r.is_on, CASE WHEN r.is_on THEN {paused} ELSE false END, \
                    CASE WHEN r.is_on THEN pg_catalog.pg_last_wal_replay_lsn() \
                         ELSE pg_catalog.pg_current_wal_lsn() END, \
                    GREATEST(c.timeline_id, q.min_recovery_end_timeline) \
             FROM (SELECT pg_catalog.pg_is_in_recovery() AS is_on) r, pg_catalog.pg_control_checkpoint() c, \
                  pg_catalog.pg_control_recovery() q"
        );
        let row = self.client.query_one(&statement, &[]).map_err(ServerError::statement(doing))?;
        let replay: Option<PgLsn> = get(&row, 2, doing)?;
        Ok(RecoveryProgress {
            in_recovery: get(&row, 0, doing)?,
            paused: get(&row, 1, doing)?,
            replay_lsn: replay.map(|lsn| Lsn::from(u64::from(lsn))),
            timeline: timeline_id(get(&row, 3, doing)?, doing)?,
        })
    }
}

//! What would keep a backup from succeeding: privileges and archiving.

use super::{Server, get};
use crate::server_error::ServerError;

/// What `pg_stat_archiver` says.
#[derive(Debug, Clone)]
pub struct Archiver {
    /// The newest WAL file archived.
    pub last_archived: Option<String>,
    /// The newest WAL file that could not be archived.
    pub last_failed: Option<String>,
    /// Whether the newest attempt failed.
    pub failing: bool,
}

/// What the role may do.
#[derive(Debug, Clone)]
pub struct Privileges {
    /// The role connected as.
    pub role: String,
    /// Statements a superuser must run for it, empty when nothing is missing.
    pub missing: Vec<String>,
}

impl Server {
    /// Whether archiving works.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn archiver(&mut self) -> Result<Archiver, ServerError> {
        let doing = "read pg_stat_archiver";
        let row = self
            .client
            .query_one(
                "SELECT last_archived_wal, last_failed_wal, \
                        last_failed_time IS NOT NULL \
                          AND (last_archived_time IS NULL OR last_failed_time > last_archived_time) \
                 FROM pg_catalog.pg_stat_archiver",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        Ok(Archiver {
            last_archived: get(&row, 0, doing)?,
            last_failed: get(&row, 1, doing)?,
            failing: get(&row, 2, doing)?,
        })
    }

    /// What the role lacks for a backup, as the statements that would give it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn privileges(
        &mut self,
        wants_slot: bool,
        on_standby: bool,
    ) -> Result<Privileges, ServerError> {
        let doing = "ask for the role's privileges";
        let (start, stop) = self.backup_signatures();
        let row = self
            .client
            .query_one(
                "SELECT current_user::text, pg_catalog.quote_ident(current_user), \
                        pg_catalog.has_function_privilege(current_user, $1, 'EXECUTE'), \
                        pg_catalog.has_function_privilege(current_user, $2, 'EXECUTE'), \
                        pg_catalog.pg_has_role(current_user, 'pg_read_all_settings', 'USAGE'), \
                        pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), \
                        (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user)",
                &[&start, &stop],
            )
            .map_err(ServerError::statement(doing))?;
        let quoted: String = get(&row, 1, doing)?;
        let wanted = [
            (2, format!("GRANT EXECUTE ON FUNCTION {start} TO {quoted};")),
            (3, format!("GRANT EXECUTE ON FUNCTION {stop} TO {quoted};")),
            (4, format!("GRANT pg_read_all_settings TO {quoted};")),
            (5, format!("GRANT pg_read_all_stats TO {quoted};")),
            (6, format!("ALTER ROLE {quoted} REPLICATION;")),
        ];
        let mut missing = vec![];
        for (column, statement) in wanted {
            let held: bool = get(&row, column, doing)?;
            // Without the statistics a standby does not show which timeline
            // it receives.
            let needed = match column {
                5 => on_standby,
                6 => wants_slot,
                _ => true,
            };
            if needed && !held {
                missing.push(statement);
            }
        }
        Ok(Privileges { role: get(&row, 0, doing)?, missing })
    }

    fn backup_signatures(&self) -> (String, String) {
        let (start, stop) = (self.major.backup_start_function(), self.major.backup_stop_function());
        if self.major.has_exclusive_backups() {
            let arguments = ("text, boolean, boolean", "boolean, boolean");
            return (
                format!("pg_catalog.{start}({})", arguments.0),
                format!("pg_catalog.{stop}({})", arguments.1),
            );
        }
        (format!("pg_catalog.{start}(text, boolean)"), format!("pg_catalog.{stop}(boolean)"))
    }
}

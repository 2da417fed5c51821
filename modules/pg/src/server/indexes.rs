//! Indexes held against their tables by the extension amcheck, for servers without the program `pg_amcheck`.

use super::{Server, get};
use crate::server_error::ServerError;

/// An index that can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtreeIndex {
    /// Its object identifier.
    pub oid: u32,
    /// Its name, qualified by its schema, quoted as SQL needs it.
    pub name: String,
}

impl Server {
    /// The valid B-tree indexes of this database's permanent tables, with the extension amcheck made ready in it.
    ///
    /// # Errors
    /// When the extension is not installed on the server's host, or the connection is lost.
    pub fn btree_indexes(&mut self) -> Result<Vec<BtreeIndex>, ServerError> {
        let doing = "prepare the extension amcheck";
        self.client
            .batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
            .map_err(ServerError::statement(doing))?;
        let doing = "list the indexes";
        let rows = self
            .client
            .query(
                "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) \
                 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_catalog.pg_am a ON a.oid = c.relam \
                 WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' \
                   AND i.indisvalid AND i.indisready ORDER BY 2",
                &[],
            )
            .map_err(ServerError::statement(doing))?;
        rows.iter()
            .map(|row| Ok(BtreeIndex { oid: get(row, 0, doing)?, name: get(row, 1, doing)? }))
            .collect()
    }

    /// Checks the structure of an index and that every row of its table is in it, as `pg_amcheck --heapallindexed
    /// --parent-check --rootdescend` does.
    ///
    /// # Errors
    /// What is wrong with it, in the server's words; or when the connection is lost.
    pub fn check_index(&mut self, index: &BtreeIndex) -> Result<(), ServerError> {
        let doing = "check an index";
        self.client
            .query_one(
                "SELECT pg_catalog.bt_index_parent_check($1::oid::regclass, true, true)",
                &[&index.oid],
            )
            .map(drop)
            .map_err(ServerError::statement(doing))
    }
}

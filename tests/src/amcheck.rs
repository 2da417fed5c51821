//! PostgreSQL's own judgement of a restored cluster.

use crate::command::{run, tied};
use crate::server::Server;

/// Checks every table and B-tree index, each heap row against its index.
/// `pg_amcheck` came with 14; 13 has only the function for indexes.
///
/// # Panics
///
/// When anything is corrupt, or the program is missing.
#[track_caller]
pub fn amcheck(server: &Server) {
    if server.major() == 13 {
        server.execute(
            "select bt_index_check(c.oid, true) from pg_class c join pg_index i on i.indexrelid = c.oid \
             join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relpersistence <> 't' \
             and i.indisready and i.indisvalid",
        );
        return;
    }
    let mut check = tied(server.bin().join("pg_amcheck"), server.user());
    check.args([
        "--heapallindexed",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-p",
        &server.port().to_string(),
        "-h",
    ]);
    run(check.arg(server.socket_directory()));
}

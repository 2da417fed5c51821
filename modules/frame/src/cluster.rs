//! The directories a database cluster consists of, as a session has them.

use ansible::Failure;
use session::{ServerRecord, SessionRecord};
use snapshot::{Role, Source, Sources};

use crate::Explain;

/// Every directory a restore needs, as the server names them.
#[must_use]
pub fn sources(server: &ServerRecord) -> Vec<Source> {
    let mut sources = vec![
        Source::new(Role::DataDirectory, &server.data_directory),
        Source::new(Role::Wal, &server.wal_directory),
    ];
    sources.extend(
        server
            .tablespaces
            .iter()
            .map(|space| Source::new(Role::Tablespace(space.oid), &space.location)),
    );
    sources
}

/// The same for a provider that copies them on this host.
///
/// # Errors
/// When the server is in a container and its directories are not to be seen here.
pub fn on_host(record: &SessionRecord) -> Result<Sources, Failure> {
    let sources = sources(&record.server);
    match &record.server.inside {
        None => Ok(Sources::new(sources)),
        Some(inside) => {
            Sources::of_process(&sources, &inside.process).map_err(|error| error.explain())
        }
    }
}

//! `volume_info`: from the running server to its block devices. Changes nothing.

use ansible::reply::object;
use ansible::{Failure, Kind, OptionSpec, Options, Preview, Returns, Task, spec::Default};
use frame::{Explain, cluster, sessions};
use host::{Instance, Process, Sysfs};
use pg::Login;
use serde_json::{Map, Value, json};
use session::{SessionId, SessionRecord, SessionState, Store};
use snapshot::{ClusterVolumes, Role, Source};

use crate::inside::{self, Named};
use crate::{local, login};

/// Its options.
pub(crate) fn options() -> Vec<OptionSpec> {
    sessions::options(&[
        OptionSpec::new("session", Kind::Str),
        OptionSpec::new("instance", Kind::Bool).default(Default::Bool(true)),
    ])
}

/// The module.
pub(crate) struct VolumeInfo {
    origin: Origin,
    instance: bool,
}

/// Where the directories are known from.
enum Origin {
    /// The server itself.
    Server { login: Box<Login>, inside: Option<Named> },
    /// A session, which need not be asked for what it has on record.
    Session { store: Store, session: SessionId },
}

/// What was found.
pub(crate) struct Found(Map<String, Value>);

impl Preview for Found {
    fn preview(&self) -> Returns {
        Returns { values: self.0.clone(), ..Returns::default() }
    }
}

impl Task for VolumeInfo {
    type Plan = Found;

    fn parse(options: &Options) -> Result<Self, Failure> {
        let origin = match options.text("session") {
            Some(_) => Origin::Session {
                store: sessions::store(options)?,
                session: sessions::handle(options)?,
            },
            None => {
                let inside = inside::named(options)?;
                let login = Box::new(login::resolve(options, inside.as_ref())?);
                Origin::Server { login, inside }
            }
        };
        Ok(VolumeInfo { origin, instance: options.truth("instance") })
    }

    fn plan(&self) -> Result<Found, Failure> {
        let (mut values, sources, process) = match &self.origin {
            Origin::Server { login, inside } => of_server(login, inside.as_ref())?,
            Origin::Session { store, session } => {
                of_session(&store.read(session).map_err(|error| error.explain())?)?
            }
        };
        let mut volumes = ClusterVolumes::discover(&sources, process.as_ref(), &Sysfs::default())
            .map_err(|error| error.explain())?;
        if self.instance {
            volumes.instance = Some(Instance::ask().map_err(|error| error.explain())?);
        }
        values.extend(object(json!(volumes)));
        Ok(Found(values))
    }

    fn apply(&self, found: Found) -> Result<Returns, Failure> {
        Ok(found.preview())
    }
}

/// What a reply says of the cluster, its directories as the server names them, and the process that sees them.
type Cluster = (Map<String, Value>, Vec<Source>, Option<Process>);

fn of_server(login: &Login, named: Option<&Named>) -> Result<Cluster, Failure> {
    let user = login::operating_system_user(None, login)?;
    let mut server = login::connect(login, user, "backstay volume_info")?;
    let identity = server.identity().map_err(|error| error.explain())?;
    let facts = server.facts().map_err(|error| error.explain())?;
    let tablespaces = server.tablespaces().map_err(|error| error.explain())?;
    // Also the proof that the directories here are this server's.
    let here = local::examine(&facts, &identity, &tablespaces, named)?;
    let mut sources = vec![
        Source::new(Role::DataDirectory, &facts.data_directory),
        Source::new(Role::Wal, &here.wal_directory),
    ];
    sources.extend(
        tablespaces.iter().map(|space| Source::new(Role::Tablespace(space.oid), &space.location)),
    );
    let values = json!({
        "session": null,
        "system_identifier": identity.system_identifier,
        "data_directory": facts.data_directory,
        "wal_directory": here.wal_directory,
        "tablespaces": tablespaces,
    });
    Ok((object(values), sources, named.map(|named| named.process.clone())))
}

fn of_session(record: &SessionRecord) -> Result<Cluster, Failure> {
    if let Some(reason) = record.reason() {
        let session = record.session.clone();
        return Err(session::SessionError::Ended { session, reason }.explain());
    }
    let server = &record.server;
    let values = json!({
        "session": record.session,
        "backup_id": record.backup_id,
        "cluster": record.cluster,
        "system_identifier": server.system_identifier,
        "start_lsn": record.start.as_ref().map(|start| start.lsn),
        "start_time": record.start.as_ref().map(|start| &start.time),
        "in_backup_mode": record.state_now() == SessionState::InProgress,
        "data_directory": server.data_directory,
        "wal_directory": server.wal_directory,
        "tablespaces": server.tablespaces,
    });
    let process = server.inside.as_ref().map(|inside| inside.process.clone());
    Ok((object(values), cluster::sources(server), process))
}

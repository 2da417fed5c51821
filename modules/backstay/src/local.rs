//! Whether the server's files are on this host, and whether they are this
//! server's.

use std::path::{Path, PathBuf};

use ansible::Failure;
use host::{HostError, Process};
use nix::sys::statvfs::statvfs;
use pg::{ControlFile, Facts, Identity, Lsn, SystemIdentifier, Tablespace};
use session::{HostDirectories, Inside};

use crate::inside::Named;

/// Room that records, labels and manifests must find, in bytes. They need a
/// few kilobytes; a disk with less than this left is about to be full.
const ROOM_FOR_RECORDS: u64 = 16 << 20;

/// Where the server's files are, and what a person should know.
pub(crate) struct Local {
    /// `pg_wal` as the server sees it, with symbolic links resolved.
    pub(crate) wal_directory: PathBuf,
    /// The control file as this process reaches it.
    pub(crate) control_file: PathBuf,
    /// The container it is in, and where its directories are on this host.
    pub(crate) inside: Option<Inside>,
    /// Why snapshots cannot be taken from here, if they cannot.
    pub(crate) warnings: Vec<String>,
}

/// Compares the data directory on this host, or in the container, with what
/// the server says of itself: rule R16, which catches a snapshot of the wrong
/// disk before it is taken.
///
/// # Errors
/// When a directory of that name is here and belongs to another cluster.
pub(crate) fn examine(
    facts: &Facts,
    identity: &Identity,
    tablespaces: &[Tablespace],
    named: Option<&Named>,
) -> Result<Local, Failure> {
    let directory = &facts.data_directory;
    let mut local = Local {
        wal_directory: directory.join("pg_wal"),
        control_file: directory.join("global").join("pg_control"),
        inside: None,
        warnings: vec![],
    };
    match named {
        None => {
            if let Ok(real) = local.wal_directory.canonicalize() {
                local.wal_directory = real;
            }
        }
        Some(named) => local.look_inside(directory, tablespaces, named),
    }
    match ControlFile::read(&local.control_file) {
        Ok(control) => expect_same(directory, control.system_identifier, identity)?,
        Err(error) => local.warnings.push(format!(
            "the data directory \"{}\" cannot be read here ({}): snapshot_create and wal_fetch need to run on the \
             server's host as root or the server's user",
            directory.display(),
            ansible::chain::chain(&error)
        )),
    }
    Ok(local)
}

impl Local {
    /// The container is not trusted: its symbolic links are resolved in its own root, and a directory of the host
    /// counts only when it is the very same one.
    fn look_inside(&mut self, directory: &Path, tablespaces: &[Tablespace], named: &Named) {
        let process = &named.process;
        if let Ok(real) = process.resolve(&self.wal_directory) {
            self.wal_directory = real;
        }
        if let Ok(real) = process.resolve(&self.control_file) {
            self.control_file = process.reach(&real);
        }
        let on_host = on_host(process, directory, &self.wal_directory, tablespaces)
            .map_err(|error| {
                self.warnings.push(format!(
                    "{}: ebs_snapshot can take a snapshot of it, snapshot_create cannot",
                    ansible::chain::chain(&error)
                ));
            })
            .ok();
        let (process, container) = (process.clone(), named.container.clone());
        self.inside = Some(Inside { process, container, on_host });
    }
}

fn on_host(
    process: &Process,
    data_directory: &Path,
    wal_directory: &Path,
    tablespaces: &[Tablespace],
) -> Result<HostDirectories, HostError> {
    let place = |space: &Tablespace| Ok((space.oid, process.on_host(&space.location)?));
    Ok(HostDirectories {
        data_directory: process.on_host(data_directory)?,
        wal_directory: process.on_host(wal_directory)?,
        tablespaces: tablespaces.iter().map(place).collect::<Result<_, HostError>>()?,
    })
}

fn expect_same(
    directory: &Path,
    found: SystemIdentifier,
    identity: &Identity,
) -> Result<(), Failure> {
    if found == identity.system_identifier {
        return Ok(());
    }
    Err(Failure::new(
        "system_identifier_mismatch",
        format!(
            "\"{}\" on this host belongs to the database cluster {found}, the server is {}",
            directory.display(),
            identity.system_identifier
        ),
    )
    .hint("Is the server on another host, or in a container? Run the task where the server's files are, and name the container with container or login_pid."))
}

/// After the start: the control file on this host must have the checkpoint
/// the backup starts from.
///
/// # Errors
/// When it has an older one, so that these are not the server's files.
pub(crate) fn confirm_start(control_file: &Path, start: Lsn) -> Result<(), Failure> {
    let Ok(control) = ControlFile::read(control_file) else { return Ok(()) };
    if control.redo >= start {
        return Ok(());
    }
    Err(Failure::new(
        "verification_failed",
        format!(
            "the control file \"{}\" has the checkpoint with redo LSN {}, but the backup starts at {start}",
            control_file.display(),
            control.redo
        ),
    )
    .hint("The directory is a copy, or another mount hides the server's. Snapshots of it would not be this server."))
}

/// Refuses when the filesystem of `path` has no room for records.
///
/// # Errors
/// Of kind `disk_full`, with both numbers.
pub(crate) fn expect_room(path: &Path) -> Result<(), Failure> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = statvfs(there) else { return Ok(()) };
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    if free >= ROOM_FOR_RECORDS {
        return Ok(());
    }
    Err(Failure::new(
        "disk_full",
        format!(
            "\"{}\" has {free} bytes left, {ROOM_FOR_RECORDS} are needed for records",
            path.display()
        ),
    ))
}

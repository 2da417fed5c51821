//! Why something about this host could not be found out.

use std::io;
use std::path::{Path, PathBuf};

use program::ProgramError;

use crate::DeviceNumber;

/// Why something about this host could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The operating system refused a step; its reason is the source.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A path is on no filesystem that we can see.
    #[error("found no mount point for \"{}\"", path.display())]
    NoMount {
        /// The path.
        path: PathBuf,
    },
    /// A path that has to be absolute is not.
    #[error("\"{}\" is not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// There is no such process, or no longer.
    #[error("process {pid} does not run")]
    NoProcess {
        /// Its id.
        pid: i32,
    },
    /// Only root may look into other users' processes.
    #[error("could not look into process {pid}: needs root (become: true)")]
    NeedsRoot {
        /// Its id.
        pid: i32,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A path inside another process's root could not be followed.
    #[error("could not {action} \"{}\" inside the root of process {pid}", path.display())]
    Inside {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The path as that process sees it.
        path: PathBuf,
        /// The process.
        pid: i32,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// Symbolic links that lead to each other.
    #[error("\"{}\" leads through more than {limit} symbolic links inside the root of process {pid}", path.display())]
    TooManyLinks {
        /// The path as it was given.
        path: PathBuf,
        /// The process.
        pid: i32,
        /// How many are followed.
        limit: usize,
    },
    /// A directory of another process is not mounted where we could read it.
    #[error(
        "\"{}\" inside the root of process {pid} is not visible on this host: it is on \"{}\" ({fstype} of \"{device}\"), which is not mounted here",
        path.display(), mount_point.display()
    )]
    NotVisible {
        /// The path as that process sees it, resolved.
        path: PathBuf,
        /// The process.
        pid: i32,
        /// Where the filesystem is mounted, as that process sees it.
        mount_point: PathBuf,
        /// The filesystem's type.
        fstype: String,
        /// What is mounted there.
        device: String,
    },
    /// A path is on a filesystem that is on no disk of this host.
    #[error("\"{}\" is on no block device: \"{}\" is a filesystem of type {fstype}", path.display(), mount_point.display())]
    NotABlockDevice {
        /// The path.
        path: PathBuf,
        /// Where its filesystem is mounted.
        mount_point: PathBuf,
        /// The filesystem's type: `overlay`, `tmpfs`, `nfs4`, `zfs`, ….
        fstype: String,
    },
    /// The kernel knows no such block device.
    #[error("found no block device {number} in \"{}\"", sysfs.display())]
    NoDevice {
        /// Its number.
        number: DeviceNumber,
        /// Where it was looked for.
        sysfs: PathBuf,
    },
    /// A device has no filesystem that `blkid` knows.
    #[error("found no filesystem on device \"{device}\"")]
    NoFilesystem {
        /// The device.
        device: String,
    },
    /// A program failed.
    #[error("could not {action} \"{device}\"")]
    Program {
        /// What it was to do.
        action: &'static str,
        /// With which device.
        device: String,
        /// How it failed.
        #[source]
        source: ProgramError,
    },
    /// No container engine answers.
    #[error("found no container engine; asked: {}", quoted(asked))]
    NoEngine {
        /// The sockets that were tried.
        asked: Vec<PathBuf>,
    },
    /// No engine has such a container.
    #[error("found no container \"{name}\"; asked: {}", engines.join(", "))]
    NoContainer {
        /// Its name or id as it was given.
        name: String,
        /// The engines that answered: `docker`, `podman`.
        engines: Vec<String>,
    },
    /// Several engines have a running container of that name.
    #[error("container \"{name}\" runs in more than one engine: {}", engines.join(", "))]
    Ambiguous {
        /// Its name or id as it was given.
        name: String,
        /// The engines.
        engines: Vec<String>,
    },
    /// The container has no process.
    #[error("container \"{name}\" is not running, its state is \"{state}\"")]
    NotRunning {
        /// Its name or id as it was given.
        name: String,
        /// What the engine calls its state: `exited`, `created`, `restarting`, ….
        state: String,
    },
    /// The container's processes are frozen.
    #[error("container \"{name}\" is paused")]
    Paused {
        /// Its name or id as it was given.
        name: String,
    },
    /// An engine could not be asked.
    #[error("could not ask the container engine at \"{}\"", socket.display())]
    Engine {
        /// Its socket.
        socket: PathBuf,
        /// The operating system's reason, or what is wrong with the answer.
        #[source]
        source: io::Error,
    },
    /// An engine refused to answer.
    #[error("the container engine at \"{}\" answered with status {status}: {answer}", socket.display())]
    EngineStatus {
        /// Its socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// The beginning of what it says.
        answer: String,
    },
    /// The environment forbids to ask the instance metadata service.
    #[error("AWS_EC2_METADATA_DISABLED is set")]
    MetadataDisabled,
    /// The instance metadata service did not answer.
    #[error("could not ask the instance metadata service at \"{endpoint}\"")]
    Metadata {
        /// Its URL.
        endpoint: String,
        /// The operating system's reason, or what is wrong with the answer.
        #[source]
        source: io::Error,
    },
    /// The instance metadata service refused to answer.
    #[error(
        "the instance metadata service at \"{endpoint}\" answered {request} with status {status}"
    )]
    MetadataStatus {
        /// Its URL.
        endpoint: String,
        /// What was asked: method and path.
        request: String,
        /// The HTTP status.
        status: u16,
    },
}

fn quoted(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("\"{}\"", path.display())).collect::<Vec<_>>().join(", ")
}

impl HostError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// A stable word: `process_not_found`, `container_not_found`, `container_not_running`, `connection_failed`,
    /// `insufficient_privilege`, `path_not_visible`, `snapshot_not_covered`, `instance_metadata_unavailable`,
    /// `invalid_argument`, `file_not_found`, `file_failed`, or what a failed program says of
    /// itself.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { source, .. } | Self::Inside { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "file_not_found",
                _ => "file_failed",
            },
            Self::NoMount { .. } | Self::NoDevice { .. } | Self::NoFilesystem { .. } => {
                "file_failed"
            }
            Self::NotAbsolute { .. } | Self::TooManyLinks { .. } | Self::Ambiguous { .. } => {
                "invalid_argument"
            }
            Self::NoProcess { .. } => "process_not_found",
            Self::NeedsRoot { .. } => "insufficient_privilege",
            Self::NotVisible { .. } => "path_not_visible",
            Self::NotABlockDevice { .. } => "snapshot_not_covered",
            Self::Program { source, .. } => source.kind(),
            Self::NoContainer { .. } => "container_not_found",
            Self::NotRunning { .. } | Self::Paused { .. } => "container_not_running",
            Self::Engine { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "insufficient_privilege"
            }
            Self::NoEngine { .. } | Self::Engine { .. } | Self::EngineStatus { .. } => {
                "connection_failed"
            }
            Self::MetadataDisabled | Self::Metadata { .. } | Self::MetadataStatus { .. } => {
                "instance_metadata_unavailable"
            }
        }
    }

    /// What the operator can do, as whole sentences; may be empty.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        crate::hints::of(self)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Metadata { .. } | Self::Engine { .. } => true,
            Self::MetadataStatus { status, .. } | Self::EngineStatus { status, .. } => {
                *status >= 500
            }
            Self::NotRunning { state, .. } => state == "restarting",
            Self::Program { source, .. } => source.retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

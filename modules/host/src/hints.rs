//! What an operator can do about each error.

use std::io;

use crate::HostError;

pub(crate) fn of(error: &HostError) -> Vec<String> {
    match error {
        HostError::Program { source, .. } => source.hints(),
        HostError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            vec!["Which user runs this task? Does it need become?".to_owned()]
        }
        other => fixed(other).iter().map(|hint| (*hint).to_owned()).collect(),
    }
}

fn fixed(error: &HostError) -> &'static [&'static str] {
    match error {
        HostError::NoMount { .. } => &["Is /proc mounted?"],
        HostError::NoProcess { .. } => &[
            "Did the container or the server restart? Then the backup that it was in has been lost, and is to be started again.",
        ],
        HostError::NeedsRoot { .. } => {
            &["Only root sees the files of another container. Set become: true."]
        }
        HostError::NotVisible { .. } => &[
            "What is mounted inside a container only can be backed up by ebs_snapshot, but not be copied. Mount the volume on the host, and let the container use a directory of it.",
        ],
        HostError::NotABlockDevice { fstype, .. } if fstype == "overlay" => &[
            "This is the container's own layer, which ends with the container. Keep the data directory on a volume or in a directory of the host.",
        ],
        HostError::NotABlockDevice { .. } => {
            &["Use another provider, or move that directory to a disk of this host."]
        }
        HostError::NoDevice { .. } => &["Is /sys mounted, and that of the host?"],
        HostError::NoEngine { .. } => &[
            "Is Docker or Podman installed on this host, and its API socket active (systemctl start podman.socket)? DOCKER_HOST=unix://… names another socket.",
            "Any other runtime works with login_pid, the id of a process of the container as this host numbers it.",
        ],
        HostError::NoContainer { .. } => &[
            "Is it a container of another user? Rootless engines listen at $XDG_RUNTIME_DIR; login_pid works for every engine.",
        ],
        HostError::Ambiguous { .. } => &["Give the container's id instead of its name."],
        HostError::NotRunning { .. } => &["Start the container."],
        HostError::Paused { .. } => {
            &["A paused server can neither enter backup mode nor leave it. Unpause the container."]
        }
        HostError::Engine { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            &["Which user runs this task? Does it need become?"]
        }
        HostError::MetadataDisabled => &["Give instance_id and region, or unset it for this task."],
        HostError::Metadata { .. } => &[
            "Is this host an EC2 instance? If not, give instance_id and region.",
            "In a container, the answer is lost when the instance's hop limit is 1. Raise it (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2), run the task on the host, or give instance_id and region.",
        ],
        HostError::MetadataStatus { .. } => &[
            "Is the metadata service of this instance enabled (aws ec2 modify-instance-metadata-options --http-endpoint enabled)? Otherwise give instance_id and region.",
        ],
        HostError::Io { .. }
        | HostError::Inside { .. }
        | HostError::NotAbsolute { .. }
        | HostError::TooManyLinks { .. }
        | HostError::NoFilesystem { .. }
        | HostError::Program { .. }
        | HostError::Engine { .. }
        | HostError::EngineStatus { .. } => &[],
    }
}

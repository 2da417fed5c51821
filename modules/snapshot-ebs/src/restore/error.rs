//! What can go wrong with a restore.

use std::io;
use std::path::PathBuf;

use host::HostError;
use program::ProgramError;

use crate::EbsError;

/// An error of a restore from EBS snapshots, or of copying them.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is not one of EBS.
    #[error("backup \"{backup}\" has no EBS snapshots")]
    NoSnapshots {
        /// The backup's id.
        backup: String,
    },
    /// A filesystem is not on one whole volume or partition.
    #[error("the filesystem that was mounted at \"{}\" is on {what}, which is not restored automatically", mount_point.display())]
    Layout {
        /// Where it was mounted.
        mount_point: PathBuf,
        /// `lvm vg-data`, or `3 volumes`.
        what: String,
    },
    /// A filesystem of the backup is not described.
    #[error("the manifest says nothing of the filesystem that has the data directory")]
    NoDataDirectory,
    /// Nobody has the snapshot.
    #[error("snapshot \"{snapshot}\" of volume \"{volume}\" is not in region \"{region}\", and neither is a copy of it")]
    SnapshotMissing {
        /// `snap-…`.
        snapshot: String,
        /// The volume it is of.
        volume: String,
        /// Where it was looked for.
        region: String,
    },
    /// The snapshot is not what the manifest says.
    #[error("snapshot \"{snapshot}\" is not as in the manifest: its {what} is {found}, there it is {expected}")]
    SnapshotMismatch {
        /// `snap-…`.
        snapshot: String,
        /// What was compared.
        what: String,
        /// What EC2 says.
        found: String,
        /// What the manifest says.
        expected: String,
    },
    /// The mapping names a mount point that no filesystem had.
    #[error("option \"mount_points\" has \"{}\", where no filesystem of the backup was mounted; they were mounted at {known}", given.display())]
    UnknownMountPoint {
        /// What was given.
        given: PathBuf,
        /// Those there are, quoted.
        known: String,
    },
    /// Two filesystems would be mounted at one place.
    #[error("the filesystems that were mounted at \"{}\" and \"{}\" would both be mounted at \"{}\"", first.display(), second.display(), to.display())]
    SameMountPoint {
        /// Where the one was.
        first: PathBuf,
        /// Where the other was.
        second: PathBuf,
        /// Where both would be.
        to: PathBuf,
    },
    /// Something is at the mount point.
    #[error("nothing can be mounted at \"{}\": {why}", mount_point.display())]
    MountPoint {
        /// The mount point.
        mount_point: PathBuf,
        /// What is there.
        why: String,
    },
    /// Filesystems of this UUID cannot be mounted twice.
    #[error("a btrfs filesystem with the UUID \"{uuid}\" of the one that was mounted at \"{}\" is in use on this host", mount_point.display())]
    SameBtrfs {
        /// Where it was mounted.
        mount_point: PathBuf,
        /// Its UUID.
        uuid: String,
    },
    /// The target is not where the volumes would be.
    #[error("the {what} given is \"{given}\", that of this instance is \"{own}\"")]
    Elsewhere {
        /// `instance_id`, `zone` or `region`.
        what: &'static str,
        /// The option.
        given: String,
        /// What the metadata service or EC2 says.
        own: String,
    },
    /// There is no name to attach under.
    #[error("instance \"{instance}\" has {free} free device names of those allowed, {wanted} are needed")]
    NoDeviceName {
        /// `i-…`.
        instance: String,
        /// How many are free.
        free: usize,
        /// How many are needed.
        wanted: usize,
    },
    /// The volume of this restore is in use elsewhere.
    #[error("volume \"{volume}\" of this restore is attached to instance \"{instance}\"")]
    AttachedElsewhere {
        /// `vol-…`.
        volume: String,
        /// `i-…`.
        instance: String,
    },
    /// EC2 could not make or attach the volume.
    #[error("volume \"{volume}\" is \"{state}\", not \"{wanted}\"")]
    VolumeState {
        /// `vol-…`.
        volume: String,
        /// What it is.
        state: String,
        /// What was waited for.
        wanted: &'static str,
    },
    /// It took too long.
    #[error("volume \"{volume}\" did not become \"{wanted}\" within {seconds} s; it is \"{state}\"")]
    VolumeTimeout {
        /// `vol-…`.
        volume: String,
        /// What it is.
        state: String,
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The kernel does not show it.
    #[error("the device of volume \"{volume}\" did not appear within {seconds} s")]
    NoDevice {
        /// `vol-…`.
        volume: String,
        /// How long.
        seconds: u64,
    },
    /// Another filesystem than the one recorded is on the device.
    #[error("the filesystem on \"{device}\" of volume \"{volume}\" is not the one that was mounted at \"{}\": its {what} is {found}, in the manifest it is {expected}", mount_point.display())]
    Filesystem {
        /// The device.
        device: String,
        /// `vol-…`.
        volume: String,
        /// Where the recorded one was mounted.
        mount_point: PathBuf,
        /// `type` or `UUID`.
        what: &'static str,
        /// What is on the device, quoted.
        found: String,
        /// What is recorded, quoted.
        expected: String,
    },
    /// It could not be mounted, or unmounted.
    #[error("could not {action} \"{device}\" at \"{}\"", mount_point.display())]
    Mount {
        /// `mount` or `unmount`.
        action: &'static str,
        /// The device.
        device: String,
        /// Where.
        mount_point: PathBuf,
        /// Why not.
        #[source]
        source: ProgramError,
    },
    /// A directory could not be looked at, made or removed.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// As a verb phrase.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A copy's answer was lost twice.
    #[error("whether snapshot \"{snapshot}\" was copied to region \"{region}\" is unknown: two calls were not answered, and no copy has turned up")]
    CopyUnknown {
        /// `snap-…`.
        snapshot: String,
        /// Where to.
        region: String,
        /// What was lost.
        #[source]
        last: Box<EbsError>,
    },
    /// EC2 went on refusing a copy.
    #[error("the copy of snapshot \"{snapshot}\" to region \"{region}\" could not be begun within {seconds} s")]
    CopyTimeout {
        /// `snap-…`.
        snapshot: String,
        /// Where to.
        region: String,
        /// How long it was tried.
        seconds: u64,
        /// The last refusal.
        #[source]
        last: Box<EbsError>,
    },
    /// Something on this host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// EC2.
    #[error(transparent)]
    Ec2(#[from] EbsError),
}

impl RestoreError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoSnapshots { .. }
            | Self::Layout { .. }
            | Self::UnknownMountPoint { .. }
            | Self::SameMountPoint { .. }
            | Self::Elsewhere { .. }
            | Self::NoDeviceName { .. } => "invalid_argument",
            Self::NoDataDirectory => "manifest_damaged",
            Self::SnapshotMissing { .. } => "snapshot_not_found",
            Self::SnapshotMismatch { .. } | Self::Filesystem { .. } => "snapshot_mismatch",
            Self::MountPoint { .. } | Self::SameBtrfs { .. } => "location_not_empty",
            Self::AttachedElsewhere { .. } | Self::VolumeState { .. } => "restore_failed",
            Self::VolumeTimeout { .. } | Self::NoDevice { .. } => "restore_timeout",
            Self::Mount { .. } => "program_failed",
            Self::Io { .. } => "file_failed",
            Self::CopyUnknown { .. } => "snapshot_failed",
            Self::CopyTimeout { .. } => "snapshot_timeout",
            Self::Host(error) => error.kind(),
            Self::Ec2(error) => error.kind(),
        }
    }

    /// What to do about it: whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Layout { .. } => {
                "Make volumes from the snapshots by hand and attach them. On a host that has the originals too, \
                 vgimportclone gives the copies of LVM physical volumes new names and UUIDs; activate the group with \
                 vgchange -ay, or assemble md with mdadm, and mount. cluster_restore with source in_place goes on."
            }
            Self::SnapshotMissing { .. } => {
                "Is the option region the one that the backup was taken in, or was copied to with ebs_snapshot_copy?"
            }
            Self::SnapshotMismatch { .. } | Self::Filesystem { .. } => {
                "Nothing was mounted. Who may write to the repository, or change tags of snapshots?"
            }
            Self::MountPoint { .. } => "Give mount_points with another place for this filesystem.",
            Self::SameBtrfs { .. } => "Restore on another instance: the kernel cannot tell the two apart.",
            Self::Elsewhere { .. } => {
                "The module must run on the instance that the volumes are for, and a volume can only be attached in \
                 its own availability zone."
            }
            Self::NoDeviceName { .. } => "Give device_names, or detach volumes that are not needed.",
            Self::VolumeState { .. } => {
                "Is the key of the snapshot enabled, and may the role use it? EC2 tells so only afterwards."
            }
            Self::VolumeTimeout { .. } | Self::NoDevice { .. } => "Give a longer wait_timeout.",
            Self::CopyUnknown { .. } => {
                "Run the task again: a copy that turned up later is recognised by its tags."
            }
            Self::CopyTimeout { .. } => {
                "A region takes 20 copies at a time. Give a longer wait_timeout."
            }
            Self::Host(error) => return error.hints(),
            Self::Ec2(error) => return error.hints(),
            _ => return vec![],
        };
        vec![hint.to_owned()]
    }

    /// Whether the same may succeed when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::VolumeTimeout { .. }
            | Self::NoDevice { .. }
            | Self::CopyUnknown { .. }
            | Self::CopyTimeout { .. } => true,
            Self::Host(error) => error.retryable(),
            Self::Ec2(error) => error.retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! What can go wrong with EC2.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EbsError {
    /// EC2 said no; nothing was done.
    #[error("EC2 refused {action}: {code}: {message}")]
    Refused {
        /// The API's action: `CreateSnapshots`.
        action: &'static str,
        /// EC2's error code.
        code: String,
        /// What EC2 said.
        message: String,
    },
    /// No answer came; whether it was done is unknown.
    #[error("EC2 gave no answer to {action}: {reason}")]
    Lost {
        /// The API's action.
        action: &'static str,
        /// What happened instead.
        reason: String,
    },
    /// The answer lacks something.
    #[error("EC2's answer to {action} has no {missing}")]
    Answer {
        /// The API's action.
        action: &'static str,
        /// What is not in it.
        missing: &'static str,
    },
    /// There are no credentials, or they cannot be had.
    #[error("no AWS credentials could be found: {reason}")]
    Credentials {
        /// Why not.
        reason: String,
    },
    /// Nobody said which region.
    #[error("no AWS region is known")]
    NoRegion,
    /// The connection to EC2 could not be prepared.
    #[error("could not prepare the connection to EC2: {reason}")]
    Setup {
        /// Why not.
        reason: String,
    },
    /// The set of snapshots is not whole.
    #[error("the set of snapshots is not whole: {why}")]
    Partial {
        /// What is missing or broken.
        why: String,
        /// The ids of snapshots that could not be deleted.
        kept: Vec<String>,
    },
    /// There are too many snapshots under way.
    #[error("EC2 refused CreateSnapshots: {code}; these snapshots are pending: {pending}", pending = pending.join(", "))]
    Limit {
        /// EC2's error code.
        code: String,
        /// The ids of snapshots of the same volumes that are pending.
        pending: Vec<String>,
    },
    /// EC2 went on refusing.
    #[error("the snapshots could not be taken within {seconds} s")]
    Timeout {
        /// How long it was tried.
        seconds: u64,
        /// The last refusal.
        #[source]
        last: Box<EbsError>,
    },
    /// The caller's watch said to end.
    #[error("{0}")]
    Ended(String),
    /// The same answers may come from several sets, and none is whole.
    #[error("whether the snapshots were taken is unknown: {why}")]
    Unknown {
        /// What is known.
        why: String,
        /// What was lost.
        #[source]
        last: Box<EbsError>,
    },
    /// Something on this host.
    #[error(transparent)]
    Host(#[from] host::HostError),
    /// What EC2 or this host has is not what the manifest says.
    #[error("{0}")]
    Mismatch(String),
    /// A step of a restore.
    #[error("{0}")]
    Restore(String),
    /// An option does not fit the instance or the host.
    #[error("invalid {option}: {problem}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A snapshot of the backup is not there.
    #[error("snapshot \"{id}\" is not in region \"{region}\" of this account{}", of_account(account.as_deref()))]
    SnapshotMissing {
        /// The snapshot.
        id: String,
        /// Where it was looked for.
        region: String,
        /// The account that owned it when it was taken, if that is known.
        account: Option<String>,
    },
    /// A snapshot cannot be restored, or not yet.
    #[error("snapshot \"{id}\" is in state \"{state}\", not \"completed\"{}", because(message.as_deref()))]
    SnapshotState {
        /// The snapshot.
        id: String,
        /// EC2's word.
        state: &'static str,
        /// What EC2 says about it.
        message: Option<String>,
    },
    /// EC2 began to make a volume and gave up.
    #[error(
        "volume \"{volume}\" from snapshot \"{snapshot}\" {became} while it was made; it is {encryption}"
    )]
    VolumeFailed {
        /// The volume.
        volume: String,
        /// What it was made from.
        snapshot: String,
        /// `went to state "error"` or `disappeared`.
        became: &'static str,
        /// `encrypted with "arn:…"` or `not encrypted`.
        encryption: String,
    },
    /// A mount point is in use for something else.
    #[error("mount point \"{}\" {problem}", path.display())]
    MountPoint {
        /// The mount point.
        path: std::path::PathBuf,
        /// By what.
        problem: String,
    },
    /// A step of a restore took too long.
    #[error("{what} within {seconds} s")]
    Late {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

fn of_account(account: Option<&str>) -> String {
    account.map_or_else(String::new, |id| format!("; it was taken in account \"{id}\""))
}

fn because(message: Option<&str>) -> String {
    message.map_or_else(String::new, |text| format!(": {text}"))
}

/// Refusals after which the same call may succeed (EC2's API error codes).
pub(crate) const PASSING: [&str; 9] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "Unavailable",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "SnapshotCreationPerVolumeRateExceeded",
    "ResourceLimitExceeded",
];
/// Refusals because of credentials that were good and are no more.
pub(crate) const EXPIRED: [&str; 5] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "AuthFailure",
    "InvalidClientTokenId",
];

impl EbsError {
    /// The same once more, for where it is both judged and told. Only of refusals and lost answers.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Refused { action, code, message } => {
                Self::Refused { action, code: code.clone(), message: message.clone() }
            }
            Self::Lost { action, reason } => Self::Lost { action, reason: reason.clone() },
            other => Self::Ended(other.to_string()),
        }
    }

    /// EC2's error code, if it said one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } | Self::Limit { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the call may have had an effect.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Whether EC2 does not know what was named: it is deleted already.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code().is_some_and(|code| code.ends_with(".NotFound"))
    }

    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => match code.as_str() {
                "UnauthorizedOperation" => "not_authorized",
                code if EXPIRED.contains(&code) => "credentials_failed",
                code if PASSING.contains(&code) => "api_throttled",
                _ => "api_failed",
            },
            Self::Lost { .. } => "connection_failed",
            Self::Answer { .. } => "api_failed",
            Self::Credentials { .. } => "credentials_failed",
            Self::NoRegion | Self::Setup { .. } => "invalid_argument",
            Self::Partial { .. } | Self::Unknown { .. } => "snapshot_failed",
            Self::Limit { .. } => "snapshot_limit_exceeded",
            Self::Timeout { .. } => "snapshot_timeout",
            Self::Ended(_) => "snapshot_failed",
            Self::Host(error) => error.kind(),
            Self::Mismatch(_) => "snapshot_mismatch",
            Self::Restore(_) | Self::VolumeFailed { .. } => "restore_failed",
            Self::Option { .. } => "invalid_argument",
            Self::SnapshotMissing { .. } => "snapshot_not_found",
            Self::SnapshotState { .. } => "snapshot_failed",
            Self::MountPoint { .. } => "location_not_empty",
            Self::Late { .. } => "restore_timeout",
        }
    }

    /// What to do about it: whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Refused { code, .. } if code == "UnauthorizedOperation" => {
                "The policies that the collection's folder aws has allow what each module needs."
            }
            Self::Credentials { .. } => {
                "Give access_key and secret_key or profile, set the environment's AWS variables, or let the instance \
                 have a role. In a container the instance's hop limit must be 2."
            }
            Self::NoRegion => "Give region, or set AWS_REGION.",
            Self::Limit { .. } => {
                "A volume may have five pending snapshots (one of types st1 and sc1), and an account a limited number. \
                 Wait for them with ebs_snapshot_wait."
            }
            Self::Timeout { .. } => {
                "Many hosts at once share the API's limits: give the play throttle, or a longer wait_timeout."
            }
            Self::Unknown { .. } => {
                "Snapshots that turn up later carry the backup's tags; ebs_expire removes them."
            }
            Self::Partial { kept, .. } if !kept.is_empty() => {
                "The snapshots that could not be deleted carry the backup's tags; ebs_expire removes them."
            }
            Self::SnapshotMissing { .. } => {
                "Is the region the one that the backup was taken in, or copied to with ebs_snapshot_copy? Are the \
                 credentials of the account that owns it? A snapshot that was deleted may still be in the recycle bin."
            }
            Self::SnapshotState { state: "pending", .. } => {
                "ebs_snapshot_wait waits until it is completed."
            }
            Self::SnapshotState { .. } => {
                "Use another backup, or a copy in another region if there is one."
            }
            Self::VolumeFailed { .. } => {
                "EBS makes volumes after its answer, and a key that may not be used shows only then. Is the key of the \
                 snapshot, or kms_key_id, enabled, and may the role use it and create grants (see the policies in the \
                 collection's docs/ebs.md)?"
            }
            Self::MountPoint { .. } => {
                "Give another one in mount_points, by the mount point that the file system had."
            }
            Self::Late { .. } => {
                "Run the task again, with a longer wait_timeout. A volume does not detach while a container still has it \
                 mounted; disks have serial numbers only on instances with NVMe."
            }
            Self::Host(error) => return error.hints(),
            _ => return vec![],
        };
        vec![hint.to_owned()]
    }

    /// Whether the same may succeed when tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => PASSING.contains(&code.as_str()),
            Self::Lost { .. } | Self::Limit { .. } | Self::Timeout { .. } | Self::Late { .. } => {
                true
            }
            Self::SnapshotState { state, .. } => *state == "pending",
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

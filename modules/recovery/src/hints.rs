//! What the operator can do about a [`RecoveryError`], as whole sentences.

use crate::RecoveryError;

impl RecoveryError {
    /// What the operator can do or look at, as whole sentences; may be empty. Lines of a server's log come first.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::RecoveryTargetNotReached { log, .. } => with_log(
                log,
                "The WAL that recovery could reach ends before the target. Is the target in the future, or a segment missing from the WAL archive?",
            ),
            Self::ServerStopped { log, .. } => with_log(
                log,
                "The whole log is in \"backstay_recovery.log\" in the data directory.",
            ),
            Self::Unfinished { leftovers, source, .. } => {
                let mut hints = source.hints();
                let paths: Vec<_> =
                    leftovers.iter().map(|path| format!("\"{}\"", path.display())).collect();
                hints.push(if paths.is_empty() {
                    "What is there cannot be started. Run the restore again, which goes on.".to_owned()
                } else {
                    let paths = paths.join(", ");
                    format!("What is there cannot be started. Run the restore again, which begins anew, or remove {paths}.")
                });
                hints
            }
            Self::ConfigurationMissing { source_config_file, .. } => {
                let at = source_config_file
                    .as_ref()
                    .map(|path| format!(" At the source it was \"{}\".", path.display()))
                    .unwrap_or_default();
                vec![format!(
                    "Give config_file, or restore without start and start the cluster the way this system does it.{at}"
                )]
            }
            Self::Store(source) => source.hints(),
            Self::Repository { source, .. } => source.hints(),
            Self::Copy { source, .. } => source.hints(),
            Self::Format { source, .. } => source.hints(),
            Self::Content { source, .. } => source.hints(),
            Self::Program { source, .. } => source.hints(),
            _ => self.fixed_hint().map(str::to_owned).into_iter().collect(),
        }
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoSource { .. } => {
                "Make the snapshot's volumes available, mount them at the data directory, and restore with source in_place."
            }
            Self::DataDirectoryNotEmpty { .. } => {
                "Choose another data_directory, or move what is there away. A restore never deletes a cluster."
            }
            Self::LocationNotEmpty { .. } => "Choose another place, or move what is there away.",
            Self::NotTheWal { .. } => {
                "Give an empty directory, the one on the volume that was restored from the backup, or none: then WAL goes into the data directory."
            }
            Self::ServerRunning { .. } => {
                "Stop the server, or restore into another data_directory."
            }
            Self::NotADataDirectory { .. } => {
                "With source in_place the data directory has to be there already. Is the volume mounted?"
            }
            Self::SystemIdentifierMismatch { .. } => {
                "Is it the volume of another cluster, or the backup of another one?"
            }
            Self::StartedSince { .. } => {
                "A server that ran on the copy has made it useless for this backup. Take a new copy from the snapshot."
            }
            Self::TargetBeforeBackupEnd { .. } => {
                "Choose a backup that had ended before the target, or a later target."
            }
            Self::TargetBeyondBackup { .. } => {
                "Give restore_command, so that recovery can fetch later WAL from the archive."
            }
            Self::TimelineUnreachable { .. } => {
                "Choose another recovery_target_timeline, or a backup taken on that timeline."
            }
            Self::TablespaceOnOriginal { .. } => {
                "Give tablespace_mapping with a new location for it."
            }
            Self::ChecksumMismatch { .. } | Self::FileMissing { .. } => {
                "The backup was damaged or changed after it was taken. Restore another one, and look after the storage of this one."
            }
            Self::ProgramMissing { .. } => {
                "Install the server of that major version on this host, or give bin_dir."
            }
            Self::RecoveryStalled { .. } => {
                "The server is still running and recovery goes on. Look at \"backstay_recovery.log\" in the data directory; was wait_timeout too short?"
            }
            Self::ReplayedTooLittle { .. } => {
                "Do not use this cluster. A backup from a standby needs its WAL up to the stop LSN; was the target before that?"
            }
            _ => return None,
        })
    }
}

fn with_log(log: &[String], last: &str) -> Vec<String> {
    let mut hints = Vec::new();
    if !log.is_empty() {
        hints.push(format!("The server's log ends: {}.", log.join(" | ").trim_end_matches('.')));
    }
    hints.push(last.to_owned());
    hints
}

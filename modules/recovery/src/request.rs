//! What the caller wants restored, and the checks that need nothing but the request itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pg::{RecoveryTarget, TargetAction, TargetTimeline};
use repository::{BackupFolder, CompleteBackup};
use snapshot::Reflink;

use crate::RecoveryError;

/// Where the restored files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// As the manifest's snapshot records say: `files` when the repository holds the files, else `btrfs` when a
    /// btrfs snapshot covers the data directory; anything else has to be put in place by the operator first.
    Auto,
    /// The copy in the repository, `files/data` and `files/tablespaces/<oid>`.
    Files,
    /// The read-only btrfs snapshot that the backup recorded.
    Btrfs,
    /// The data directory is already there: a volume made from a snapshot, mounted by the operator.
    InPlace,
}

/// Whether the restored server may archive WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveMode {
    /// `archive_mode = off`, and the archive settings of the source are dropped from `postgresql.auto.conf`: a
    /// restored server that archives writes its new timeline into the source's archive.
    Off,
    /// The source's archive settings stay as they are.
    Preserve,
}

/// Where recovery ends and what happens then.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The recovery target.
    pub target: RecoveryTarget,
    /// Whether the transaction or record at the target is replayed too (`recovery_target_inclusive`).
    pub inclusive: bool,
    /// The timeline to follow. Without one: `current` for a target of `immediate` and for a restore without
    /// `restore_command`, else the latest one the archive has a history of.
    pub timeline: Option<TargetTimeline>,
    /// What the server does at the target.
    pub action: TargetAction,
}

/// A restore as asked for. Built by [`Restore::new`], then changed field by field; [`crate::plan`] checks it.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The backup, known to be complete.
    pub backup: CompleteBackup,
    /// The backup's folder in the repository.
    pub folder: BackupFolder,
    /// Where the cluster goes (absolute). Empty or absent, unless `source` is [`Source::InPlace`].
    pub data_directory: PathBuf,
    /// Where the files come from.
    pub source: Source,
    /// New locations of tablespaces by their old ones. In place: where the tablespace's files are now.
    pub tablespace_mapping: BTreeMap<PathBuf, PathBuf>,
    /// Where WAL goes (absolute, empty or absent); `pg_wal` becomes a symbolic link to it, unless it is that very path. In
    /// place it may be the copy of the source's own, which is emptied.
    pub wal_directory: Option<PathBuf>,
    /// `restore_command` of the restored server, with `%f` and `%p`. Without it the backup's own WAL has to do.
    pub restore_command: Option<String>,
    /// Where recovery ends.
    pub target: Target,
    /// Whether the restored server may archive.
    pub archive_mode: ArchiveMode,
    /// More settings for `postgresql.auto.conf`; they win over what the restore itself writes.
    pub settings: BTreeMap<String, String>,
    /// `postgresql.conf` when it does not lie in the data directory (Debian and Ubuntu keep it in `/etc`).
    pub config_file: Option<PathBuf>,
    /// Where `pg_ctl` and `postgres` are; without it the usual places are searched for the backup's major version.
    pub bin_dir: Option<PathBuf>,
    /// User id of the restored files; without it that of the source's data directory.
    pub owner: Option<u32>,
    /// Group id of the restored files; without it that of the source's data directory.
    pub group: Option<u32>,
    /// Whether every restored file is compared with the SHA-256 in the backup's `files.json`.
    pub verify: bool,
    /// Whether files are cloned instead of copied where the filesystem can.
    pub reflink: Reflink,
    /// How many files are copied at the same time.
    pub jobs: usize,
    /// Whether the server will be started; then the plan checks that it has a configuration to start with.
    pub start: bool,
}

impl Restore {
    /// The request with the defaults of the module `cluster_restore`: source by the manifest, all of the backup's own
    /// WAL and nothing after it, then promotion; archiving off; every file verified; not started.
    #[must_use]
    pub fn new(backup: CompleteBackup, folder: BackupFolder, data_directory: PathBuf) -> Self {
        Self {
            backup,
            folder,
            data_directory,
            source: Source::Auto,
            tablespace_mapping: BTreeMap::new(),
            wal_directory: None,
            restore_command: None,
            target: Target {
                target: RecoveryTarget::Latest,
                inclusive: true,
                timeline: None,
                action: TargetAction::Promote,
            },
            archive_mode: ArchiveMode::Off,
            settings: BTreeMap::new(),
            config_file: None,
            bin_dir: None,
            owner: None,
            group: None,
            verify: true,
            reflink: Reflink::Auto,
            jobs: 1,
            start: false,
        }
    }

    /// The WAL directory, if it is not `pg_wal` in the data directory.
    pub(crate) fn separate_wal(&self) -> Option<&Path> {
        let own = self.data_directory.join("pg_wal");
        self.wal_directory.as_deref().filter(|path| *path != own)
    }

    /// What can be said of the request without looking at any disk.
    pub(crate) fn check(&self) -> Result<(), RecoveryError> {
        check_path("data_directory", &self.data_directory)?;
        for new in self.tablespace_mapping.values() {
            check_path("tablespace_mapping", new)?;
        }
        if let Some(path) = &self.wal_directory {
            check_path("wal_directory", path)?;
        }
        if let Some(path) = &self.config_file {
            check_path("config_file", path)?;
        }
        if let Some(command) = &self.restore_command {
            check_text("restore_command", command)?;
        }
        self.settings.iter().try_for_each(|(name, value)| check_setting(name, value))
    }
}

/// Paths end in configuration lines, symbolic links and, by `pg_ctl`, in a shell's double quotes.
fn check_path(option: &'static str, path: &Path) -> Result<(), RecoveryError> {
    let problem = |problem: &str| RecoveryError::InvalidArgument {
        option: option.to_owned(),
        problem: format!("\"{}\" {problem}", path.display()),
    };
    let Some(text) = path.to_str() else {
        return Err(problem("is not valid UTF-8"));
    };
    if !path.is_absolute() || path.parent().is_none() {
        return Err(problem("is not an absolute path below the root directory"));
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(problem("contains \"..\""));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\'' | '$' | '`' | '\\')) {
        return Err(problem(
            "contains a character that a shell or a configuration file would interpret",
        ));
    }
    Ok(())
}

fn check_text(option: &str, text: &str) -> Result<(), RecoveryError> {
    let problem = if text.trim().is_empty() {
        "is empty"
    } else if text.contains(['\n', '\r', '\0']) {
        "contains a line break or a zero byte, which a configuration file cannot hold"
    } else {
        return Ok(());
    };
    Err(RecoveryError::InvalidArgument { option: option.to_owned(), problem: problem.to_owned() })
}

fn check_setting(name: &str, value: &str) -> Result<(), RecoveryError> {
    let option = format!("settings.{name}");
    let invalid =
        |problem: String| RecoveryError::InvalidArgument { option: option.clone(), problem };
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$'));
    if !well_formed {
        return Err(invalid("is not the name of a server setting".to_owned()));
    }
    let lower = name.to_ascii_lowercase();
    let own = match lower.as_str() {
        "restore_command" => Some("restore_command"),
        "archive_mode" => Some("archive_mode"),
        "config_file" => Some("config_file"),
        "data_directory" => Some("data_directory"),
        _ if lower.starts_with("recovery_target") => Some("recovery_target options"),
        _ => None,
    };
    if let Some(own) = own {
        return Err(invalid(format!("cannot be given here: use the module's own {own}")));
    }
    if matches!(lower.as_str(), "include" | "include_dir" | "include_if_exists") {
        return Err(invalid("is a directive, not a setting".to_owned()));
    }
    if value.contains(['\n', '\r', '\0']) {
        return Err(invalid(
            "contains a line break or a zero byte, which a configuration file cannot hold"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<(), RecoveryError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        assert!(check_path("data_directory", Path::new("/srv/pg/15 main")).is_ok());
        assert_eq!(
            text(check_path("data_directory", Path::new("pg"))),
            "invalid data_directory: \"pg\" is not an absolute path below the root directory"
        );
        assert!(text(check_path("x", Path::new("/"))).contains("below the root directory"));
        assert!(text(check_path("x", Path::new("/a/../b"))).contains("contains \"..\""));
        for bad in ["/a\"b", "/a$b", "/a`b", "/a\\b", "/a\nb", "/a'b"] {
            assert!(text(check_path("x", Path::new(bad))).contains("would interpret"), "{bad}");
        }
    }

    #[test]
    fn settings_that_have_their_own_option_are_refused() {
        assert!(check_setting("shared_buffers", "1GB").is_ok());
        assert!(check_setting("pg_stat_statements.max", "100").is_ok());
        assert_eq!(
            text(check_setting("Recovery_Target_Time", "x")),
            "invalid settings.Recovery_Target_Time: cannot be given here: use the module's own recovery_target options"
        );
        for own in ["restore_command", "archive_mode", "config_file", "data_directory"] {
            assert!(text(check_setting(own, "x")).contains(own), "{own}");
        }
        assert!(text(check_setting("include", "x")).contains("directive"));
        assert!(text(check_setting("a b", "x")).contains("not the name"));
        assert!(text(check_setting("", "x")).contains("not the name"));
        assert!(text(check_setting("port", "1\n2")).contains("line break"));
    }

    #[test]
    fn a_restore_command_is_one_line() {
        assert!(check_text("restore_command", "cp /a/%f %p").is_ok());
        assert_eq!(text(check_text("restore_command", " ")), "invalid restore_command: is empty");
        assert!(text(check_text("restore_command", "a\nb")).contains("line break"));
    }
}

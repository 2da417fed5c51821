//! What turns a copy of a backup into a cluster that can be started without touching anything.
//!
//! The restored configuration is never used: a value in it that is invalid here would stop the start, and a valid one may
//! reach out (archiving, replication, preloaded libraries). `postgresql.auto.conf` is always read from the data directory,
//! so it is emptied.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pg::{MajorVersion, RecoveryLimits, conf_quote};
use sandbox::{ASK_COMMAND, Change, EXECUTABLE_INSIDE, SHARED_INSIDE};

/// Inside the sandbox: the data directory.
pub(crate) const DATA_INSIDE: &str = "/backstay/data";
/// Inside the sandbox: tablespaces by their object identifier.
pub(crate) const TABLESPACES_INSIDE: &str = "/backstay/tablespaces";
/// Inside the sandbox: our configuration.
pub(crate) const CONFIG_INSIDE: &str = "/backstay/config";

/// In the shared directory: the socket that answers questions for WAL.
pub(crate) const WAL_SOCKET: &str = "wal";
/// In the shared directory: the server's log.
pub(crate) const LOG: &str = "server.log";

/// Where things are for the programs of the sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    pub(crate) data: PathBuf,
    pub(crate) tablespaces: Vec<(u32, PathBuf)>,
    pub(crate) config: PathBuf,
    pub(crate) shared: PathBuf,
    pub(crate) executable: PathBuf,
}

impl Inside {
    /// In a sandbox of its own.
    pub(crate) fn isolated(tablespaces: &[(u32, PathBuf)]) -> Self {
        let moved = |oid: &u32| (*oid, Path::new(TABLESPACES_INSIDE).join(oid.to_string()));
        Self {
            data: DATA_INSIDE.into(),
            tablespaces: tablespaces.iter().map(|(oid, _)| moved(oid)).collect(),
            config: CONFIG_INSIDE.into(),
            shared: SHARED_INSIDE.into(),
            executable: EXECUTABLE_INSIDE.into(),
        }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.shared.join(LOG)
    }

    pub(crate) fn control_file(&self) -> PathBuf {
        self.data.join("global/pg_control")
    }
}

/// What our configuration is made of.
pub(crate) struct Configuration<'a> {
    pub(crate) major: MajorVersion,
    pub(crate) limits: RecoveryLimits,
    /// Whether WAL can be had that is newer than the backup, on a newer timeline perhaps.
    pub(crate) has_archive: bool,
    pub(crate) preload_libraries: &'a [String],
    pub(crate) settings: &'a BTreeMap<String, String>,
}

impl Configuration<'_> {
    /// `postgresql.conf`, whole.
    pub(crate) fn text(&self, inside: &Inside) -> String {
        let mut settings: Vec<(&str, String)> = vec![
            ("data_directory", path(&inside.data)),
            ("hba_file", path(&inside.config.join("pg_hba.conf"))),
            ("ident_file", path(&inside.config.join("pg_ident.conf"))),
            ("unix_socket_directories", path(&inside.shared)),
            ("restore_command", restore_command(inside)),
            (
                "recovery_target_timeline",
                if self.has_archive { "latest" } else { "current" }.into(),
            ),
        ];
        let fixed = FIXED.iter().map(|(name, value)| (*name, (*value).to_owned()));
        settings.extend(fixed);
        let newer = [
            ("archive_library", "", self.major.has_archive_library()),
            ("log_startup_progress_interval", "2s", self.major.has_startup_progress()),
            ("event_triggers", "off", self.major.has_event_triggers_setting()),
        ];
        let newer = newer.into_iter().filter(|(_, _, has)| *has);
        settings.extend(newer.map(|(name, value, _)| (name, value.to_owned())));
        let RecoveryLimits {
            max_connections,
            max_worker_processes,
            max_wal_senders,
            max_prepared_transactions,
            max_locks_per_transaction,
        } = self.limits;
        settings.extend([
            ("max_connections", max_connections.to_string()),
            ("max_worker_processes", max_worker_processes.to_string()),
            ("max_wal_senders", max_wal_senders.to_string()),
            ("max_prepared_transactions", max_prepared_transactions.to_string()),
            ("max_locks_per_transaction", max_locks_per_transaction.to_string()),
            ("shared_preload_libraries", self.preload_libraries.join(",")),
        ]);
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let lines = settings.into_iter().chain(own);
        lines.map(|(name, value)| format!("{name} = {}\n", conf_quote(&value))).collect()
    }
}

/// The same for every cluster. Nothing reaches out, nothing is kept, every message is in English.
const FIXED: [(&str, &str); 27] = [
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("archive_mode", "off"),
    ("archive_command", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("recovery_end_command", ""),
    ("archive_cleanup_command", ""),
    ("hot_standby", "off"),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("ssl", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] "),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("log_min_messages", "log"),
    ("autovacuum", "off"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "128MB"),
    ("huge_pages", "off"),
    ("restart_after_crash", "off"),
];

/// Settings that a user may nevertheless choose.
const FREE: [&str; 5] =
    ["shared_buffers", "huge_pages", "log_min_messages", "full_page_writes", "autovacuum"];

/// Whether a setting, by its lower-case name, is ours alone to choose.
pub(crate) fn is_ours(name: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "archive_library",
        "config_file",
        "data_directory",
        "event_triggers",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "promote_trigger_file",
        "restore_command",
        "shared_preload_libraries",
        "stats_temp_directory",
        "unix_socket_directories",
    ];
    let fixed = FIXED.iter().any(|(fixed, _)| *fixed == name) && !FREE.contains(&name);
    fixed || OTHERS.contains(&name) || name.starts_with("recovery_target")
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// The server has no network and does not see the archive: whoever holds the drill is asked.
fn restore_command(inside: &Inside) -> String {
    let quote = |path: &Path| {
        let text = path.display().to_string();
        format!("'{}'", text.replace('\'', "'\\''").replace('%', "%%"))
    };
    format!(
        "{} {ASK_COMMAND} {} %f %p",
        quote(&inside.executable),
        quote(&inside.shared.join(WAL_SOCKET))
    )
}

/// Only the holder of the drill gets in: the socket's directory is closed to everybody else.
pub(crate) const HBA: &str = "local all all trust\nlocal replication all reject\n";

/// Writes the configuration into `directory` on the host, readable by the server's user.
pub(crate) fn write_configuration(directory: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    fs::create_dir(directory)?;
    open(directory, 0o755)?;
    for (name, text) in [("postgresql.conf", text), ("pg_hba.conf", HBA), ("pg_ident.conf", "")] {
        let path = directory.join(name);
        fs::write(&path, text)?;
        open(&path, 0o644)?;
    }
    Ok(())
}

/// What has to be changed in the copy. `label`: the backup's, when it is not in the data directory; then WAL comes from
/// elsewhere as well, and what lies in `pg_wal` is only what the server happened to have there when it was copied.
pub(crate) fn changes(inside: &Inside, label: Option<&[u8]>) -> Vec<Change> {
    let at = |name: &str| inside.data.join(name);
    let mut changes: Vec<Change> = REMOVED.map(|name| Change::Remove(at(name))).to_vec();
    changes.extend(EMPTIED.map(|name| Change::Empty(at(name))));
    if let Some(label) = label {
        changes.push(Change::Empty(at("pg_wal")));
        changes.push(Change::Write { path: at("backup_label"), bytes: label.to_vec() });
    }
    changes.push(Change::Write { path: at("postgresql.auto.conf"), bytes: Vec::new() });
    changes.push(Change::Write { path: at("recovery.signal"), bytes: Vec::new() });
    changes.push(Change::Unlink(at("pg_tblspc")));
    for (oid, location) in &inside.tablespaces {
        changes.push(Change::Link { at: at(&format!("pg_tblspc/{oid}")), to: location.clone() });
    }
    changes
}

/// Of the server that ran on the source, or orders to a standby. The map would bring back the links to the original
/// tablespaces; ours are made instead.
const REMOVED: [&str; 8] = [
    "postmaster.pid",
    "postmaster.opts",
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "tablespace_map",
    "current_logfiles",
    "backstay_restore.json",
];

/// Slots would keep WAL, and the rest is of the running server only.
const EMPTIED: [&str; 6] =
    ["pg_replslot", "pg_stat_tmp", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots"];

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RecoveryLimits {
        RecoveryLimits {
            max_connections: 250,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 5,
            max_locks_per_transaction: 64,
        }
    }

    fn text(major: MajorVersion) -> String {
        let settings = BTreeMap::from([("work_mem".to_owned(), "1MB".to_owned())]);
        let libraries = ["a".to_owned(), "b".to_owned()];
        let configuration = Configuration {
            major,
            limits: limits(),
            has_archive: false,
            preload_libraries: &libraries,
            settings: &settings,
        };
        configuration.text(&Inside::isolated(&[]))
    }

    #[test]
    fn settings_that_a_major_does_not_know_are_left_out() {
        let (old, new) = (text(MajorVersion::V13), text(MajorVersion::V17));
        for name in ["archive_library", "event_triggers", "log_startup_progress_interval"] {
            assert!(!old.contains(name) && new.contains(name), "{name}");
        }
        assert!(new.contains("max_connections = '250'\n"));
        assert!(new.contains("shared_preload_libraries = 'a,b'\nwork_mem = '1MB'\n"));
        assert!(new.contains("restore_command = '''/backstay/backstay'' sandbox-ask ''/backstay/shared/wal'' %f %p'\n"));
    }

    #[test]
    fn what_keeps_it_apart_is_ours() {
        for name in ["archive_mode", "listen_addresses", "recovery_target_time", "restore_command"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in ["shared_buffers", "work_mem", "max_connections", "wal_decode_buffer_size"] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn a_foreign_backup_keeps_its_wal_and_label() {
        let inside = Inside::isolated(&[(16400, PathBuf::from("/x"))]);
        let of = |label| changes(&inside, label);
        assert!(!of(None).contains(&Change::Empty("/backstay/data/pg_wal".into())));
        assert!(of(Some(b"l")).contains(&Change::Empty("/backstay/data/pg_wal".into())));
        let link = Change::Link {
            at: "/backstay/data/pg_tblspc/16400".into(),
            to: "/backstay/tablespaces/16400".into(),
        };
        assert!(of(None).contains(&link));
        let map = Change::Remove("/backstay/data/tablespace_map".into());
        assert!(of(None).contains(&map));
    }
}

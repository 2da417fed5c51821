//! A whole restore of a made-up backup, without a server.

#[cfg(test)]
mod backup;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use backup::{Backup, LABEL, SEGMENT, names, read};
use pg::{RecoveryTarget, TargetAction};
use recovery::{ArchiveMode, RecoveryError, Source, apply, plan};

#[test]
fn a_backup_comes_back_ready_to_recover() {
    let backup = Backup::new();
    let restore = backup.restore();
    let planned = plan(&restore).unwrap();
    assert_eq!(names(&backup.path("new")), Vec::<String>::new(), "a plan writes nothing");
    let restored = apply(&planned).unwrap();

    let data = backup.path("new/data");
    assert_eq!(fs::read(data.join("backup_label")).unwrap(), LABEL.as_bytes());
    let new = backup.path("new/ts");
    assert_eq!(read(&data.join("tablespace_map")), format!("16400 {}\n", new.display()));
    assert_eq!(fs::read_link(data.join("pg_tblspc/16400")).unwrap(), new);
    assert_eq!(read(&new.join("PG_15_202209061/5/16401")), "rows");
    assert_eq!(read(&data.join("global/pg_control")), "control");
    assert_eq!(names(&data.join("global")), ["pg_control"]);
    assert_eq!(read(&data.join("recovery.signal")), "");
    assert_eq!(names(&data.join("pg_wal")), [SEGMENT, "archive_status"]);
    assert_eq!(names(&data.join("pg_wal/archive_status")), [format!("{SEGMENT}.done")]);
    assert_eq!(names(&data.join("pg_replslot")), Vec::<String>::new());
    for gone in ["postmaster.pid", "standby.signal", "base/pgsql_tmp", "base/5/pg_internal.init"] {
        assert!(!data.join(gone).exists(), "{gone}");
    }
    for ours in ["backstay_restore.json", "backstay_restore.d"] {
        assert!(!data.join(ours).exists(), "{ours}");
    }
    assert!(data.join("pg_logical/snapshots").is_dir());
    assert_eq!(restored.source, Source::Files);
    assert_eq!(restored.tablespaces[0].location, new);
    for path in ["", "base", "base/5/1259", "global/pg_control", "pg_wal", "recovery.signal"] {
        let found = fs::symlink_metadata(data.join(path)).unwrap();
        assert_eq!(found.uid(), planned.ownership.uid, "{path}");
    }
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn the_settings_of_the_source_are_replaced() {
    let backup = Backup::new();
    let mut restore = backup.restore();
    restore.settings.insert("work_mem".to_owned(), "9MB".to_owned());
    let planned = plan(&restore).unwrap();
    assert_eq!(
        planned.settings.after_text(),
        "shared_buffers = '1GB'\n\
         # backstay: written for the restore of backup b1 of cluster main\n\
         # backstay: the backup holds all WAL it needs; restore_command may not be empty, and /bin/false answers not found\n\
         restore_command = '/bin/false'\n\
         primary_conninfo = '********'\n\
         primary_slot_name = ''\n\
         recovery_end_command = ''\n\
         archive_cleanup_command = ''\n\
         recovery_target_time = ''\n\
         recovery_target_xid = ''\n\
         recovery_target_name = ''\n\
         recovery_target_lsn = ''\n\
         recovery_target = 'immediate'\n\
         recovery_target_inclusive = 'on'\n\
         recovery_target_action = 'promote'\n\
         recovery_target_timeline = 'current'\n\
         archive_mode = 'off'\n\
         work_mem = '9MB'\n"
    );
    apply(&planned).unwrap();
    let written = read(&backup.path("new/data/postgresql.auto.conf"));
    assert!(written.contains("primary_conninfo = ''\n"));
    assert!(!written.contains("hush"));

    restore.archive_mode = ArchiveMode::Preserve;
    restore.data_directory = backup.path("new/other");
    restore.tablespace_mapping.insert(backup.path("ts"), backup.path("new/other_ts"));
    restore.target.action = TargetAction::Pause;
    let text = plan(&restore).unwrap().settings.after_text();
    assert!(text.contains("archive_command = 'cp %p /a/%f'\n"), "{text}");
    assert!(text.contains("hot_standby = 'on'\n"), "{text}");
    assert!(!text.contains("archive_mode = 'off'"), "{text}");
}

#[test]
fn a_restore_that_broke_off_cannot_start_and_begins_anew() {
    let backup = Backup::new();
    let victim = backup.files().join("tablespaces/16400/PG_15_202209061/5/16401");
    fs::write(&victim, "damaged").unwrap();
    let error = apply(&plan(&backup.restore()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), "checksum_mismatch");
    let RecoveryError::Unfinished { leftovers, .. } = &error else { panic!("{error}") };
    assert_eq!(leftovers, &[backup.path("new/data"), backup.path("new/ts")]);
    let data = backup.path("new/data");
    assert!(!data.join("global/pg_control").exists());
    assert!(data.join("backstay_restore.json").exists());

    fs::write(&victim, "rows").unwrap();
    let again = plan(&backup.restore()).unwrap();
    assert!(again.begins_anew);
    apply(&again).unwrap();
    assert!(data.join("global/pg_control").exists());
    let error = plan(&backup.restore()).unwrap_err();
    assert_eq!(error.to_string(), format!("data directory \"{}\" is not empty", data.display()));
}

#[test]
fn files_that_are_missing_or_too_many_are_found() {
    let backup = Backup::new();
    let extra = backup.files().join("data/extra.conf");
    fs::write(&extra, "").unwrap();
    let error = apply(&plan(&backup.restore()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), "verification_failed");
    fs::remove_file(extra).unwrap();
    fs::remove_file(backup.files().join("data/base/5/1259")).unwrap();
    let error = apply(&plan(&backup.restore()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), "checksum_mismatch");
    let mut careless = backup.restore();
    careless.verify = false;
    apply(&plan(&careless).unwrap()).unwrap();
}

#[test]
fn damaged_wal_and_labels_are_found_before_anything_is_written() {
    for name in [format!("wal/{SEGMENT}"), "backup_label".to_owned(), "tablespace_map".to_owned()] {
        let backup = Backup::new();
        let path = backup.folder_path().join(&name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(plan(&backup.restore()).unwrap_err().kind(), "checksum_mismatch", "{name}");
        assert!(!backup.path("new/data").exists());
    }
}

#[test]
fn wal_can_go_elsewhere_and_the_sources_wal_is_never_touched() {
    let backup = Backup::new();
    let mut restore = backup.restore();
    restore.wal_directory = Some(backup.path("new/wal"));
    apply(&plan(&restore).unwrap()).unwrap();
    assert_eq!(fs::read_link(backup.path("new/data/pg_wal")).unwrap(), backup.path("new/wal"));
    assert_eq!(names(&backup.path("new/wal")), [SEGMENT, "archive_status"]);
    assert_eq!(read(&backup.path("live_wal/0")), "live");
}

#[test]
fn places_that_are_taken_are_refused() {
    let backup = Backup::new();
    let mut restore = backup.restore();
    restore.tablespace_mapping.clear();
    let error = plan(&restore).unwrap_err();
    assert!(matches!(error, RecoveryError::TablespaceOnOriginal { .. }), "{error}");
    assert_eq!(error.hints(), ["Give tablespace_mapping with a new location for it."]);

    let mut restore = backup.restore();
    restore.data_directory = backup.folder_path().join("inside");
    assert!(matches!(plan(&restore).unwrap_err(), RecoveryError::InsideRepository { .. }));

    let link = backup.path("new/link");
    fs::create_dir(backup.path("new/empty")).unwrap();
    symlink(backup.path("new/empty"), &link).unwrap();
    let mut restore = backup.restore();
    restore.data_directory = link;
    assert!(matches!(plan(&restore).unwrap_err(), RecoveryError::DataDirectoryNotEmpty { .. }));
}

#[test]
fn what_a_start_needs_is_looked_for_before_the_copy() {
    let backup = Backup::new();
    let mut restore = backup.restore();
    restore.start = true;
    let error = plan(&restore).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the data directory of backup \"b1\" holds no \"postgresql.conf\""
    );
    restore.config_file = Some(backup.path("absent.conf"));
    assert_eq!(plan(&restore).unwrap_err().kind(), "invalid_argument");
    restore.source = Source::Btrfs;
    restore.start = false;
    restore.config_file = None;
    assert_eq!(
        plan(&restore).unwrap_err().to_string(),
        "backup \"b1\" has no btrfs snapshot to restore from: its snapshots were taken by files"
    );
}

#[test]
fn targets_out_of_reach_are_refused() {
    let backup = Backup::new();
    let mut restore = backup.restore();
    restore.target.target = RecoveryTarget::Lsn("0/10".parse().unwrap());
    assert_eq!(plan(&restore).unwrap_err().kind(), "recovery_target_before_backup_end");
    restore.target.target = RecoveryTarget::Name("x".parse().unwrap());
    assert_eq!(plan(&restore).unwrap_err().kind(), "wal_missing");
    restore.restore_command = Some("exit 1".to_owned());
    assert!(plan(&restore).is_ok());
    restore.target.timeline = Some("3".parse().unwrap());
    assert_eq!(plan(&restore).unwrap_err().kind(), "timeline_mismatch");
}

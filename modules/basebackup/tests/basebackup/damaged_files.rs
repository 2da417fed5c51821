//! Plain backups that somebody damaged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use basebackup::{BasebackupError, CheckPlain, Manifest, check_plain};

use crate::server::{Server, check};

#[test]
fn everything_that_was_done_to_it_is_found() {
    let server = Server::new(18);
    let data = server.plain_backup("plain", &[]);
    let table = server.sql(&server.path("socket0"), "select pg_relation_filepath('in_ts')");
    let mut bytes = fs::read(data.join(&table)).unwrap();
    bytes[5000] ^= 1;
    fs::write(data.join(&table), bytes).unwrap();
    fs::write(data.join("PG_VERSION"), "18").unwrap();
    fs::remove_file(data.join("backup_label")).unwrap();
    fs::write(data.join("global/9999"), "").unwrap();
    fs::remove_file(data.join("pg_ident.conf")).unwrap();
    symlink("pg_hba.conf", data.join("pg_ident.conf")).unwrap();
    // Of these nothing is said.
    fs::write(data.join("postgresql.auto.conf"), "work_mem = '8MB'\n").unwrap();
    fs::write(data.join("standby.signal"), "").unwrap();
    fs::write(data.join("pg_wal/another"), "").unwrap();

    let problems: Vec<_> = check(&data).problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert_eq!(problems[0], "\"PG_VERSION\" has 2 bytes, but 3 in the manifest");
    assert_eq!(problems[1], "\"backup_label\" is in the manifest but not in the backup");
    assert_eq!(problems[2], "\"global/9999\" is in the backup but not in the manifest");
    let link = "\"pg_ident.conf\" is a symbolic link, not a regular file or directory";
    assert_eq!(problems[3], link);
    let changed = format!("\"{table}\" has the CRC32C checksum ");
    assert!(problems[4].starts_with(&changed), "{problems:#?}");
    assert!(problems[4].ends_with(" in the manifest"), "{problems:#?}");
}

#[test]
fn a_tablespace_that_is_not_there_is_one_problem() {
    let server = Server::new(15);
    let data = server.plain_backup("plain", &[]);
    fs::rename(server.path("plain-ts"), server.path("elsewhere")).unwrap();
    let problems: Vec<_> = check(&data).problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("\"pg_tblspc/"), "{problems:#?}");
    let reason = "could not be read: No such file or directory (os error 2)";
    assert!(problems[0].ends_with(reason), "{problems:#?}");
}

#[test]
fn a_manifest_that_was_changed_is_not_used() {
    let server = Server::new(13);
    let data = server.plain_backup("plain", &[]);
    let path = data.join(Manifest::FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"Size\": ", "\"Size\": 1", 1)).unwrap();
    let error = Manifest::read(&path).unwrap_err();
    assert_eq!(error.kind(), "manifest_damaged");
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.starts_with("the backup manifest has the checksum "), "{reason}");
    let last = text.rsplit('"').nth(1).unwrap();
    assert!(reason.ends_with(&format!(", but its last line says {last}")), "{reason}");

    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let nowhere = PathBuf::from("/nowhere");
    let check = CheckPlain { data: &nowhere, tablespace: &|_| None, jobs: 1 };
    let error = check_plain(&check, &manifest, &|| false).unwrap_err();
    assert_eq!(error.to_string(), "could not read directory \"/nowhere\"");
    let check = CheckPlain { data: &data, tablespace: &|_| None, jobs: 1 };
    let error = check_plain(&check, &manifest, &|| true).unwrap_err();
    assert!(matches!(error, BasebackupError::Stopped));
}

use std::os::unix::ffi::OsStrExt;

use super::*;

/// A manifest with these lines between its first and its last.
fn written(version: u64, lines: &str) -> Vec<u8> {
    let text = format!("{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n{lines}");
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(text.as_bytes());
    format!("{text}\"Manifest-Checksum\": \"{}\"}}\n", hasher.finish()).into_bytes()
}

fn with_files(files: &str) -> Vec<u8> {
    written(1, &format!("\"Files\": [\n{files}\n],\n\"WAL-Ranges\": [\n],\n"))
}

/// One with a single file, refused for this reason.
fn refused(file: &str) -> String {
    Manifest::parse(&with_files(file)).unwrap_err().to_string()
}

#[test]
fn as_postgresql_17_writes_it() {
    let manifest = Manifest::parse(&written(
        2,
        "\"System-Identifier\": 7301234567890123456,\n\
         \"Files\": [\n\
         { \"Path\": \"backup_label\", \"Size\": 227, \"Last-Modified\": \"2026-11-21 03:00:00 GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"6a9f2ee1\" },\n\
         { \"Encoded-Path\": \"626173652fff\", \"Size\": 0, \"Last-Modified\": \"2026-11-21 03:00:00 GMT\" }\n\
         ],\n\
         \"WAL-Ranges\": [\n\
         { \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000120\" }\n\
         ],\n",
    ))
    .unwrap();
    assert_eq!(manifest.version, 2);
    assert_eq!(manifest.system_identifier, Some(7_301_234_567_890_123_456_u64.into()));
    let label = &manifest.files[Path::new("backup_label")];
    assert_eq!((label.size, label.last_modified.as_str()), (227, "2026-11-21 03:00:00 GMT"));
    assert_eq!(label.checksum, Sum::new(Algorithm::Crc32c, vec![0x6a, 0x9f, 0x2e, 0xe1]));
    let (path, odd) = manifest.files.last_key_value().unwrap();
    assert_eq!(path.as_os_str().as_bytes(), b"base/\xff");
    assert_eq!(odd.checksum, None);
    assert_eq!(manifest.wal_ranges[0].lsns.to_string(), "0/2000028 to 0/2000120");
    assert_eq!(manifest.bytes(), 227);
    assert!(!manifest.is_incremental());
}

#[test]
fn an_incremental_backup_is_known_by_its_files() {
    let file = r#"{ "Path": "base/5/INCREMENTAL.1259", "Size": 1 }"#;
    assert!(Manifest::parse(&with_files(file)).unwrap().is_incremental());
}

#[test]
fn its_own_checksum_is_verified() {
    let good = with_files(r#"{ "Path": "PG_VERSION", "Size": 3 }"#);
    assert!(Manifest::parse(&good).is_ok());
    let changed = String::from_utf8(good.clone()).unwrap().replace(": 3 }", ": 4 }");
    let text = Manifest::parse(changed.as_bytes()).unwrap_err().to_string();
    assert!(text.starts_with("the backup manifest has the checksum "), "{text}");
    assert!(text.contains(", but its last line says "), "{text}");
    let cut_off = Manifest::parse(&good[..good.len() - 1]).unwrap_err();
    assert!(matches!(cut_off, BasebackupError::ManifestCutOff));
    let cut_off = Manifest::parse(&good[..good.len() - 90]).unwrap_err();
    assert!(matches!(
        cut_off,
        BasebackupError::ManifestJson { .. } | BasebackupError::ManifestCutOff
    ));
    assert!(Manifest::parse(b"").is_err());
}

#[test]
fn an_unknown_version_is_not_guessed_at() {
    let error = Manifest::parse(&written(3, "\"Anything\": 1,\n")).unwrap_err();
    assert!(matches!(error, BasebackupError::ManifestVersion { version: 3 }));
}

#[test]
fn entries_that_make_no_sense() {
    let bad = |entry: &str, reason: &str| {
        format!("the backup manifest has a bad entry for \"{entry}\": {reason}")
    };
    for (file, text) in [
        (
            r#"{ "Path": "../x", "Size": 1 }"#,
            bad("../x", "its path leads out of the data directory"),
        ),
        (r#"{ "Path": "/x", "Size": 1 }"#, bad("/x", "its path leads out of the data directory")),
        (
            r#"{ "Encoded-Path": "2e2e", "Size": 1 }"#,
            bad("..", "its path leads out of the data directory"),
        ),
        (r#"{ "Encoded-Path": "2", "Size": 1 }"#, bad("2", "its path is not hexadecimal")),
        (r#"{ "Path": "a", "Encoded-Path": "61", "Size": 1 }"#, bad("a", "it has two paths")),
        (r#"{ "Size": 1 }"#, bad("", "it has no path")),
        (
            r#"{ "Path": "a", "Size": 1 }, { "Path": "a", "Size": 1 }"#,
            bad("a", "it is there twice"),
        ),
        (
            r#"{ "Path": "a", "Size": 1, "Checksum-Algorithm": "MD5", "Checksum": "00" }"#,
            bad("a", "checksum algorithm \"MD5\" is not known"),
        ),
        (
            r#"{ "Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C", "Checksum": "00" }"#,
            bad("a", "\"00\" is no CRC32C checksum"),
        ),
        (
            r#"{ "Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C" }"#,
            bad("a", "it has no checksum"),
        ),
        (
            r#"{ "Path": "a", "Size": 1, "Checksum": "00" }"#,
            bad("a", "its checksum has no algorithm"),
        ),
    ] {
        assert_eq!(refused(file), text);
    }
    let range = "\"Files\": [],\n\"WAL-Ranges\": [{ \"Timeline\": 1, \"Start-LSN\": \"0/2\", \"End-LSN\": \"0/1\" }],\n";
    let error = Manifest::parse(&written(1, range)).unwrap_err();
    assert!(matches!(error, BasebackupError::ManifestWal { .. }));
}

#[test]
fn a_file_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(Manifest::FILE_NAME);
    std::fs::write(&path, "{}").unwrap();
    let error = Manifest::read(&path).unwrap_err();
    let named = format!("the backup manifest \"{}\" cannot be used", path.display());
    assert_eq!(error.to_string(), named);
    let error = Manifest::read(directory.path()).unwrap_err();
    assert!(matches!(error, BasebackupError::NotRegular { .. }));
}

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::Repository;
use crate::manifest::tests::started as manifest;

fn created() -> (tempfile::TempDir, BackupFolder) {
    let directory = tempfile::tempdir().unwrap();
    let repository =
        Repository::open(&directory.path().to_str().unwrap().parse().unwrap()).unwrap();
    let folder = repository.backup(&"main".parse().unwrap(), &"nightly".parse().unwrap());
    folder.create(&manifest("nightly")).unwrap();
    (directory, folder)
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

#[test]
fn a_report_is_stored_beside_an_unchanged_manifest() {
    let (_directory, folder) = created();
    let before = fs::read(folder.manifest_path()).unwrap();
    assert_eq!(folder.verifications().unwrap(), []);
    let time = at("2026-11-21T05:00:00.9+01:00");
    let (json, html) = folder.put_verification(time, b"{}", b"<p>").unwrap();
    assert_eq!(json, folder.local_path().join("verifications/20261121T040000Z.json"));
    assert_eq!(html, folder.local_path().join("verifications/20261121T040000Z.html"));
    assert_eq!((fs::read(&json).unwrap(), fs::read(&html).unwrap()), (b"{}".into(), b"<p>".into()));
    assert_eq!(fs::read(folder.manifest_path()).unwrap(), before);
    let mode = fs::metadata(json.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let found = folder.verifications().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].started, &found[0].json), (at("2026-11-21T04:00:00Z"), &json));
    assert_eq!(found[0].html, Some(html));
    assert_eq!(folder.read_verification(&found[0]).unwrap(), b"{}");
}

#[test]
fn names_do_not_collide_and_the_newest_is_last() {
    let (_directory, folder) = created();
    let (later, time) = (at("2026-11-22T04:00:00Z"), at("2026-11-21T04:00:00Z"));
    folder.put_verification(later, b"later", b"").unwrap();
    for number in 1..=11 {
        folder.put_verification(time, format!("{number}").as_bytes(), b"").unwrap();
    }
    let found = folder.verifications().unwrap();
    let read = |stored| String::from_utf8(folder.read_verification(stored).unwrap()).unwrap();
    let read: Vec<String> = found.iter().map(read).collect();
    assert_eq!(read, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "later"]);
    assert!(found[10].json.ends_with("verifications/20261121T040000Z-11.json"));
}

#[test]
fn what_is_no_report_is_passed_over() {
    let (_directory, folder) = created();
    let (json, html) = folder.put_verification(at("2026-11-21T04:00:00Z"), b"{}", b"").unwrap();
    for name in ["notes.txt", "20261121T040000Z-x.json", "yesterday.json", "20261122T040000Z.html"]
    {
        fs::write(json.with_file_name(name), b"{}").unwrap();
    }
    fs::remove_file(html).unwrap();
    let found = folder.verifications().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].html, None);
    fs::remove_file(json).unwrap();
    let error = folder.read_verification(&found[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "file \"verifications/20261121T040000Z.json\" of backup \"nightly\" is missing"
    );
}

#[test]
fn too_long_a_file_is_no_report() {
    let (_directory, folder) = created();
    let (json, _) = folder.put_verification(at("2026-11-21T04:00:00Z"), b"{}", b"").unwrap();
    fs::File::options().write(true).open(&json).unwrap().set_len(LONGEST + 1).unwrap();
    let found = folder.verifications().unwrap();
    let error = folder.read_verification(&found[0]).unwrap_err();
    assert_eq!(error.to_string(), format!("file \"{}\" is damaged", json.display()));
}

#[test]
fn nothing_is_stored_for_a_backup_that_is_not_there_or_through_a_link() {
    let (directory, folder) = created();
    let time = at("2026-11-21T04:00:00Z");
    symlink(directory.path(), folder.local_path().join("verifications")).unwrap();
    let error = folder.put_verification(time, b"{}", b"").unwrap_err();
    assert_eq!(error.kind(), "untrusted_path", "{error}");
    fs::remove_file(folder.manifest_path()).unwrap();
    let error = folder.put_verification(time, b"{}", b"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "backup \"nightly\" of cluster \"main\" is not in the repository"
    );
}

#[test]
fn the_time_of_too_many_drills_is_refused() {
    let (_directory, folder) = created();
    let time = at("2026-11-21T04:00:00Z");
    let (first, _) = folder.put_verification(time, b"{}", b"").unwrap();
    for number in 2..=MOST {
        fs::write(first.with_file_name(format!("20261121T040000Z-{number}.html")), b"").unwrap();
    }
    assert_eq!(
        folder.put_verification(time, b"{}", b"").unwrap_err().to_string(),
        "invalid time of a drill \"20261121T040000Z\": expected one at which not a thousand drills of this backup \
         began"
    );
}

//! Archives that want to harm the host they are unpacked on.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use basebackup::{Unpack, Unpacked, unpack};
use tar::{Builder, EntryType};

use crate::archive::add;
use crate::server::tar;

/// Unpacks archives of these entries: `base.tar` and the tablespace 16400.
fn unpacked(
    place: &Path,
    base: &[(&str, EntryType, &str)],
    tablespace: &[(&str, EntryType, &str)],
) -> Unpacked {
    for (name, entries) in [("base.tar", base), ("16400.tar", tablespace)] {
        let mut to = Builder::new(File::create(place.join(name)).unwrap());
        for (name, kind, content) in entries {
            add(&mut to, name, *kind, content.as_bytes());
        }
        to.finish().unwrap();
    }
    let location = |oid| place.join(format!("ts{oid}"));
    let to = Unpack { data: place.join("data"), tablespace: &location, owner: None, jobs: 2 };
    unpack(&tar(place), &to, None, &|| false).unwrap()
}

/// All that is below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}

/// What is said of the entries below, of which this one has an absolute path.
fn left_out(absolute: &str) -> Vec<String> {
    let base = |path: &str, reason: &str| {
        format!("\"{path}\" in archive \"base.tar\" was left out: {reason}")
    };
    let out = "its path leads out of its directory";
    vec![
        "there is no archive \"16401.tar\" of tablespace 16401".to_owned(),
        base("../outside/up", out),
        base("base/../../outside/up", out),
        base(absolute, out),
        base("../outside/directory", out),
        base("base/link", "it is a symbolic link"),
        base("base/hard", "it is a hard link"),
        base("base/null", "it is a device"),
        base("base/disk", "it is a device"),
        base("base/pipe", "it is neither a file nor a directory"),
        base("PG_VERSION", "something of that name is there already"),
        base("pg_tblspc/16400/x", "it is a symbolic link"),
        format!("\"../outside/up\" in archive \"16400.tar\" was left out: {out}"),
        "\"pg_tblspc/16400\" in archive \"16400.tar\" was left out: it is a symbolic link"
            .to_owned(),
    ]
}

#[test]
fn nothing_leaves_its_directory() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let outside = outside.to_str().unwrap();
    let absolute = format!("{outside}/absolute");
    let result = unpacked(
        place.path(),
        &[
            ("./", EntryType::Directory, ""),
            ("./PG_VERSION", EntryType::Regular, "18\n"),
            ("../outside/up", EntryType::Regular, "x"),
            ("base/../../outside/up", EntryType::Regular, "x"),
            (&absolute, EntryType::Regular, "x"),
            ("../outside/directory", EntryType::Directory, ""),
            ("base/link", EntryType::Symlink, outside),
            ("base/link/through", EntryType::Regular, "inside"),
            ("base/hard", EntryType::Link, "/etc/passwd"),
            ("base/null", EntryType::Char, ""),
            ("base/disk", EntryType::Block, ""),
            ("base/pipe", EntryType::Fifo, ""),
            ("PG_VERSION", EntryType::Regular, "another"),
            ("pg_tblspc/16400", EntryType::Symlink, outside),
            ("pg_tblspc/16401", EntryType::Symlink, outside),
            ("pg_tblspc/16400/x", EntryType::Symlink, outside),
        ],
        &[
            ("PG_18_202506291/5/1", EntryType::Regular, "rows"),
            ("../outside/up", EntryType::Regular, "x"),
            ("pg_tblspc/16400", EntryType::Symlink, outside),
        ],
    );
    let mut said = left_out(&absolute);
    let mut found: Vec<_> = result.problems.iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("there is no archive"));
    said.sort();
    found.sort();
    assert_eq!(found, said);
    assert_eq!(below(Path::new(outside)), Vec::<PathBuf>::new());
    let data = place.path().join("data");
    assert_eq!(fs::read_to_string(data.join("PG_VERSION")).unwrap(), "18\n");
    assert_eq!(fs::metadata(data.join("PG_VERSION")).unwrap().mode() & 0o7777, 0o600);
    assert!(data.join("base/link/through").is_file());
    let location = place.path().join("ts16400");
    assert_eq!(fs::read_link(data.join("pg_tblspc/16400")).unwrap(), location);
    assert_eq!(fs::read_to_string(location.join("PG_18_202506291/5/1")).unwrap(), "rows");
    assert_eq!(result.files, 3);
}

#[test]
fn what_is_there_already_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let full = place.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("precious"), "").unwrap();
    symlink(&full, place.path().join("data")).unwrap();
    File::create(place.path().join("base.tar")).unwrap();
    let to = Unpack {
        data: place.path().join("data"),
        tablespace: &|_| PathBuf::new(),
        owner: None,
        jobs: 1,
    };
    let error = unpack(&tar(place.path()), &to, None, &|| false).unwrap_err();
    assert!(error.to_string().ends_with("/data\" is not empty"), "{error}");
}

//! Backups in archives that somebody damaged.

use std::fs;
use std::path::{Path, PathBuf};

use basebackup::{BasebackupError, Manifest, Problem, Unpack, unpack};

use crate::archive::{content_of, cut, end_of, flip, replace};
use crate::server::{Server, tar};

/// A copy of a backup, to damage.
fn copy(server: &Server, from: &Path, name: &str) -> PathBuf {
    let to = server.path(name);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn problems(server: &Server, from: &Path) -> Vec<String> {
    let to = format!("{}-unpacked", from.file_name().unwrap().to_str().unwrap());
    server.unpack(from, &to).problems.iter().map(ToString::to_string).collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// The only archive of a tablespace.
fn tablespace(from: &Path) -> (u32, PathBuf) {
    let (oid, archive) = tar(from).tablespaces.pop_first().unwrap();
    (oid, archive.path)
}

#[test]
fn what_was_done_to_files_in_them() {
    let server = Server::new(18);
    let whole = server.backup("whole", &["-Ft"]);
    let table = server.sql(&server.path("socket0"), "select pg_relation_filepath('t')");

    let flipped = copy(&server, &whole, "flipped");
    let base = flipped.join("base.tar");
    flip(&base, content_of(&base, &table).0 + 5000);
    let found = problems(&server, &flipped);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("\"{table}\" has the CRC32C checksum ")), "{found:#?}");

    let replaced = copy(&server, &whole, "replaced");
    replace(&replaced.join("base.tar"), "PG_VERSION", "global/9999");
    assert_eq!(
        problems(&server, &replaced),
        [
            "\"PG_VERSION\" is in the manifest but not in the backup",
            "\"global/9999\" is in the backup but not in the manifest"
        ]
    );

    let without = copy(&server, &whole, "without");
    let (oid, path) = tablespace(&without);
    fs::remove_file(path).unwrap();
    let found = problems(&server, &without);
    assert_eq!(found.len(), 1, "{found:#?}");
    let missing = format!("there is no archive \"{oid}.tar\" of tablespace {oid}; ");
    assert!(found[0].starts_with(&missing), "{found:#?}");
    assert!(found[0].contains("of the manifest"), "{found:#?}");
}

#[test]
fn archives_that_end_early() {
    let server = Server::new(18);
    let whole = server.backup("whole", &["-Ft"]);
    let table = server.sql(&server.path("socket0"), "select pg_relation_filepath('t')");

    let in_file = copy(&server, &whole, "in_file");
    let base = in_file.join("base.tar");
    let after = content_of(&base, &table).0 + 5000;
    cut(&base, after);
    let found = problems(&server, &in_file);
    assert_eq!(found.len(), 1, "{found:#?}");
    let said = format!(
        "archive \"base.tar\" cannot be read beyond {after} bytes of its content, in \"{table}\": unexpected end of file; "
    );
    assert!(found[0].starts_with(&said), "{found:#?}");
    assert!(found[0].ends_with(" files of the manifest are missing with it"), "{found:#?}");

    // Nothing is missing but the two empty blocks.
    let no_end = copy(&server, &whole, "no_end");
    let (_, path) = tablespace(&no_end);
    let after = end_of(&path);
    cut(&path, after);
    let name = path.file_name().unwrap().to_str().unwrap();
    let said = format!(
        "archive \"{name}\" cannot be read beyond {after} bytes of its content: its end is missing"
    );
    assert_eq!(problems(&server, &no_end), [said]);

    let wal = copy(&server, &whole, "wal");
    cut(&wal.join("pg_wal.tar"), 10_000_000);
    let found = problems(&server, &wal);
    assert_eq!(found.len(), 1, "{found:#?}");
    let said =
        "archive \"pg_wal.tar\" cannot be read beyond 10000000 bytes of its content, in \"pg_wal/";
    assert!(found[0].starts_with(said), "{found:#?}");

    let empty = copy(&server, &whole, "empty");
    cut(&empty.join("base.tar"), 0);
    let said =
        "archive \"base.tar\" cannot be read beyond 0 bytes of its content: its end is missing; ";
    assert!(problems(&server, &empty)[0].starts_with(said));
}

/// Without a manifest there is nothing to compare with, and still it has to be noticed.
#[test]
fn compressed_archives_that_are_damaged() {
    let server = Server::new(15);
    for (kind, extension) in [("gzip", "gz"), ("lz4", "lz4"), ("zstd", "zst")] {
        let compress = format!("--compress=client-{kind}");
        let whole = server.backup(kind, &["-Ft", &compress, "--no-manifest"]);
        let name = format!("base.tar.{extension}");
        let length = size(&whole.join(&name));
        // In the middle, and of the last bytes, after which nothing of the files is missing. LZ4 has no more there
        // than a mark that this is the end, and the end of what is in it has been seen by then.
        let cuts = if kind == "lz4" { vec![length / 2] } else { vec![length / 2, length - 2] };
        for at in cuts {
            let short = copy(&server, &whole, &format!("{kind}{at}"));
            cut(&short.join(&name), at);
            let found = problems(&server, &short);
            assert_eq!(found.len(), 1, "{kind} {at}: {found:#?}");
            let said = format!("archive \"{name}\" cannot be read beyond ");
            assert!(found[0].starts_with(&said), "{kind} {at}: {found:#?}");
        }
    }
    let whole = server.backup("summed", &["-Ft", "-z"]);
    let flipped = copy(&server, &whole, "flipped");
    let base = flipped.join("base.tar.gz");
    flip(&base, size(&base) / 2);
    let found = problems(&server, &flipped);
    assert!(found[0].starts_with("archive \"base.tar.gz\" cannot be read"), "{found:#?}");
    let other = copy(&server, &whole, "other");
    fs::write(other.join("base.tar.gz"), "This is no archive").unwrap();
    let found = problems(&server, &other);
    let said = "archive \"base.tar.gz\" cannot be read beyond 0 bytes of its content: invalid gzip header; ";
    assert!(found[0].starts_with(said), "{found:#?}");
}

#[test]
fn places_that_are_in_use_and_work_that_is_stopped() {
    let server = Server::new(13);
    let from = server.backup("tar", &["-Ft", "-z"]);
    let tar = tar(&from);
    let manifest = Manifest::read(tar.manifest.as_deref().unwrap()).unwrap();
    let location = server.directory("location");
    let data = server.path("new");
    let tablespace = |_| location.clone();
    let to = Unpack { data: data.clone(), tablespace: &tablespace, owner: None, jobs: 1 };
    fs::write(location.join("something"), "").unwrap();
    let error = unpack(&tar, &to, Some(&manifest), &|| false).unwrap_err();
    assert!(matches!(error, BasebackupError::LocationNotEmpty { .. }), "{error}");
    assert!(!data.exists(), "nothing was made");
    fs::remove_file(location.join("something")).unwrap();

    let error = unpack(&tar, &to, Some(&manifest), &|| true).unwrap_err();
    assert!(matches!(error, BasebackupError::Stopped), "{error}");
    let error = unpack(&tar, &to, None, &|| false).unwrap_err();
    assert!(matches!(error, BasebackupError::DataDirectoryNotEmpty { .. }), "{error}");

    let mut other = manifest.clone();
    let file = other.files.get_mut(Path::new("backup_label")).unwrap();
    file.size += 1;
    let found = server.unpack_with(&tar, Some(&other), "again").problems;
    assert!(matches!(&found[..], [Problem::Size { .. }]), "{found:?}");
}

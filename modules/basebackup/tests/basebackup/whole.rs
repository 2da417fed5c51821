//! Base backups in which nothing is wrong.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use basebackup::{CheckPlain, Manifest, check_plain};

use crate::server::{ROWS, Server, check, tar};

fn manifest(of: &Path) -> Manifest {
    Manifest::read(&of.join(Manifest::FILE_NAME)).unwrap()
}

/// A plain backup that nothing is wrong with, also when it is told where its tablespace is.
fn plain(server: &Server, name: &str, arguments: &[&str]) -> Manifest {
    let data = server.plain_backup(name, arguments);
    let checked = check(&data);
    assert_eq!(checked.problems, []);
    let manifest = manifest(&data);
    // Nothing is said of postgresql.auto.conf.
    let compared =
        manifest.files.iter().filter(|(path, _)| !path.ends_with("postgresql.auto.conf"));
    assert_eq!(checked.files, u64::try_from(compared.clone().count()).unwrap());
    assert_eq!(checked.bytes, compared.map(|(_, file)| file.size).sum::<u64>());
    let moved = server.path(&format!("{name}-ts-away"));
    fs::rename(server.path(&format!("{name}-ts")), &moved).unwrap();
    let tablespace = |_| Some(moved.clone());
    let told = CheckPlain { data: &data, tablespace: &tablespace, jobs: 1 };
    assert_eq!(check_plain(&told, &manifest, &|| false).unwrap(), checked);
    manifest
}

/// A backup in archives that is unpacked, of which PostgreSQL says that it is whole.
fn archives(server: &Server, name: &str, arguments: &[&str]) {
    let from = server.backup(name, &[&["-Ft"], arguments].concat());
    let to = format!("{name}-unpacked");
    let unpacked = server.unpack(&from, &to);
    assert_eq!(unpacked.problems, [], "{name}");
    assert!(!unpacked.wal_segments.is_empty(), "{name}");
    let data = server.path(&to);
    let (manifest, path) = (manifest(&from), from.join(Manifest::FILE_NAME));
    let wal = u64::try_from(unpacked.wal_segments.len()).unwrap();
    assert!(unpacked.files >= u64::try_from(manifest.files.len()).unwrap() + wal, "{name}");
    assert!(unpacked.bytes >= manifest.bytes() + wal * (16 << 20), "{name}");
    let segment = data.join("pg_wal").join(unpacked.wal_segments[0].to_string());
    for (path, mode) in [(data.join("base"), 0o700), (segment, 0o600)] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid()), (mode, server.owner.0), "{path:?}");
    }
    server.verify(&data, &path);
}

/// Starts a server on what was unpacked, with its tablespace at its new place.
fn starts(server: &mut Server, name: &str) {
    let data = server.path(&format!("{name}-unpacked"));
    let map = data.join("tablespace_map");
    let oid = fs::read_to_string(&map).unwrap().split(' ').next().unwrap().to_owned();
    let location = server.path(&format!("{name}-unpacked-{oid}"));
    fs::write(&map, format!("{oid} {}\n", location.display())).unwrap();
    let socket = server.start(&data);
    let rows = server.sql(&socket, "select count(*) from t join in_ts using (i)");
    assert_eq!(rows, ROWS);
}

#[test]
fn of_postgresql_13() {
    let mut server = Server::new(13);
    let manifest = plain(&server, "plain", &[]);
    assert_eq!((manifest.version, manifest.system_identifier), (1, None));
    assert_eq!(manifest.wal_ranges.len(), 1);
    archives(&server, "tar", &[]);
    archives(&server, "gzip", &["-z"]);
    starts(&mut server, "gzip");
}

#[test]
fn of_postgresql_15() {
    let mut server = Server::new(15);
    plain(&server, "plain", &["--manifest-checksums=SHA512", "--write-recovery-conf"]);
    archives(&server, "zstd", &["--compress=server-zstd"]);
    archives(&server, "lz4", &["--compress=server-lz4"]);
    archives(&server, "gzip", &["--compress=server-gzip"]);
    archives(&server, "fetched", &["-z", "-Xfetch", "-R"]);
    starts(&mut server, "zstd");
}

#[test]
fn of_postgresql_18() {
    let mut server = Server::new(18);
    let manifest =
        plain(&server, "plain", &["--manifest-force-encode", "--manifest-checksums=SHA224"]);
    assert_eq!(manifest.version, 2);
    let query = "select system_identifier from pg_control_system()";
    let identifier = server.sql(&server.path("socket0"), query);
    assert_eq!(manifest.system_identifier.unwrap().to_string(), identifier);
    assert!(!manifest.is_incremental());
    archives(&server, "zstd", &["--compress=client-zstd:level=9,workers=2"]);
    archives(&server, "lz4", &["--compress=client-lz4", "--manifest-checksums=SHA384"]);
    archives(&server, "none", &["--manifest-checksums=NONE"]);
    archives(&server, "sha256", &["-z", "--manifest-checksums=SHA256"]);
    starts(&mut server, "lz4");
}

#[test]
fn of_a_standby() {
    let mut server = Server::new(17);
    let data = server.plain_backup("standby", &["--write-recovery-conf"]);
    let socket = server.start(&data);
    assert_eq!(server.sql(&socket, "select pg_is_in_recovery()"), "t");
    let from = server.backup_of(&socket, "tar", &["-Ft", "-z"]);
    let unpacked = server.unpack(&from, "unpacked");
    assert_eq!(unpacked.problems, []);
    server.verify(&server.path("unpacked"), &from.join(Manifest::FILE_NAME));
}

#[test]
fn without_a_manifest() {
    let server = Server::new(18);
    let from = server.backup("tar", &["-Ft", "-z", "--no-manifest", "-Xnone"]);
    let tar = tar(&from);
    assert_eq!((&tar.manifest, &tar.wal), (&None, &None));
    let unpacked = server.unpack(&from, "unpacked");
    assert_eq!(unpacked.problems, []);
    assert_eq!(unpacked.wal_segments, []);
    assert!(server.path("unpacked/global/pg_control").is_file());
    assert!(server.path("unpacked/pg_wal").is_dir());
}

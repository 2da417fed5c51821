//! Snapshots of btrfs subvolumes, on an image.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::fixture::{Cluster, Mounted, tool};
use snapshot::{
    Btrfs, Role, SnapshotError, SnapshotProvider, SnapshotRecord, Source, Sources, restore_writable,
};

fn btrfs(name: &str) -> Btrfs {
    Btrfs { snapshot_directory: None, name: name.to_owned(), standby: false }
}

fn take(provider: &Btrfs, sources: &Sources) -> Result<Vec<SnapshotRecord>, SnapshotError> {
    let plan = provider.plan(sources)?;
    provider.take(&plan, &|| Ok(()))
}

fn subvolume(path: &Path) -> PathBuf {
    tool("btrfs", &["subvolume".as_ref(), "create".as_ref(), path]);
    path.to_path_buf()
}

/// One subvolume with the whole cluster in it.
fn together(mounted: &Mounted) -> Cluster {
    let top = subvolume(&mounted.path.join("pg"));
    Cluster::make(top.join("15/main"), top.join("15/wal"), top.join("space"))
}

fn children(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_subvolume_there_and_back() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let cluster = together(&mounted);
    let records = take(&btrfs("nightly"), &cluster.sources()).unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    let top = mounted.path.join("pg");
    let path = top.join(".backstay/nightly");
    assert_eq!(record.source, top);
    assert_eq!(record.path.as_ref(), Some(&path));
    assert_eq!(record.mount_point, mounted.path);
    assert_eq!(record.covers, cluster.all());
    assert_eq!(record.id.len(), 36);
    assert_eq!(fs::metadata(top.join(".backstay")).unwrap().mode() & 0o7777, 0o700);
    assert!(fs::write(path.join("15/main/x"), "").is_err(), "the snapshot is writable");

    fs::write(cluster.data.join("base/1/1259"), "changed later").unwrap();
    let target = mounted.path.join("restored");
    let restored = restore_writable(record, &target).unwrap();
    let data = target.join("15/main");
    assert_eq!(restored[0], Source::new(Role::DataDirectory, &data));
    assert_eq!(restored[2], Source::new(Role::Tablespace(16400), target.join("space")));
    assert_eq!(fs::read_to_string(data.join("base/1/1259")).unwrap(), "a table");
    fs::write(data.join("recovery.signal"), "").unwrap();
    assert_eq!(children(&mounted.path), ["pg", "restored"]);

    let error = restore_writable(record, &target).unwrap_err();
    assert_eq!(error.to_string(), format!("\"{}\" already exists", target.display()));
    let error = take(&btrfs("nightly"), &cluster.sources()).unwrap_err();
    assert_eq!(error.to_string(), format!("\"{}\" already exists", path.display()));
}

#[test]
fn a_snapshot_that_is_not_the_recorded_one_is_not_restored() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let cluster = together(&mounted);
    let record = take(&btrfs("a"), &cluster.sources()).unwrap().remove(0);
    let path = record.path.clone().unwrap();
    let target = mounted.path.join("restored");
    let set = |value: &str| {
        let args = ["property", "set", "-f", "-ts"].map(Path::new);
        tool("btrfs", &[&args[..], &[&path, "ro".as_ref(), value.as_ref()]].concat());
    };
    set("false");
    let error = restore_writable(&record, &target).unwrap_err();
    let text = format!("the snapshot at \"{}\" is writable, expected read-only", path.display());
    assert_eq!(error.to_string(), text);
    tool("btrfs", &["subvolume".as_ref(), "delete".as_ref(), &path]);
    let other = take(&btrfs("a"), &cluster.sources()).unwrap().remove(0);
    let error = restore_writable(&record, &target).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the snapshot at \"{}\" is {}, expected {}", path.display(), other.id, record.id)
    );
    assert_eq!(error.kind(), "snapshot_mismatch");
    assert!(!target.exists());
}

#[test]
fn several_subvolumes_and_the_data_directory_last_on_a_standby() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let at = |name: &str| subvolume(&mounted.path.join(name));
    // Named so that neither the order of names nor the order given is the wanted one.
    let cluster = Cluster::make(at("a-data"), at("b-wal"), at("c-space"));
    let mut provider = btrfs("s");
    provider.standby = true;
    let records = take(&provider, &cluster.sources()).unwrap();
    let paths: Vec<_> = records.iter().map(|record| record.path.clone().unwrap()).collect();
    // Each subvolume is itself a directory of the cluster, so the snapshots are beside them.
    let expected = ["s-wal", "s-16400", "s"].map(|name| mounted.path.join(".backstay").join(name));
    assert_eq!(paths, expected);
    assert!(records[1].finished_at <= records[2].started_at);
    assert!(records.iter().all(|record| record.covers.len() == 1));
}

#[test]
fn subvolumes_inside_are_refused_unless_they_are_given() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let data = subvolume(&mounted.path.join("data"));
    let wal = subvolume(&data.join("pg_wal"));
    let space = subvolume(&mounted.path.join("space"));
    let cluster = Cluster::make(data.clone(), wal, space);
    let records = take(&btrfs("n"), &cluster.sources()).unwrap();
    // The WAL's subvolume is inside the data directory, so its snapshot goes to the first place that is not.
    assert_eq!(children(&mounted.path.join(".backstay")), ["n", "n-16400", "n-wal"]);
    assert_eq!(records.len(), 3);

    let all = cluster.all();
    let without_wal = Sources::new(vec![all[0].clone(), all[2].clone()]);
    let refused = |name: &str, sources: &Sources| {
        let text = format!(
            "subvolume \"{0}/{name}\" inside the data directory \"{0}\" would not be in the snapshot",
            data.display()
        );
        assert_eq!(btrfs("m").plan(sources).unwrap_err().to_string(), text);
    };
    refused("pg_wal", &without_wal);
    subvolume(&data.join("base/77"));
    refused("base/77", &cluster.sources());
}

#[test]
fn what_is_not_on_btrfs_or_has_no_place_is_refused() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let elsewhere = fs::canonicalize(temporary.path()).unwrap();
    let top = mounted.path.join("pg");
    let cluster = Cluster::make(top.join("data"), top.join("wal"), elsewhere.join("space"));
    let text = btrfs("n").plan(&cluster.sources()).unwrap_err().to_string();
    let start = format!(
        "directory of tablespace 16400 \"{}\" would not be in the snapshot: it is on a filesystem of type ",
        cluster.space.display()
    );
    assert!(text.starts_with(&start) && text.ends_with(", not btrfs"), "{text}");

    let Some(whole) = Mounted::new("btrfs") else { return };
    let cluster = Cluster::make(
        whole.path.clone(),
        whole.path.join("pg_wal"),
        subvolume(&mounted.path.join("ts")),
    );
    let text = btrfs("n").plan(&cluster.sources()).unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "there is no place for a snapshot of subvolume \"{}\": it is inside the database cluster, and \"{}\" above it is not on the same btrfs filesystem",
            whole.path.display(),
            whole.path.parent().unwrap().display()
        )
    );
}

#[test]
fn a_given_directory_is_used_if_it_is_private_and_outside() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let cluster = together(&mounted);
    let directory = mounted.path.join("snapshots/postgresql");
    let with = |directory: &Path| Btrfs {
        snapshot_directory: Some(directory.to_path_buf()),
        ..btrfs("n")
    };
    take(&with(&directory), &cluster.sources()).unwrap();
    assert_eq!(children(&directory), ["n"]);

    let inside = cluster.data.join("snapshots");
    let text = with(&inside).plan(&cluster.sources()).unwrap_err().to_string();
    assert!(text.contains("is inside the data directory"), "{text}");
    let temporary = tempfile::tempdir().unwrap();
    let text = with(temporary.path()).plan(&cluster.sources()).unwrap_err().to_string();
    assert!(text.ends_with("is not on the same btrfs filesystem"), "{text}");

    let refused = |directory: &Path| take(&with(directory), &cluster.sources()).unwrap_err();
    let open = mounted.path.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    let text = format!("directory \"{}\" has mode 0755, expected 0700", open.display());
    assert_eq!(refused(&open).to_string(), text);
    fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
    chown(&open, Some(12345), None).unwrap();
    assert_eq!(refused(&open).kind(), "untrusted_path");
    let link = mounted.path.join("link");
    symlink(&directory, &link).unwrap();
    assert_eq!(refused(&link).kind(), "invalid_argument"); // "n" is there already
    fs::remove_file(&link).unwrap();
    fs::create_dir(mounted.path.join("empty")).unwrap();
    symlink(mounted.path.join("empty"), &link).unwrap();
    assert_eq!(refused(&link).kind(), "untrusted_path");
}

#[test]
fn a_failure_deletes_what_was_made() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let at = |name: &str| subvolume(&mounted.path.join(name));
    let cluster = Cluster::make(at("a-data"), at("b-wal"), at("c-space"));
    let provider = btrfs("n");
    let plan = provider.plan(&cluster.sources()).unwrap();
    let snapshots = mounted.path.join(".backstay");
    let lost = || match fs::read_dir(&snapshots).map_or(0, Iterator::count) {
        0 | 1 => Ok(()),
        _ => Err("backup mode was lost".to_owned()),
    };
    let error = provider.take(&plan, &lost).unwrap_err();
    assert_eq!(error.to_string(), "the copying was stopped: backup mode was lost");
    assert!(children(&snapshots).is_empty());

    // Something planted where a snapshot is to be.
    symlink(mounted.path.join("b-wal"), snapshots.join("n-wal")).unwrap();
    let error = provider.take(&plan, &|| Ok(())).unwrap_err();
    let text = format!("\"{}\" already exists", snapshots.join("n-wal").display());
    assert_eq!(error.to_string(), text);
    assert_eq!(children(&snapshots), ["n-wal"]);
}

/// The image as it is at one moment is what a machine finds after its power failed at that moment: btrfs orders its
/// writes for exactly that. Nothing is synced and nothing unmounted before the image is copied.
#[test]
fn a_snapshot_is_on_disk_when_it_was_taken() {
    let Some(mounted) = Mounted::new("btrfs") else { return };
    let cluster = together(&mounted);
    fs::write(cluster.data.join("base/1/9999"), "just written").unwrap();
    take(&btrfs("n"), &cluster.sources()).unwrap();
    fs::write(cluster.data.join("base/1/10000"), "after the snapshot").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("image");
    tool("cp", &["--sparse=always".as_ref(), &mounted.image, &copy]);
    // Two filesystems with one UUID cannot be mounted at once.
    drop(mounted);
    tool("btrfstune", &["-f".as_ref(), "-u".as_ref(), &copy]);
    let after = Mounted::mount(directory, &["-o", "loop"], copy);
    let data = after.path.join("pg/.backstay/n/15/main");
    assert_eq!(fs::read_to_string(data.join("base/1/9999")).unwrap(), "just written");
    assert_eq!(fs::read(data.join("base/5/2619")).unwrap(), vec![7; 3_000_000]);
    let lost = after.path.join("pg/15/main/base/1/10000");
    assert!(!lost.exists(), "this test does not lose what was not on disk");
}

//! Copying the files of a database cluster.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::{Mounted, cluster};
use program::Program;
use sha2::{Digest, Sha256};
use snapshot::{
    CopyOptions, Files, Reflink, Role, SnapshotError, SnapshotProvider, SnapshotRecord, Sources,
    copy_tree, parse_listing,
};

fn files(destination: &Path) -> Files {
    Files {
        destination: destination.to_path_buf(),
        jobs: 2,
        reflink: Reflink::Auto,
        standby: false,
    }
}

fn take(provider: &Files, sources: &Sources) -> Result<SnapshotRecord, SnapshotError> {
    let plan = provider.plan(sources)?;
    Ok(provider.take(&plan, &|| Ok(()))?.remove(0))
}

/// Every entry below `top` with what it is.
fn tree(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let what = if kind.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                "file".to_owned()
            };
            found.insert(path.strip_prefix(top).unwrap().display().to_string(), what);
        }
    }
    found
}

#[test]
fn what_is_needed_is_copied_and_listed() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    symlink("/etc/hostname", cluster.data.join("environment")).unwrap();
    let destination = temporary.path().join("backup/files");
    let record = take(&files(&destination), &cluster.sources()).unwrap();

    let expected = [
        ("data", "directory"),
        ("data/PG_VERSION", "file"),
        ("data/base", "directory"),
        ("data/base/1", "directory"),
        ("data/base/1/1259", "file"),
        ("data/base/5", "directory"),
        ("data/base/5/2619", "file"),
        ("data/environment", "link to /etc/hostname"),
        ("data/global", "directory"),
        ("data/global/pg_control", "file"),
        ("data/pg_stat_tmp", "directory"),
        ("data/pg_tblspc", "directory"),
        ("data/pg_wal", "directory"),
        ("data/pg_xact", "directory"),
        ("data/pg_xact/0000", "file"),
        ("data/postgresql.conf", "file"),
        ("tablespaces", "directory"),
        ("tablespaces/16400", "directory"),
        ("tablespaces/16400/PG_15_202209061", "directory"),
        ("tablespaces/16400/PG_15_202209061/5", "directory"),
        ("tablespaces/16400/PG_15_202209061/5/16401", "file"),
    ];
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    assert_eq!(tree(&destination), expected);
    check_listing(&destination, &record, &expected);
    assert_eq!(record.provider, "files");
    assert_eq!(record.source, cluster.data);
    let roles: Vec<_> = record.covers.iter().map(|source| source.role).collect();
    assert_eq!(roles, [Role::Tablespace(16400), Role::DataDirectory]);
    assert_eq!(
        record.notes,
        [
            "\"data/environment\" is a symbolic link to \"/etc/hostname\" and was copied as a link; what it points to is not in the copy."
        ]
    );
}

fn check_listing(destination: &Path, record: &SnapshotRecord, expected: &BTreeMap<String, String>) {
    let bytes = fs::read(destination.with_file_name("files.json")).unwrap();
    let listed = parse_listing(&bytes).unwrap();
    let paths: Vec<_> = listed.iter().map(|file| file.path.as_str()).collect();
    let files: Vec<_> =
        expected.iter().filter(|(_, what)| *what != "directory").map(|(path, _)| path).collect();
    assert_eq!(paths, files);
    for file in listed.iter().filter(|file| file.link.is_none()) {
        let content = fs::read(destination.join(&file.path)).unwrap();
        assert_eq!(file.size, content.len() as u64, "{}", file.path);
        assert_eq!(file.sha256, format!("{:x}", Sha256::digest(content)), "{}", file.path);
    }
    let listing = record.listing.as_ref().unwrap();
    assert_eq!(listing.sha256, format!("{:x}", Sha256::digest(&bytes)));
    assert_eq!(listing.size, bytes.len() as u64);
    assert_eq!(record.id, format!("sha256:{}", listing.sha256));
    assert_eq!(record.files, Some(files.len() as u64));
}

#[test]
fn owner_mode_and_times_are_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let file = cluster.data.join("base/1/1259");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(cluster.data.join("base"), Permissions::from_mode(0o750)).unwrap();
    let root = fs::metadata(&file).unwrap().uid() == 0;
    if root {
        for path in [&file, &cluster.data, &cluster.data.join("base")] {
            chown(path, Some(12345), Some(54321)).unwrap();
        }
    }
    thread::sleep(Duration::from_millis(20));
    let destination = temporary.path().join("files");
    take(&files(&destination), &cluster.sources()).unwrap();
    for name in ["", "base", "base/1/1259", "global"] {
        let (old, new) = (cluster.data.join(name), destination.join("data").join(name));
        let (old, new) = (fs::metadata(old).unwrap(), fs::metadata(new).unwrap());
        assert_eq!(old.mode(), new.mode(), "{name}");
        assert_eq!((old.uid(), old.gid()), (new.uid(), new.gid()), "{name}");
        assert_eq!(old.modified().unwrap(), new.modified().unwrap(), "{name}");
    }
    assert_eq!(fs::metadata(&destination).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn files_may_vanish_grow_and_appear_meanwhile() {
    // In memory where that is possible: this is about names, not about a disk that the writer keeps busy.
    let temporary = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let cluster = cluster(temporary.path());
    for number in 0..2000 {
        fs::write(cluster.data.join(format!("base/5/{number}")), vec![1; 8192]).unwrap();
    }
    let running = Arc::new(AtomicBool::new(true));
    let base = cluster.data.join("base/5");
    let flag = Arc::clone(&running);
    let writer = thread::spawn(move || {
        let mut number = 0;
        while flag.load(Ordering::Relaxed) {
            let _ = fs::remove_file(base.join((number % 2000).to_string()));
            fs::write(base.join(format!("new{}", number % 3000)), vec![2; 20000]).unwrap();
            number += 1;
            // Not as fast as it can: then the disk would be what is tested.
            thread::sleep(Duration::from_micros(300));
        }
    });
    for round in 0..3 {
        let destination = temporary.path().join(format!("{round}/files"));
        let record = take(&files(&destination), &cluster.sources()).unwrap();
        let paths = tree(&destination);
        let listed = record.files.unwrap();
        assert_eq!(paths.values().filter(|what| *what != "directory").count() as u64, listed);
    }
    running.store(false, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn a_control_file_that_is_being_written_is_copied_whole() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let control = cluster.data.join("global/pg_control");
    fs::write(&control, vec![0; 8192]).unwrap();
    let running = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&running);
    let path = control.clone();
    let writer = thread::spawn(move || {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for byte in (0..=255).cycle() {
            if !flag.load(Ordering::Relaxed) {
                break;
            }
            // In two pieces, worse than PostgreSQL does it.
            file.write_all_at(&[byte; 4096], 0).unwrap();
            file.write_all_at(&[byte; 4096], 4096).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let destination = temporary.path().join("files");
    take(&files(&destination), &cluster.sources()).unwrap();
    running.store(false, Ordering::Relaxed);
    writer.join().unwrap();
    let copy = fs::read(destination.join("data/global/pg_control")).unwrap();
    assert_eq!(copy.len(), 8192);
    assert!(copy.iter().all(|byte| *byte == copy[0]));
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let provider = files(&temporary.path().join("files"));
    let refused = || provider.plan(&cluster.sources()).unwrap_err().to_string();

    fs::rename(cluster.space.join("PG_15_202209061"), cluster.space.join("x")).unwrap();
    let text = format!(
        "directory of tablespace 16400 \"{}\" has no directory \"PG_15_*\"",
        cluster.space.display()
    );
    assert_eq!(refused(), text);
    fs::rename(cluster.space.join("x"), cluster.space.join("PG_15_202209061")).unwrap();
    for name in ["global/pg_control", "PG_VERSION"] {
        let path = cluster.data.join(name);
        fs::remove_file(&path).unwrap();
        assert_eq!(refused(), format!("\"{}\" is missing", path.display()));
        fs::write(&path, "15\n").unwrap();
    }
    provider.plan(&cluster.sources()).unwrap();
}

#[test]
fn a_control_file_that_vanishes_fails_the_copy_and_nothing_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let provider = files(&temporary.path().join("backup/files"));
    let plan = provider.plan(&cluster.sources()).unwrap();
    fs::remove_file(cluster.data.join("global/pg_control")).unwrap();
    let error = provider.take(&plan, &|| Ok(())).unwrap_err();
    let text = format!("could not read file \"{}/global/pg_control\"", cluster.data.display());
    assert_eq!(error.to_string(), text);
    assert!(tree(&temporary.path().join("backup")).is_empty());
}

#[test]
fn the_destination_must_be_outside_of_the_cluster() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let link = temporary.path().join("looks-outside");
    symlink(&cluster.space, &link).unwrap();
    for (directory, within) in [
        (cluster.data.join("backups"), format!("data directory \"{}\"", cluster.data.display())),
        (cluster.wal.clone(), format!("WAL directory \"{}\"", cluster.wal.display())),
        (link, format!("directory of tablespace 16400 \"{}\"", cluster.space.display())),
    ] {
        let destination = directory.join("a/files");
        let error = files(&destination).plan(&cluster.sources()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("\"{}\" is inside the {within}", destination.display())
        );
    }
}

#[test]
fn planted_destinations_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let destination = temporary.path().join("files");
    let provider = files(&destination);
    let plan = provider.plan(&cluster.sources()).unwrap();
    let elsewhere = temporary.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();

    // A symbolic link to an empty directory of ours.
    symlink(&elsewhere, &destination).unwrap();
    let error = provider.plan(&cluster.sources()).unwrap_err();
    assert_eq!(error.to_string(), format!("\"{}\" already exists", destination.display()));
    let error = provider.take(&plan, &|| Ok(())).unwrap_err();
    assert_eq!(error.kind(), "untrusted_path");
    fs::remove_file(&destination).unwrap();

    // A directory with something in it.
    fs::create_dir(&destination).unwrap();
    fs::set_permissions(&destination, Permissions::from_mode(0o700)).unwrap();
    symlink(&elsewhere, destination.join("data")).unwrap();
    let text = format!("directory \"{}\" is not empty", destination.display());
    assert_eq!(provider.plan(&cluster.sources()).unwrap_err().to_string(), text);
    assert_eq!(provider.take(&plan, &|| Ok(())).unwrap_err().to_string(), text);
    fs::remove_file(destination.join("data")).unwrap();

    // One that belongs to another user.
    if fs::metadata(&destination).unwrap().uid() == 0 {
        chown(&destination, Some(12345), None).unwrap();
        let error = provider.take(&plan, &|| Ok(())).unwrap_err();
        assert_eq!(error.kind(), "untrusted_path");
        chown(&destination, Some(0), None).unwrap();
    }
    assert!(fs::read_dir(&elsewhere).unwrap().next().is_none());
    provider.take(&plan, &|| Ok(())).unwrap();
}

#[test]
fn the_watch_ends_the_copy_and_nothing_stays() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    // Sparse, and long to hash.
    fs::File::create(cluster.data.join("base/5/1")).unwrap().set_len(20 << 30).unwrap();
    let provider = files(&temporary.path().join("backup/files"));
    let mut plan = provider.plan(&cluster.sources());
    if let Err(SnapshotError::NoSpace { .. }) = plan {
        fs::File::create(cluster.data.join("base/5/1")).unwrap().set_len(2 << 30).unwrap();
        plan = provider.plan(&cluster.sources());
    }
    let started = Instant::now();
    let lost = || {
        let over = started.elapsed() > Duration::from_millis(700);
        if over { Err("backup mode was lost".to_owned()) } else { Ok(()) }
    };
    let error = provider.take(&plan.unwrap(), &lost).unwrap_err();
    assert_eq!(error.to_string(), "the copying was stopped: backup mode was lost");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(tree(&temporary.path().join("backup")).is_empty());
}

#[test]
fn a_backup_lost_during_the_last_step_is_not_good() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let provider = files(&temporary.path().join("backup/files"));
    let plan = provider.plan(&cluster.sources()).unwrap();
    let listing = temporary.path().join("backup/files.json");
    let lost = || if listing.exists() { Err("too late".to_owned()) } else { Ok(()) };
    let error = provider.take(&plan, &lost).unwrap_err();
    assert_eq!(error.to_string(), "the copying was stopped: too late");
    assert!(tree(&temporary.path().join("backup")).is_empty());
}

#[test]
fn too_little_space_is_noticed_before_and_meanwhile() {
    let Some(small) = Mounted::tmpfs(4 << 20) else { return };
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let provider = files(&small.path.join("backup/files"));
    let plan = provider.plan(&cluster.sources()).unwrap();
    // Now it becomes too much.
    fs::write(cluster.data.join("base/5/3000"), vec![1; 3 << 20]).unwrap();
    let error = provider.take(&plan, &|| Ok(())).unwrap_err();
    assert_eq!(error.kind(), "disk_full");
    let path = small.path.join("backup/files/data/base/5");
    let text = error.to_string();
    assert!(text.starts_with(&format!("could not write file \"{}/", path.display())), "{text}");
    assert!(tree(&small.path.join("backup")).is_empty());

    let error = provider.plan(&cluster.sources()).unwrap_err();
    assert_eq!(error.kind(), "disk_full");
    let SnapshotError::NoSpace { needed, available, .. } = &error else { panic!("{error}") };
    let text = format!(
        "the copy needs {needed} bytes, the filesystem of \"{}\" has {available} bytes free",
        small.path.join("backup").display()
    );
    assert_eq!(error.to_string(), text);
    assert!(*needed > 6_000_000 && *available < 5_000_000);
}

#[test]
fn an_unreadable_file_is_named() {
    const VARIABLE: &str = "BACKSTAY_TEST_TOP";
    if let Some(top) = std::env::var_os(VARIABLE) {
        // The inner run, as a user who is not root.
        let cluster = cluster(Path::new(&top));
        let secret = cluster.data.join("base/1/1259");
        fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
        let destination = Path::new(&top).join("backup/files");
        let error = take(&files(&destination), &cluster.sources()).unwrap_err();
        assert_eq!(error.to_string(), format!("could not open file \"{}\"", secret.display()));
        assert_eq!(error.hints().len(), 1);
        assert!(tree(destination.parent().unwrap()).is_empty());
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        take(&files(&destination), &cluster.sources()).unwrap();
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
    let ours = fs::metadata(temporary.path()).unwrap().uid();
    let top = temporary.path().join("top");
    let test = temporary.path().join("test");
    fs::create_dir(&top).unwrap();
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    let mut program = Program::new(&test)
        .args(["--exact", "files::an_unreadable_file_is_named"])
        .env("TMPDIR", &top)
        .env(VARIABLE, &top);
    if ours == 0 {
        chown(&top, Some(12345), Some(12345)).unwrap();
        program = program.as_user(12345, 12345);
    }
    let output = program.output().unwrap();
    assert_eq!(output.status, 0, "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn special_files_are_left_out_and_odd_names_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let _socket =
        std::os::unix::net::UnixListener::bind(cluster.data.join(".s.PGSQL.5432")).unwrap();
    take(&files(&temporary.path().join("files")), &cluster.sources()).unwrap();
    assert!(!temporary.path().join("files/data/.s.PGSQL.5432").exists());
    fs::write(cluster.data.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    let error = files(&temporary.path().join("2")).plan(&cluster.sources()).unwrap_err();
    let text = format!("\"{}/caf\u{fffd}\" has a name that is not UTF-8", cluster.data.display());
    assert_eq!(error.to_string(), text);
}

#[test]
fn blocks_are_shared_on_xfs_and_btrfs() {
    for fstype in ["xfs", "btrfs"] {
        let Some(mounted) = Mounted::new(fstype) else { return };
        let cluster = cluster(&mounted.path);
        let mut provider = files(&mounted.path.join("backup/files"));
        provider.reflink = Reflink::Always;
        let plan = provider.plan(&cluster.sources()).unwrap();
        assert_eq!(plan.bytes, 0, "{fstype}");
        let record = provider.take(&plan, &|| Ok(())).unwrap().remove(0);
        // The control file is written, not shared: it is read until it stays the same.
        assert_eq!(record.reflinked, Some(false));
        let copy = fs::read(mounted.path.join("backup/files/data/base/5/2619")).unwrap();
        assert_eq!(copy, vec![7; 3_000_000]);
        // A tree without such a file, as on the way back.
        let options = CopyOptions { jobs: 2, reflink: Reflink::Always, ..CopyOptions::default() };
        let target = mounted.path.join("restored");
        let report =
            copy_tree(&mounted.path.join("backup/files/data"), &target, &options, &|| Ok(()));
        assert!(report.unwrap().all_reflinked());

        let elsewhere = tempfile::tempdir().unwrap();
        provider.destination = elsewhere.path().join("files");
        let error = take(&provider, &cluster.sources()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("could not let \""), "{text}");
        provider.reflink = Reflink::Auto;
        assert_eq!(take(&provider, &cluster.sources()).unwrap().reflinked, Some(false));
    }
}

#[test]
fn a_tree_is_copied_into_an_empty_directory_only_and_given_its_owner() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let target = temporary.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o755)).unwrap();
    fs::write(target.join("precious"), "x").unwrap();
    let root = fs::metadata(&target).unwrap().uid() == 0;
    let options = CopyOptions { owner: root.then_some((12345, 54321)), ..CopyOptions::default() };
    let error = copy_tree(&cluster.data, &target, &options, &|| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), format!("directory \"{}\" is not empty", target.display()));
    assert_eq!(tree(&target).len(), 1);
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o755);

    fs::remove_file(target.join("precious")).unwrap();
    let report = copy_tree(&cluster.data, &target, &options, &|| Ok(())).unwrap();
    assert_eq!(tree(&target), tree(&cluster.data));
    assert_eq!(
        report.files.len(),
        tree(&target).values().filter(|what| *what != "directory").count()
    );
    if root {
        for name in ["", "base", "base/1/1259", "pg_wal"] {
            let found = fs::symlink_metadata(target.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (12345, 54321), "{name}");
        }
    }

    // A failure leaves the directory as it was.
    let target = temporary.path().join("target2");
    fs::create_dir(&target).unwrap();
    fs::write(cluster.data.join("base/5/1"), vec![1; 200 << 20]).unwrap();
    let lost = || Err("lost".to_owned());
    let started = Instant::now();
    let result = copy_tree(&cluster.data, &target, &options, &lost);
    // A quick machine may be done before the watch is asked, and a busy one ask late; that it is asked at all is
    // another test's to prove.
    if started.elapsed() > Duration::from_secs(5) || result.is_err() {
        assert_eq!(result.unwrap_err().to_string(), "the copying was stopped: lost");
        assert!(tree(&target).is_empty());
    }
}

//! Snapshots by a program of the operator's.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fixture::{Mounted, cluster};
use snapshot::{Command, Role, SnapshotError, SnapshotProvider, SnapshotRecord, Sources};

fn command(script: &str) -> Command {
    Command {
        argv: ["sh", "-c", script, "sh", "an argument"].map(str::to_owned).to_vec(),
        label: "nightly backup".to_owned(),
        backup_id: "20261121T031500Z-3f9c".to_owned(),
        cluster: "main".to_owned(),
        timeout: Duration::from_secs(20),
    }
}

fn take(command: &Command, sources: &Sources) -> Result<Vec<SnapshotRecord>, SnapshotError> {
    let plan = command.plan(sources)?;
    command.take(&plan, &|| Ok(()))
}

/// Prints a line for each mount point.
const ALL: &str = r#"
echo "$BACKSTAY_MOUNT_POINTS" | while read -r point; do
    echo "{\"id\": \"snap of $point\", \"mount_point\": \"$point\"}"
done
"#;

fn mount_point(path: &Path) -> String {
    let mut path = path.to_path_buf();
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    while path.parent().is_some_and(|parent| device(parent) == device(&path)) {
        path.pop();
    }
    path.display().to_string()
}

#[test]
fn the_environment_says_it_all() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let out = temporary.path().join("out");
    let script = format!("{ALL} (env; echo \"$1\"; pwd) > '{}'", out.display());
    let records = take(&command(&script), &cluster.sources()).unwrap();
    let point = mount_point(&cluster.data);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].id, format!("snap of {point}"));
    assert_eq!(records[0].mount_point, Path::new(&point));
    assert_eq!(records[0].covers.len(), 3);
    assert_eq!(records[0].path, None);
    let text = fs::read_to_string(out).unwrap();
    for line in [
        "BACKSTAY_LABEL=nightly backup",
        "BACKSTAY_BACKUP_ID=20261121T031500Z-3f9c",
        "BACKSTAY_CLUSTER=main",
        &format!("BACKSTAY_MOUNT_POINTS={point}"),
        &format!("BACKSTAY_DATA_DIRECTORY={}", cluster.data.display()),
        &format!("BACKSTAY_WAL_DIRECTORY={}", cluster.wal.display()),
        &format!("BACKSTAY_TABLESPACES=16400:{}", cluster.space.display()),
        "an argument",
        "/",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let device = text.lines().find_map(|line| line.strip_prefix("BACKSTAY_DEVICES="));
    assert!(device.is_some_and(|device| !device.is_empty()));
}

#[test]
fn every_mount_point_is_asked_for_and_the_data_directorys_last() {
    let (Some(one), Some(two)) = (Mounted::tmpfs(9 << 20), Mounted::tmpfs(9 << 20)) else { return };
    let temporary = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(temporary.path()).unwrap();
    let cluster = crate::fixture::Cluster::make(
        one.path.join("data"),
        two.path.join("wal"),
        top.join("space"),
    );
    let plan = command(ALL).plan(&cluster.sources()).unwrap();
    let points: Vec<_> =
        plan.parts.iter().map(|part| part.mount_point.display().to_string()).collect();
    let expected =
        [two.path.display().to_string(), mount_point(&top), one.path.display().to_string()];
    assert_eq!(points, expected);
    assert_eq!(plan.parts[0].device, "tmpfs");
    let records = take(&command(ALL), &cluster.sources()).unwrap();
    let roles: Vec<_> = records.iter().map(|record| record.covers[0].role).collect();
    assert_eq!(roles, [Role::Wal, Role::Tablespace(16400), Role::DataDirectory]);

    let but_one = r#"echo "$BACKSTAY_MOUNT_POINTS" | tail -n +2 | while read -r point; do
        echo "{\"id\": \"a\", \"mount_point\": \"$point\", \"path\": \"/snapshots/a\"}"; done"#;
    let error = take(&command(but_one), &cluster.sources()).unwrap_err();
    assert_eq!(error.kind(), "snapshot_not_covered");
    assert_eq!(
        error.to_string(),
        format!(
            "program \"sh\" named no snapshot of mount point \"{}\", which holds the WAL directory \"{}\"",
            two.path.display(),
            cluster.wal.display()
        )
    );
    let hint = "These snapshots were made and belong to no backup, remove them: a, a.";
    assert_eq!(error.hints(), [hint]);
}

#[test]
fn a_mount_inside_the_data_directory_is_refused_unless_it_is_given() {
    let Some(small) = Mounted::tmpfs(9 << 20) else { return };
    let data = small.path.join("data");
    fs::create_dir_all(data.join("pg_wal")).unwrap();
    fs::create_dir_all(data.join("log")).unwrap();
    let space = small.path.join("space");
    let mount = |name: &str| {
        crate::fixture::tool(
            "mount",
            &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), &data.join(name)],
        );
    };
    mount("pg_wal");
    let cluster = crate::fixture::Cluster::make(data.clone(), data.join("pg_wal"), space);
    mount("pg_stat_tmp");
    let wal_given = take(&command(ALL), &cluster.sources());
    let all = cluster.all();
    let without_wal = Sources::new(vec![all[0].clone(), all[2].clone()]);
    let not_given = take(&command(ALL), &without_wal);
    mount("log");
    let log = take(&command(ALL), &cluster.sources());
    for name in ["pg_wal", "pg_stat_tmp", "log"] {
        crate::fixture::tool("umount", &[&data.join(name)]);
    }
    assert_eq!(wal_given.unwrap().len(), 2);
    let text = |name: &str| {
        format!(
            "mount point \"{0}/{name}\" inside the data directory \"{0}\" would not be in the snapshot",
            data.display()
        )
    };
    assert_eq!(not_given.unwrap_err().to_string(), text("pg_wal"));
    assert_eq!(log.unwrap_err().to_string(), text("log"));
}

#[test]
fn lines_that_are_not_understood_are_shown() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let point = mount_point(&cluster.data);
    let good = format!(r#"{{"id": "a", "mount_point": "{point}"}}"#);
    for (printed, why) in [
        ("Logical volume created.".to_owned(), "expected value at line 1 column 1"),
        (good.replace(r#""a""#, r#"" ""#), "the id is empty"),
        (
            good.replace(&format!("\"{point}\""), "\"/elsewhere\""),
            "the mount point is none of those",
        ),
        (format!("{good}\n{good}"), "the mount point was named before"),
        (good.replace("id", "ID"), "unknown field `ID`"),
        (r#"{"id": "a"}"#.to_owned(), "missing field `mount_point`"),
    ] {
        let error = take(&command(&format!("echo '{printed}'")), &cluster.sources()).unwrap_err();
        let text = error.to_string();
        let start = format!("could not understand what program \"sh\" printed: {why}");
        assert!(text.starts_with(&start), "{text}");
        let line = printed.lines().last().unwrap();
        assert!(text.ends_with(&format!("{line:?}")), "{text}");
    }
    let error = take(&command("true"), &cluster.sources()).unwrap_err();
    assert_eq!(error.kind(), "snapshot_not_covered");
}

#[test]
fn failures_timeouts_and_the_watch_end_it() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    let error = take(&command("echo no space in volume group >&2; exit 5"), &cluster.sources());
    let error = error.unwrap_err();
    assert!(error.to_string().starts_with("could not make snapshots with program \""));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("failed with exit status 5: no space in volume group"), "{cause}");
    assert_eq!(error.kind(), "program_failed");

    let mut slow = command("sleep 60");
    slow.timeout = Duration::from_secs(1);
    let error = take(&slow, &cluster.sources()).unwrap_err();
    assert_eq!(error.kind(), "snapshot_timeout");

    let started = Instant::now();
    let plan = command("sleep 60").plan(&cluster.sources()).unwrap();
    let error = command("sleep 60").take(&plan, &|| Err("lost".to_owned())).unwrap_err();
    assert_eq!(error.to_string(), "the copying was stopped: lost");
    assert!(started.elapsed() < Duration::from_secs(4));

    let error = command(ALL).take(&plan, &|| Err("lost at the end".to_owned())).unwrap_err();
    assert_eq!(error.to_string(), "the copying was stopped: lost at the end");
}

#[test]
fn a_program_that_is_not_there_is_noticed_before() {
    let temporary = tempfile::tempdir().unwrap();
    let cluster = cluster(temporary.path());
    for (argv, text) in [
        (vec!["/no/such/program"], "program \"/no/such/program\" was not found"),
        (vec!["no-such-program"], "program \"no-such-program\" was not found"),
        (vec![], "the snapshot command is empty"),
        (vec!["./x"], "the snapshot command must be an absolute path or the name of a program"),
    ] {
        let mut command = command("");
        command.argv = argv.into_iter().map(str::to_owned).collect();
        assert_eq!(command.plan(&cluster.sources()).unwrap_err().to_string(), text);
    }
}

//! WAL that is not what it should be, or does not come: nothing is completed, and
//! the segment is named. The executable is asked directly: Ansible would add
//! nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use backstay_tests::scene::session;
use backstay_tests::{Place, Scene, Server};
use serde_json::json;

/// A stopped backup `id` whose snapshot is claimed, and the segments it needs.
fn stopped_backup(scene: &Scene, id: &str) -> Vec<String> {
    let _ = scene.start(id, &json!({}));
    let _ = scene.ask(&scene.snapshot_by(id, "true")).ok();
    // records that recovery would replay, over several segments
    scene.server.execute(
        "create table if not exists t (a text); insert into t select repeat('y', 500) from generate_series(1, 3000); \
         select pg_switch_wal(); insert into t values ('z'); select pg_switch_wal(); insert into t values ('z')",
    );
    let stopped = scene.ask(&scene.backup.stop(&session(id))).ok();
    let dry = scene.backup.fetch(&session(id));
    let mut dry = dry.clone();
    dry["check_mode"] = json!(true);
    let planned = scene.ask(&dry).ok();
    let names = planned.result["wal_segments"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> =
        names.iter().filter_map(|segment| segment["name"].as_str().map(str::to_owned)).collect();
    assert_eq!(json!(names.len()), stopped.result["wal_segments"]);
    assert_eq!(names.first().map(String::as_str), Some(stopped.word("wal_start_segment")));
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// What is done to an archive, and how that is told.
struct Damage {
    kinds: &'static [&'static str],
    texts: &'static [&'static str],
    do_it: fn(&Path, &[String]),
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(path).expect("a segment in the archive");
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).expect("a segment in the archive");
}

/// Names the segment that is at fault, the second.
const SECOND: &str = "the second segment";

const DAMAGES: &[Damage] = &[
    Damage {
        kinds: &["system_identifier_mismatch"],
        texts: &[SECOND, "system identifier"],
        // the long header of the first page has the identifier at byte 24
        do_it: |archive, names| overwrite(&archive.join(&names[1]), 24, &[7; 8]),
    },
    Damage {
        kinds: &["wal_archive_timeout"],
        texts: &[SECOND, "did not appear"],
        do_it: |archive, names| {
            let file = fs::File::options().write(true).open(archive.join(&names[1]));
            file.and_then(|file| file.set_len(700_000)).expect("a segment in the archive");
        },
    },
    Damage {
        kinds: &["verification_failed"],
        texts: &[SECOND, "begins at"],
        // another segment under this name
        do_it: |archive, names| {
            fs::copy(archive.join(&names[0]), archive.join(&names[1])).expect("a copy");
        },
    },
    Damage {
        kinds: &["verification_failed"],
        texts: &[SECOND, "begins with 0000"],
        do_it: |archive, names| {
            fs::write(archive.join(&names[1]), vec![0; 1 << 20]).expect("zeros")
        },
    },
    Damage {
        kinds: &["verification_failed"],
        texts: &["could not read WAL"],
        // in the middle of the first segment's records: only reading them tells
        do_it: |archive, names| overwrite(&archive.join(&names[0]), 600_000, &[0xA5; 64]),
    },
    Damage {
        kinds: &["wal_archive_timeout"],
        texts: &[SECOND, "did not appear", "the newest there is"],
        do_it: |archive, names| fs::remove_file(archive.join(&names[1])).expect("a segment"),
    },
];

#[test]
fn an_archive_with_wal_that_is_not_the_backups_completes_nothing() {
    let scene = Scene::around(Server::builder().major(17).wal_segment_size_mb(1).start());
    let names = stopped_backup(&scene, "b1");
    let place = Place::new();
    let archive = place.join("archive");
    fs::create_dir(&archive).expect("a directory in the test's place");
    let whole = || {
        for name in &names {
            let from = scene.server.data_directory().join("pg_wal").join(name);
            fs::copy(from, archive.join(name)).expect("a segment of pg_wal");
        }
    };
    let fetch = scene.backup.fetch(&json!({
        "session": "main.b1", "source": "archive", "archive_directory": archive, "wait_timeout": 1,
    }));
    for damage in DAMAGES {
        whole();
        (damage.do_it)(&archive, &names);
        let reply = scene.ask(&fetch);
        let texts: Vec<&str> = damage
            .texts
            .iter()
            .map(|text| if *text == SECOND { names[1].as_str() } else { text })
            .collect();
        reply.assert_tells(damage.kinds, "off", &texts);
        let manifest = scene.manifest("b1");
        assert_eq!(manifest["state"], json!("stopped"), "{manifest:#}");
        assert_eq!(scene.info("b1")["state"], json!("stopped"));
    }
    // a segment of a real other cluster, under the right name
    let other = Server::builder().major(17).wal_segment_size_mb(1).start();
    let foreign = fs::read_dir(other.data_directory().join("pg_wal")).expect("pg_wal").flatten();
    let foreign = foreign.map(|entry| entry.path()).find(|path| path.is_file()).expect("a segment");
    whole();
    fs::copy(foreign, archive.join(&names[1])).expect("a segment of another cluster");
    scene.ask(&fetch).assert_tells(&["system_identifier_mismatch"], "off", &[&names[1]]);
    // and with the right ones the same task succeeds: nothing bad was kept
    whole();
    let fetched = scene.ask(&fetch).ok();
    assert_eq!(fetched.word("waldump"), "passed");
    assert_eq!(scene.manifest("b1")["state"], json!("complete"));
    for name in &names {
        let kept = fs::read(scene.backup_folder("b1").join("wal").join(name)).expect("a segment");
        assert_eq!(kept, fs::read(archive.join(name)).expect("a segment"), "{name}");
    }
}

#[test]
fn a_restore_command_that_fails_is_told_from_one_that_does_not_find() {
    let scene = Scene::around(Server::builder().major(14).wal_segment_size_mb(1).start());
    let names = stopped_backup(&scene, "b1");
    let wal = scene.server.data_directory().join("pg_wal");
    let fetch = |command: &str| {
        scene.ask(&scene.backup.fetch(&json!({
            "session": "main.b1", "source": "restore_command", "restore_command": command, "wait_timeout": 2,
        })))
    };
    let absent = fetch("echo it is not there >&2; exit 1");
    absent.assert_tells(&["wal_archive_timeout"], "off", &[&names[0], "did not appear"]);
    assert!(absent.took >= Duration::from_secs(2), "it did not wait: {:?}", absent.took);
    let failed = fetch("echo the network is down >&2; exit 200");
    failed.assert_tells(
        &["program_failed"],
        "off",
        &[&names[0], "status 200", "the network is down"],
    );
    let killed = fetch("kill -9 $$");
    killed.assert_tells(&["program_failed"], "off", &[&names[0]]);
    // success without a file is no success
    let empty = fetch("true");
    empty.assert_tells(&["wal_archive_timeout"], "off", &[&names[0]]);
    let half = fetch(&format!("head -c 5000 '{}'/%f > %p", wal.display()));
    half.assert_failed(&["wal_missing", "wal_archive_timeout"], "off");
    assert!(half.message().contains(&names[0]), "{}", half.message());
    assert_eq!(scene.manifest("b1")["state"], json!("stopped"));
    // a segment that comes late is waited for
    let mark = scene.backup.place().join("asked-once");
    let late = format!(
        "if [ -e '{0}' ]; then cp '{1}'/%f %p; else touch '{0}'; exit 1; fi",
        mark.display(),
        wal.display()
    );
    let fetched = fetch(&late).ok();
    assert_eq!(fetched.word("state"), "complete");
    let left = fs::read_dir(scene.backup_folder("b1").join("wal")).expect("the WAL").count();
    assert_eq!(left, names.len(), "something else than segments is left");
}

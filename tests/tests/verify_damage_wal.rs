//! Damage to what recovery begins with: WAL, the label, the control file, and parts that are not there.

use std::fs;

use backstay_tests::basebackup::at_level;
use backstay_tests::scene::session;
use backstay_tests::{BaseBackup, Drilled, Place, Scene, Server};
use serde_json::json;

/// Where the WAL of the backup begins in its first segment.
const FIRST_RECORD: u64 = 0x28;

#[test]
fn wal_that_is_damaged_missing_or_foreign_is_found_before_recovery_and_by_it() {
    let server = Server::builder().major(15).start();
    let good = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let name = |path: &std::path::Path| {
        path.file_name().expect("a segment").to_string_lossy().into_owned()
    };
    let first = good.segments()[0].clone();
    let segment = name(&first);
    let inside = format!("pg_wal/{segment}");

    let damaged = good.copy();
    damaged.overwrite(&inside, FIRST_RECORD, &[0xff; 4096]);
    damaged
        .verify(&json!({}))
        .assert_found(&[("wal", "pg_waldump"), ("recovery", "could not locate")]);
    damaged.verify(&at_level("manifest", &json!({}))).assert_found(&[("wal", "pg_waldump")]);

    let missing = good.copy();
    missing.remove(&inside);
    missing.verify(&json!({})).assert_found(&[
        ("wal", &format!("WAL segment \"{segment}\" is missing")),
        ("recovery", "the server ended: could not locate required checkpoint record"),
        ("recovery", &format!("(the first WAL segment that was not to be had: {segment})")),
    ]);

    let cut = good.copy();
    let file = fs::File::options().write(true).open(cut.join(&inside)).expect("the segment");
    file.set_len(8 << 20).expect("it can be cut");
    cut.verify(&json!({})).assert_found(&[(
        "wal",
        &format!("WAL segment \"{segment}\" has 8388608 bytes instead of 16777216"),
    )]);

    let other = Server::builder().major(15).start();
    let theirs = BaseBackup::of(&other, &["-Fp", "-Xs"]);
    let foreign = good.copy();
    fs::copy(&theirs.segments()[0], foreign.join(&inside)).expect("a copy of a segment");
    let (own, their) = (identifier(&server), identifier(&other));
    foreign.verify(&json!({})).assert_found(&[
        ("wal", &format!("WAL segment \"{segment}\"")),
        ("wal", &own),
        ("wal", &their),
        ("recovery", "could not locate required checkpoint record"),
    ]);
    good.verify(&json!({})).assert_good();
}

fn identifier(server: &Server) -> String {
    server.query("select system_identifier from pg_control_system()")
}

/// Two backups of one server, the second later than the first, both without lists of their files.
fn two_backups(server: &Server) -> (BaseBackup, BaseBackup) {
    let earlier = BaseBackup::of(server, &["-Fp", "-Xs", "--no-manifest"]);
    server.execute("create table between_them as select 1 as a");
    let later = BaseBackup::of(server, &["-Fp", "-Xs", "--no-manifest"]);
    (earlier, later)
}

#[test]
fn a_label_that_is_missing_wrong_or_of_another_backup_is_found() {
    let server = Server::builder().major(16).start();
    let listed = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let (earlier, later) = two_backups(&server);

    let missing = listed.copy();
    missing.remove("backup_label");
    missing.verify(&json!({})).assert_found(&[
        ("files", "\"backup_label\" is in the manifest but not in the backup"),
        ("label", "there is no backup_label: a server would recover from the wrong checkpoint"),
        ("recovery", "it has seen no backup_label"),
    ]);

    let garbage = earlier.copy();
    fs::write(garbage.join("backup_label"), "START WAL LOCATION: nowhere\n").expect("the label");
    garbage.verify(&json!({})).assert_found(&[
        ("label", "line 1 of backup_label"),
        ("recovery", "invalid data in file \"backup_label\""),
    ]);

    let label = |backup: &BaseBackup| fs::read(backup.join("backup_label")).expect("a label");
    let too_late = earlier.copy();
    fs::write(too_late.join("backup_label"), label(&later)).expect("the label");
    too_late.verify(&json!({})).assert_found(&[
        ("label", "backup_label is of a later backup: its checkpoint is at"),
        ("wal", "is missing"),
        ("recovery", "could not locate required checkpoint record"),
    ]);

    let too_early = later.copy();
    fs::write(too_early.join("backup_label"), label(&earlier)).expect("the label");
    too_early.verify(&json!({})).assert_found(&[
        ("wal", "is missing"),
        ("recovery", "could not locate required checkpoint record"),
    ]);

    // the manifest knows where its backup began
    fs::write(listed.join("backup_label"), label(&later)).expect("the label");
    listed.verify(&at_level("manifest", &json!({}))).assert_found(&[
        ("files", "\"backup_label\" has the CRC32C checksum"),
        ("label", "backup_label is of another backup: it starts at"),
        ("label", "backup_manifest says"),
    ]);
}

#[test]
fn a_control_file_of_another_cluster_is_found() {
    for major in [16, 17] {
        let (server, other) =
            (Server::builder().major(major).start(), Server::builder().major(major).start());
        let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
        let theirs = BaseBackup::of(&other, &["-Fp", "-Xs"]);
        fs::copy(theirs.join("global/pg_control"), backup.join("global/pg_control"))
            .expect("their control file");
        let (own, their) = (identifier(&server), identifier(&other));
        // its CRC32C is not another one: the file ends with its own, and so all of them have the same
        let drilled = backup.verify(&json!({}));
        if major == 16 {
            // only from 17 on the manifest names the cluster; WAL always does
            drilled.assert_found(&[
                ("wal", &own),
                ("wal", &their),
                ("recovery", "could not locate required checkpoint record"),
            ]);
        } else {
            let told = format!(
                "the files are of another database cluster: the control file's system identifier is {their}, the backup's is {own}"
            );
            drilled.assert_found(&[
                ("control_file", &told),
                ("wal", &own),
                ("recovery", "could not locate required checkpoint record"),
            ]);
        }
        backup.overwrite("global/pg_control", 100, b"nonsense");
        backup.verify(&at_level("manifest", &json!({}))).assert_found(&[
            ("files", "\"global/pg_control\" has the CRC32C checksum"),
            ("control_file", "checksum"),
        ]);
    }
}

#[test]
fn files_of_another_cluster_under_the_name_of_a_backup_are_found() {
    let (scene, other) = (Scene::of(18), Server::builder().major(18).start());
    let place = Place::new();
    let data = other.data_directory().display().to_string();
    let files = place.join("files");
    let _ = scene.start("b", &json!({}));
    let script = format!("cp -a '{data}' '{}'", files.display());
    let _ = scene.ask(&scene.snapshot_by("b", &script)).ok();
    let _ = scene.ask(&scene.backup.stop(&session("b"))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b"))).ok();
    let options = json!({
        "repository": scene.backup.repository(), "data_directory": files,
        "bin_dir": scene.server.bin(), "state_directory": scene.backup.state_directory(),
    });
    let drilled = Drilled::by(&json!({"backstay.postgresql.backup_verify": options}));
    let told = format!(
        "the files are of another database cluster: the control file's system identifier is {}, the backup's is {}",
        identifier(&other),
        identifier(&scene.server)
    );
    drilled.assert_found(&[
        ("control_file", &told),
        ("wal", &identifier(&other)),
        ("recovery", "could not locate required checkpoint record"),
    ]);
}

/// A server with a table in a tablespace, and the table's file below it.
fn with_tablespace(major: u32) -> Server {
    let server = Server::builder().major(major).tablespaces(1).start();
    server.execute("create table far tablespace ts1 as select generate_series(1, 1000) as a");
    server.execute("checkpoint");
    server
}

#[test]
fn a_tablespace_that_is_missing_is_found_in_both_formats() {
    let server = with_tablespace(18);
    let oid = server.query("select oid from pg_tablespace where spcname = 'ts1'");
    for arguments in [&["-Ft", "-Xs", "-z"][..], &["-Ft", "-Xs", "--no-manifest"]] {
        let tar = BaseBackup::of(&server, arguments);
        tar.verify(&at_level("read", &json!({}))).assert_good();
        let archive =
            if arguments.contains(&"-z") { format!("{oid}.tar.gz") } else { format!("{oid}.tar") };
        tar.remove(&archive);
        let missing = format!("there is no archive \"{oid}.tar\" of tablespace {oid}");
        tar.verify(&json!({})).assert_first(&("files", &missing));
    }
    for arguments in [&["-Fp", "-Xs"][..], &["-Fp", "-Xs", "--no-manifest"]] {
        let plain = BaseBackup::of(&server, arguments);
        plain.verify(&at_level("read", &json!({}))).assert_good();
        let link = plain.join(&format!("pg_tblspc/{oid}"));
        let target = fs::read_link(&link).expect("a link");
        fs::remove_dir_all(&target).expect("the tablespace can be removed");
        let drilled = plain.verify(&json!({}));
        let place = target.display().to_string();
        let unread = format!("\"pg_tblspc/{oid}\" could not be read: No such file or directory");
        let gone = format!("the copy could not be made: tablespace {oid} is not at \"");
        let mut found = vec![("recovery", gone.as_str()), ("recovery", &place)];
        if !arguments.contains(&"--no-manifest") {
            found.insert(0, ("files", &unread));
        }
        drilled.assert_found(&found);
    }
}

#[test]
fn an_archive_that_ends_early_is_found() {
    let server = Server::builder().major(14).start();
    let tar = BaseBackup::of(&server, &["-Ft", "-Xs", "-z"]);
    let file = fs::File::options().write(true).open(tar.join("base.tar.gz")).expect("the archive");
    let size = file.metadata().expect("its size").len();
    file.set_len(size / 2).expect("it can be cut");
    for level in ["manifest", "recover"] {
        let drilled = tar.verify(&at_level(level, &json!({})));
        drilled.assert_first(&("files", "archive \"base.tar.gz\" cannot be read beyond"));
        drilled.assert_first(&("files", "files of the manifest are missing with it"));
    }
}

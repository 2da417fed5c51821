//! Damaged files: which check finds what, and what it says of it.

use std::fs;
use std::process::Command;

use backstay_tests::basebackup::at_level;
use backstay_tests::command::run;
use backstay_tests::scene::{merged, session};
use backstay_tests::{BaseBackup, Drilled, Place, Scene, Server};
use serde_json::{Value, json};

/// Rows in some fifty pages, an index on them, and where both are.
const SHOP: &str = "create table items (id int primary key, name text not null);
    insert into items select g, repeat('n', 30) || g from generate_series(1, 5000) g;
    vacuum (freeze, analyze) items; checkpoint";

fn shop(major: u32) -> Server {
    let server = Server::builder().major(major).start();
    for sql in SHOP.split(';') {
        server.execute(sql);
    }
    server
}

fn file_of(server: &Server, relation: &str) -> String {
    server.query(&format!("select pg_relation_filepath('{relation}')"))
}

/// In the middle of a row of the third page, or of an index entry.
const IN_A_ROW: u64 = 2 * 8192 + 8000;

#[test]
fn one_bit_of_a_table_is_found_by_its_list_and_by_every_reader() {
    let server = shop(15);
    let items = file_of(&server, "items");
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    backup.verify(&at_level("full", &json!({}))).assert_good();
    backup.flip(&items, IN_A_ROW);
    let checksum = format!("\"{items}\" has the CRC32C checksum");
    backup.verify(&at_level("manifest", &json!({}))).assert_found(&[("files", &checksum)]);
    backup.verify(&json!({})).assert_found(&[("files", &checksum)]);
    backup.verify(&at_level("full", &json!({}))).assert_found(&[
        ("files", &checksum),
        ("dump", "could not dump database \"postgres\""),
        ("dump", "invalid page in block 2 of relation"),
        ("page_checksums", "1 page has a wrong checksum"),
        ("page_checksums", &format!("{items}\", block 2:")),
        ("indexes", "items"),
        ("indexes", "invalid page in block 2 of relation"),
    ]);
    // without the list it takes a reader, and a drill that does not read says so
    backup.remove("backup_manifest");
    let drilled = backup.verify(&json!({}));
    drilled.assert_good();
    assert!(drilled.said("files").contains("there is no backup_manifest"), "{drilled:?}");
    assert!(drilled.with("skipped").contains(&"files"), "{drilled:?}");
    backup.verify(&at_level("read", &json!({}))).assert_found(&[
        ("dump", "invalid page in block 2 of relation"),
        ("page_checksums", "1 page has a wrong checksum"),
    ]);
    // who only wants to know is told, and the task does not fail
    let told = backup.verify(&at_level("read", &json!({"report_only": true})));
    assert_ne!(told.result["failed"], json!(true), "{:#}", told.result);
    assert_eq!(told.result["verdict"], json!("failed"), "{:#}", told.result);
    told.assert_said(&[
        ("dump", "invalid page in block 2 of relation"),
        ("page_checksums", "1 page has a wrong checksum"),
    ]);
}

#[test]
fn one_bit_of_an_index_is_found_by_checksums_and_amcheck() {
    let server = shop(17);
    let index = file_of(&server, "items_pkey");
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    backup.flip(&index, IN_A_ROW);
    let checksum = format!("\"{index}\" has the CRC32C checksum");
    backup.verify(&at_level("full", &json!({}))).assert_found(&[
        ("files", &checksum),
        ("page_checksums", "1 page has a wrong checksum"),
        ("page_checksums", &format!("{index}\", block 2:")),
        ("indexes", "items_pkey"),
        ("indexes", "invalid page in block 2 of relation"),
    ]);
}

#[test]
fn a_file_of_a_table_that_is_missing_or_too_short_is_found() {
    let server = shop(16);
    let items = file_of(&server, "items");
    let good = BaseBackup::of(&server, &["-Fp", "-Xs"]);

    let missing = good.copy();
    missing.remove(&items);
    missing.verify(&at_level("full", &json!({}))).assert_found(&[
        ("files", &format!("\"{items}\" is in the manifest but not in the backup")),
        ("dump", &format!("could not open file \"{items}\": No such file or directory")),
        ("indexes", &format!("could not open file \"{items}\": No such file or directory")),
    ]);
    missing.remove("backup_manifest");
    missing.verify(&at_level("read", &json!({}))).assert_found(&[(
        "dump",
        &format!("could not open file \"{items}\": No such file or directory"),
    )]);

    let short = good.copy();
    let file = fs::File::options().write(true).open(short.join(&items)).expect("the table");
    let size = file.metadata().expect("its size").len();
    file.set_len(size / 2 / 8192 * 8192).expect("it can be cut");
    let words =
        format!("\"{items}\" has {} bytes, but {size} in the manifest", size / 2 / 8192 * 8192);
    short.verify(&json!({})).assert_found(&[("files", &words)]);
    // a table that ends early is a table with fewer rows to every reader but one that knows of them: see below
    short.remove("backup_manifest");
    short.verify(&at_level("full", &json!({}))).assert_good();
}

/// A backup of ours without a list of its files, as of a snapshot, with the rows counted; where its files are.
fn counted(scene: &Scene, place: &Place) -> std::path::PathBuf {
    let files = place.join("files");
    let data = scene.server.data_directory().display().to_string();
    let _ = scene.start("b", &json!({}));
    let _ =
        scene.ask(&scene.snapshot_by("b", &format!("cp -a '{data}' '{}'", files.display()))).ok();
    let options = merged(scene.backup.login(), &json!({"row_counts": "exact"}));
    let _ = scene.ask(&scene.backup.stop(&merged(&options, &session("b")))).ok();
    let _ = scene.ask(&scene.backup.fetch(&session("b"))).ok();
    files
}

fn of_ours(scene: &Scene, files: &std::path::Path, more: &Value) -> Drilled {
    let own = json!({
        "repository": scene.backup.repository(), "backup_id": "b", "data_directory": files,
        "bin_dir": scene.server.bin(), "state_directory": scene.backup.state_directory(),
    });
    let options = merged(&own, more);
    Drilled::by(&json!({"backstay.postgresql.backup_verify": options}))
}

#[test]
fn a_page_of_zeros_is_found_by_its_list_and_by_nobody_but_the_row_counts_without() {
    let server = shop(18);
    let items = file_of(&server, "items");
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    backup.overwrite(&items, 8192, &[0; 8192]);
    let checksum = format!("\"{items}\" has the CRC32C checksum");
    backup.verify(&json!({})).assert_found(&[("files", &checksum)]);
    // neither a dump nor the checksums of pages take offence at a page that was never used
    backup.remove("backup_manifest");
    let blind = backup.verify(&at_level("read", &json!({})));
    blind.assert_good();
    assert!(blind.with("skipped").contains(&"row_counts"), "{blind:?}");

    let (scene, place) = (Scene::around(server), Place::new());
    let files = counted(&scene, &place);
    of_ours(&scene, &files, &at_level("read", &json!({}))).assert_good();
    run(Command::new("dd")
        .args(["if=/dev/zero", "bs=8192", "seek=1", "count=1", "conv=notrunc"])
        .arg(format!("of={}", files.join(&items).display())));
    of_ours(&scene, &files, &json!({})).assert_good();
    let drilled = of_ours(&scene, &files, &at_level("read", &json!({})));
    drilled.assert_found(&[("row_counts", "items"), ("row_counts", "rows of at least 5,000")]);
    // and a table that ends early
    let table = fs::File::options().write(true).open(files.join(&items)).expect("the table");
    table.set_len(3 * 8192).expect("it can be cut");
    let drilled = of_ours(&scene, &files, &at_level("read", &json!({})));
    drilled.assert_found(&[("row_counts", "rows of at least 5,000")]);
}

/// The order of an index was changed behind its back, as a new version of a collation does.
#[test]
fn an_index_that_is_wrong_in_itself_is_found_at_level_full_only() {
    let server = shop(14);
    for sql in [
        "create function rank(int) returns int language sql immutable as 'select $1'",
        "create index items_rank on items (rank(id))",
        "create or replace function rank(int) returns int language sql immutable as 'select -$1'",
        "checkpoint",
    ] {
        server.execute(sql);
    }
    let backup = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    backup.verify(&at_level("read", &json!({}))).assert_good();
    backup.verify(&at_level("full", &json!({}))).assert_found(&[("indexes", "items_rank")]);
}

#[test]
fn a_manifest_that_was_changed_is_not_believed() {
    let server = shop(13);
    let good = BaseBackup::of(&server, &["-Fp", "-Xs"]);
    let wrong = good.copy();
    let text = fs::read_to_string(wrong.join("backup_manifest")).expect("the manifest");
    let at = text.find("\"Size\": ").expect("a size") + 8;
    wrong.overwrite("backup_manifest", at as u64, b"9");
    wrong.verify(&json!({})).assert_found(&[("files", "the backup manifest has the checksum")]);
    let cut = good.copy();
    fs::write(cut.join("backup_manifest"), &text[..text.len() / 2]).expect("the manifest");
    cut.verify(&json!({})).assert_found(&[(
        "files",
        "the backup manifest does not end with a line with its own checksum",
    )]);
}

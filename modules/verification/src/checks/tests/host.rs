//! What a server tells of itself and of its host.

use backstay_tests::server::majors;
use chrono::{TimeDelta, Utc};

use super::*;

#[test]
fn every_major_answers_and_a_new_cluster_is_clean() {
    for major in majors() {
        let server = Real::builder().major(major).start();
        let connect = |database: &str| login(&server, database);
        assert_ok(
            &databases(&connect),
            "2 databases accept connections; not tried, as nobody can connect to it: \"template0\"",
        );
        let libraries = libraries(&connect);
        assert_ok(
            &libraries,
            "all 2 extensions are installed on this host; 1 library can be loaded",
        );
        assert_eq!(libraries.name, "libraries");
        let collations = collations(&connect);
        assert_eq!((collations.outcome, collations.findings.len()), (Outcome::Ok, 0));
        let told = collations.message.contains("PostgreSQL records it from 15 on");
        assert_eq!(told, major < 15, "{}", collations.message);
        let end = connect("postgres").unwrap().recovery_end().unwrap();
        assert_eq!((end.in_recovery, end.last_transaction, end.replay_lsn), (false, None, None));
        assert_eq!(end.timeline.to_string(), "1");
        assert!(end.data_checksums && !end.end_of_backup_record_required);
    }
}

/// What is known of the last commit outlives the promotion on every major, but not a restart.
#[test]
fn how_recovery_ended_is_known_until_the_restart() {
    for major in majors() {
        let primary = Real::builder().major(major).start();
        primary.execute("create table t as select 1 as a");
        let mut standby = Real::builder().standby_of(&primary).start();
        primary.execute("insert into t values (2)");
        let lsn: String = primary.query("select pg_current_wal_lsn()");
        backstay_tests::wait_until("the standby has it", MOMENT, || {
            standby.says_true(&format!("select pg_last_wal_replay_lsn() >= '{lsn}'"))
        });
        let recovering = login(&standby, "postgres").unwrap().recovery_end().unwrap();
        assert!(recovering.in_recovery && recovering.min_recovery_end_lsn.is_some());
        let committed = recovering.last_transaction.expect("a commit was replayed");
        assert!(Utc::now().signed_duration_since(committed) < TimeDelta::seconds(60));
        standby.announce_log("terminating walreceiver");
        standby.promote();
        let promoted = login(&standby, "postgres").unwrap().recovery_end().unwrap();
        assert_eq!(promoted.last_transaction, Some(committed), "{major}");
        assert_eq!(promoted.system_identifier, recovering.system_identifier);
        assert!(promoted.replay_lsn >= recovering.replay_lsn);
        assert_eq!((promoted.in_recovery, promoted.timeline.to_string()), (false, "2".into()));
        standby.restart(backstay_tests::server::Stop::Fast);
        let restarted = login(&standby, "postgres").unwrap().recovery_end().unwrap();
        assert_eq!((restarted.last_transaction, restarted.replay_lsn), (None, None));
    }
}

#[test]
fn a_database_with_a_locale_that_is_not_here_fails() {
    let mut server = Real::builder().major(17).start();
    server.announce_log("database locale is incompatible");
    server.execute("create database far");
    server.execute("create database half");
    server.execute(
        "update pg_database set datcollate = 'xx_XX', datctype = 'xx_XX' where datname = 'far';
         update pg_database set datconnlimit = -2 where datname = 'half'",
    );
    let connect = |database: &str| login(&server, database);
    let check = databases(&connect);
    assert_eq!(
        check.message,
        "1 of 3 databases does not accept a connection; not tried, as nobody can connect to it: \
         \"half\" and \"template0\""
    );
    assert_eq!((check.outcome, check.details.len()), (Outcome::Failed, 1));
    for words in [
        "far: could not connect to",
        "FATAL: database locale is incompatible with operating system",
        "DETAIL: The database was initialized with LC_COLLATE \"xx_XX\"",
    ] {
        assert!(check.details[0].contains(words), "{:?}", check.details);
    }
    assert_eq!(
        check.findings,
        [Finding {
            message: "database \"half\" is what an interrupted DROP DATABASE left".into(),
            sql: vec!["DROP DATABASE \"half\";".into()],
        }]
    );
    // the others are asked all the same
    let check = libraries(&connect);
    assert!(check.message.ends_with("; not asked: \"far\""), "{}", check.message);
}

#[test]
fn what_this_host_lacks_is_a_finding() {
    let mut server = Real::builder().major(18).start();
    server.announce_log("could not access file \"$libdir/nowhere\"");
    server.announce_log("could not load library");
    let broken = server.place().join("cluster/broken.so");
    std::fs::write(&broken, "no library").unwrap();
    server.execute(&format!(
        "set check_function_bodies to off;
         create function one() returns int language c as '$libdir/amcheck', 'bt_index_check';
         create function two() returns int language c as '$libdir/amcheck', 'bt_index_check';
         create function three() returns int language c as '$libdir/amcheck', 'bt_index_check';
         update pg_proc set probin = '$libdir/nowhere' where proname = 'one';
         update pg_proc set probin = '{}' where proname = 'two';
         update pg_extension set extname = 'postgis', extversion = '3.4.2' where extname = 'amcheck'",
        broken.display()
    ));
    let connect = |database: &str| login(&server, database);
    let check = libraries(&connect);
    assert_ok(
        &check,
        "1 of 2 extensions is not installed on this host; 2 of 3 libraries cannot be loaded",
    );
    let found: Vec<&str> = check.findings.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(
        found[0],
        "extension \"postgis\" 3.4.2 of database \"postgres\" is not installed on this host: after a real restore, what \
         uses it fails until the package that has it for PostgreSQL 18 is installed"
    );
    let words = "functions of database \"postgres\" are in the library \"$libdir/nowhere\", which cannot be loaded on \
                 this host: could not load the library: ERROR: could not access file \"$libdir/nowhere\": No such file";
    assert!(found.iter().any(|found| found.starts_with(words)), "{found:#?}");
    assert!(found.iter().any(|found| found.contains("broken.so\": ")), "{found:#?}");
    assert_eq!(found.len(), 3, "{found:#?}");
}

#[test]
fn collations_of_another_version_are_findings_with_their_remedy() {
    let server = Real::builder().major(18).start();
    server.execute("create database \"My Shop\" locale_provider builtin builtin_locale 'C.UTF-8' template template0");
    server.execute(
        "create collation german (provider = icu, locale = 'de'); create collation unused (provider = icu, locale = 'fr');
         create table t (a text collate german); create index \"by A\" on t (a);
         update pg_collation set collversion = '1.0' where collname in ('german', 'unused');
         update pg_database set datcollversion = '0' where datname = 'My Shop'",
    );
    let connect = |database: &str| login(&server, database);
    let check = collations(&connect);
    assert_ok(
        &check,
        "the default collation of 1 database and 1 collation that indexes use have another version on this host; so \
         does 1 collation that no index uses",
    );
    let [database, collation] = check.findings.as_slice() else { panic!("{check:#?}") };
    assert_eq!(
        database.message,
        "the default collation of database \"My Shop\" was version 0 and is 1 on this host: indexes on text may be out \
         of order"
    );
    assert_eq!(
        database.sql,
        ["REINDEX DATABASE \"My Shop\";", "ALTER DATABASE \"My Shop\" REFRESH COLLATION VERSION;"]
    );
    let words = "collation public.german of database \"postgres\" was version 1.0 and is ";
    assert!(collation.message.starts_with(words), "{}", collation.message);
    let words = " on this host: these indexes may be out of order: public.\"by A\"";
    assert!(collation.message.ends_with(words), "{}", collation.message);
    assert_eq!(
        collation.sql,
        ["REINDEX INDEX public.\"by A\";", "ALTER COLLATION public.german REFRESH VERSION;"]
    );
    for statement in collation.sql.iter().chain(&database.sql[1..]) {
        server.execute(statement);
    }
    assert_eq!(collations(&connect).findings.len(), 0);
}

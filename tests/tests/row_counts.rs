//! `backup_stop` counts the rows that every restore must have: under write load none of them is missing from a restore,
//! and what cannot be counted does not touch the backup.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use backstay_tests::place::User;
use backstay_tests::scene::{Scene, merged, read_json, session};
use backstay_tests::{
    Ansible, Backup, Core, Destination, Login, Server, Writer, wait_until, writer::parse_lsn,
};
use serde_json::{Value, json};

/// Orders come, change and go, some of them in savepoints and some in transactions that are rolled back.
struct Churn {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Churn {
    fn of(server: &Server) -> Self {
        server.execute(
            "create table orders (id bigserial primary key, created timestamptz default clock_timestamp(), state int);
             insert into orders (state) select 0 from generate_series(1, 20000);
             create table nothing ();
             create unlogged table scratch as select 1 as a;
             create schema \"My Shop\";
             create table \"My Shop\".\"it's\" as select g as a from generate_series(1, 10) g",
        );
        let stop = Arc::new(AtomicBool::new(false));
        let work = |number: usize| {
            let (mut client, stop) = (server.connect(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let sql = format!(
                        "begin; insert into orders (state) values ({number});
                         savepoint a; insert into orders (state) select 1 from generate_series(1, 5);
                         delete from orders where id in (select id from orders order by id limit 3 offset {} for update skip locked);
                         savepoint b; delete from orders where id in (select id from orders where id % 1000 = {number} for update skip locked); rollback to b;
                         update orders set state = state + 1 where id in (select id from orders order by id desc limit 5 for update skip locked);
                         {}",
                        number * 50,
                        if number == 0 { "rollback" } else { "commit" }
                    );
                    client.batch_execute(&sql).expect("the churn goes on");
                }
            })
        };
        let workers = (0..3).map(work).collect();
        Self { stop, workers }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().expect("the churn met no error");
        }
    }
}

/// What was counted in a table of the database `postgres`.
fn counted(counts: &Value, schema: &str, name: &str) -> Option<(u64, u64)> {
    let databases = counts["databases"].as_array()?;
    let database = databases.iter().find(|database| database["name"] == json!("postgres"))?;
    let tables = database["tables"].as_array()?;
    let table = tables
        .iter()
        .find(|table| table["schema"] == json!(schema) && table["name"] == json!(name))?;
    Some((table["rows"].as_u64()?, table["at_least"].as_u64()?))
}

fn number(server: &Server, sql: &str) -> u64 {
    server.query(sql).parse().unwrap_or_else(|_| panic!("\"{sql}\" gives no number"))
}

/// Every restore has what was counted; what had been committed before the task is counted.
fn under_load(major: u32) {
    let server = Server::builder().major(major).start();
    let backup = Backup::of(&server, Login::Socket, &User::current());
    let ansible = Ansible::local(Core::Newest);
    let (writer, churn) = (Writer::start(&server, 2), Churn::of(&server));
    writer.wait_for(50);
    server.execute("create database empty");
    let options = json!({
        "row_counts": "exact",
        "freshness": [
            {"database": "postgres", "table": "orders", "column": "created"},
            {"database": "postgres", "table": "ledger", "column": "id"},
        ],
    });
    let _ = ansible.tasks(&json!([backup.start(&json!({"backup_id": "b"}))])).ok();
    let id = session("b");
    let _ = ansible.tasks(&json!([backup.snapshot(&id)])).ok();
    let before = server.query("select pg_current_wal_insert_lsn()");
    let stop = backup.stop(&merged(&merged(backup.login(), &options), &id));
    let stop = ansible.tasks(&json!([stop])).ok();
    let fetch = ansible.tasks(&json!([backup.fetch(&id)])).ok();
    assert_eq!(fetch.task("wal_fetch").text("state"), "complete");
    writer.wait_for(20);
    churn.end();
    let ledger = writer.stop();

    let reply = &stop.task("backup_stop").result;
    let said = &reply["row_counts"];
    assert_eq!(said["not_counted"], json!([]), "{reply:#}");
    assert_eq!(reply.get("warnings"), None, "{reply:#}");
    let counts = read_json(said["path"].as_str().expect("a path").as_ref());
    assert_eq!(counts["databases"].as_array().map(Vec::len), Some(1), "{counts:#}");
    assert_eq!(counted(&counts, "My Shop", "it's"), Some((10, 10)), "{counts:#}");
    assert_eq!(counted(&counts, "public", "nothing"), Some((0, 0)), "{counts:#}");
    assert_eq!(counted(&counts, "public", "scratch"), None, "{counts:#}");
    let (_, held) = counted(&counts, "public", "ledger").expect("the ledger is counted");
    let sure = ledger.committed_before(parse_lsn(&before)).len();
    assert!(held >= sure as u64, "{held} counted, {sure} were committed before the task");
    let from = counts["from"]["lsn"].as_str().expect("an LSN");
    assert!(parse_lsn(from) <= parse_lsn(stop.task("backup_stop").text("stop_lsn")));

    let restore = |destination: &Destination| {
        let owner = json!({"owner": User::of_servers().name});
        let _ = ansible.tasks(&json!([backup.restore(&server, destination, &owner)])).ok();
    };
    assert_has(&restored(major, &restore), &counts);
}

/// What `restore` restores, running.
fn restored(major: u32, restore: &dyn Fn(&Destination)) -> Server {
    let destination = Destination::new(&User::of_servers(), None);
    restore(&destination);
    let mut restored = Server::adopt(major, destination);
    restored.announce_log("the database system is");
    restored
}

/// The restored server has what was counted.
fn assert_has(restored: &Server, counts: &Value) {
    for (schema, table) in
        [("public", "ledger"), ("public", "accounts"), ("public", "orders"), ("My Shop", "it's")]
    {
        let (rows, at_least) = counted(counts, schema, table).expect("counted");
        let there = number(restored, &format!("select count(*) from \"{schema}\".\"{table}\""));
        assert!(there >= at_least, "{table}: {there} rows of at least {at_least} (of {rows})");
    }
    // and not only because little was counted
    let (_, orders) = counted(counts, "public", "orders").expect("counted");
    assert!(orders > 10_000, "only {orders} orders count");
    for newest in counts["databases"][0]["newest"].as_array().expect("a list") {
        let word = |key: &str| newest[key].as_str().unwrap_or_else(|| panic!("{newest:#}"));
        let sql = format!(
            "select max({}) >= '{}'::{} from {}",
            word("column"),
            word("value"),
            word("type"),
            word("table")
        );
        assert_eq!(restored.query(&sql), "t", "{newest:#}");
    }
}

#[test]
fn every_restore_has_what_was_counted_under_load_15() {
    under_load(15);
}

#[test]
fn every_restore_has_what_was_counted_under_load_18() {
    under_load(18);
}

#[test]
fn what_cannot_be_counted_is_a_warning_and_the_backup_is_good() {
    let mut scene = Scene::of(17);
    scene.server.execute(
        "create table locked (a int); insert into locked values (1); create table open (a int, t text);
         insert into open values (1, 'x'); create role counter login replication; create table secret (a int);
         grant select on locked, open to counter; grant pg_read_all_settings, pg_read_all_stats to counter",
    );
    scene.server.execute("create database closed");
    scene.server.execute("revoke connect on database closed from public");
    scene.server.announce_log("canceling statement due to lock timeout");
    scene.server.announce_log("permission denied for database \"closed\"");
    let _ = scene.start("b", &json!({}));
    let _ = scene.ask(&scene.snapshot_by("b", "true")).ok();
    let mut holder = scene.server.connect();
    holder.batch_execute("begin; lock table locked").expect("a lock");
    let login = merged(scene.backup.login(), &json!({"login_user": "counter"}));
    let options = json!({
        "row_counts": "exact",
        "freshness": [
            {"database": "postgres", "table": "open", "column": "t"},
            {"database": "postgres", "table": "no_such", "column": "t"},
            {"database": "nowhere", "table": "no_such", "column": "t"},
        ],
    });
    let stop = scene.backup.stop(&merged(&merged(&login, &options), &session("b")));
    let stopped = scene.ask(&stop).ok();
    holder.batch_execute("rollback").expect("the lock is given back");
    let said = &stopped.result["row_counts"];
    assert_eq!((&said["tables"], &said["rows"]), (&json!(1), &json!(1)), "{said:#}");
    let reasons = stopped.result["warnings"].to_string();
    for (what, reason) in [
        ("postgres.public.locked", "canceling statement due to lock timeout"),
        ("postgres.public.secret", "the role may not read it"),
        ("postgres.public.open", "column \\\"t\\\" is not there, or is no time, date or number"),
        ("postgres.public.no_such", "there is no such table that holds rows itself"),
        ("closed", "permission denied for database"),
        ("nowhere", "there is no such database"),
    ] {
        let left = said["not_counted"].as_array().expect("a list");
        assert!(left.iter().any(|left| left["what"] == json!(what)), "{what}: {said:#}");
        assert!(reasons.contains(reason), "\"{reason}\" is not in {reasons}");
    }
    // asked again, it says the same and counts nothing
    let again = scene.ask(&stop).ok();
    assert_eq!(again.result["row_counts"], *said);
    assert_eq!(again.result["changed"], json!(false));
    let fetched = scene.ask(&scene.backup.fetch(&session("b"))).ok();
    assert_eq!(fetched.word("state"), "complete");
    let named = scene.manifest("b")["files"].to_string();
    assert!(named.contains("row_counts.json"), "{named}");
}

#[test]
fn a_login_that_leads_elsewhere_stops_the_backup_all_the_same() {
    let scene = Scene::of(16);
    let other = Server::builder().major(16).start();
    let _ = scene.start("b", &json!({}));
    let elsewhere = json!({
        "login_unix_socket": other.socket_directory(), "login_port": other.port(), "login_user": "postgres",
        "row_counts": "exact",
    });
    let stopped = scene.ask(&scene.backup.stop(&merged(&elsewhere, &session("b")))).ok();
    assert_eq!(stopped.word("state"), "stopped");
    assert_eq!(stopped.result["row_counts"], json!(null));
    let warning = stopped.result["warnings"].to_string();
    assert!(
        warning.contains("rows cannot be counted, the backup is stopped without: the login options lead to the database cluster"),
        "{warning}"
    );
    // once it is stopped it is too late to look
    let right =
        merged(&merged(scene.backup.login(), &json!({"row_counts": "exact"})), &session("b"));
    let again = scene.ask(&scene.backup.stop(&right)).ok();
    let warning = again.result["warnings"].to_string();
    assert!(
        warning.contains(
            "rows were not counted: the server was not looked at before the backup stopped"
        ),
        "{warning}"
    );
}

#[test]
fn a_standby_is_counted_as_well() {
    let primary = Server::builder().major(18).start();
    let writer = Writer::start(&primary, 2);
    let standby = Server::builder().standby_of(&primary).start();
    wait_until("the standby has the writer's tables", Duration::from_secs(30), || {
        standby.says_true("select count(*) > 0 from accounts")
    });
    let scene = Scene::around(standby);
    let _ = scene.start("b", &json!({}));
    let _ = scene.ask(&scene.snapshot_by("b", "true")).ok();
    let options =
        merged(&merged(scene.backup.login(), &json!({"row_counts": "exact"})), &session("b"));
    let stopped = scene.ask(&scene.backup.stop(&options)).ok();
    let _ = writer.stop();
    let counts = read_json(stopped.result["row_counts"]["path"].as_str().expect("a path").as_ref());
    let (rows, at_least) = counted(&counts, "public", "accounts").expect("counted");
    // all of them are changed all the time, but a row that is changed is not a row less
    assert_eq!(rows, 2000);
    assert!(at_least > 0 && at_least <= 2000, "{at_least}");
    let until = counts["databases"][0]["until_lsn"].as_str().expect("an LSN");
    assert!(parse_lsn(counts["from"]["lsn"].as_str().expect("an LSN")) <= parse_lsn(until));
}

//! A writer that remembers what was committed, in the way of `pgbench`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::Client;

use crate::server::Server;
use crate::wait::wait_until;

/// How many accounts the transactions move balances between.
const ACCOUNTS: u64 = 2000;

/// Concurrent transactions until [`Writer::stop`].
#[derive(Debug)]
pub struct Writer {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    tables: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    committed: Mutex<Vec<Committed>>,
    errors: Mutex<Vec<String>>,
}

/// One transaction whose commit was confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// Its row in every table of the ledger.
    pub id: u64,
    /// Where WAL was, as the same session read it after the commit: not before
    /// the end of the commit record.
    pub lsn: u64,
}

impl Writer {
    /// Starts `connections` writers on `server`, a primary. Each transaction
    /// puts a row into a table of every tablespace and moves a balance.
    ///
    /// # Panics
    ///
    /// When the tables cannot be made.
    #[must_use]
    pub fn start(server: &Server, connections: usize) -> Self {
        Self::by(&|| server.connect(), server.tablespaces().len(), connections)
    }

    /// The same for a server that `connect` leads to, with so many tablespaces
    /// `ts1`, `ts2`, …
    ///
    /// # Panics
    ///
    /// When the tables cannot be made.
    #[must_use]
    pub fn by(connect: &dyn Fn() -> Client, tablespaces: usize, connections: usize) -> Self {
        let mut tables = vec!["ledger".to_owned()];
        let mut sql = "create table ledger (id bigint primary key, payload text);\
            create table accounts (id int primary key, balance bigint, filler text);"
            .to_owned();
        for number in 1..=tablespaces {
            tables.push(format!("ledger_{number}"));
            sql += &format!(
                "create table ledger_{number} (id bigint, payload text, primary key (id) using index tablespace ts{number}) tablespace ts{number};"
            );
        }
        sql += &format!(
            "insert into accounts select g, 0, repeat('x', 200) from generate_series(0, {}) g",
            ACCOUNTS - 1
        );
        connect().batch_execute(&sql).unwrap_or_else(|e| panic!("\"{sql}\" failed: {e:?}"));
        let shared = Arc::new(Shared::default());
        let workers = (0..connections).map(|_| {
            let (client, shared, tables) = (connect(), Arc::clone(&shared), tables.clone());
            std::thread::spawn(move || work(client, &shared, &tables))
        });
        Self { workers: workers.collect(), shared: Arc::clone(&shared), tables }
    }

    /// How many transactions are committed so far.
    #[must_use]
    pub fn committed(&self) -> usize {
        lock(&self.shared.committed).len()
    }

    /// Waits until `more` further transactions are committed.
    pub fn wait_for(&self, more: usize) {
        let goal = self.committed() + more;
        wait_until("the writer has committed", Duration::from_secs(60), || {
            self.committed() >= goal
        });
    }

    /// Stops it.
    ///
    /// # Panics
    ///
    /// When a transaction failed: a backup must not disturb anybody.
    #[must_use]
    pub fn stop(self) -> Ledger {
        let (ledger, errors) = self.stop_whatever_happened();
        assert!(errors.is_empty(), "the writer met errors:\n{}", errors.join("\n"));
        ledger
    }

    /// Stops it, and gives the errors that ended its sessions.
    #[must_use]
    pub fn stop_whatever_happened(mut self) -> (Ledger, Vec<String>) {
        self.end();
        let committed = lock(&self.shared.committed).clone();
        let errors = lock(&self.shared.errors).clone();
        (Ledger { committed, tables: self.tables.clone() }, errors)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work(mut client: Client, shared: &Shared, tables: &[String]) {
    while !shared.stop.load(Ordering::Relaxed) {
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        match transaction(&mut client, id, tables) {
            Ok(lsn) => lock(&shared.committed).push(Committed { id, lsn }),
            Err(error) => {
                lock(&shared.errors).push(format!("transaction {id}: {error:?}"));
                return;
            }
        }
    }
}

fn transaction(client: &mut Client, id: u64, tables: &[String]) -> Result<u64, postgres::Error> {
    let mut sql = "begin;".to_owned();
    for table in tables {
        sql += &format!("insert into {table} values ({id}, md5('{id}'));");
    }
    let (from, to) = (id * 7919 % ACCOUNTS, id * 104_729 % ACCOUNTS);
    let (first, second) = (from.min(to), from.max(to));
    sql += &format!("update accounts set balance = balance - 1 where id = {first};");
    sql += &format!("update accounts set balance = balance + 1 where id = {second};commit;");
    client.batch_execute(&sql)?;
    let row = client.query_one("select pg_current_wal_lsn()::text", &[])?;
    Ok(parse_lsn(row.get(0)))
}

/// `0/3000028` as a number.
///
/// # Panics
///
/// When `text` is no LSN.
#[track_caller]
#[must_use]
pub fn parse_lsn(text: &str) -> u64 {
    let halves = text
        .split_once('/')
        .map(|(high, low)| (u64::from_str_radix(high, 16), u64::from_str_radix(low, 16)));
    let Some((Ok(high), Ok(low))) = halves else { panic!("\"{text}\" is not an LSN") };
    high << 32 | low
}

/// What was committed.
#[derive(Debug)]
pub struct Ledger {
    committed: Vec<Committed>,
    tables: Vec<String>,
}

impl Ledger {
    /// How many transactions it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// Whether nothing was committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// The ids of the transactions committed at or before `lsn`.
    #[must_use]
    pub fn committed_before(&self, lsn: u64) -> Vec<u64> {
        self.committed.iter().filter(|c| c.lsn <= lsn).map(|c| c.id).collect()
    }

    /// Fails unless `restored` holds, in every table, each transaction committed
    /// before `stop_lsn`, nothing that was never written, and no half of a
    /// transaction. Gives the number of transactions that had to be there.
    ///
    /// # Panics
    ///
    /// With what is missing or wrong.
    #[track_caller]
    pub fn assert_all_in(&self, restored: &Server, stop_lsn: &str) -> usize {
        let wanted = self.committed_before(parse_lsn(stop_lsn));
        let mut sets = Vec::new();
        for table in &self.tables {
            let found = restored.query(&format!("select id from {table} order by id"));
            let ids: std::collections::BTreeSet<u64> =
                found.lines().filter_map(|id| id.parse().ok()).collect();
            let missing: Vec<_> = wanted.iter().filter(|id| !ids.contains(id)).take(10).collect();
            assert!(
                missing.is_empty(),
                "{table}: committed before {stop_lsn} but not restored: {missing:?} …, {} rows there",
                ids.len()
            );
            let counted = restored.query(&format!(
                "select count(*), count(*) filter (where payload <> md5(id::text)) from {table}"
            ));
            assert_eq!(
                counted,
                format!("{}|0", ids.len()),
                "{table}: rows by index and by heap, rows with a wrong payload"
            );
            sets.push(ids);
        }
        if let [first, others @ ..] = sets.as_slice() {
            assert!(
                others.iter().all(|o| o == first),
                "half of a transaction was restored: {sets:?}"
            );
        }
        let sum = restored.query("select sum(balance), count(*) from accounts");
        assert_eq!(sum, format!("0|{ACCOUNTS}"), "balances moved, none made or lost");
        wanted.len()
    }
}

//! What people do by hand to see whether a backup restores: both tar files of `pg_basebackup` unpacked into fresh
//! directories, the configuration edited, a start, a look into the log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use backstay_tests::Server;
use backstay_tests::command::{run, signal, tied};
use backstay_tests::place::User;
use nix::sys::signal::Signal;

use crate::sample::milliseconds;

/// How often the log is looked at. Both sides wait in such steps.
const INTERVAL: Duration = Duration::from_millis(5);
/// A loop device on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// From fresh directories to files that can be started. `$1`: the tar files, `$2`: the directory.
const UNPACK: &str = r#"
mkdir -m 0700 "$2/data" "$2/wal"
tar xzf "$1/base.tar.gz" -C "$2/data"
tar xzf "$1/pg_wal.tar.gz" -C "$2/wal""#;

/// The same settings are given up as in the files that we start, so that a server is no slower for want of them.
const EDIT: &str = r#"
sed -i -e 's/^shared_buffers/#&/' -e 's/^archive_mode/#&/' "$2/data/postgresql.conf"
cat >> "$2/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$2'
shared_buffers = 128MB
archive_mode = off
autovacuum = off
hot_standby = off
full_page_writes = off
huge_pages = off
restore_command = 'cp "$2/wal/%f" "%p"'
END
touch "$2/data/recovery.signal""#;

/// A server's files, brought to a directory by hand.
pub(crate) struct ByHand<'a> {
    source: &'a Server,
    directory: PathBuf,
}

impl<'a> ByHand<'a> {
    /// Beside others, in an empty directory of the server's user.
    pub(crate) fn new(source: &'a Server, parent: &Path) -> Self {
        let directory = parent.join("by hand");
        source.user().make_directory(&directory);
        Self { source, directory }
    }

    /// Seconds from the tar files in `tar` to the consistent state. Nothing is left.
    pub(crate) fn tar(&self, tar: &Path) -> f64 {
        let unpacked = milliseconds(|| self.shell(&format!("{UNPACK}{EDIT}"), tar));
        let (consistent, server) = self.start_until("consistent recovery state reached");
        end(server);
        let _ = self.remove();
        unpacked / 1000.0 + consistent
    }

    /// Seconds that a server takes on a copy of `plain`, which shares its blocks, from its start until it lets sessions
    /// in; and seconds that it takes to remove that copy then.
    pub(crate) fn clone_of(&self, plain: &Path) -> (f64, f64) {
        let clone = r#"
cp -a --reflink=always "$1" "$2/data"
mkdir "$2/wal""#;
        self.shell(&format!("{clone}{EDIT}"), plain);
        let (ready, server) = self.start_until("database system is ready to accept connections");
        end(server);
        (ready, self.remove())
    }

    fn shell(&self, script: &str, from: &Path) {
        let mut shell = tied("sh", self.user());
        run(shell.args(["-ec", script, "sh"]).arg(from).arg(&self.directory));
    }

    /// Starts the server; seconds until its log has the words.
    fn start_until(&self, words: &str) -> (f64, Child) {
        let path = self.directory.join("log");
        let log = File::create(&path).expect("a file in an own directory");
        let mut postgres = tied(self.source.bin().join("postgres"), self.user());
        postgres.arg("-D").arg(self.directory.join("data"));
        postgres.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let start = Instant::now();
        let server = postgres.spawn().expect("setpriv can be started");
        wait_for(words, &path);
        (start.elapsed().as_secs_f64(), server)
    }

    /// Removes everything again; how many seconds that took.
    fn remove(&self) -> f64 {
        milliseconds(|| {
            run(tied("sh", self.user()).args(["-ec", "rm -rf \"$1\"/*", "sh"]).arg(&self.directory))
        }) / 1000.0
    }

    fn user(&self) -> &User {
        self.source.user()
    }
}

fn end(mut server: Child) {
    signal(server.id(), Signal::SIGQUIT);
    let _ = server.wait();
}

/// Waits until the log at `path` has the words.
fn wait_for(words: &str, path: &Path) {
    let start = Instant::now();
    loop {
        let said = fs::read_to_string(path).unwrap_or_default();
        if said.contains(words) {
            return;
        }
        let lost = said.contains("FATAL:") || start.elapsed() > PATIENCE;
        assert!(!lost, "never \"{words}\":\n{said}");
        std::thread::sleep(INTERVAL);
    }
}

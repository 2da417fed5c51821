//! A real server, and what `pg_basebackup` makes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use basebackup::{
    CheckPlain, Checked, Format, Manifest, TarBackup, Unpack, Unpacked, check_plain, unpack,
};
use nix::unistd::{User, getegid, geteuid};
use program::{Output, Program};

/// How many rows each of its two tables has.
pub(crate) const ROWS: &str = "20000";

/// A running server with a tablespace, and a directory for backups of it. Stopped and removed when dropped.
pub(crate) struct Server {
    bin: PathBuf,
    pub(crate) owner: (u32, u32),
    place: tempfile::TempDir,
    running: Vec<PathBuf>,
}

impl Server {
    /// A server of this major with a table in the data directory and one in a tablespace.
    pub(crate) fn new(major: u32) -> Self {
        let bin = cache().join("postgresql").join(major.to_string()).join("bin");
        assert!(bin.join("postgres").exists(), "no {}: run make setup", bin.display());
        let place = tempfile::Builder::new().prefix("bb-").tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let owner = owner();
        chown(place.path(), Some(owner.0), Some(owner.1)).unwrap();
        let mut server = Self { bin, owner, place, running: Vec::new() };
        let data = server.directory("data");
        server.run("initdb", &["-U", "postgres", "-A", "trust", "--no-sync", "-D", text(&data)]);
        let settings =
            "listen_addresses = ''\nfsync = off\nshared_buffers = 16MB\nautovacuum = off\n";
        let conf = data.join("postgresql.conf");
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + settings).unwrap();
        let socket = server.start(&data);
        let location = server.directory("ts");
        let rows = format!("select i, md5(i::text) from generate_series(1, {ROWS}) i");
        server.sql(&socket, &format!("create tablespace ts location '{}'", location.display()));
        server.sql(&socket, &format!("create table t as {rows}"));
        server.sql(&socket, &format!("create table in_ts tablespace ts as {rows}"));
        server
    }

    /// The path of this name in the server's place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A new directory that belongs to the server's user.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(self.owner.0), Some(self.owner.1)).unwrap();
        path
    }

    /// Starts a server on a data directory; returns the directory of its socket.
    pub(crate) fn start(&mut self, data: &Path) -> PathBuf {
        let socket = self.directory(&format!("socket{}", self.running.len()));
        let options = format!("-c unix_socket_directories={}", socket.display());
        let log = self.path(&format!("log{}", self.running.len()));
        fs::write(&log, "").unwrap();
        chown(&log, Some(self.owner.0), Some(self.owner.1)).unwrap();
        self.running.push(data.to_path_buf());
        let arguments = ["-D", text(data), "-w", "-l", text(&log), "-o", &options, "start"];
        let started = self.program("pg_ctl", &arguments).run();
        assert!(started.is_ok(), "{started:?}: {}", fs::read_to_string(&log).unwrap());
        socket
    }

    /// Runs a statement; returns what `psql -qAt` prints.
    pub(crate) fn sql(&self, socket: &Path, statement: &str) -> String {
        let arguments = ["-X", "-qAt", "-h", text(socket), "-U", "postgres", "-c", statement];
        let output = self.run("psql", &arguments);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Takes a base backup of the first server into the directory `name`.
    pub(crate) fn backup(&self, name: &str, arguments: &[&str]) -> PathBuf {
        self.backup_of(&self.path("socket0"), name, arguments)
    }

    /// Takes a base backup of the server with this socket.
    pub(crate) fn backup_of(&self, socket: &Path, name: &str, arguments: &[&str]) -> PathBuf {
        let to = self.path(name);
        let mut all = vec!["-h", text(socket), "-U", "postgres", "-c", "fast", "--no-sync"];
        all.extend(["-D", text(&to)]);
        all.extend(arguments);
        self.run("pg_basebackup", &all);
        to
    }

    /// A plain backup, its tablespace moved.
    pub(crate) fn plain_backup(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let (old, new) = (self.path("ts"), self.path(&format!("{name}-ts")));
        let moved = format!("--tablespace-mapping={}={}", old.display(), new.display());
        self.backup(name, &[&[moved.as_str()], arguments].concat())
    }

    /// Unpacks the archives in `from` into the new directory `name`, tablespaces beside it, as the server's user.
    pub(crate) fn unpack(&self, from: &Path, name: &str) -> Unpacked {
        let tar = tar(from);
        let manifest = tar.manifest.as_deref().map(|path| Manifest::read(path).unwrap());
        self.unpack_with(&tar, manifest.as_ref(), name)
    }

    pub(crate) fn unpack_with(
        &self,
        tar: &TarBackup,
        manifest: Option<&Manifest>,
        name: &str,
    ) -> Unpacked {
        let tablespace = |oid| self.path(&format!("{name}-{oid}"));
        let to = Unpack {
            data: self.path(name),
            tablespace: &tablespace,
            owner: geteuid().is_root().then_some(self.owner),
            jobs: 2,
        };
        unpack(tar, &to, manifest, &|| false).unwrap()
    }

    /// What PostgreSQL's own program says of a plain backup.
    pub(crate) fn verify(&self, data: &Path, manifest: &Path) {
        let arguments = ["-n", "-m", text(manifest), text(data)];
        let output = self.run("pg_verifybackup", &arguments);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "backup successfully verified\n");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.program(program, arguments).run().unwrap_or_else(|error| {
            panic!("{program} {arguments:?}: {error}: {:?}", std::error::Error::source(&error))
        })
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Program {
        let program = Program::new(self.bin.join(program))
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .deadline(Duration::from_secs(120));
        if geteuid().is_root() { program.as_user(self.owner.0, self.owner.1) } else { program }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for data in self.running.iter().rev() {
            let _ = self.program("pg_ctl", &["-D", text(data), "-m", "immediate", "stop"]).run();
        }
    }
}

/// The archives in a directory.
pub(crate) fn tar(from: &Path) -> TarBackup {
    match Format::detect(from).unwrap() {
        Format::Tar(tar) => tar,
        Format::Plain(_) => panic!("{} is plain", from.display()),
    }
}

/// Checks the plain backup in a directory.
pub(crate) fn check(data: &Path) -> Checked {
    let Format::Plain(plain) = Format::detect(data).unwrap() else { panic!("no plain backup") };
    let manifest = Manifest::read(&plain.manifest.unwrap()).unwrap();
    let check = CheckPlain { data, tablespace: &|_| None, jobs: 2 };
    check_plain(&check, &manifest, &|| false).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whom servers run as: PostgreSQL refuses root. `tests/setup/tools` makes the user.
fn owner() -> (u32, u32) {
    if !geteuid().is_root() {
        return (geteuid().as_raw(), getegid().as_raw());
    }
    let user = User::from_name("backstay-test").unwrap();
    let user = user.unwrap_or_else(|| panic!("no user \"backstay-test\": run make setup"));
    (user.uid.as_raw(), user.gid.as_raw())
}

/// Where `make setup` puts servers.
fn cache() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/setup/cache-directory");
    let given = ["BACKSTAY_CACHE", "XDG_CACHE_HOME", "HOME"];
    let given = given.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let program =
        given.fold(Program::new(script), |program, (name, value)| program.env(name, value));
    PathBuf::from(String::from_utf8(program.run().unwrap().stdout).unwrap().trim())
}

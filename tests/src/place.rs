//! Where tests keep their files, whom they run servers as, which ports they use.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Uid;

/// The operating-system user whom servers belong to. `tests/setup/tools` makes it.
pub const SERVER_USER: &str = "backstay-test";
/// The operating-system user whom ssh logs in as. `tests/setup/tools` makes it.
pub const LOGIN_USER: &str = "backstay-login";

/// An operating-system user.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
}

impl User {
    /// The user of that name.
    ///
    /// # Panics
    ///
    /// When there is none, saying what makes it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = nix::unistd::User::from_name(name).ok().flatten();
        let user = found.unwrap_or_else(|| panic!("no user \"{name}\": run tests/setup/tools"));
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw(), home: user.dir }
    }

    /// The user this test runs as.
    ///
    /// # Panics
    ///
    /// When the user database has no such user.
    #[must_use]
    pub fn current() -> Self {
        let found = nix::unistd::User::from_uid(Uid::effective()).ok().flatten();
        Self::named(&found.expect("this process's user is not in the user database").name)
    }

    /// Whom servers run as: PostgreSQL refuses root, so root uses [`SERVER_USER`].
    #[must_use]
    pub fn of_servers() -> Self {
        if Uid::effective().is_root() { Self::named(SERVER_USER) } else { Self::current() }
    }

    /// Whether that is somebody else than this process.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.uid != Uid::effective().as_raw()
    }

    /// Gives `path` to this user.
    ///
    /// # Panics
    ///
    /// When that is not possible.
    pub fn give(&self, path: &Path) {
        if self.is_other() {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).unwrap_or_else(|e| {
                panic!("could not give {} to {}: {e}", path.display(), self.name)
            });
        }
    }

    /// A new directory of this user's, mode 0700, with all above it.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn make_directory(&self, path: &Path) {
        fs::create_dir_all(path)
            .unwrap_or_else(|e| panic!("could not make {}: {e}", path.display()));
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .expect("chmod of an own directory");
        self.give(path);
    }
}

/// A temporary directory that other users can pass through, removed on drop
/// (kept when `BACKSTAY_KEEP` is set). Its path is short, for sockets in it.
#[derive(Debug)]
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A new one under `TMPDIR`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let keep = std::env::var_os("BACKSTAY_KEEP").is_some();
        // tests/setup/sweep knows by the process id which ones nobody removed
        let prefix =
            if keep { "bt-kept-".to_owned() } else { format!("bt-{}-", std::process::id()) };
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .disable_cleanup(keep)
            .tempdir()
            .unwrap_or_else(|e| panic!("could not make a temporary directory: {e}"));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .expect("chmod of an own directory");
        Self { directory }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// The checkout.
#[must_use]
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Where downloads and environments are kept: what `tests/setup/cache-directory` says.
///
/// # Panics
///
/// When that script fails.
#[must_use]
pub fn cache() -> PathBuf {
    let script = project().join("tests/setup/cache-directory");
    let output = crate::command::run(&mut std::process::Command::new(script));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// A TCP port on 127.0.0.1 that no other test process uses while this value
/// lives, below the range the kernel gives out by itself.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// A free one.
    ///
    /// # Panics
    ///
    /// When none is free.
    #[must_use]
    pub fn free() -> Self {
        let locks = cache().join("ports");
        fs::create_dir_all(&locks).expect("the cache is writable");
        static TRIED: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1000 {
            // spread over the range, so that processes seldom meet
            let step = std::process::id().wrapping_mul(31) + TRIED.fetch_add(1, Ordering::Relaxed);
            let number = 23_000 + u16::try_from(step % 1000).expect("below 1000");
            let lock = File::create(locks.join(number.to_string())).expect("the cache is writable");
            if lock.try_lock().is_ok() && std::net::TcpListener::bind(("127.0.0.1", number)).is_ok()
            {
                return Self { number, _lock: lock };
            }
        }
        panic!("no port from 23000 to 23999 is free");
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A change of the machine that must not outlive the test: the shell commands
/// that take it back are on disk before the change is made.
#[derive(Debug)]
pub struct Undo {
    script: PathBuf,
}

impl Undo {
    /// Notes `commands`, which run on drop, or by `tests/setup/sweep` when this
    /// process is killed.
    ///
    /// # Panics
    ///
    /// When they cannot be noted.
    #[must_use]
    pub fn with(commands: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = cache().join("undo");
        fs::create_dir_all(&directory).expect("the cache is writable");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
            .expect("chmod of an own directory");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let script = directory.join(format!("{}-{number}", std::process::id()));
        fs::write(&script, commands).expect("the cache is writable");
        Self { script }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if std::process::Command::new("sh").arg(&self.script).status().is_ok_and(|s| s.success()) {
            let _ = fs::remove_file(&self.script);
        }
    }
}

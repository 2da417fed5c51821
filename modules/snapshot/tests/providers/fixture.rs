//! Directories that look like a database cluster, and filesystems to put them on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::Program;
use snapshot::{Role, Source, Sources};

/// Directories of a database cluster: data directory, WAL directory and the tablespace 16400.
pub(crate) struct Cluster {
    pub(crate) data: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) space: PathBuf,
}

impl Cluster {
    pub(crate) fn sources(&self) -> Sources {
        Sources::new(self.all())
    }

    /// The directories of it.
    pub(crate) fn all(&self) -> Vec<Source> {
        vec![
            Source::new(Role::DataDirectory, &self.data),
            Source::new(Role::Wal, &self.wal),
            Source::new(Role::Tablespace(16400), &self.space),
        ]
    }

    /// Makes one in three directories that are there already or can be made.
    pub(crate) fn make(data: PathBuf, wal: PathBuf, space: PathBuf) -> Self {
        for directory in
            ["base/1/pgsql_tmp", "base/5", "global", "pg_tblspc", "pg_xact", "pg_stat_tmp"]
        {
            fs::create_dir_all(data.join(directory)).unwrap();
        }
        fs::create_dir_all(wal.join("archive_status")).unwrap();
        fs::create_dir_all(space.join("PG_15_202209061/5")).unwrap();
        if wal != data.join("pg_wal") {
            symlink(&wal, data.join("pg_wal")).unwrap();
        }
        symlink(&space, data.join("pg_tblspc/16400")).unwrap();
        let cluster = Self { data, wal, space };
        cluster.fill();
        cluster
    }

    fn fill(&self) {
        for (name, content) in [
            ("PG_VERSION", "15\n"),
            ("global/pg_control", "control"),
            ("global/pg_internal.init", "cache"),
            ("base/1/1259", "a table"),
            ("base/1/pgsql_tmp/pgsql_tmp9.0", "temporary"),
            ("base/5/pg_internal.init.77", "cache"),
            ("pg_xact/0000", "commits"),
            ("pg_stat_tmp/global.stat", "statistics"),
            ("postgresql.conf", "port = 5432\n"),
            ("postmaster.pid", "1\n"),
            ("postmaster.opts", "postgres\n"),
            ("backup_label", "old"),
            ("tablespace_map", "old"),
        ] {
            fs::write(self.data.join(name), content).unwrap();
        }
        fs::write(self.data.join("base/5/2619"), vec![7; 3_000_000]).unwrap();
        fs::write(self.wal.join("000000010000000000000001"), "WAL").unwrap();
        fs::write(self.space.join("PG_15_202209061/5/16401"), "in a tablespace").unwrap();
        fs::create_dir(self.space.join("PG_13_202007201")).unwrap();
        fs::write(self.space.join("PG_13_202007201/x"), "of another server").unwrap();
    }
}

/// A database cluster in one directory, each part on its own.
pub(crate) fn cluster(top: &Path) -> Cluster {
    let top = fs::canonicalize(top).unwrap();
    Cluster::make(top.join("data"), top.join("wal"), top.join("space"))
}

/// A filesystem on an image, mounted until this is dropped.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    pub(crate) image: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mounted {
    /// A new filesystem of this type. `None`, after saying so, where `BACKSTAY_NO_MOUNTS=1` says that mounting is
    /// impossible; otherwise not being able to mount is a failure.
    pub(crate) fn new(fstype: &str) -> Option<Self> {
        if !mounts_wanted() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        // mkfs.xfs wants 300 MB; the file is sparse.
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        tool(&format!("mkfs.{fstype}"), &["-q".as_ref(), image.as_ref()]);
        Some(Self::mount(directory, &["-o", "loop"], image))
    }

    /// A tmpfs with room for this many bytes.
    pub(crate) fn tmpfs(bytes: u64) -> Option<Self> {
        if !mounts_wanted() {
            return None;
        }
        let options = format!("size={bytes},mode=0700");
        let directory = tempfile::tempdir().unwrap();
        Some(Self::mount(directory, &["-t", "tmpfs", "-o", &options], "tmpfs".into()))
    }

    pub(crate) fn mount(directory: tempfile::TempDir, options: &[&str], image: PathBuf) -> Self {
        let path = fs::canonicalize(directory.path()).unwrap().join("mounted");
        fs::create_dir(&path).unwrap();
        let mut args: Vec<&Path> = options.iter().map(Path::new).collect();
        args.extend([image.as_path(), path.as_path()]);
        tool("mount", &args);
        Self { path, image, _directory: directory }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool("umount", &["--lazy".as_ref(), self.path.as_path()]);
    }
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn mounts_wanted() -> bool {
    if std::env::var_os("BACKSTAY_NO_MOUNTS").is_some_and(|value| value == "1") {
        println!("skipped: BACKSTAY_NO_MOUNTS=1 says that nothing can be mounted here");
        return false;
    }
    true
}

/// Runs a tool that the test needs.
pub(crate) fn tool(name: &str, args: &[&Path]) {
    let result = Program::new(name).args(args).deadline(Duration::from_secs(60)).run();
    if let Err(error) = result {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        panic!(
            "this test needs root, loop devices and {name} (BACKSTAY_NO_MOUNTS=1 skips it): {error} {cause}"
        );
    }
}

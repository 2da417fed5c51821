//! An image of a small Debian or Ubuntu with PostgreSQL in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Docker;
use crate::command::run;
use crate::place::{Place, project};
use crate::server::bin_directory;

/// The user id that servers in containers have: nobody on this host has it.
pub const OWNER: u32 = 4999;

/// What the first process of a container does: a cluster where there is none,
/// then the server in its own place.
const SERVE: &str = r#"#!/bin/sh
set -e
export PATH=/usr/local/pgsql/bin:$PATH LC_ALL=C
data=/var/lib/pg/data
if [ ! -e "$data/PG_VERSION" ]; then
	initdb -D "$data" -U postgres -A trust --no-sync --locale=C.UTF-8 --encoding=UTF8 --data-checksums \
		$PG_INITDB >/dev/null
	printf '%s\n' "$PG_SETTINGS" >>"$data/postgresql.conf"
	printf '%s\n' "$PG_HBA" >"$data/pg_hba.conf"
	printf '%s\n' "$PG_SQL" | postgres --single -D "$data" postgres >/dev/null
fi
exec postgres -D "$data"
"#;

/// What [`add_server`] makes.
const ADDED: [&str; 6] =
    ["etc/passwd", "etc/group", "serve", "var/lib/pg", "run/postgresql", "srv/pg"];

/// The files of the distribution, made once by `tests/setup/container`.
#[must_use]
pub fn image_files() -> PathBuf {
    let made = run(&mut Command::new(project().join("tests/setup/container")));
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
}

impl Docker {
    /// Imports the image `postgresql:<major>`: the root file system of
    /// [`image_files`], PostgreSQL in `/usr/local/pgsql`, and what [`add_server`] adds.
    ///
    /// # Panics
    ///
    /// When it cannot be imported.
    #[must_use]
    pub fn import(&self, major: u32) -> String {
        let (name, added) = (format!("postgresql:{major}"), Place::new());
        let files = image_files();
        add_server(&files, added.path());
        let programs = bin_directory(major);
        let postgresql = programs.parent().expect("bin is in it");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--one-file-system", "--exclude=./usr/lib/systemd"]);
        // the engine takes no path twice
        tar.args(["--anchored", "--exclude=./etc/passwd", "--exclude=./etc/group"]);
        tar.arg("--directory").arg(&files).arg(".");
        tar.arg(format!("--transform=s,^{major}/,usr/local/pgsql/,S"));
        tar.arg("--directory").arg(postgresql.parent().expect("it is in the cache"));
        tar.arg(format!("{major}/")).arg("--directory").arg(added.path());
        tar.args(ADDED);
        let mut tar = tar.stdout(Stdio::piped()).spawn().expect("tar can be started");
        let archive = tar.stdout.take().expect("it is piped");
        run(self.command(&["import", "-", &name]).stdin(archive));
        assert!(tar.wait().expect("our own child").success(), "tar of the image failed");
        name
    }
}

/// Puts into `root` what makes the root file system `files` serve PostgreSQL:
/// `/serve`, the user, and the directories that are this user's own:
/// `/var/lib/pg`, `/run/postgresql`, `/srv/pg`.
pub(crate) fn add_server(files: &Path, root: &Path) {
    let write = |name: &str, text: &str, mode: u32| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("an own directory");
        fs::write(&path, text).expect("a file in the test's place");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("an own file");
    };
    for (name, line) in [
        ("etc/passwd", format!("postgres:x:{OWNER}:{OWNER}::/var/lib/pg:/bin/sh\n")),
        ("etc/group", format!("postgres:x:{OWNER}:\n")),
    ] {
        let before = fs::read_to_string(files.join(name)).expect("every system has it");
        write(name, &(before + &line), 0o644);
    }
    write("serve", SERVE, 0o755);
    for name in ["var/lib/pg", "run/postgresql", "srv/pg"] {
        fs::create_dir_all(root.join(name)).expect("an own directory");
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755))
            .expect("an own directory");
        chown(root.join(name), Some(OWNER), Some(OWNER)).expect("root may");
    }
}

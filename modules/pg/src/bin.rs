//! Finding the programs that belong to a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use program::Program;

use crate::MajorVersion;

/// A program only has to print its version in this time.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// The program `name` (`pg_waldump`, `postgres`, …) of the given major version.
///
/// Looked for, in this order: in `bin_dir`; beside the executable of the running server whose process is
/// `postmaster_pid` (which only root and the server's own user can see); where the packages of Debian and of
/// Red Hat put it; in the search path, if its `--version` names the major.
#[must_use]
pub fn find_server_program(
    name: &str,
    major: MajorVersion,
    bin_dir: Option<&Path>,
    postmaster_pid: Option<i32>,
) -> Option<PathBuf> {
    let packages = [
        PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
        PathBuf::from(format!("/usr/pgsql-{major}/bin")),
    ];
    bin_dir
        .map(Path::to_owned)
        .into_iter()
        .chain(postmaster_pid.and_then(directory_of_process))
        .chain(packages)
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
        .or_else(|| program::find(name, &[]).filter(|path| is_of(path, major)))
}

/// The directory of the executable a process runs. After an upgrade of the package the link's text ends with
/// " (deleted)", but the directory is still the right one.
fn directory_of_process(pid: i32) -> Option<PathBuf> {
    let executable = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    executable.parent().map(Path::to_owned)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|at| at.is_file() && at.permissions().mode() & 0o111 != 0)
}

/// Whether the program says it is of this major: `pg_waldump (PostgreSQL) 15.18 (Debian …)`.
fn is_of(path: &Path, major: MajorVersion) -> bool {
    let output = Program::new(path).arg("--version").deadline(VERSION_DEADLINE).run();
    output.is_ok_and(|output| major_in(&String::from_utf8_lossy(&output.stdout)) == Some(major))
}

fn major_in(version: &str) -> Option<MajorVersion> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn program_in(directory: &Path, name: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_given_directory_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = program_in(directory.path(), "pg_waldump", 0o755);
        let found =
            |name| find_server_program(name, MajorVersion::V15, Some(directory.path()), None);
        assert_eq!(found("pg_waldump"), Some(path));
        program_in(directory.path(), "no_program_of_postgresql", 0o644);
        assert_eq!(found("no_program_of_postgresql"), None);
    }

    #[test]
    fn then_the_running_servers() {
        let own = i32::try_from(std::process::id()).unwrap();
        let executable = std::env::current_exe().unwrap();
        let name = executable.file_name().unwrap().to_str().unwrap();
        let found = find_server_program(name, MajorVersion::V15, None, Some(own));
        assert_eq!(found, Some(executable.canonicalize().unwrap()));
        assert_eq!(directory_of_process(i32::MAX), None);
    }

    #[test]
    fn versions_as_programs_print_them() {
        let fifteen = "pg_waldump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(major_in(fifteen), Some(MajorVersion::V15));
        assert_eq!(major_in("postgres (PostgreSQL) 18beta1\n"), Some(MajorVersion::V18));
        assert_eq!(major_in("postgres (PostgreSQL) 12.22\n"), None);
        assert_eq!(major_in("ls (GNU coreutils) 9.1\n"), None);
    }
}

//! The file `postmaster.pid`: which process serves a data directory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::PgTypeError;
use crate::server_file::{self, ServerFileError};

/// What `postmaster.pid` in a data directory says. The server writes the lines one after another while it
/// starts, so those after the first may still be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostmasterPid {
    /// The server's main process. Also for a single-user server, whose number the file holds negated.
    pub pid: i32,
    /// When it started, in seconds since 1970.
    pub start_time: Option<i64>,
    /// Its port.
    pub port: Option<u16>,
    /// The first of the directories in which its socket is; `None` when it has none.
    pub socket_directory: Option<PathBuf>,
    /// Where it has got to: `starting`, `stopping`, `ready`, `standby`.
    pub status: Option<String>,
    data_directory: PathBuf,
}

impl PostmasterPid {
    /// Reads the file in this data directory; `None` when there is none, as after a clean shutdown.
    ///
    /// # Errors
    /// [`ServerFileError`]: unreadable, or not beginning with a process number.
    pub fn read(data_directory: &Path) -> Result<Option<Self>, ServerFileError> {
        let path = data_directory.join("postmaster.pid");
        let bytes = match server_file::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ServerFileError::Read { path, source }),
            Ok(bytes) => bytes,
        };
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(data_directory, &text)
            .map(Some)
            .map_err(|source| ServerFileError::Value { path, source })
    }

    fn parse(data_directory: &Path, text: &str) -> Result<Self, PgTypeError> {
        let line = |number: usize| text.lines().nth(number - 1).map(str::trim).unwrap_or_default();
        let pid = line(1).parse::<i32>().ok().and_then(i32::checked_abs).filter(|pid| *pid > 0);
        let pid = pid
            .ok_or_else(|| PgTypeError::invalid("process number", line(1), "a number from 1 up"))?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            pid,
            start_time: line(3).parse().ok(),
            port: line(4).parse().ok(),
            socket_directory: some(line(5)).map(PathBuf::from),
            status: some(line(8)),
            data_directory: data_directory.to_owned(),
        })
    }

    /// Whether the process still runs and serves this data directory.
    ///
    /// After a crash the file stays, and so it does in a copy; its number may be another process's by now, and in the
    /// copy of a container's files it is 1. A server's working directory is its data directory, so a process that is
    /// somewhere else is not the server. Where that cannot be seen, for lack of privilege, a running process of the
    /// data directory's owner counts as the server: the careful answer. Another user's cannot be it, since a server
    /// refuses files that are not its user's own.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        if !process.exists() {
            return false;
        }
        let Ok(data) = fs::metadata(&self.data_directory) else { return true };
        match fs::metadata(process.join("cwd")) {
            Ok(working) => (working.dev(), working.ino()) == (data.dev(), data.ino()),
            // It ended between the two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(_) => user_of(&process).is_none_or(|user| user == data.uid()),
        }
    }
}

/// The effective user of a process, which everybody may know. The owner of its directory in `/proc` is root for some.
fn user_of(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_15: &str =
        "24313\n/data\n1795231367\n21015\n/run/postgresql\n\n 10012979        26\nready   \n";

    fn in_directory(
        content: &str,
    ) -> (tempfile::TempDir, Result<Option<PostmasterPid>, ServerFileError>) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("postmaster.pid"), content).unwrap();
        let read = PostmasterPid::read(directory.path());
        (directory, read)
    }

    #[test]
    fn as_the_server_writes_it() {
        let (_directory, read) = in_directory(OF_15);
        let file = read.unwrap().unwrap();
        assert_eq!(
            (file.pid, file.start_time, file.port),
            (24313, Some(1_795_231_367), Some(21015))
        );
        assert_eq!(file.socket_directory, Some(PathBuf::from("/run/postgresql")));
        assert_eq!(file.status.as_deref(), Some("ready"));
    }

    #[test]
    fn half_written_and_single_user() {
        let (_directory, read) = in_directory("24313\n/data\n");
        let file = read.unwrap().unwrap();
        assert_eq!(
            (file.pid, file.port, file.socket_directory, file.status),
            (24313, None, None, None)
        );
        let (_directory, read) = in_directory("-77\n/data\n1795231367\n5432\n\n");
        assert_eq!(read.unwrap().unwrap().pid, 77);
    }

    #[test]
    fn absent_or_not_a_number() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(PostmasterPid::read(directory.path()).unwrap(), None);
        for content in ["", "0\n", "x\n", "-2147483648\n"] {
            let (_directory, read) = in_directory(content);
            let error = read.unwrap_err();
            assert!(error.to_string().ends_with("postmaster.pid\" holds an impossible value"));
        }
    }

    #[test]
    fn only_a_process_in_the_directory_is_the_server() {
        let here = std::env::current_dir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let file =
            |pid: i32, directory: &Path| PostmasterPid::parse(directory, &pid.to_string()).unwrap();
        assert!(file(own, &here).is_running());
        assert!(!file(own, elsewhere.path()).is_running(), "the number of another process");
        assert!(!file(i32::MAX, &here).is_running());
        // where the directory of a process cannot be seen, its user can
        let user = fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(user_of(Path::new("/proc/self")), Some(user));
        assert_eq!(user_of(Path::new("/proc/1")), Some(0));
        assert_eq!(user_of(elsewhere.path()), None);
    }
}

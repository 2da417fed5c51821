//! The last words of a server that ended, for the hint of the error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// What the end of a recovery can say fits in it many times over.
const TAIL: u64 = 64 * 1024;

/// How many lines a hint can bear.
const LINES: usize = 6;

/// The logs of a server that is being awaited: the one `pg_ctl` was told, and the one the server's own log collector
/// writes when the configuration has it.
#[derive(Debug, Clone)]
pub(crate) struct ServerLog {
    data_directory: PathBuf,
    owner: u32,
    own: PathBuf,
    collected: Vec<PathBuf>,
}

impl ServerLog {
    /// `owner` is the user id of the server: files of anybody else are not read.
    pub(crate) fn new(data_directory: &Path, owner: u32, own: PathBuf) -> Self {
        Self { data_directory: data_directory.to_path_buf(), owner, own, collected: Vec::new() }
    }

    /// Looks where the server writes now (`current_logfiles`: lines of `stderr <path>`) and answers the size of all its
    /// logs in bytes, which grows while it does anything worth telling.
    pub(crate) fn look(&mut self) -> u64 {
        for line in tail(&self.data_directory.join("current_logfiles"), self.owner) {
            let Some((_, path)) = line.split_once(' ') else { continue };
            let path = self.data_directory.join(path);
            if !self.collected.contains(&path) {
                self.collected.push(path);
            }
        }
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        size(&self.own) + self.collected.iter().map(size).sum::<u64>()
    }

    /// The last lines of `ERROR` or worse with their details and hints; without any, the last lines.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        self.look();
        let files = self.collected.iter().rev().chain(std::iter::once(&self.own));
        let mut fallback = Vec::new();
        for file in files {
            let lines = tail(file, self.owner);
            let grave = grave(&lines);
            if !grave.is_empty() {
                return last(grave);
            }
            if fallback.is_empty() {
                fallback = last(lines);
            }
        }
        fallback
    }

    /// Whether the server said that the target was not reached. `lc_messages` may have translated it, so this is only
    /// used to choose the better of two errors.
    pub(crate) fn target_not_reached(words: &[String]) -> bool {
        words.iter().any(|line| {
            line.contains("recovery ended before configured recovery target was reached")
        })
    }
}

/// The grave lines, and what stands right before a FATAL: for a faulty setting the server says there which one it was.
fn grave(lines: &[String]) -> Vec<String> {
    let next = lines.iter().skip(1).map(Some).chain([None]);
    lines
        .iter()
        .zip(next)
        .filter(|(line, next)| is_grave(line) || next.is_some_and(|next| next.contains("FATAL:")))
        .map(|(line, _)| line.clone())
        .collect()
}

fn is_grave(line: &str) -> bool {
    ["FATAL:", "PANIC:", "ERROR:", "DETAIL:", "HINT:"].iter().any(|word| line.contains(word))
}

fn last(mut lines: Vec<String>) -> Vec<String> {
    lines.split_off(lines.len().saturating_sub(LINES))
}

fn tail(path: &Path, owner: u32) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = open(path, owner).and_then(|mut file| {
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut bytes)
    });
    // A log that cannot be read must not hide the error it was to explain.
    if read.is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// As root we read what the server's user has named: neither may a link lead us to somebody else's file nor a pipe hold
/// us up.
fn open(path: &Path, owner: u32) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != owner {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::unistd::geteuid;

    use super::*;

    fn us() -> u32 {
        geteuid().as_raw()
    }

    #[test]
    fn a_log_of_somebody_else_or_a_link_is_not_read() {
        let temporary = tempfile::tempdir().unwrap();
        let own = temporary.path().join("own.log");
        let link = temporary.path().join("link.log");
        fs::write(&own, "FATAL:  secret\n").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(ServerLog::new(temporary.path(), us() + 1, own).last_words().is_empty());
        assert!(ServerLog::new(temporary.path(), us(), link).last_words().is_empty());
    }

    #[test]
    fn grave_lines_come_first_from_whichever_log_has_them() {
        let temporary = tempfile::tempdir().unwrap();
        let own = temporary.path().join("own.log");
        fs::write(&own, "LOG:  starting\nLOG:  redirecting log output\n").unwrap();
        let mut log = ServerLog::new(temporary.path(), us(), own.clone());
        assert_eq!(log.last_words(), ["LOG:  starting", "LOG:  redirecting log output"]);
        fs::create_dir(temporary.path().join("log")).unwrap();
        let text = "LOG:  a\nFATAL:  recovery ended before configured recovery target was reached\nLOG:  b\n";
        fs::write(temporary.path().join("log/1.log"), text).unwrap();
        fs::write(temporary.path().join("current_logfiles"), "stderr log/1.log\n").unwrap();
        let words = log.last_words();
        assert_eq!(words.join("\n"), text.trim_end_matches("\nLOG:  b\n"));
        assert!(ServerLog::target_not_reached(&words));
        // The server removes the list when it starts without a collector; the log is still there.
        fs::remove_file(temporary.path().join("current_logfiles")).unwrap();
        assert_eq!(log.last_words(), words);
        assert!(log.look() > text.len() as u64);
    }

    #[test]
    fn a_missing_log_says_nothing_and_a_long_one_its_end() {
        let temporary = tempfile::tempdir().unwrap();
        let own = temporary.path().join("own.log");
        assert!(ServerLog::new(temporary.path(), us(), own.clone()).last_words().is_empty());
        fs::write(&own, "LOG:  line\n".repeat(20_000)).unwrap();
        assert_eq!(ServerLog::new(temporary.path(), us(), own).last_words().len(), LINES);
    }
}

//! What the server says while it recovers. We chose its language and the form of its lines: `%m [%p] ` in UTC.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};
use pg::Lsn;

/// How many lines explain a failure.
const LAST_WORDS: usize = 12;

/// The log of the sandbox's server, read as it grows.
#[derive(Debug)]
pub(crate) struct ServerLog {
    path: PathBuf,
    read: u64,
    half: Vec<u8>,
    lines: Vec<String>,
    /// What its lines told so far.
    pub(crate) told: Told,
}

/// What the lines of a recovering server tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    /// When the server began: the time of its first line.
    pub(crate) began: Option<DateTime<Utc>>,
    /// `consistent recovery state reached at`: when, and where.
    pub(crate) consistent: Option<(DateTime<Utc>, Option<Lsn>)>,
    /// `redo done at`: when replay ended.
    pub(crate) redo_done: Option<DateTime<Utc>>,
    /// `last completed transaction was at log time`.
    pub(crate) last_commit: Option<DateTime<Utc>>,
    /// `database system is ready to accept connections`.
    pub(crate) ready: Option<DateTime<Utc>>,
    /// Whether it said that it recovers as after a crash: then it has seen no label.
    pub(crate) crash_recovery: bool,
}

impl ServerLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: 0, half: Vec::new(), lines: Vec::new(), told: Told::default() }
    }

    /// Reads what is new; whether anything was.
    pub(crate) fn look(&mut self) -> bool {
        let Ok(new) = read_from(&self.path, self.read) else { return false };
        self.read += u64::try_from(new.len()).unwrap_or(0);
        self.half.extend(&new);
        while let Some(at) = self.half.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.half.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.told.hear(&line);
            self.lines.push(line);
        }
        !new.is_empty()
    }

    /// The lines that tell why it ended: of `FATAL` or worse with what belongs to them, else the last ones.
    pub(crate) fn last_words(&mut self) -> Vec<String> {
        self.look();
        let grave = |line: &String| {
            ["FATAL:", "PANIC:", "ERROR:", "DETAIL:", "HINT:", "WARNING:"]
                .iter()
                .any(|word| line.contains(word))
        };
        // What comes just before mostly says why: which setting, which record of WAL.
        let next = self.lines.iter().skip(1).map(Some).chain([None]);
        let pairs = self.lines.iter().zip(next);
        let words = pairs.filter(|(line, next)| grave(line) || next.is_some_and(grave));
        let words: Vec<String> = words.map(|(line, _)| line.clone()).collect();
        let mut words = if words.is_empty() { self.lines.clone() } else { words };
        words.split_off(words.len().saturating_sub(LAST_WORDS))
    }

    /// What the server says of a setting that it does not take.
    pub(crate) fn setting_refused(&self) -> Option<&str> {
        let refused = [
            "invalid value for parameter",
            "unrecognized configuration parameter",
            "outside the valid range for parameter",
        ];
        let is = |line: &&String| refused.iter().any(|words| line.contains(words));
        self.lines.iter().find(is)?.split_once("LOG:").map(|(_, said)| said.trim())
    }

    /// The first line of this severity, without what stands before the severity.
    pub(crate) fn first(&self, severity: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let at = line.find(severity)?;
            Some(line.get(at + severity.len()..)?.trim())
        })
    }
}

impl Told {
    fn hear(&mut self, line: &str) {
        let Some(time) = line_time(line) else { return };
        self.began.get_or_insert(time);
        if let Some((_, at)) = line.split_once("consistent recovery state reached at ") {
            self.consistent = Some((time, at.trim().parse().ok()));
        } else if line.contains("redo done at ") || line.contains("redo is not required") {
            self.redo_done = Some(time);
        } else if let Some((_, at)) = line.split_once("last completed transaction was at log time ")
        {
            self.last_commit = server_time(at);
        } else if line.contains("database system is ready to accept connections") {
            self.ready = Some(time);
        } else if line.contains("automatic recovery in progress") {
            self.crash_recovery = true;
        }
    }
}

/// The time at the beginning of a line: `2026-11-21 03:00:00.123 UTC [17] `.
fn line_time(line: &str) -> Option<DateTime<Utc>> {
    let (time, _) = line.split_once(" UTC [")?;
    parse(time)
}

/// A time in the text of a line: `2026-11-21 03:00:00.123456+00`.
fn server_time(text: &str) -> Option<DateTime<Utc>> {
    parse(text.trim().strip_suffix("+00")?)
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok().map(|time| time.and_utc())
}

/// The programs inside may have put something else there: no link is followed, no pipe waited for.
fn read_from(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let mut file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    let mut bytes = vec![];
    if file.metadata()?.is_file() {
        file.seek(SeekFrom::Start(offset))?;
        file.take(16 << 20).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "2026-11-21 03:00:00.100 UTC [2] LOG:  starting PostgreSQL 15.20\n\
        2026-11-21 03:00:00.300 UTC [5] LOG:  consistent recovery state reached at 0/3000100\n\
        2026-11-21 03:00:01.300 UTC [5] LOG:  redo done at 0/50000D8 system usage: CPU: user: 0.00 s\n\
        2026-11-21 03:00:01.301 UTC [5] LOG:  last completed transaction was at log time 2026-11-20 23:59:59.123456+00\n\
        2026-11-21 03:00:01.900 UTC [2] LOG:  database system is ready to accept connections\n\
        2026-11-21 03:00:02.000 UTC [9] FATAL:  role \"x\" does not exist\nhalf";

    #[test]
    fn times_and_places_are_heard() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        std::fs::write(&path, LINES).unwrap();
        let mut log = ServerLog::new(path);
        assert!(log.look() && !log.look());
        let told = &log.told;
        let millis = |at: Option<DateTime<Utc>>| at.unwrap().timestamp_millis() % 100_000;
        assert_eq!(millis(told.began), 100);
        let (at, lsn) = told.consistent.unwrap();
        assert_eq!((millis(Some(at)), lsn.unwrap().to_string()), (300, "0/3000100".to_owned()));
        assert_eq!((millis(told.redo_done), millis(told.ready)), (1300, 1900));
        assert_eq!(told.last_commit.unwrap().to_rfc3339(), "2026-11-20T23:59:59.123456+00:00");
        assert!(!told.crash_recovery);
        assert_eq!(log.first("FATAL:"), Some("role \"x\" does not exist"));
        // the line before it, and what went wrong
        let words = log.last_words();
        assert!(words[0].ends_with("ready to accept connections"), "{words:?}");
        assert!(words[1].ends_with("role \"x\" does not exist") && words.len() == 2, "{words:?}");
        assert_eq!(log.setting_refused(), None);
    }

    #[test]
    fn the_setting_that_was_refused_is_told() {
        let line = "2026-11-21 03:00:00.100 UTC [2] LOG:  invalid value for parameter \"work_mem\": \"much\"";
        let mut log = ServerLog::new("/nonexistent/log".into());
        log.lines.push(line.to_owned());
        let told = "invalid value for parameter \"work_mem\": \"much\"";
        assert_eq!(log.setting_refused(), Some(told));
    }

    #[test]
    fn no_log_says_nothing() {
        let mut log = ServerLog::new("/nonexistent/log".into());
        assert!(!log.look() && log.last_words().is_empty() && log.told == Told::default());
    }
}

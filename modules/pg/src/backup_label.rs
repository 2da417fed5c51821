//! The file `backup_label`, from which recovery of a backup begins.

use crate::{Lsn, PgTypeError, TimelineId, WalSegmentName};

const FILE: &str = "backup_label";

/// The file `backup_label`: the bytes the stop of the backup returned, never re-encoded, never changed.
///
/// Any bytes are kept, so that a label we cannot read is not lost; [`parse`](Self::parse) reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabelFile {
    bytes: Vec<u8>,
}

impl BackupLabelFile {
    /// The file's content as it came from the server or the repository.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The content, verbatim.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says. Accepts what the server accepts (`read_backup_label` in `xlogrecovery.c`): lines in
    /// their order, a missing last line ending, and further lines at the end, such as 17 writes for
    /// incremental backups.
    ///
    /// # Errors
    /// [`PgTypeError::LineEnding`] for lines that end with CR LF, [`PgTypeError::Line`] for anything else
    /// the server would refuse.
    pub fn parse(&self) -> Result<BackupLabel, PgTypeError> {
        let mut lines = Lines { rest: &self.bytes, number: 0 };
        let (start_lsn, start_wal_file) =
            lines.value("START WAL LOCATION: LSN (file NAME)", start_location)?;
        let checkpoint_lsn = lines.value("CHECKPOINT LOCATION: LSN", number)?;
        lines.value("BACKUP METHOD: streamed", |method| {
            matches!(method, "streamed" | "pg_start_backup").then_some(())
        })?;
        let backup_from = lines.value("BACKUP FROM: primary or standby", BackupFrom::from_text)?;
        let start_time = lines.value("START TIME: TIME", |time| Some(time.to_owned()))?;
        let label = lines.value("LABEL: TEXT", |label| Some(label.to_owned()))?;
        let expected = "START TIMELINE: the timeline of the START WAL LOCATION's file";
        let start_timeline = lines.value(expected, |timeline| {
            number(timeline).filter(|timeline| *timeline == start_wal_file.timeline())
        })?;
        Ok(BackupLabel {
            start_lsn,
            start_wal_file,
            checkpoint_lsn,
            backup_from,
            start_time,
            label,
            start_timeline,
        })
    }
}

/// What a [`BackupLabelFile`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay begins.
    pub start_lsn: Lsn,
    /// The WAL segment that holds `start_lsn`.
    pub start_wal_file: WalSegmentName,
    /// Where the record of the checkpoint is that the start of the backup made.
    pub checkpoint_lsn: Lsn,
    /// What kind of server it was taken from.
    pub backup_from: BackupFrom,
    /// The time of the start as the server wrote it, in its `log_timezone`: for people only, as the
    /// abbreviation of a zone has more than one meaning.
    pub start_time: String,
    /// The label given at the start; bytes that are no UTF-8 are replaced.
    pub label: String,
    /// The timeline on which it started.
    pub start_timeline: TimelineId,
}

/// What kind of server a backup was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupFrom {
    /// A primary (13 says "master").
    Primary,
    /// A standby: the backup's end is then the control file's minimum recovery point, not a WAL record.
    Standby,
}

impl BackupFrom {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "primary" | "master" => Some(Self::Primary),
            "standby" => Some(Self::Standby),
            _ => None,
        }
    }
}

/// The lines not read yet.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl Lines<'_> {
    /// The value of the next line, whose key is what stands before the colon in `expected`.
    fn value<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, PgTypeError> {
        self.number += 1;
        let length = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(length);
        self.rest = rest.get(1..).unwrap_or_default();

        let text = String::from_utf8_lossy(line);
        let key = expected.split_once(": ").map_or(expected, |(key, _)| key);
        let value = text.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
        // Only a label may end with a carriage return that somebody meant.
        if line.ends_with(b"\r") && key != "LABEL" {
            return Err(PgTypeError::LineEnding { file: FILE, line: self.number });
        }
        value.and_then(read).ok_or_else(|| PgTypeError::line(FILE, self.number, line, expected))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// `0/2000028 (file 000000010000000000000002)`
fn start_location(text: &str) -> Option<(Lsn, WalSegmentName)> {
    let (lsn, file) = text.strip_suffix(')')?.split_once(" (file ")?;
    Some((number(lsn)?, number(file)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_15: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-21 03:22:47 UTC\nLABEL: lab'el\nSTART TIMELINE: 1\n";

    fn parse(text: &str) -> Result<BackupLabel, PgTypeError> {
        BackupLabelFile::new(text.as_bytes().to_vec()).parse()
    }

    #[test]
    fn as_the_server_writes_it() {
        let label = parse(OF_15).unwrap();
        assert_eq!(label.start_lsn.to_string(), "0/2000028");
        assert_eq!(label.start_wal_file.to_string(), "000000010000000000000002");
        assert_eq!(label.checkpoint_lsn.to_string(), "0/2000060");
        assert_eq!(label.backup_from, BackupFrom::Primary);
        assert_eq!(label.start_time, "2026-11-21 03:22:47 UTC");
        assert_eq!(label.label, "lab'el");
        assert_eq!(label.start_timeline, TimelineId::FIRST);
    }

    #[test]
    fn as_other_majors_write_it() {
        let of_13 = parse(&OF_15.replace("primary", "master")).unwrap();
        assert_eq!(of_13.backup_from, BackupFrom::Primary);
        let of_a_standby = parse(&OF_15.replace("primary", "standby")).unwrap();
        assert_eq!(of_a_standby.backup_from, BackupFrom::Standby);
        let incremental =
            format!("{OF_15}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        assert!(parse(&incremental).is_ok());
        assert!(parse(OF_15.trim_end()).is_ok());
    }

    #[test]
    fn bytes_are_kept() {
        let latin1 = [OF_15.replace("lab'el", "").as_bytes(), b"\xE9\r\n"].concat();
        let file = BackupLabelFile::new(latin1.clone());
        assert_eq!(file.bytes(), latin1);
        assert!(parse(&OF_15.replace("lab'el", "label\r")).is_ok());
    }

    #[test]
    fn says_what_the_server_would_refuse() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            message(&OF_15.replace('\n', "\r\n")),
            "line 1 of backup_label has the line ending \"\\r\\n\", expected \"\\n\""
        );
        assert_eq!(
            message(&format!("NOTICE:  all required WAL segments have been archived\n{OF_15}")),
            "line 1 of backup_label is \"NOTICE:  all required WAL segments have been archived\", \
             expected START WAL LOCATION: LSN (file NAME)"
        );
        assert_eq!(
            message(""),
            "line 1 of backup_label is \"\", expected START WAL LOCATION: LSN (file NAME)"
        );
        assert_eq!(
            message(&OF_15.replace("TIMELINE: 1", "TIMELINE: 2")),
            "line 7 of backup_label is \"START TIMELINE: 2\", \
             expected START TIMELINE: the timeline of the START WAL LOCATION's file"
        );
        assert_eq!(
            message(&OF_15.replace("FROM: primary", "FROM: moon")),
            "line 4 of backup_label is \"BACKUP FROM: moon\", expected BACKUP FROM: primary or standby"
        );
    }

    #[test]
    fn a_backup_history_file_is_no_label() {
        let history =
            OF_15.replacen("CHECKPOINT", "STOP WAL LOCATION: 0/2000100 (file x)\nCHECKPOINT", 1);
        assert!(parse(&history).is_err());
    }
}

//! Reading WAL with `pg_waldump`, which checks every record as recovery would.

use std::path::Path;
use std::time::Duration;

use program::Program;

use crate::{LsnRange, TimelineId, WalError};

/// How long reading may take without being taken for hung. A backup of a busy cluster leaves some hundred
/// segments; `pg_waldump` reads one in a fraction of a second.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Reads all WAL of `range` from the segments in `directory` with the `pg_waldump` at `program`, which must
/// be of the server's major version. What it reads is not kept, only whether every record is whole.
///
/// `range` must start at a record, as the start LSN of a backup does.
///
/// # Errors
/// [`WalError::Waldump`] with what the program said of the first segment that is missing or the first record
/// that is damaged, or why it could not be run.
pub fn check(
    program: &Path,
    directory: &Path,
    timeline: TimelineId,
    range: LsnRange,
) -> Result<(), WalError> {
    command(program, directory, timeline, range).run().map(drop).map_err(|source| {
        WalError::Waldump { directory: directory.to_owned(), timeline, range, source }
    })
}

fn command(program: &Path, directory: &Path, timeline: TimelineId, range: LsnRange) -> Program {
    Program::new(program)
        .arg("--quiet")
        .arg("--path")
        .arg(directory)
        .args(["--timeline", &timeline.to_string()])
        .args(["--start", &range.start().to_string()])
        .args(["--end", &range.end().to_string()])
        .deadline(DEADLINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lsn;

    fn range() -> LsnRange {
        LsnRange::new(Lsn::from(0x200_0028), Lsn::from(0x300_0000)).unwrap()
    }

    #[test]
    fn asks_for_exactly_the_range() {
        // `echo` in the place of `pg_waldump` shows what it was asked for.
        let timeline = TimelineId::new(26).unwrap();
        let output = command(Path::new("echo"), Path::new("/wal"), timeline, range()).run();
        assert_eq!(
            String::from_utf8(output.unwrap().stdout).unwrap(),
            "--quiet --path /wal --timeline 26 --start 0/2000028 --end 0/3000000\n"
        );
    }

    #[test]
    fn passes_on_what_the_program_says() {
        // `ls` knows no --path.
        let error = check(Path::new("ls"), Path::new("/wal"), TimelineId::FIRST, range());
        let error = error.unwrap_err();
        assert_eq!(error.kind(), "verification_failed");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("program \"ls\" failed with exit status 2: "), "{source}");
        check(Path::new("true"), Path::new("/wal"), TimelineId::FIRST, range()).unwrap();
    }
}

//! Choosing the timeline by its number.
//!
//! `recovery_target_timeline = latest` makes the result depend on what the archive holds at the moment of recovery, and
//! a history file of a test restore is enough to lead it astray. So the plan asks the archive itself, checks that the
//! timeline passes through the end of the backup, and writes down a number that the operator can see.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pg::{Lsn, TargetTimeline, TimelineId};
use program::Program;

use crate::RecoveryError;

/// A history file has a line of some fifty bytes for each promotion there ever was.
const LIMIT: u64 = 1 << 20;

/// One ancestor of a timeline: up to `end` the timeline shares the ancestor's WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ancestor {
    timeline: TimelineId,
    end: Lsn,
}

/// Answers the content of a timeline history file, `None` when there is none.
pub(crate) type Histories<'a> = &'a dyn Fn(TimelineId) -> Result<Option<Vec<u8>>, RecoveryError>;

/// The timeline to write down: [`TargetTimeline::Current`] for the backup's own, since the server then needs no history
/// file of it, else a number.
pub(crate) fn choose(
    wanted: &TargetTimeline,
    backup: TimelineId,
    stop: Lsn,
    histories: Histories<'_>,
) -> Result<TargetTimeline, RecoveryError> {
    let wanted = match wanted {
        TargetTimeline::Current => return Ok(TargetTimeline::Current),
        TargetTimeline::Id(id) => *id,
        TargetTimeline::Latest => latest(backup, histories)?,
    };
    if wanted == backup {
        return Ok(TargetTimeline::Current);
    }
    let unreachable = |problem: String| RecoveryError::TimelineUnreachable { wanted, problem };
    let Some(history) = histories(wanted)? else {
        return Err(unreachable(format!(
            "its history file \"{}\" was not found",
            wanted.history_file()
        )));
    };
    let ancestors = parse(&history).map_err(unreachable)?;
    match ancestors.iter().find(|ancestor| ancestor.timeline == backup) {
        None => Err(unreachable(format!(
            "it does not descend from timeline {backup}, on which the backup was taken"
        ))),
        Some(ancestor) if ancestor.end < stop => Err(unreachable(format!(
            "it left timeline {backup} at {}, before the backup's end at {stop}",
            ancestor.end
        ))),
        Some(_) => Ok(TargetTimeline::Id(wanted)),
    }
}

/// The newest timeline, found as the server finds it: numbers are tried upwards until one has no history.
fn latest(backup: TimelineId, histories: Histories<'_>) -> Result<TimelineId, RecoveryError> {
    let mut newest = backup;
    while let Some(next) = newest.as_u32().checked_add(1).and_then(|n| TimelineId::new(n).ok()) {
        if histories(next)?.is_none() {
            break;
        }
        newest = next;
    }
    Ok(newest)
}

/// Lines of `<timeline>\t<LSN>\t<reason>`, comments and blank lines (src/backend/access/transam/timeline.c).
fn parse(history: &[u8]) -> Result<Vec<Ancestor>, String> {
    let text = String::from_utf8_lossy(history);
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let timeline = words.next().and_then(|word| word.parse().ok());
            let end = words.next().and_then(|word| word.parse().ok());
            match (timeline, end) {
                (Some(timeline), Some(end)) => Ok(Ancestor { timeline, end }),
                _ => Err(format!("line \"{line}\" of its history file is not understood")),
            }
        })
        .collect()
}

/// Runs a `restore_command` as the server would, for one file, and answers what it fetched.
///
/// The exit status has the server's meaning: 0 found, 1 to 125 not there, anything else a failure.
pub(crate) fn fetch(
    command: &str,
    file: &str,
    owner: (u32, u32),
) -> Result<Option<Vec<u8>>, RecoveryError> {
    let place = Place::new(owner)?;
    let target = place.0.join(file);
    let mut program = Program::new("/bin/sh")
        .arg("-c")
        .arg(substitute(command, file, &target))
        .current_dir(&place.0)
        .deadline(Duration::from_secs(60));
    if nix::unistd::geteuid().is_root() {
        program = program.as_user(owner.0, owner.1);
    }
    let failed = |source| RecoveryError::Program { what: "restore_command", source };
    let output = program.output().map_err(failed)?;
    if output.status > 125 {
        // Run again through the door that turns an exit status into an error with the program's own words.
        program.run().map_err(failed)?;
    }
    if output.status != 0 {
        return Ok(None);
    }
    // Owner and kind are checked because the command, not we, has written it: a link could lead anywhere.
    match durable::read_owned(&target, &[owner.0, nix::unistd::geteuid().as_raw()], LIMIT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == "file_not_found" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `%f` file name, `%p` where to put it, `%%` a percent sign, `%r` the file to start from again (here: the same file).
fn substitute(command: &str, file: &str, target: &Path) -> String {
    let mut text = String::new();
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match (c, rest.clone().next()) {
            ('%', Some('f' | 'r')) => text.push_str(file),
            ('%', Some('p')) => text.push_str(&target.to_string_lossy()),
            ('%', Some('%')) => text.push('%'),
            _ => {
                text.push(c);
                continue;
            }
        }
        rest.next();
    }
    text
}

/// A private directory of the server's user, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(owner: (u32, u32)) -> Result<Self, RecoveryError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = format!("backstay-history-{}-{count}-{:x}", std::process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        // Fails when it exists, so nobody can have prepared it.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(RecoveryError::io("make directory", &path))?;
        let place = Self(path);
        if nix::unistd::geteuid().is_root() {
            lchown(&place.0, Some(owner.0), Some(owner.1))
                .map_err(RecoveryError::io("change the owner of", &place.0))?;
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Litter in the temporary directory is not worth an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tli(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    fn histories(timeline: TimelineId) -> Result<Option<Vec<u8>>, RecoveryError> {
        Ok(match timeline.as_u32() {
            2 => Some(b"1\t0/5000000\tno recovery target specified\n".to_vec()),
            3 => Some(b"# why\n\n1\t0/5000000\tx\n  2\t0/6000000\tbefore 2000-01-01\n".to_vec()),
            8 => Some(b"x\n".to_vec()),
            _ => None,
        })
    }

    fn choose_id(wanted: u32, backup: u32, stop: &str) -> Result<TargetTimeline, String> {
        choose(&TargetTimeline::Id(tli(wanted)), tli(backup), lsn(stop), &histories)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn latest_becomes_a_number() {
        let chosen = choose(&TargetTimeline::Latest, tli(1), lsn("0/4000000"), &histories).unwrap();
        assert_eq!(chosen, TargetTimeline::Id(tli(3)));
        let chosen = choose(&TargetTimeline::Latest, tli(3), lsn("0/7000000"), &histories).unwrap();
        assert_eq!(chosen, TargetTimeline::Current);
        let chosen =
            choose(&TargetTimeline::Current, tli(1), lsn("0/7000000"), &histories).unwrap();
        assert_eq!(chosen, TargetTimeline::Current);
    }

    #[test]
    fn a_timeline_that_left_before_the_backup_ended_is_refused() {
        assert_eq!(choose_id(2, 1, "0/5000000"), Ok(TargetTimeline::Id(tli(2))));
        assert_eq!(
            choose_id(2, 1, "0/5000001").unwrap_err(),
            "timeline 2 cannot be reached from the backup: it left timeline 1 at 0/5000000, before the backup's end at 0/5000001"
        );
        assert_eq!(
            choose_id(2, 4, "0/1").unwrap_err(),
            "timeline 2 cannot be reached from the backup: it does not descend from timeline 4, on which the backup was taken"
        );
        assert_eq!(
            choose_id(9, 1, "0/1").unwrap_err(),
            "timeline 9 cannot be reached from the backup: its history file \"00000009.history\" was not found"
        );
        assert!(
            choose_id(8, 1, "0/1")
                .unwrap_err()
                .ends_with("line \"x\" of its history file is not understood")
        );
    }

    #[test]
    fn the_archive_is_asked_as_the_server_would() {
        let archive = tempfile::tempdir().unwrap();
        fs::write(archive.path().join("00000002.history"), b"1\t0/5\tx\n").unwrap();
        let us = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let command = format!("cp {}/%f %p", archive.path().display());
        let found = fetch(&command, "00000002.history", us).unwrap();
        assert_eq!(found.as_deref(), Some(&b"1\t0/5\tx\n"[..]));
        assert_eq!(fetch(&command, "00000003.history", us).unwrap(), None);
        assert_eq!(fetch("true", "00000003.history", us).unwrap(), None);
        let error = fetch("echo store down >&2; exit 200", "00000003.history", us).unwrap_err();
        assert_eq!(error.to_string(), "could not run restore_command");
        assert_eq!(error.kind(), "program_failed");
    }

    #[test]
    fn placeholders() {
        assert_eq!(substitute("a %f %p %% %x %r %", "F", Path::new("/t")), "a F /t % %x F %");
    }
}

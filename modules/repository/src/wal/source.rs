//! Where WAL segments come from.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use pg::{Lsn, TimelineId, WalSegmentName, WalSegmentSize};
use program::Program;

use super::WalFetchError;

/// A place that may have WAL segments.
pub trait WalSource {
    /// The place as a person would name it, after "in" or "from".
    fn describe(&self) -> String;

    /// Its short name in replies.
    fn name(&self) -> &'static str;

    /// A segment's bytes, or `None` while it is not there.
    ///
    /// # Errors
    /// When the place fails, as opposed to not having the segment.
    fn fetch(&self, segment: WalSegmentName) -> Result<Option<Vec<u8>>, WalFetchError>;

    /// A timeline's history file, or `None` when it is not there.
    ///
    /// # Errors
    /// When the place fails, as opposed to not having the file.
    fn fetch_history(&self, timeline: TimelineId) -> Result<Option<Vec<u8>>, WalFetchError>;

    /// The newest segment that is there, if that can be told.
    fn newest(&self) -> Option<WalSegmentName> {
        None
    }
}

/// The server's own `pg_wal`.
pub struct PgWal<'a> {
    /// The directory.
    pub directory: PathBuf,
    /// Bytes in a segment.
    pub segment_size: WalSegmentSize,
    /// Where the backup ends: what lies behind it in the last segment is not
    /// needed.
    pub stop: Lsn,
    /// How far WAL is on the server's disk; `None` when nobody can be asked.
    /// Without an answer a file is taken as it is, and the checks of its pages
    /// must find whether it is the one.
    pub on_disk: &'a dyn Fn() -> Option<Lsn>,
}

impl WalSource for PgWal<'_> {
    fn describe(&self) -> String {
        format!("\"{}\"", self.directory.display())
    }

    fn name(&self) -> &'static str {
        "pg_wal"
    }

    fn fetch(&self, segment: WalSegmentName) -> Result<Option<Vec<u8>>, WalFetchError> {
        if let Some(on_disk) = (self.on_disk)() {
            let end =
                segment.next(self.segment_size).and_then(|next| next.start_lsn(self.segment_size));
            let needed = end.map_or(self.stop, |end| end.min(self.stop));
            if on_disk < needed {
                return Ok(None);
            }
        }
        read_own(&self.directory.join(segment.to_string()), self.segment_size)
    }

    fn fetch_history(&self, timeline: TimelineId) -> Result<Option<Vec<u8>>, WalFetchError> {
        read_own(&self.directory.join(timeline.history_file()), self.segment_size)
    }

    fn newest(&self) -> Option<WalSegmentName> {
        // Files recycled for the future lie there too, so names prove nothing.
        None
    }
}

/// A WAL archive: a directory with a file for each segment.
pub struct Archive {
    /// The directory.
    pub directory: PathBuf,
    /// Bytes in a segment; a shorter file is still being copied.
    pub segment_size: WalSegmentSize,
}

impl WalSource for Archive {
    fn describe(&self) -> String {
        format!("\"{}\"", self.directory.display())
    }

    fn name(&self) -> &'static str {
        "archive"
    }

    fn fetch(&self, segment: WalSegmentName) -> Result<Option<Vec<u8>>, WalFetchError> {
        let path = self.directory.join(segment.to_string());
        match path.metadata() {
            Ok(found) if found.len() < self.segment_size.bytes() => Ok(None),
            _ => read(&path),
        }
    }

    fn fetch_history(&self, timeline: TimelineId) -> Result<Option<Vec<u8>>, WalFetchError> {
        read(&self.directory.join(timeline.history_file()))
    }

    fn newest(&self) -> Option<WalSegmentName> {
        let entries = std::fs::read_dir(&self.directory).ok()?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<WalSegmentName>().ok());
        names.max()
    }
}

/// A command with `%f` and `%p`, as the setting of that name has it.
pub struct RestoreCommand {
    /// The command, for a shell.
    pub command: String,
    /// A folder for the files it makes.
    pub scratch: PathBuf,
    /// How long one run may take.
    pub patience: Duration,
    /// Set when nobody wants the file any more: a run is ended then, with all that it started.
    pub stop: Arc<AtomicBool>,
}

impl RestoreCommand {
    /// `%f` is the file's name, `%p` where to put it, `%%` a percent sign.
    fn line(&self, file: &str, path: &Path) -> String {
        let mut line = String::new();
        let mut characters = self.command.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                line.push(character);
                continue;
            }
            match characters.next() {
                Some('f') => line.push_str(file),
                Some('p') => line.push_str(&path.display().to_string()),
                Some('%') | None => line.push('%'),
                Some(other) => line.extend(['%', other]),
            }
        }
        line
    }

    fn run(&self, file: &str) -> Result<Option<Vec<u8>>, WalFetchError> {
        let path = self.scratch.join(format!(".fetching-{file}"));
        let _ = std::fs::remove_file(&path);
        let output = Program::new("/bin/sh")
            .arg("-c")
            .arg(self.line(file, &path))
            .deadline(self.patience)
            .output_watched(&|| match self.stop.load(Ordering::Relaxed) {
                true => Err("the file is not wanted any more".to_owned()),
                false => Ok(()),
            });
        let output =
            output.map_err(|source| WalFetchError::Command { file: file.to_owned(), source })?;
        let bytes = match output.status {
            0 => read(&path),
            1..=125 => Ok(None),
            status => Err(WalFetchError::Status {
                file: file.to_owned(),
                status,
                stderr: output.stderr.trim().to_owned(),
            }),
        };
        let _ = std::fs::remove_file(&path);
        bytes
    }
}

impl WalSource for RestoreCommand {
    fn describe(&self) -> String {
        "what restore_command fetches".to_owned()
    }

    fn name(&self) -> &'static str {
        "restore_command"
    }

    fn fetch(&self, segment: WalSegmentName) -> Result<Option<Vec<u8>>, WalFetchError> {
        self.run(&segment.to_string())
    }

    fn fetch_history(&self, timeline: TimelineId) -> Result<Option<Vec<u8>>, WalFetchError> {
        self.run(&timeline.history_file())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, WalFetchError> {
    found(path, std::fs::read(path))
}

/// Reads a file of a directory that is the server's. In a container that is somebody's who may be no friend of the
/// host: root must not be led by a link to a file that is not there, nor be kept by a pipe or a file without end.
fn read_own(path: &Path, size: WalSegmentSize) -> Result<Option<Vec<u8>>, WalFetchError> {
    let bytes = || {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut bytes = vec![];
        // one byte more, so that a file that is too long is known by its length
        file.take(size.bytes().saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    found(path, bytes())
}

fn found(path: &Path, read: std::io::Result<Vec<u8>>) -> Result<Option<Vec<u8>>, WalFetchError> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WalFetchError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> WalSegmentName {
        "000000010000000000000002".parse().unwrap()
    }

    #[test]
    fn a_server_cannot_lead_its_reader_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let size = WalSegmentSize::from_bytes(1 << 20).unwrap();
        let path = place.path().join("000000010000000000000002");
        assert!(read_own(&path, size).unwrap().is_none());
        std::fs::write(&path, vec![7; 3 << 20]).unwrap();
        assert_eq!(read_own(&path, size).unwrap().unwrap().len(), (1 << 20) + 1);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(matches!(read_own(&path, size), Err(WalFetchError::Read { .. })));
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = read_own(&path, size).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "it is no regular file");
    }

    #[test]
    fn the_restore_command_is_filled_in() {
        let command = RestoreCommand {
            command: "get %f '%p' 100%% %x".into(),
            scratch: "/s".into(),
            patience: Duration::from_secs(9),
            stop: Arc::default(),
        };
        assert_eq!(
            command.line("000000010000000000000002", Path::new("/s/a")),
            "get 000000010000000000000002 '/s/a' 100% %x"
        );
    }

    #[test]
    fn a_restore_command_tells_not_found_from_failed() {
        let scratch = tempfile::tempdir().unwrap();
        let run = |command: &str| {
            RestoreCommand {
                command: command.into(),
                scratch: scratch.path().into(),
                patience: Duration::from_millis(500),
                stop: Arc::default(),
            }
            .fetch(segment())
        };
        assert!(run("exit 1").unwrap().is_none());
        assert_eq!(run("printf abc > %p").unwrap().unwrap(), b"abc");
        assert_eq!(run("sleep 60").unwrap_err().kind(), "program_failed");
        let error = run("echo no network >&2; exit 200").unwrap_err();
        assert_eq!(
            error.to_string(),
            "restore_command ended with status 200 for \"000000010000000000000002\": no network"
        );
    }

    #[test]
    fn a_restore_command_ends_when_its_file_is_not_wanted_any_more() {
        let scratch = tempfile::tempdir().unwrap();
        let command = RestoreCommand {
            command: "sleep 60; true".into(),
            scratch: scratch.path().into(),
            patience: Duration::from_secs(50),
            stop: Arc::new(AtomicBool::new(true)),
        };
        let begun = std::time::Instant::now();
        let error = command.fetch(segment()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.ends_with("was stopped: the file is not wanted any more"), "{source}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn pg_wal_gives_nothing_that_is_not_on_disk_yet() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(segment().to_string()), b"x").unwrap();
        let size = WalSegmentSize::from_bytes(16 << 20).unwrap();
        let source = |on_disk: &'static dyn Fn() -> Option<Lsn>| PgWal {
            directory: directory.path().into(),
            segment_size: size,
            stop: Lsn::from(0x200_0100),
            on_disk,
        };
        assert!(source(&|| Some(Lsn::from(0x200_0000))).fetch(segment()).unwrap().is_none());
        assert!(source(&|| Some(Lsn::from(0x200_0100))).fetch(segment()).unwrap().is_some());
        assert!(source(&|| None).fetch(segment()).unwrap().is_some());
    }

    #[test]
    fn an_archive_does_not_give_half_a_segment() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(segment().to_string()), b"x").unwrap();
        let archive = Archive {
            directory: directory.path().into(),
            segment_size: WalSegmentSize::from_bytes(1 << 20).unwrap(),
        };
        assert!(archive.fetch(segment()).unwrap().is_none());
        assert_eq!(archive.newest(), Some(segment()));
    }
}

//! Why a program did not do what it was run for.

use std::fmt;
use std::io;

/// How much of standard error an error keeps, in bytes.
const KEPT: usize = 4096;

/// A program that did not do what it was run for.
#[derive(Debug)]
pub struct ProgramError {
    /// The program as it was named.
    pub program: String,
    /// What happened to it.
    pub cause: Cause,
}

/// What happened to the program.
#[derive(Debug)]
pub enum Cause {
    /// It could not be started, or not be waited for; the operating system's reason is the source.
    NotStarted(io::Error),
    /// It ended with another exit status than 0.
    Failed {
        /// The exit status, or 128 plus a signal's number.
        status: i32,
        /// The last 4 KiB of its standard error, trimmed.
        stderr: String,
    },
    /// Its deadline passed, and it was ended.
    TimedOut {
        /// The deadline in seconds.
        seconds: u64,
        /// The last 4 KiB of its standard error, trimmed.
        stderr: String,
    },
    /// Whoever watched it gave a reason to end it.
    Stopped {
        /// That reason.
        reason: String,
    },
    /// It wrote more to standard output than anybody would read.
    TooMuchOutput {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, cause } = self;
        match cause {
            Cause::NotStarted(_) => write!(f, "could not run program \"{program}\""),
            Cause::Failed { status, stderr } => {
                match status {
                    129.. => {
                        write!(f, "program \"{program}\" was ended by signal {}", status - 128)?
                    }
                    _ => write!(f, "program \"{program}\" failed with exit status {status}")?,
                }
                with_stderr(f, stderr)
            }
            Cause::TimedOut { seconds, stderr } => {
                write!(f, "program \"{program}\" did not end within {seconds} s")?;
                with_stderr(f, stderr)
            }
            Cause::Stopped { reason } => write!(f, "program \"{program}\" was stopped: {reason}"),
            Cause::TooMuchOutput { limit } => {
                write!(f, "program \"{program}\" wrote more than {limit} bytes to standard output")
            }
        }
    }
}

fn with_stderr(f: &mut fmt::Formatter<'_>, stderr: &str) -> fmt::Result {
    if stderr.is_empty() { Ok(()) } else { write!(f, ": {stderr}") }
}

impl std::error::Error for ProgramError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::NotStarted(source) => Some(source),
            _ => None,
        }
    }
}

impl ProgramError {
    /// A stable word: `program_not_found`, `program_failed`, `program_timed_out` or `program_stopped`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.cause {
            Cause::NotStarted(source) if source.kind() == io::ErrorKind::NotFound => {
                "program_not_found"
            }
            Cause::NotStarted(_) | Cause::Failed { .. } | Cause::TooMuchOutput { .. } => {
                "program_failed"
            }
            Cause::TimedOut { .. } => "program_timed_out",
            Cause::Stopped { .. } => "program_stopped",
        }
    }

    /// What the operator can do, as whole sentences; may be empty.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match &self.cause {
            Cause::NotStarted(source) if source.kind() == io::ErrorKind::NotFound => {
                vec![format!(
                    "Install it, or give its whole path. Programs without a path are looked for in {}.",
                    crate::SEARCH_PATH
                )]
            }
            Cause::NotStarted(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                vec!["Is the file executable for the user that runs this task?".to_owned()]
            }
            Cause::TimedOut { .. } => {
                vec![
                    "It and the processes it started were ended. Does it need more time?"
                        .to_owned(),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self.cause, Cause::TimedOut { .. })
    }
}

/// The end of `text`, trimmed, at most [`KEPT`] bytes: programs say last what they failed of.
pub(crate) fn last_part(text: &str) -> String {
    let text = text.trim();
    let mut from = text.len().saturating_sub(KEPT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause) -> ProgramError {
        ProgramError { program: "pg_waldump".to_owned(), cause }
    }

    #[test]
    fn every_text() {
        let stderr = || "no such file".to_owned();
        let cases = [
            (
                Cause::NotStarted(io::Error::from(io::ErrorKind::NotFound)),
                "could not run program \"pg_waldump\"",
                "program_not_found",
            ),
            (
                Cause::NotStarted(io::Error::from(io::ErrorKind::PermissionDenied)),
                "could not run program \"pg_waldump\"",
                "program_failed",
            ),
            (
                Cause::Failed { status: 2, stderr: stderr() },
                "program \"pg_waldump\" failed with exit status 2: no such file",
                "program_failed",
            ),
            (
                Cause::Failed { status: 139, stderr: String::new() },
                "program \"pg_waldump\" was ended by signal 11",
                "program_failed",
            ),
            (
                Cause::TimedOut { seconds: 3, stderr: stderr() },
                "program \"pg_waldump\" did not end within 3 s: no such file",
                "program_timed_out",
            ),
            (
                Cause::Stopped { reason: "backup mode was lost".to_owned() },
                "program \"pg_waldump\" was stopped: backup mode was lost",
                "program_stopped",
            ),
            (
                Cause::TooMuchOutput { limit: 9 },
                "program \"pg_waldump\" wrote more than 9 bytes to standard output",
                "program_failed",
            ),
        ];
        for (cause, text, kind) in cases {
            let error = error(cause);
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), kind);
            assert_eq!(error.retryable(), kind == "program_timed_out");
            assert!(error.hints().iter().all(|hint| hint.ends_with(['.', '?'])));
        }
    }

    #[test]
    fn the_end_of_a_long_text_is_kept_whole_characters_only() {
        let long = "ä".repeat(4000) + "x";
        let kept = last_part(&long);
        assert_eq!(kept.len(), 4095);
        assert!(kept.ends_with("äx"));
        assert_eq!(last_part("  short\n"), "short");
    }
}

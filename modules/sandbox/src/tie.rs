//! Programs without isolation that must not outlive process 1: nothing else would end them when it is killed.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::TIE_COMMAND;

/// Runs the hidden command: `sandbox-tie SIGNAL PROGRAM ARGUMENTS`. Becomes the program, which gets the signal when the
/// process that started us ends.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "we become the program, which nobody then waits for here"
)]
pub fn run(words: &[&str]) -> u8 {
    let [signal, program, args @ ..] = words else { return 2 };
    let Some(signal) = signal.parse::<Signal>().ok() else { return 2 };
    if prctl::set_pdeathsig(signal).is_err() {
        return 2;
    }
    let _ = Command::new(program).args(args).exec();
    127
}

/// The program and its arguments, tied to us by this signal. In a process namespace of our own, where the kernel ties
/// everything to us, and for a program that is not there, they stay what they are.
pub(crate) fn tied(program: &Path, args: &[String], signal: Signal) -> (PathBuf, Vec<String>) {
    let untied = (program.to_path_buf(), args.to_vec());
    if std::process::id() == 1 || !program.is_file() {
        return untied;
    }
    let Ok(own) = std::env::current_exe() else { return untied };
    let mut words =
        vec![TIE_COMMAND.to_owned(), signal.as_str().to_owned(), program.display().to_string()];
    words.extend_from_slice(args);
    (own, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_tied() {
        let args = ["-x".to_owned()];
        let (own, words) = tied(Path::new("/bin/sh"), &args, Signal::SIGQUIT);
        assert_eq!(own, std::env::current_exe().unwrap());
        assert_eq!(words, [TIE_COMMAND, "SIGQUIT", "/bin/sh", "-x"]);
        let missing = Path::new("/nonexistent/sh");
        assert_eq!(tied(missing, &args, Signal::SIGQUIT).0, missing);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!((run(&[]), run(&["SIGNONE", "/bin/true"])), (2, 2));
    }
}

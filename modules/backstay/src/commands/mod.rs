//! What can be said to the executable.

mod run;
mod text;

use std::path::Path;

use ansible::asynchronous;

/// Does what the arguments say; the exit status.
pub(crate) fn dispatch(words: &[&str]) -> u8 {
    match words {
        ["run", flags @ ..] => run::run(flags),
        ["version"] => text::version(),
        ["specs"] => text::specs(),
        [session::KEEPER_COMMAND] => u8::from(session::run_keeper(false).is_err()),
        [session::DETACH_COMMAND] => u8::from(session::run_keeper(true).is_err()),
        [asynchronous::SUPERVISE, file, limit] => {
            let limit = limit.parse().unwrap_or(0);
            u8::from(asynchronous::supervise(Path::new(file), limit).is_err())
        }
        // How Ansible runs a binary module: the options' file is the only
        // argument.
        [file] if Path::new(file).is_file() => run::plain(Path::new(file)),
        _ => text::usage(),
    }
}

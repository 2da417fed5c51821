//! What can be said to an executable.

mod run;
mod text;

use std::path::Path;

use ansible::asynchronous;

use crate::Executable;

/// Does what the arguments (without the program's name) say; the exit status.
#[must_use]
pub fn dispatch(executable: &Executable, words: &[&str]) -> u8 {
    if let [word, rest @ ..] = words
        && let Some((_, act)) = executable.commands.iter().find(|(own, _)| own == word)
    {
        return act(rest);
    }
    match words {
        ["run", flags @ ..] => run::run(executable, flags),
        ["version"] => text::version(),
        ["specs"] => text::specs(executable),
        [asynchronous::SUPERVISE, file, limit] => {
            let limit = limit.parse().unwrap_or(0);
            u8::from(asynchronous::supervise(Path::new(file), limit).is_err())
        }
        // How Ansible runs a binary module: the options' file is the only
        // argument.
        [file] if Path::new(file).is_file() => run::plain(executable, Path::new(file)),
        _ => text::usage(executable),
    }
}

//! The executable of the collection `backstay.postgresql`: every module that
//! needs no cloud, and the keeper.
//!
//! ```text
//! backstay run [--args FILE] [--async JOB LIMIT DIRECTORY]   a module; its request on standard input
//! backstay FILE                                              the same as a plain Ansible binary module
//! backstay version
//! backstay specs                                             every module's options as JSON
//! ```

mod caller;
mod inside;
mod local;
mod login;
mod modules;
mod registry;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Where there is a terminal, standard error is standard output: a panic's
    // text would spoil the reply. It goes into the reply instead.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    ExitCode::from(frame::dispatch(&registry::BACKSTAY, &words))
}

//! The executable of the collection `backstay.postgresql` for the modules that talk to EC2.

mod aws;
mod modules;
mod registry;

use std::process::ExitCode;

fn main() -> ExitCode {
    // As in `backstay`: a panic's text would spoil the reply, and goes into it instead.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    ExitCode::from(frame::dispatch(&registry::BACKSTAY_EBS, &words))
}

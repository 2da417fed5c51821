//! What a test needs of the machine, and what happens where it is missing.

use std::io::Write;

/// Whether a test can run: `Err` holds what is missing.
///
/// Where `CI` is `true` anything missing is a failure. Elsewhere the reason is
/// printed, and added to the file that `BACKSTAY_SKIPPED` names, which
/// `tests/run` prints with its result.
///
/// # Panics
///
/// In CI, when something is missing.
#[track_caller]
pub fn can_run(found: Result<(), String>) -> bool {
    let ci = std::env::var("CI").as_deref() == Ok("true");
    judge(found, ci)
}

/// The same for what no installing can mend, because the kernel or whatever
/// this machine runs in forbids it: said, and skipped also in CI.
#[track_caller]
pub fn is_allowed(found: Result<(), String>) -> bool {
    judge(found, false)
}

#[track_caller]
fn judge(found: Result<(), String>, must_run: bool) -> bool {
    let Err(missing) = found else { return true };
    let place = std::panic::Location::caller();
    let line = format!("SKIPPED: {missing} ({}:{})", place.file(), place.line());
    assert!(!must_run, "{line}, which is a failure in CI");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("BACKSTAY_SKIPPED")
        && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{line}");
    }
    false
}

/// Root, who may mount, write sudo rules and run servers as somebody else.
///
/// # Errors
///
/// A sentence saying so when the test does not run as root.
pub fn root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("only root can do this".to_owned()) }
}

/// The modules that call EC2.
///
/// # Errors
///
/// A sentence saying so when the collection was staged without their executable.
pub fn ebs() -> Result<(), String> {
    if crate::collection::executable().with_file_name("backstay-ebs").is_file() {
        return Ok(());
    }
    Err("the collection was staged without backstay-ebs (BACKSTAY_WITHOUT_EBS)".to_owned())
}

/// A program in `PATH` or where daemons lie.
///
/// # Errors
///
/// A sentence naming the program when it is not there.
pub fn program(name: &str) -> Result<(), String> {
    crate::command::find(name).map(drop).ok_or_else(|| format!("the program \"{name}\" is missing"))
}

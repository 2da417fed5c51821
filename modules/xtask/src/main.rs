//! `cargo xtask`: what building a collection needs besides cargo.
//!
//! ```text
//! cargo xtask stage [--dev|--release]   build the executables, lay the collection out in the target directory
//! cargo xtask collection                the same for release, and the tarball in <target>/dist
//! cargo xtask check                     documentation twins against the executables, and the house rules
//! ```
//!
//! `BACKSTAY_WITHOUT_EBS=1` leaves the executable `backstay-ebs` out, which takes minutes to compile.

mod command;
mod error;
mod layout;
mod package;
mod rules;
mod stage;
mod twins;

use std::io::Write;
use std::process::ExitCode;

use error::XtaskError;
use layout::Layout;
use stage::Profile;

const USAGE: &str = "usage: cargo xtask stage [--dev|--release] | collection | check";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(said) => {
            let _ = writeln!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, XtaskError> {
    match words {
        ["stage"] | ["stage", "--dev"] => stage_only(Profile::Dev),
        ["stage", "--release"] => stage_only(Profile::Release),
        ["collection"] => {
            let layout = Layout::find()?;
            Ok(package::build(&layout)?.display().to_string())
        }
        ["check"] => check(),
        _ => Err(XtaskError::Usage(USAGE)),
    }
}

fn stage_only(profile: Profile) -> Result<String, XtaskError> {
    let layout = Layout::find()?;
    let staged = layout.staged();
    stage::stage(&layout, profile, &staged)?;
    Ok(staged.display().to_string())
}

fn check() -> Result<String, XtaskError> {
    let layout = Layout::find()?;
    let mut findings = rules::check(&layout)?;
    match stage::stage(&layout, Profile::Dev, &layout.staged()).and_then(|()| twins::check(&layout))
    {
        Ok(more) => findings.extend(more),
        Err(error) if findings.is_empty() => return Err(error),
        Err(error) => findings.push(chain(&error)),
    }
    if findings.is_empty() {
        return Ok("documentation twins and house rules: nothing to complain about".to_owned());
    }
    Err(XtaskError::Findings(findings))
}

/// An error and its causes as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

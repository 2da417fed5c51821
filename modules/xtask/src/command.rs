//! Starts cargo, ansible and strip.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::XtaskError;
use crate::layout::Layout;

/// How much of a failed program's output is repeated, in bytes.
const LAST_WORDS: usize = 4000;

/// A command in this process's own environment: the user's PATH and cargo settings are wanted here.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool that starts cargo and ansible; the crate program is for what runs on a target"
)]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs it with this process's output and input.
pub(crate) fn run(command: &mut Command) -> Result<(), XtaskError> {
    let program = name(command);
    let status = command
        .status()
        .map_err(|source| XtaskError::Start { program: program.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(XtaskError::Program { program, status: status.to_string(), said: String::new() })
}

/// Runs it and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, XtaskError> {
    let program = name(command);
    let started = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        started.map_err(|source| XtaskError::Start { program: program.clone(), source })?;
    if status.success() {
        return Ok(stdout);
    }
    let text = String::from_utf8_lossy(&stderr);
    let from = text.ceil_char_boundary(text.len().saturating_sub(LAST_WORDS));
    let said = text.get(from..).map(|end| format!(": {}", end.trim())).unwrap_or_default();
    Err(XtaskError::Program { program, status: status.to_string(), said })
}

/// One of Ansible's programs: from PATH, else from the environments that `tests/setup/tools` makes.
pub(crate) fn ansible(layout: &Layout, program: &str) -> Result<Command, XtaskError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Some(cache) = cache(layout) {
        let environments = ["venv-core-newest/bin", "venv-lint/bin", "venv-core-2.17/bin"];
        places.extend(environments.map(|bin| cache.join(bin)));
    }
    let found = places.iter().map(|dir| dir.join(program)).find(|path| path.is_file());
    Ok(command(found.ok_or_else(|| XtaskError::NoAnsible(program.to_owned()))?))
}

/// Where the tests keep their environments.
fn cache(layout: &Layout) -> Option<PathBuf> {
    if let Some(cache) = std::env::var_os("BACKSTAY_CACHE") {
        return Some(cache.into());
    }
    let printed = output(&mut command(layout.root.join("tests/setup/cache-directory"))).ok()?;
    String::from_utf8(printed).ok().map(|path| path.trim_end().into())
}

fn name(command: &Command) -> String {
    PathBuf::from(command.get_program())
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_its_last_words() {
        let error = output(command("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "\"sh\" failed (exit status: 3): no");
        assert!(run(command("sh").args(["-c", "exit 0"])).is_ok());
    }

    #[test]
    fn a_program_that_is_nowhere_is_named() {
        let layout = Layout { root: "/nowhere".into(), target: "/nowhere".into() };
        assert!(
            ansible(&layout, "ansible-nothing")
                .unwrap_err()
                .to_string()
                .contains("\"ansible-nothing\"")
        );
    }
}

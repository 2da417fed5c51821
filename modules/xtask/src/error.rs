//! What can go wrong while staging, building or checking.

use std::path::PathBuf;

/// Why a command of `cargo xtask` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XtaskError {
    /// The words on the command line are no command.
    #[error("{0}")]
    Usage(&'static str),
    /// No workspace around here.
    #[error(
        "could not find the workspace: \"{0}\" and its parents hold no galaxy.yml beside a Cargo.toml"
    )]
    NoWorkspace(PathBuf),
    /// A file or directory could not be read or written.
    #[error("could not {verb} \"{path}\"")]
    File {
        /// What was being done, such as "read".
        verb: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("could not start \"{program}\"")]
    Start {
        /// The program's name.
        program: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("\"{program}\" failed ({status}){said}")]
    Program {
        /// The program's name.
        program: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it said, or nothing when that was shown already.
        said: String,
    },
    /// An Ansible program is not installed.
    #[error(
        "could not find the program \"{0}\" in PATH or in the test environments: install ansible-core, or run tests/setup/tools"
    )]
    NoAnsible(String),
    /// A program's output was not the JSON that was expected.
    #[error("could not read what \"{program}\" printed")]
    Json {
        /// The program's name.
        program: String,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
    /// The executable has no modules, or another thing is not as agreed.
    #[error("{0}")]
    Unexpected(String),
    /// The check found something.
    #[error("{}\n{} finding(s)", .0.join("\n"), .0.len())]
    Findings(Vec<String>),
}

impl XtaskError {
    /// For `map_err`: an error about one file.
    pub(crate) fn file(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| XtaskError::File { verb, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_they_are_about() {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let said = [
            XtaskError::Usage("usage: x").to_string(),
            XtaskError::NoWorkspace("/nowhere".into()).to_string(),
            XtaskError::file("read", "/a")(gone()).to_string(),
            XtaskError::Start { program: "strip".into(), source: gone() }.to_string(),
            XtaskError::Program {
                program: "cargo".into(),
                status: "exit status: 1".into(),
                said: ": no".into(),
            }
            .to_string(),
            XtaskError::NoAnsible("ansible-doc".into()).to_string(),
            XtaskError::Json {
                program: "ansible-doc".into(),
                source: serde_json::from_str::<()>("").unwrap_err(),
            }
            .to_string(),
            XtaskError::Unexpected("no modules".into()).to_string(),
            XtaskError::Findings(vec!["a".into(), "b".into()]).to_string(),
        ];
        assert_eq!(
            said,
            [
                "usage: x",
                "could not find the workspace: \"/nowhere\" and its parents hold no galaxy.yml beside a Cargo.toml",
                "could not read \"/a\"",
                "could not start \"strip\"",
                "\"cargo\" failed (exit status: 1): no",
                "could not find the program \"ansible-doc\" in PATH or in the test environments: install ansible-core, or run tests/setup/tools",
                "could not read what \"ansible-doc\" printed",
                "no modules",
                "a\nb\n2 finding(s)",
            ]
        );
    }
}

//! The container or process that the server is in, if the options name one.

use ansible::{Failure, Options};
use frame::Explain;
use host::{Container, Process};
use nix::unistd::geteuid;
use session::ContainerName;

/// What the options `container` and `login_pid` name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// A process that sees what the server sees.
    pub(crate) process: Process,
    /// The container, unless the process was named itself.
    pub(crate) container: Option<ContainerName>,
}

/// Finds it. Without either option the server is on this host.
///
/// # Errors
/// When both are given, without root, and when there is no such container or process.
pub(crate) fn named(options: &Options) -> Result<Option<Named>, Failure> {
    let found = match (options.text("container"), options.number("login_pid")?) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Failure::invalid(
                "options \"container\" and \"login_pid\" exclude each other: both name where the server is",
            ));
        }
        (Some(name), None) => {
            expect_root("container")?;
            Container::find(name).map(|container| Named {
                process: container.process,
                container: Some(ContainerName { id: container.id, name: container.name }),
            })
        }
        (None, Some(pid)) => {
            expect_root("login_pid")?;
            let pid = i32::try_from(pid).unwrap_or(i32::MAX);
            Process::find(pid).map(|process| Named { process, container: None })
        }
    };
    found.map(Some).map_err(|error| error.explain())
}

fn expect_root(option: &str) -> Result<(), Failure> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        "insufficient_privilege",
        format!("option \"{option}\" needs root, which alone can enter a container's namespaces"),
    )
    .hint("Add become: true to the task, without become_user."))
}

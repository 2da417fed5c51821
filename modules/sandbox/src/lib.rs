//! Programs that run where they can touch nothing: no network, no sockets of the host, no files but those given to them.
//!
//! ```text
//! the caller ── Place: a work directory of its own ── sweeper (removes it when the caller and the sandbox are gone)
//!     │
//!     └─► builder: namespaces, a root of binds and overlays, pivot_root
//!            └─► init: process 1 in there, without any privilege; runs what it is told on its standard input
//! ```
//!
//! All three are this executable, re-executed with a hidden command, so nothing has to be installed and no `fork` is
//! needed. Everything ends with the caller: init ends when its standard input does, the kernel then ends all of its
//! process namespace, the mounts go with the last process that sees them, and the sweeper removes the files. There is no
//! PostgreSQL here.
//!
//! Why three namespaces more than the network's: a socket with a path is reached across network namespaces, so the mount
//! namespace must hide it; a restored cluster's `postmaster.pid` names processes, so they must be numbered apart; shared
//! memory with a key would be shared.

mod answers;
mod ask;
mod builder;
mod change;
mod engine;
mod error;
mod init;
mod mounts;
mod order;
mod place;
mod privileges;
mod protocol;
mod running;
mod sweeper;
mod system;
mod tie;

pub use answers::{Answered, Answers, Source};
pub use ask::run as run_ask;
pub use builder::run as run_builder;
pub use error::SandboxError;
pub use init::run as run_init;
pub use order::{Bind, Engine, Isolation, Order, Overlay, RunAs};
pub use place::Place;
pub use protocol::{Change, Ran, ServerState};
pub use running::{Command, Sandbox};
pub use sweeper::run as run_sweeper;
pub use tie::run as run_tied;

/// The hidden command that makes a sandbox around itself.
pub const BUILD_COMMAND: &str = "sandbox-build";
/// The hidden command that is process 1 in it.
pub const INIT_COMMAND: &str = "sandbox-init";
/// The hidden command that removes a work directory when nobody uses it any more.
pub const SWEEP_COMMAND: &str = "sandbox-sweep";
/// The hidden command that becomes a program which ends with process 1: without isolation.
pub const TIE_COMMAND: &str = "sandbox-tie";
/// The hidden command that asks the caller outside for a file: `sandbox-ask NAME PATH`.
pub const ASK_COMMAND: &str = "sandbox-ask";

/// Inside a sandbox: this executable.
pub const EXECUTABLE_INSIDE: &str = "/backstay/backstay";
/// Inside a sandbox: the directory that the caller sees too, [`Place::shared`].
pub const SHARED_INSIDE: &str = "/backstay/shared";

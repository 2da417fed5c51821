//! The only room that knows Ansible, and it knows nothing of PostgreSQL.
//!
//! What comes in is one JSON object (the task's options mixed with
//! `_ansible_*` keys); what goes out is one JSON line. Between the two a
//! module is a [`Task`]: `parse`, `plan`, `apply`.

pub mod asynchronous;
pub mod chain;
pub mod invocation;
pub mod journal;
pub mod options;
pub mod reply;
pub mod spec;
pub mod task;

pub use chain::Failure;
pub use invocation::Invocation;
pub use options::Options;
pub use reply::{Diff, Reply, Returns};
pub use spec::{Kind, OptionSpec};
pub use task::{Preview, Task};

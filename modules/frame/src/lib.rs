//! What the executables of the collection have in common: the commands they understand, and how a module gets
//! from its options to a session, its record and its manifest.
//!
//! An executable says which modules it has ([`Module`]) and hands its arguments to [`dispatch`].

pub mod backups;
pub mod cluster;
mod commands;
mod failure;
mod login;
pub mod manifest;
mod module;
pub mod sessions;

pub use commands::dispatch;
pub use failure::{Explain, failure};
pub use login::LOGIN_OPTIONS;
pub use module::{Act, Executable, Module};

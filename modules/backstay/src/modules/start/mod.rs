//! The two halves of `backup_start`: what is looked at, and what is done.

mod earlier;
pub(super) mod launch;
pub(super) mod preflight;

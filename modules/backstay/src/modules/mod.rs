//! One file for each Ansible module: its options, what it would do, what it
//! does.

pub(crate) mod backup_abort;
pub(crate) mod backup_info;
pub(crate) mod backup_start;
pub(crate) mod backup_stop;
pub(crate) mod backup_verify;
pub(crate) mod cluster_restore;
pub(crate) mod snapshot_create;
mod start;
mod stop;
#[cfg(test)]
mod tests;
pub(crate) mod volume_info;
pub(crate) mod wal_fetch;

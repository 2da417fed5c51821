//! One file for each Ansible module: its options, what it would do, what it does.

mod backup;
pub(crate) mod ebs_expire;
pub(crate) mod ebs_restore;
pub(crate) mod ebs_snapshot;
pub(crate) mod ebs_snapshot_copy;
pub(crate) mod ebs_snapshot_wait;

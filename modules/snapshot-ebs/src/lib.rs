//! EBS snapshots.

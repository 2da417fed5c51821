//! Snapshots of volumes and files: providers that need no cloud.

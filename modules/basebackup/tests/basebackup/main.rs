//! Base backups of real servers, whole and damaged, and archives that nobody should trust. `make setup` brings the
//! servers; without them these tests fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail the test"
)]

mod archive;
mod damaged_archives;
mod damaged_files;
mod hostile;
mod server;
mod whole;

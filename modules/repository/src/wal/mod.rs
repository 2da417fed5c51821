//! WAL into a backup: every segment from the start to the stop LSN, from
//! wherever it can be had, checked before it counts.

mod error;
mod fetch;
mod source;

pub use error::WalFetchError;
pub use fetch::{FetchedSegment, Wanted, fetch, fetch_history};
pub use source::{Archive, PgWal, RestoreCommand, WalSource};

//! What `pg_basebackup` writes, read without a server: its `backup_manifest`, its tar files and its plain directories.
//!
//! [`Format::detect`] says what is in a directory. A plain backup is held against its [`Manifest`] by [`check_plain`],
//! a tar backup on its way to a data directory by [`unpack`]. Damage is no error: both return what is wrong as a list
//! of [`Problem`]s.

mod error;
mod files;
mod format;
mod manifest;
mod plain;
mod problem;
mod stream;
mod sum;
mod unpack;
mod workers;

pub use error::BasebackupError;
pub use format::{Archive, Compression, Format, PlainBackup, TarBackup};
pub use manifest::{Manifest, ManifestFile, WalRange};
pub use plain::{CheckPlain, Checked, check_plain};
pub use problem::Problem;
pub use sum::{Algorithm, Sum};
pub use unpack::{Unpack, Unpacked, unpack};

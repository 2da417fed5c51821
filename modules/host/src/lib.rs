//! This host: what is mounted, on which disks, on which EC2 instance; and processes and containers seen from
//! outside.
//!
//! The crate reads `/proc`, `/sys`, the instance metadata service and the API sockets of container engines. It
//! changes nothing, and knows neither PostgreSQL nor Ansible nor AWS.
//!
//! | question | answered by |
//! |---|---|
//! | which filesystem is this path on? | [`Mounts::of`] |
//! | which disks is that filesystem on, through partitions, LVM and md? | [`Sysfs::under_mount`] |
//! | which EBS volume is this disk? | [`Disk::ebs_volume`] |
//! | which UUID has that filesystem? | [`filesystem_of`] |
//! | which instance is this? | [`Instance::ask`] |
//! | which process is that container? | [`Container::find`] |
//! | where is a directory of that process for us? | [`Process::resolve`], [`Process::on_host`] |
//! | how do we get at what only that process reaches? | [`Process::open_directory`], [`Process::open_network`] |

mod block;
mod container;
mod enter;
mod error;
mod filesystem;
mod hints;
mod http;
mod instance;
mod mounts;
mod process;
mod translate;

pub use block::{Disk, Layer, Stack, Sysfs};
pub use container::Container;
pub use enter::enter_network;
pub use error::HostError;
pub use filesystem::{Filesystem, filesystem_of};
pub use instance::Instance;
pub use mounts::{DeviceNumber, Mount, Mounts};
pub use process::Process;

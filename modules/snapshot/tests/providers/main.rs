//! The three providers on real directories and real filesystems. Tests that mount need root and loop devices; where
//! there are none, `BACKSTAY_NO_MOUNTS=1` skips them, which they then say.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

mod btrfs;
mod command;
mod files;
mod fixture;

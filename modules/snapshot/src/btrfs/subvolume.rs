//! Subvolumes, and the program `btrfs` that works with them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use host::Mounts;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, statfs};
use program::Program;

use crate::SnapshotError;
use crate::coverage::SUBVOLUME_ROOT;
use crate::provider::Watch;
use crate::sources::Source;

/// Whether a snapshot can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ReadOnly,
    Writable,
}

/// What btrfs says of a subvolume.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) uuid: String,
    pub(crate) read_only: bool,
}

pub(crate) fn is_btrfs(path: &Path) -> Result<bool, SnapshotError> {
    statfs(path)
        .map(|found| found.filesystem_type() == BTRFS_SUPER_MAGIC)
        .map_err(|errno| SnapshotError::io("ask for the filesystem of", path)(errno.into()))
}

/// The root of the subvolume that a source is in.
pub(crate) fn root_of(source: &Source, mounts: &Mounts) -> Result<PathBuf, SnapshotError> {
    let refuse = |why| SnapshotError::NotCovered { what: source.clone(), why };
    if !is_btrfs(&source.path)? {
        let fstype = &mounts.of(&source.path)?.fstype;
        return Err(refuse(format!("it is on a filesystem of type {fstype}, not btrfs")));
    }
    let examine =
        |path: &Path| fs::metadata(path).map_err(SnapshotError::io("examine directory", path));
    let device = examine(&source.path)?.dev();
    for path in source.path.ancestors() {
        let found = examine(path)?;
        if found.dev() != device {
            break;
        }
        if found.ino() == SUBVOLUME_ROOT {
            return Ok(path.to_path_buf());
        }
    }
    Err(refuse("the root of its subvolume is not mounted, only a directory of it".to_owned()))
}

/// Makes the snapshot `path`, which must not be there, of the subvolume `source`.
pub(crate) fn snapshot(
    source: &Path,
    path: &Path,
    kind: Kind,
    watch: Watch<'_>,
) -> Result<(), SnapshotError> {
    let mut program = Program::new("btrfs").args(["subvolume", "snapshot"]);
    if kind == Kind::ReadOnly {
        program = program.arg("-r");
    }
    program
        .arg("--")
        .arg(source)
        .arg(path)
        .run_watched(watch)
        .map_err(SnapshotError::program("make a snapshot of subvolume", source))?;
    Ok(())
}

/// Asks for what is known of the subvolume `path`.
pub(crate) fn show(path: &Path) -> Result<Shown, SnapshotError> {
    let output = Program::new("btrfs")
        .args(["subvolume", "show", "--"])
        .arg(path)
        .run()
        .map_err(SnapshotError::program("examine subvolume", path))?;
    parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| SnapshotError::NoSubvolumeUuid { path: path.to_path_buf() })
}

/// Finds `UUID:` and `Flags:` at the beginning of lines, where the value follows after tabs.
fn parse(text: &str) -> Option<Shown> {
    let value = |name: &str| {
        text.lines().find_map(|line| line.trim_start().strip_prefix(name)).map(str::trim)
    };
    let uuid = value("UUID:")?.to_owned();
    let read_only = value("Flags:").is_some_and(|flags| flags.contains("readonly"));
    (uuid.len() == 36).then_some(Shown { uuid, read_only })
}

/// Deletes the subvolume `path`; its space comes back later, in the background.
pub(crate) fn delete(path: &Path) -> Result<(), SnapshotError> {
    Program::new("btrfs")
        .args(["subvolume", "delete", "--"])
        .arg(path)
        .run()
        .map_err(SnapshotError::program("delete subvolume", path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_btrfs_shows_is_understood() {
        let text = "\
nightly
\tName: \t\t\tnightly
\tUUID: \t\t\t0d5c1a2e-58b2-2d4b-9c57-2f2f7ae5d2ab
\tParent UUID: \t\ta5d2c1a2-58b2-2d4b-9c57-2f2f7ae5d2ab
\tReceived UUID: \t\t-
\tFlags: \t\t\treadonly
";
        let uuid = "0d5c1a2e-58b2-2d4b-9c57-2f2f7ae5d2ab".to_owned();
        assert_eq!(parse(text), Some(Shown { uuid: uuid.clone(), read_only: true }));
        let text = text.replace("readonly", "-");
        assert_eq!(parse(&text), Some(Shown { uuid, read_only: false }));
        assert_eq!(parse("UUID: -\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_source_elsewhere_is_refused_by_name() {
        let mounts = Mounts::read().unwrap();
        let source = Source::new(crate::Role::Wal, "/proc");
        assert_eq!(
            root_of(&source, &mounts).unwrap_err().to_string(),
            "WAL directory \"/proc\" would not be in the snapshot: it is on a filesystem of type proc, not btrfs"
        );
    }
}

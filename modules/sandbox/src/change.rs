//! Changes of files, made by process 1.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::protocol::{Answer, Change};

/// Makes them one after the other; stops at the first that fails and says which it was.
pub(crate) fn all(changes: &[Change]) -> Answer {
    for change in changes {
        if let Err((path, error)) = one(change) {
            return Answer::Failed(format!("\"{}\": {error}", path.display()));
        }
    }
    Answer::Done
}

fn one(change: &Change) -> Result<(), (&Path, io::Error)> {
    let (path, result) = match change {
        Change::Remove(path) => (path, remove(path)),
        Change::Empty(path) => (path, empty(path)),
        Change::Unlink(path) => (path, unlink(path)),
        Change::Link { at, to } => (at, symlink(to, at)),
        Change::Write { path, bytes } => (path, write(path, bytes)),
        Change::Overwrite { path, offset, bytes } => (path, overwrite(path, *offset, bytes)),
    };
    result.map_err(|error| (path.as_path(), error))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn empty(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            fs::read_dir(path)?.try_for_each(|entry| remove(&entry?.path()))
        }
        _ => {
            remove(path)?;
            DirBuilder::new().mode(0o700).create(path)
        }
    }
}

fn unlink(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What is there is removed first: a link is not followed, and a file that an overlay shows need not be copied.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove(path)?;
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_changed_and_links_never_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("full/deep")).unwrap();
        fs::write(at("outside"), "mine").unwrap();
        symlink(at("outside"), at("link")).unwrap();
        symlink(at("full"), at("elsewhere")).unwrap();
        let answer = all(&[
            Change::Remove(at("nothing")),
            Change::Write { path: at("link"), bytes: b"theirs".to_vec() },
            Change::Overwrite { path: at("link"), offset: 5, bytes: b"!?".to_vec() },
            Change::Empty(at("elsewhere")),
            Change::Empty(at("full")),
            Change::Link { at: at("full/new"), to: at("outside") },
        ]);
        assert!(matches!(answer, Answer::Done), "{answer:?}");
        assert_eq!(fs::read_to_string(at("outside")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(at("link")).unwrap(), "their!?");
        assert!(fs::symlink_metadata(at("elsewhere")).unwrap().is_dir());
        assert!(!at("full/deep").exists() && at("full/new").exists());
        assert!(matches!(all(&[Change::Unlink(at("full"))]), Answer::Done));
        assert!(!at("full/new").exists());
        let answer = all(&[Change::Overwrite { path: at("gone"), offset: 0, bytes: vec![1] }]);
        assert!(matches!(answer, Answer::Failed(reason) if reason.contains("gone")));
    }
}

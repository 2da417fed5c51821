//! Paths that another user of the machine may have planted are refused.

use std::fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use crate::DurableError;

/// Permission bits with which somebody besides the owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// Makes the directory `path` with the permission bits `mode`, owned by `owner` (user id, group id) or else by
/// the caller; or, when it is already there, verifies that nobody else can have prepared it.
///
/// One that is there must be a real directory (not a symbolic link), owned by root, by the caller or by
/// `owner`, and not writable by its group or by others; its mode and owner stay as they are. Its parent must not
/// be writable by everybody, unless it is sticky as `/tmp` is: otherwise it could be exchanged later.
/// Missing parents are made with mode 0755.
///
/// # Errors
/// [`DurableError::NotDirectory`], [`DurableError::ForeignOwner`] or [`DurableError::WritableByOthers`] for one that
/// is not to be trusted; [`DurableError::Io`] when it cannot be made.
pub fn private_directory(
    path: impl AsRef<Path>,
    owner: Option<(u32, u32)>,
    mode: u32,
) -> Result<(), DurableError> {
    let path = path.as_ref();
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_parents(parent)?;
        check_parent(parent)?;
    }
    // Made with no permission for anyone else at first, so that no moment exists in which it is open.
    match DirBuilder::new().mode(mode & 0o700).create(path) {
        Ok(()) => adopt(path, owner, mode),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path, owner),
        Err(error) => Err(DurableError::io("create directory", path)(error)),
    }
}

fn make_parents(parent: &Path) -> Result<(), DurableError> {
    if parent.exists() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(DurableError::io("create directory", parent))
}

fn check_parent(parent: &Path) -> Result<(), DurableError> {
    let found = fs::metadata(parent).map_err(DurableError::io("examine directory", parent))?;
    let mode = found.mode() & 0o7777;
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(DurableError::WritableByOthers { path: parent.to_path_buf(), mode });
    }
    Ok(())
}

fn adopt(path: &Path, owner: Option<(u32, u32)>, mode: u32) -> Result<(), DurableError> {
    let directory = open_directory(path)?;
    if let Some((uid, gid)) = owner {
        fchown(&directory, Some(uid), Some(gid))
            .map_err(DurableError::io("set the owner of directory", path))?;
    }
    directory
        .set_permissions(Permissions::from_mode(mode))
        .map_err(DurableError::io("set the mode of directory", path))?;
    directory.sync_all().map_err(DurableError::io("sync directory", path))?;
    // The new name is an entry of the parent, and lost with a crash until that is on disk as well.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => crate::sync_directory(parent),
        None => crate::sync_directory("."),
    }
}

fn check(path: &Path, owner: Option<(u32, u32)>) -> Result<(), DurableError> {
    let found = fs::symlink_metadata(path).map_err(DurableError::io("examine directory", path))?;
    if !found.is_dir() {
        let found = describe(found.file_type());
        return Err(DurableError::NotDirectory { path: path.to_path_buf(), found });
    }
    // Judged by what is open, not by what the name meant a moment ago.
    let directory = open_directory(path)?;
    let found = directory.metadata().map_err(DurableError::io("examine directory", path))?;
    let mut allowed = vec![0, geteuid().as_raw()];
    allowed.extend(owner.map(|(uid, _)| uid));
    check_owner(path, &found, &allowed)?;
    let mode = found.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        return Err(DurableError::WritableByOthers { path: path.to_path_buf(), mode });
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<File, DurableError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_DIRECTORY | O_NOFOLLOW)
        .open(path)
        .map_err(DurableError::io("open directory", path))
}

fn check_owner(path: &Path, found: &Metadata, allowed: &[u32]) -> Result<(), DurableError> {
    if allowed.contains(&found.uid()) {
        return Ok(());
    }
    let mut allowed = allowed.to_vec();
    allowed.sort_unstable();
    allowed.dedup();
    Err(DurableError::ForeignOwner { path: path.to_path_buf(), uid: found.uid(), allowed })
}

/// Reads the regular file `path` if its owner is one of `allowed_uids` and it is at most `limit` bytes long. A
/// symbolic link is not followed, and nothing that is not a regular file is waited for.
///
/// # Errors
/// [`DurableError::NotRegular`], [`DurableError::ForeignOwner`], [`DurableError::TooLarge`], or
/// [`DurableError::Io`] (kind `file_not_found` when it is not there).
pub fn read_owned(
    path: impl AsRef<Path>,
    allowed_uids: &[u32],
    limit: u64,
) -> Result<Vec<u8>, DurableError> {
    let path = path.as_ref();
    let found = fs::symlink_metadata(path).map_err(DurableError::io("read file", path))?;
    regular(path, &found)?;
    // O_NONBLOCK: a pipe that takes the file's place after that look must not make us wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
        .map_err(DurableError::io("open file", path))?;
    let found = file.metadata().map_err(DurableError::io("examine file", path))?;
    regular(path, &found)?;
    check_owner(path, &found, allowed_uids)?;
    let too_large = |size| DurableError::TooLarge { path: path.to_path_buf(), size, limit };
    if found.len() > limit {
        return Err(too_large(found.len()));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(DurableError::io("read file", path))?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > limit { Err(too_large(size)) } else { Ok(bytes) }
}

fn regular(path: &Path, found: &Metadata) -> Result<(), DurableError> {
    if found.is_file() {
        return Ok(());
    }
    let found = describe(found.file_type());
    Err(DurableError::NotRegular { path: path.to_path_buf(), found })
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_file() {
        "file"
    } else {
        "device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn us() -> u32 {
        geteuid().as_raw()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_private_directory_is_made_once_and_accepted_again() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b/private");
        private_directory(&path, None, 0o700).unwrap();
        private_directory(&path, None, 0o700).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&temporary.path().join("a/b")) & 0o022, 0);
    }

    #[test]
    fn a_planted_link_or_file_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let real = temporary.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = temporary.path().join("link");
        symlink(&real, &link).unwrap();
        let error = private_directory(&link, None, 0o700).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("\"{}\" is a symbolic link, not a directory", link.display())
        );
        let file = temporary.path().join("file");
        fs::write(&file, b"").unwrap();
        assert_eq!(private_directory(&file, None, 0o700).unwrap_err().kind(), "untrusted_path");
    }

    #[test]
    fn an_open_directory_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o770)).unwrap();
        let error = private_directory(&path, None, 0o700).unwrap_err();
        assert!(matches!(error, DurableError::WritableByOthers { mode: 0o770, .. }), "{error}");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        assert!(private_directory(path.join("inside"), None, 0o700).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o1777)).unwrap();
        private_directory(path.join("inside"), None, 0o700).unwrap();
    }

    #[test]
    fn another_users_directory_and_file_are_refused() {
        if us() != 0 {
            // Only root can give a file away; the check itself is the same one as in the next test.
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("theirs");
        private_directory(&path, Some((12345, 12345)), 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), 12345);
        private_directory(&path, Some((12345, 12345)), 0o700).unwrap();
        let error = private_directory(&path, None, 0o700).unwrap_err();
        let text = format!("\"{}\" is owned by user 12345, expected one of: 0", path.display());
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn reading_checks_owner_kind_and_size() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_owned(&path, &[us()], 5).unwrap(), b"12345");
        assert!(matches!(
            read_owned(&path, &[us()], 4).unwrap_err(),
            DurableError::TooLarge { size: 5, limit: 4, .. }
        ));
        assert!(matches!(
            read_owned(&path, &[us() + 1], 5).unwrap_err(),
            DurableError::ForeignOwner { .. }
        ));
        let link = temporary.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read_owned(&link, &[us()], 5).unwrap_err().kind(), "untrusted_path");
        assert_eq!(read_owned(temporary.path(), &[us()], 5).unwrap_err().kind(), "untrusted_path");
        let absent = temporary.path().join("absent");
        assert_eq!(read_owned(absent, &[us()], 5).unwrap_err().kind(), "file_not_found");
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_a_writer() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = read_owned(&path, &[us()], 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("\"{}\" is a pipe, not a regular file", path.display())
        );
    }
}

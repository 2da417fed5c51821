//! Where records and sockets live.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::{AccessFlags, access, geteuid};
use sha2::{Digest, Sha256};

use crate::SessionId;

/// Records of root's sessions.
const ROOT_STATE: &str = "/var/lib/backstay";
/// Sockets of root's sessions.
const ROOT_RUNTIME: &str = "/run/backstay";
/// The socket's name in its folder.
const SOCKET: &str = "keeper";
/// Where a database server's own user may put sockets.
const POSTGRESQL_RUNTIME: &str = "/run/postgresql";

/// The default place of session records: it must survive a reboot.
#[must_use]
pub fn state_directory(env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    if geteuid().is_root() {
        return ROOT_STATE.into();
    }
    let base = env("XDG_STATE_HOME").filter(|path| path.starts_with('/')).map(PathBuf::from);
    let base = base.or_else(|| env("HOME").map(|home| Path::new(&home).join(".local/state")));
    base.unwrap_or_else(|| format!("/var/tmp/.backstay-{}", geteuid()).into()).join("backstay")
}

/// The default place of sockets. Not `XDG_RUNTIME_DIR`, which is removed at the
/// last logout, and not the home directory, which may be on a network.
#[must_use]
pub fn runtime_directory() -> PathBuf {
    if geteuid().is_root() {
        return ROOT_RUNTIME.into();
    }
    let usable = access(POSTGRESQL_RUNTIME, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    if usable {
        return Path::new(POSTGRESQL_RUNTIME).join(format!(".backstay-{}", geteuid()));
    }
    format!("/tmp/.backstay-{}", geteuid()).into()
}

/// Where the socket of a session is: in a folder that only the keeper's user
/// may enter. Its name is short whatever the handle is, because a socket's path
/// may have at most 107 bytes, and differs for equal handles in two state
/// directories.
#[must_use]
pub fn socket_path(
    runtime_directory: &Path,
    state_directory: &Path,
    session: &SessionId,
) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(state_directory.as_os_str().as_encoded_bytes());
    hash.update(b"\0");
    hash.update(session.as_str());
    let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    runtime_directory.join(name).join(SOCKET)
}

/// How old a folder without a keeper must be to be swept: a keeper that is
/// being started has a folder before it has a socket.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// Removes the folders of sockets whose keeper is gone. A keeper removes its
/// socket itself, but not the folder where that belongs to root, and a killed
/// one removes nothing. What cannot be removed stays.
pub fn sweep(runtime_directory: &Path) {
    let Ok(entries) = std::fs::read_dir(runtime_directory) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).ok();
        let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let socket = entry.path().join(SOCKET);
        if age.is_some_and(|age| age > ABANDONED_AFTER) && !is_served(&socket) {
            let _ = std::fs::remove_file(&socket);
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

fn is_served(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_follows_the_user() {
        let env = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        let found = state_directory(&env);
        if geteuid().is_root() {
            assert_eq!(found, Path::new(ROOT_STATE));
        } else {
            assert_eq!(found, Path::new("/home/a/.local/state/backstay"));
        }
    }

    #[test]
    fn a_sockets_path_is_short_and_differs_by_state_directory() {
        let session = SessionId::new("main", &"b".repeat(100)).unwrap();
        let path = socket_path(
            Path::new("/run/postgresql/.backstay-4294967295"),
            Path::new("/a"),
            &session,
        );
        assert!(path.as_os_str().len() < 108);
        assert_ne!(
            path,
            socket_path(
                Path::new("/run/postgresql/.backstay-4294967295"),
                Path::new("/b"),
                &session
            )
        );
    }

    #[test]
    fn only_old_folders_without_a_keeper_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let folders = ["fresh", "dead", "served"].map(|name| directory.path().join(name));
        let listeners: Vec<_> = folders
            .iter()
            .map(|folder| {
                std::fs::create_dir(folder).unwrap();
                std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).unwrap()
            })
            .collect();
        let [fresh, dead, served] = listeners.try_into().unwrap();
        drop((fresh, dead));
        let long_ago = SystemTime::now() - ABANDONED_AFTER * 2;
        for folder in &folders[1..] {
            std::fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(directory.path());
        let left = folders.each_ref().map(|folder| folder.exists());
        assert_eq!(left, [true, false, true]);
        drop(served);
    }
}

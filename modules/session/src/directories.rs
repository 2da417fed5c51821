//! Where records and sockets live.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};
use sha2::{Digest, Sha256};

use crate::SessionId;

/// Records of root's sessions.
const ROOT_STATE: &str = "/var/lib/backstay";
/// Sockets of root's sessions.
const ROOT_RUNTIME: &str = "/run/backstay";
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
    runtime_directory.join(name).join("keeper")
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
}

//! Where programs are looked for.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// `PATH` of every program that is run, and where a bare name is looked up.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first executable file called `name` in `dirs`, then in [`SEARCH_PATH`].
#[must_use]
pub fn find(name: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    let system = SEARCH_PATH.split(':').map(PathBuf::from);
    dirs.iter().cloned().chain(system).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn given_directories_come_first_and_must_hold_something_executable() {
        let directory = tempfile::tempdir().unwrap();
        let dirs = [directory.path().to_path_buf()];
        let ours = directory.path().join("sh");
        fs::write(&ours, "").unwrap();
        assert_ne!(find("sh", &dirs), Some(ours.clone()));
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("sh", &dirs), Some(ours));
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("no-such-program-here", &dirs), None);
    }
}

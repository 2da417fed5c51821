//! What of the server's installation a sandbox has to show besides the system's own programs.

use std::path::{Path, PathBuf};

use sandbox::Bind;

/// Beside a directory of programs: what belongs to them. Not all that is there: it may be somebody's home.
const BESIDE: [&str; 4] = ["lib", "lib64", "libexec", "share"];

/// The directories of an installation that the system's packages did not make, each at its own path. A tree of its own
/// (`/srv/pg16/usr/lib/postgresql/16/bin`) is shown from its `usr` on, as its libraries are all over it.
pub(super) fn binds(bin_dir: &Path) -> Vec<Bind> {
    if bin_dir.starts_with("/usr") {
        return Vec::new();
    }
    let tree = bin_dir.ancestors().find(|path| path.file_name().is_some_and(|name| name == "usr"));
    let found: Vec<PathBuf> = match (tree, bin_dir.parent()) {
        (Some(usr), _) => {
            let above = usr.parent().unwrap_or(Path::new("/"));
            let libraries = ["lib", "lib64"].map(|name| above.join(name));
            std::iter::once(usr.to_path_buf()).chain(libraries).collect()
        }
        (None, Some(prefix)) if prefix != Path::new("/") => {
            let beside = BESIDE.map(|name| prefix.join(name));
            std::iter::once(bin_dir.to_path_buf()).chain(beside).collect()
        }
        _ => vec![bin_dir.to_path_buf()],
    };
    let there = found.into_iter().filter(|path| path.is_dir());
    there.map(|path| Bind::read_only(&path, &path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(place: &Path, bin_dir: &str) -> Vec<String> {
        let binds = binds(&place.join(bin_dir)).into_iter();
        assert!(binds.clone().all(|bind| !bind.writable && bind.from == bind.to));
        let below = |bind: Bind| bind.to.strip_prefix(place).unwrap().display().to_string();
        binds.map(below).collect()
    }

    #[test]
    fn no_more_is_shown_than_belongs_to_the_server() {
        let place = tempfile::tempdir().unwrap();
        for name in ["pg/bin", "pg/lib", "pg/share", "pg/.ssh", "tree/usr/lib/postgresql/16/bin"] {
            std::fs::create_dir_all(place.path().join(name)).unwrap();
        }
        assert_eq!(shown(place.path(), "pg/bin"), ["pg/bin", "pg/lib", "pg/share"]);
        assert_eq!(shown(place.path(), "tree/usr/lib/postgresql/16/bin"), ["tree/usr"]);
        assert!(binds(Path::new("/usr/lib/postgresql/16/bin")).is_empty());
        // never the host's whole root
        assert!(binds(Path::new("/etc")).iter().all(|bind| bind.from != Path::new("/")));
    }
}

//! The system's programs and libraries, as every sandbox sees them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::order::{Bind, RunAs};

/// Programs and libraries. A link (`/bin` on a system of today) is made again as a link.
const PROGRAMS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// Of `/etc` only what the dynamic linker, the C library and the alternatives of programs need.
const SETTINGS: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/alternatives",
    "/etc/locale.alias",
];

/// Directories that are empty, or in memory.
pub(crate) const EMPTY: [&str; 6] = ["/tmp", "/run", "/proc", "/dev", "/sys", "/var"];

/// What a root has to have besides what the order names.
pub(crate) struct System {
    /// Symbolic links and where they point to.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Directories and files of the host, read only.
    pub(crate) binds: Vec<Bind>,
    /// Small files and their content.
    pub(crate) files: Vec<(PathBuf, String)>,
}

impl System {
    /// As it is on this host, with no other user but the one of the programs.
    pub(crate) fn of_host(run_as: RunAs) -> Self {
        let (mut links, mut binds) = (Vec::new(), Vec::new());
        for path in PROGRAMS.map(Path::new) {
            match fs::symlink_metadata(path) {
                Ok(found) if found.is_symlink() => {
                    links.extend(fs::read_link(path).ok().map(|target| (path.into(), target)));
                }
                Ok(_) => binds.push(Bind::read_only(path, path)),
                Err(_) => {}
            }
        }
        // What a link points to, such as the time zone, and not the link.
        let settings =
            SETTINGS.iter().filter_map(|name| Some((name, fs::canonicalize(name).ok()?)));
        binds.extend(settings.map(|(name, from)| Bind::read_only(from, *name)));
        let RunAs { uid, gid } = run_as;
        let files = [
            ("passwd", format!("root:x:0:0::/:/bin/false\npostgres:x:{uid}:{gid}::/tmp:/bin/sh\n")),
            ("group", format!("root:x:0:\npostgres:x:{gid}:\n")),
            ("nsswitch.conf", "passwd: files\ngroup: files\n".to_owned()),
        ];
        let files = files.map(|(name, text)| (Path::new("/etc").join(name), text)).to_vec();
        Self { links, binds, files }
    }
}

/// Where a path inside is below the directory that is the root.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

//! What there is to copy in a directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::pool::Pace;
use super::root::{Attributes, Root};
use crate::SnapshotError;

/// What kind of entry of a directory is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// What to do with an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Copy it, with everything in it; a symbolic link as a link.
    Copy,
    /// Make an empty directory of it, whether it is a directory or a link to one.
    Empty,
    /// Leave it out.
    Skip,
}

/// Decides about an entry by its path below the top of the tree.
pub type Select<'a> = &'a dyn Fn(&Path, EntryKind) -> Choice;

/// All that is to be copied; paths are below the top. Directories come before what is in them, and the top, `""`,
/// is the first.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) directories: Vec<(PathBuf, Attributes)>,
    pub(crate) files: Vec<FoundFile>,
    pub(crate) links: Vec<FoundLink>,
}

#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

#[derive(Debug)]
pub(crate) struct FoundLink {
    pub(crate) path: PathBuf,
    pub(crate) target: String,
    pub(crate) attributes: Attributes,
}

impl Tree {
    /// The sizes of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == Path::new(path))
    }
}

/// Looks through the tree. What vanishes meanwhile is not there, which is normal below a running server; sockets,
/// pipes and devices are nothing that can be copied.
pub(crate) fn scan(
    root: &Root,
    select: Select<'_>,
    pace: &mut Pace<'_>,
) -> Result<Tree, SnapshotError> {
    let mut tree = Tree::default();
    let top = root.stat(Path::new("")).map_err(io_error(root, "examine", Path::new("")))?;
    tree.directories.push((PathBuf::new(), Attributes::of(&top)));
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let Some(entries) = unless_gone(root.entries(&directory)).map_err(io_error(
            root,
            "open directory",
            &directory,
        ))?
        else {
            continue;
        };
        for entry in entries {
            pace.check()?;
            let entry = entry
                .map_err(|errno| io_error(root, "read directory", &directory)(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let path = directory.join(OsStr::from_bytes(name));
                visit(root, path, select, &mut tree, &mut open)?;
            }
        }
    }
    Ok(tree)
}

fn visit(
    root: &Root,
    path: PathBuf,
    select: Select<'_>,
    tree: &mut Tree,
    open: &mut Vec<PathBuf>,
) -> Result<(), SnapshotError> {
    let examined = unless_gone(root.stat(&path)).map_err(io_error(root, "examine", &path))?;
    let Some(stat) = examined else { return Ok(()) };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Link,
        _ => return Ok(()),
    };
    let choice = select(&path, kind);
    if choice == Choice::Skip {
        return Ok(());
    }
    if path.to_str().is_none() {
        return Err(SnapshotError::NotUtf8 { path: root.full(&path) });
    }
    let attributes = Attributes::of(&stat);
    match kind {
        EntryKind::File => {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            tree.files.push(FoundFile { path, size });
        }
        EntryKind::Directory => {
            if choice == Choice::Copy {
                open.push(path.clone());
            }
            tree.directories.push((path, attributes));
        }
        // The permission bits of a link mean nothing; PostgreSQL wants a directory that only its owner can write.
        EntryKind::Link if choice == Choice::Empty => {
            tree.directories.push((path, attributes.with_mode(0o700)));
        }
        EntryKind::Link => tree.links.extend(read_link(root, path, attributes)?),
    }
    Ok(())
}

fn read_link(
    root: &Root,
    path: PathBuf,
    attributes: Attributes,
) -> Result<Option<FoundLink>, SnapshotError> {
    let target = unless_gone(root.link_target(&path));
    let Some(target) = target.map_err(io_error(root, "read symbolic link", &path))? else {
        return Ok(None);
    };
    let target =
        String::from_utf8(target).map_err(|_| SnapshotError::NotUtf8 { path: root.full(&path) })?;
    Ok(Some(FoundLink { path, target, attributes }))
}

/// `None` for what is not there any more.
pub(crate) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn io_error(
    root: &Root,
    action: &'static str,
    relative: &Path,
) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
    SnapshotError::io(action, &root.full(relative))
}

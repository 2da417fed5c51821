//! The steps of copying a directory.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::file::{Copied, How, copy_file, listed, write_file};
use super::pool::{self, Pace};
use super::root::{Attributes, Root, is_root};
use super::scan::{Choice, Tree, io_error, scan};
use super::{CopyOptions, CopyReport, sync};
use crate::provider::Watch;
use crate::{ListedFile, SnapshotError};

/// How often an unstable file is read again, and how long to wait in between: PostgreSQL writes its control file in
/// one call, so that two different readings follow each other only by chance.
const READINGS: u32 = 100;
const BETWEEN_READINGS: Duration = Duration::from_millis(5);

/// A directory being copied. Dropped before [`TreeCopy::finish`] has succeeded, it removes what it made.
pub(crate) struct TreeCopy<'a> {
    from: Root,
    to: Root,
    /// Attributes that `to` had, if it was there before.
    before: Option<Attributes>,
    tree: Tree,
    options: CopyOptions<'a>,
    copied: Vec<Copied>,
    finished: bool,
}

impl<'a> TreeCopy<'a> {
    /// Looks through `from` and makes the directories and symbolic links in `to`.
    pub(crate) fn begin(
        from: &Path,
        to: &Path,
        options: CopyOptions<'a>,
        watch: Watch<'_>,
    ) -> Result<Self, SnapshotError> {
        let source = Root::open(from).map_err(SnapshotError::io("open directory", from))?;
        let everything = |_: &Path, _| Choice::Copy;
        let select = options.select.unwrap_or(&everything);
        let tree = scan(&source, select, &mut Pace::new(watch))?;
        let (to, before) = take_over(to)?;
        let mut copy =
            Self { from: source, to, before, tree, options, copied: Vec::new(), finished: false };
        copy.make_directories()?;
        copy.make_links()?;
        Ok(copy)
    }

    fn make_directories(&self) -> Result<(), SnapshotError> {
        for (path, _) in self.tree.directories.iter().skip(1) {
            self.to.make_directory(path).map_err(io_error(&self.to, "create directory", path))?;
        }
        Ok(())
    }

    fn make_links(&mut self) -> Result<(), SnapshotError> {
        for link in &self.tree.links {
            let path = &link.path;
            let describe = |error| io_error(&self.to, "create symbolic link", path)(error);
            self.to.make_link(path, &link.target).map_err(describe)?;
            let attributes = link.attributes.owned_by(self.options.owner);
            if is_root() {
                self.to.link_owner(path, attributes.owner()).map_err(describe)?;
            }
            let text = link.target.as_bytes();
            let size = u64::try_from(text.len()).unwrap_or(0);
            let file = listed(path, size, attributes.mode(), &Sha256::digest(text));
            let file = ListedFile { link: Some(link.target.clone()), ..file };
            self.copied.push(Copied { file, shared: false });
        }
        Ok(())
    }

    /// Copies all files, the largest first, so that the threads end at about the same time.
    pub(crate) fn copy_files(&mut self, watch: Watch<'_>) -> Result<(), SnapshotError> {
        self.tree.files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        let (from, to) = (&self.from, &self.to);
        let CopyOptions { reflink, owner, throw_away, .. } = self.options;
        let how = How { reflink, owner, throw_away };
        let copied = pool::run(&self.tree.files, self.options.jobs, watch, &|file, stop| {
            copy_file((from, to), &file.path, how, stop)
        })?;
        self.copied.extend(copied.into_iter().flatten());
        Ok(())
    }

    /// Copies one small file that is written in place while the server runs: reads it until two readings in a row
    /// are the same.
    pub(crate) fn copy_stable(
        &mut self,
        path: &Path,
        watch: Watch<'_>,
    ) -> Result<(), SnapshotError> {
        let mut pace = Pace::new(watch);
        let mut last = self.read(path)?;
        for _ in 0..READINGS {
            pace.check()?;
            thread::sleep(BETWEEN_READINGS);
            let again = self.read(path)?;
            if again == last {
                let stat = self.from.stat(path).map_err(io_error(&self.from, "examine", path))?;
                let attributes = Attributes::of(&stat).owned_by(self.options.owner);
                let copied = write_file(&self.to, path, &again, attributes)?;
                self.copied.push(copied);
                return Ok(());
            }
            last = again;
        }
        Err(SnapshotError::Unstable { path: self.from.full(path) })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = Vec::new();
        self.from
            .file(path)
            .and_then(|mut file| io::Read::read_to_end(&mut file, &mut bytes))
            .map_err(io_error(&self.from, "read file", path))?;
        Ok(bytes)
    }

    /// Gives the directories their attributes and waits until everything is on disk.
    pub(crate) fn finish(mut self, watch: Watch<'_>) -> Result<CopyReport, SnapshotError> {
        // From the deepest up, so that nobody can enter a directory whose content we still have to reach.
        for (path, attributes) in self.tree.directories.iter().rev() {
            let attributes = attributes.owned_by(self.options.owner);
            self.to
                .directory(path)
                .and_then(|directory| attributes.set(&directory))
                .map_err(io_error(&self.to, "set the attributes of directory", path))?;
        }
        if !self.options.throw_away {
            self.sync(watch)?;
        }
        self.finished = true;
        Ok(report(std::mem::take(&mut self.copied)))
    }

    /// Waits until everything is on disk; `copy_tree` says why in this way.
    fn sync(&self, watch: Watch<'_>) -> Result<(), SnapshotError> {
        let to = &self.to;
        if sync::filesystem_tells_failures() {
            // On a thread, because the watch has to be asked meanwhile.
            pool::run(&[()], 1, watch, &|(), _| {
                to.sync_filesystem().map_err(io_error(to, "sync", Path::new("")))
            })?;
        } else {
            self.sync_files(watch)?;
            self.sync_directories(watch)?;
        }
        let top = self.to.full(Path::new(""));
        let parent = top.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(durable::sync_directory(parent.unwrap_or(Path::new(".")))?)
    }

    fn sync_files(&self, watch: Watch<'_>) -> Result<(), SnapshotError> {
        let to = &self.to;
        pool::run(&self.copied, self.options.jobs, watch, &|copied, _| {
            if copied.file.link.is_some() {
                // A link is in its directory, and synced with it.
                return Ok(());
            }
            let path = Path::new(&copied.file.path);
            to.file(path).and_then(|file| file.sync_all()).map_err(io_error(to, "sync file", path))
        })?;
        Ok(())
    }

    fn sync_directories(&self, watch: Watch<'_>) -> Result<(), SnapshotError> {
        let mut pace = Pace::new(watch);
        for (path, _) in &self.tree.directories {
            pace.check()?;
            self.to
                .directory(path)
                .and_then(|directory| fs::File::from(directory).sync_all())
                .map_err(io_error(&self.to, "sync directory", path))?;
        }
        Ok(())
    }

    /// Removes what was made, by what is known to have been made; failures leave litter, which is no news beside the
    /// error that led here.
    fn remove_all(&self) {
        let known = self.tree.files.iter().map(|file| &file.path);
        for path in known.chain(self.tree.links.iter().map(|link| &link.path)) {
            let _ = self.to.remove_file(path);
        }
        for copied in &self.copied {
            let _ = self.to.remove_file(Path::new(&copied.file.path));
        }
        for (path, _) in self.tree.directories.iter().skip(1).rev() {
            let _ = self.to.remove_directory(path);
        }
        let top = Path::new("");
        match self.before {
            Some(before) => {
                let _ = self.to.directory(top).and_then(|directory| before.set(&directory));
            }
            None => {
                let _ = fs::remove_dir(self.to.full(top));
            }
        }
    }
}

impl Drop for TreeCopy<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.remove_all();
        }
    }
}

/// Makes `to`, or makes sure that it is empty and that from now on nobody else can enter it.
fn take_over(to: &Path) -> Result<(Root, Option<Attributes>), SnapshotError> {
    let made = match rustix::fs::mkdir(to, rustix::fs::Mode::RWXU) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(errno) => return Err(SnapshotError::io("create directory", to)(errno.into())),
    };
    let root = Root::open(to).map_err(SnapshotError::io("open directory", to))?;
    if made {
        return Ok((root, None));
    }
    let stat = root.stat(Path::new("")).map_err(SnapshotError::io("examine", to))?;
    let before = Attributes::of(&stat);
    let ours = before.owned_by(Some(us())).with_mode(0o700);
    root.directory(Path::new(""))
        .and_then(|directory| ours.set(&directory))
        .map_err(SnapshotError::io("set the attributes of directory", to))?;
    // Only now: before, somebody could have put something in after the look.
    if !root.is_empty().map_err(SnapshotError::io("read directory", to))? {
        let _ = root.directory(Path::new("")).and_then(|directory| before.set(&directory));
        return Err(SnapshotError::NotEmpty { path: to.to_path_buf() });
    }
    Ok((root, Some(before)))
}

fn us() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

fn report(copied: Vec<Copied>) -> CopyReport {
    let mut report = CopyReport::default();
    for Copied { file, shared } in copied {
        if file.link.is_none() {
            report.bytes += file.size;
            report.reflinked += u64::from(shared);
        }
        report.files.push(file);
    }
    report.files.sort_by(|a, b| a.path.cmp(&b.path));
    report
}

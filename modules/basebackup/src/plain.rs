//! A plain base backup held against its manifest, as `pg_verifybackup` does it, with several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::files::{CHUNK, is_ignored, open_regular, tablespace_of};
use crate::sum::Hasher;
use crate::{BasebackupError, Manifest, Problem, Sum, workers};

/// Where the files to check are.
pub struct CheckPlain<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Where a tablespace is; none: where the link `pg_tblspc/<oid>` leads.
    pub tablespace: &'a dyn Fn(u32) -> Option<PathBuf>,
    /// How many files are read at the same time.
    pub jobs: usize,
}

/// What checking a plain base backup came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How many files of the manifest were found.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// What is wrong; none when all is well.
    pub problems: Vec<Problem>,
}

/// Holds every file against the manifest: whether it is there, its size, its checksum, and what is there besides.
/// Nothing is said of WAL, of the manifest itself, and of the files that `pg_basebackup --write-recovery-conf` writes
/// (`postgresql.auto.conf`, `standby.signal`, `recovery.signal`). `stop` is asked about five times a second.
///
/// # Errors
/// [`BasebackupError::Io`] when the data directory itself cannot be read; [`BasebackupError::Stopped`]. Damage is no
/// error: it is in [`Checked::problems`].
pub fn check_plain(
    check: &CheckPlain<'_>,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<Checked, BasebackupError> {
    let mut there = There::default();
    let read = fs::read_dir(check.data);
    let entries = read.map_err(BasebackupError::io("read directory", check.data))?;
    there.entries(entries, Path::new(""), check);
    there.unlinked(manifest, check);
    let There { files, explained, mut problems, .. } = there;
    let (mut count, mut bytes, mut to_read) = (0, 0_u64, Vec::new());
    for (path, expected) in manifest.files.iter().filter(|(path, _)| !is_ignored(path)) {
        match files.get(path) {
            Some(found) => {
                count += 1;
                bytes = bytes.saturating_add(found.size);
                if found.size != expected.size {
                    let (found, expected) = (found.size, expected.size);
                    problems.push(Problem::Size { path: path.clone(), found, expected });
                } else if let Some(sum) = &expected.checksum {
                    to_read.push(ToRead { path, at: &found.at, size: found.size, sum });
                }
            }
            None if explained.iter().any(|explained| path.starts_with(explained)) => {}
            None => problems.push(Problem::Missing { path: path.clone() }),
        }
    }
    let unexpected = files.keys().filter(|path| !manifest.files.contains_key(*path));
    problems.extend(unexpected.map(|path| Problem::Unexpected { path: path.clone() }));
    // The largest first, so that the threads end at about the same time.
    to_read.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(b.path)));
    let read = workers::run(&to_read, check.jobs, stop, &|file, stop| file.check(stop))?;
    problems.extend(read.into_iter().flatten());
    Problem::sort(&mut problems);
    Ok(Checked { files: count, bytes, problems })
}

/// A file whose checksum is to be computed.
struct ToRead<'a> {
    path: &'a Path,
    at: &'a Path,
    size: u64,
    sum: &'a Sum,
}

impl ToRead<'_> {
    fn check(&self, stop: &AtomicBool) -> Result<Option<Problem>, BasebackupError> {
        let path = || self.path.to_path_buf();
        match self.read(stop) {
            Ok(None) => Err(BasebackupError::Stopped),
            Ok(Some(found)) if found == *self.sum => Ok(None),
            Ok(Some(found)) => {
                Ok(Some(Problem::Checksum { path: path(), found, expected: self.sum.clone() }))
            }
            Err(reason) => Ok(Some(Problem::Unreadable { path: path(), reason })),
        }
    }

    /// The file's checksum; none when the work was stopped.
    fn read(&self, stop: &AtomicBool) -> Result<Option<Sum>, String> {
        let (mut file, _) = open_regular(self.at).map_err(|error| match error {
            BasebackupError::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        })?;
        let mut hasher = Hasher::new(self.sum.algorithm());
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.size).unwrap_or(CHUNK).max(1))];
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(hasher.finish())),
                Ok(bytes) => hasher.update(buffer.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A file that is there.
struct Found {
    at: PathBuf,
    size: u64,
}

/// What is there.
#[derive(Default)]
struct There {
    files: BTreeMap<PathBuf, Found>,
    /// What there is a problem about already, with everything below: it is not missing besides.
    explained: Vec<PathBuf>,
    problems: Vec<Problem>,
    tablespaces: BTreeSet<u32>,
}

impl There {
    fn directory(&mut self, at: &Path, path: &Path, check: &CheckPlain<'_>) {
        match fs::read_dir(at) {
            Ok(entries) => self.entries(entries, path, check),
            Err(error) => self.unreadable(path, &error),
        }
    }

    /// Tablespaces whose place is known although nothing in the data directory leads there: whoever copied them apart
    /// leaves the links out.
    fn unlinked(&mut self, manifest: &Manifest, check: &CheckPlain<'_>) {
        let listed: BTreeSet<u32> =
            manifest.files.keys().filter_map(|path| tablespace_of(path)).collect();
        for oid in listed {
            let path = Path::new("pg_tblspc").join(oid.to_string());
            let known = self.tablespaces.contains(&oid) || self.explained.contains(&path);
            if let Some(at) = (check.tablespace)(oid).filter(|_| !known) {
                self.directory(&at, &path, check);
            }
        }
    }

    fn entries(&mut self, entries: fs::ReadDir, path: &Path, check: &CheckPlain<'_>) {
        for entry in entries {
            match entry {
                Ok(entry) => {
                    let path = path.join(entry.file_name());
                    if !is_ignored(&path) {
                        self.entry(&entry, &path, check);
                    }
                }
                Err(error) => self.unreadable(path, &error),
            }
        }
    }

    fn entry(&mut self, entry: &fs::DirEntry, path: &Path, check: &CheckPlain<'_>) {
        let found = match entry.file_type() {
            Ok(found) => found,
            Err(error) => return self.unreadable(path, &error),
        };
        // The link itself or, where nobody made one, a directory of that name.
        let tablespace = tablespace_of(path).filter(|_| path.components().count() == 2);
        if let Some(oid) = tablespace.filter(|_| found.is_symlink() || found.is_dir()) {
            let at = (check.tablespace)(oid).unwrap_or_else(|| entry.path());
            self.tablespaces.insert(oid);
            return self.directory(&at, path, check);
        }
        if found.is_dir() {
            return self.directory(&entry.path(), path, check);
        }
        if !found.is_file() {
            let found = kind(found);
            self.explained.push(path.to_path_buf());
            return self.problems.push(Problem::NotAFile { path: path.to_path_buf(), found });
        }
        match entry.metadata() {
            Ok(metadata) => {
                let found = Found { at: entry.path(), size: metadata.len() };
                self.files.insert(path.to_path_buf(), found);
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.explained.push(path.to_path_buf());
        let (path, reason) = (path.to_path_buf(), error.to_string());
        self.problems.push(Problem::Unreadable { path, reason });
    }
}

fn kind(found: FileType) -> &'static str {
    if found.is_symlink() {
        "symbolic link"
    } else if found.is_fifo() {
        "pipe"
    } else if found.is_socket() {
        "socket"
    } else {
        "device"
    }
}

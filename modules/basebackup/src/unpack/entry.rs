//! One entry of an archive.

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use pg::WalSegmentName;
use tar::{Entry, EntryType};

use super::one::{End, One};
use crate::files::{inside, is_ignored, tablespace_of};
use crate::sum::Hasher;
use crate::{BasebackupError, Problem, Sum};

impl One<'_> {
    /// Writes one entry, or says why not.
    pub(super) fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), End> {
        let named = entry.path().map_err(End::Archive)?.into_owned();
        let kind = entry.header().entry_type();
        let Some(path) = inside(&named) else {
            // The directory itself, as other programs than the server write it.
            if kind.is_dir() && named.components().all(|part| part == Component::CurDir) {
                return Ok(());
            }
            self.refuse(named, "its path leads out of its directory");
            return Ok(());
        };
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &path)
            }
            EntryType::Directory => {
                let at = self.job.to.join(&path);
                let made = self.owner.directories(&self.job.to, &at);
                made.map_err(BasebackupError::io("create directory", &at)).map_err(End::Failed)
            }
            EntryType::Symlink => {
                self.link(path);
                Ok(())
            }
            // Remarks on all entries that follow; none of them matters here.
            EntryType::XGlobalHeader => Ok(()),
            EntryType::Link => {
                self.refuse(path, "it is a hard link");
                Ok(())
            }
            EntryType::Char | EntryType::Block => {
                self.refuse(path, "it is a device");
                Ok(())
            }
            _ => {
                self.refuse(path, "it is neither a file nor a directory");
                Ok(())
            }
        }
    }

    /// Links to tablespaces were made before, to their new places.
    fn link(&mut self, path: PathBuf) {
        let depth = path.components().count();
        match tablespace_of(&path).filter(|_| self.result.is_base && depth == 2) {
            Some(oid) => {
                self.result.links.insert(oid);
            }
            None => self.refuse(path, "it is a symbolic link"),
        }
    }

    fn refuse(&mut self, path: PathBuf, reason: &'static str) {
        let archive = self.job.archive.name();
        self.result.problems.push(Problem::Refused { archive, path, reason });
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<(), End> {
        let listed = self.job.prefix.join(path);
        let at = self.job.to.join(path);
        let mut file = match self.owner.file(&self.job.to, &at) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.refuse(path.to_path_buf(), "something of that name is there already");
                return Ok(());
            }
            Err(error) => return Err(BasebackupError::io("create file", &at)(error).into()),
        };
        let compared = self.manifest.filter(|_| !is_ignored(&listed));
        let expected = compared.and_then(|manifest| manifest.files.get(&listed));
        let algorithm = expected.and_then(|expected| Some(expected.checksum.as_ref()?.algorithm()));
        self.at = Some(listed.clone());
        let (size, sum) = self.copy(entry, algorithm.map(Hasher::new), &mut |bytes| {
            file.write_all(bytes).map_err(BasebackupError::io("write file", &at))
        })?;
        self.result.files += 1;
        self.result.bytes = self.result.bytes.saturating_add(size);
        self.note_wal(&listed);
        match expected {
            Some(expected) => {
                self.compare(&listed, (size, sum), (expected.size, expected.checksum.as_ref()));
                self.result.found.insert(listed);
            }
            None if compared.is_some() => {
                self.result.problems.push(Problem::Unexpected { path: listed });
            }
            None => {}
        }
        Ok(())
    }

    /// Hands the entry's content on; returns its size and its checksum.
    fn copy<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        mut hasher: Option<Hasher>,
        write: &mut dyn FnMut(&[u8]) -> Result<(), BasebackupError>,
    ) -> Result<(u64, Option<Sum>), End> {
        let mut size = 0_u64;
        loop {
            let read = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(End::Archive(error)),
            };
            let bytes = self.buffer.get(..read).unwrap_or_default();
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
            write(bytes)?;
            size = size.saturating_add(u64::try_from(read).unwrap_or(0));
        }
        // The end of the archive in the middle of a file is no error to the crate tar.
        if size < entry.size() {
            let kind = ErrorKind::UnexpectedEof;
            return Err(End::Archive(io::Error::new(kind, "unexpected end of file")));
        }
        Ok((size, hasher.map(Hasher::finish)))
    }

    fn compare(&mut self, path: &Path, found: (u64, Option<Sum>), expected: (u64, Option<&Sum>)) {
        let path = path.to_path_buf();
        if found.0 != expected.0 {
            let (found, expected) = (found.0, expected.0);
            self.result.problems.push(Problem::Size { path, found, expected });
        } else if let (Some(found), Some(expected)) = (found.1, expected.1)
            && found != *expected
        {
            let expected = expected.clone();
            self.result.problems.push(Problem::Checksum { path, found, expected });
        }
    }

    fn note_wal(&mut self, listed: &Path) {
        if listed.parent() == Some(Path::new("pg_wal"))
            && let Some(name) = listed.file_name().and_then(|name| name.to_str())
            && let Ok(segment) = name.parse::<WalSegmentName>()
        {
            self.result.wal_segments.push(segment);
        }
    }
}

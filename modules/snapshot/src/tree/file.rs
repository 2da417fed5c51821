//! One file: its blocks or its bytes, its attributes, its checksum.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{FileType, fstat, ioctl_ficlone};
use sha2::{Digest, Sha256};

use super::Reflink;
use super::pool::Stop;
use super::root::{Attributes, Root};
use super::scan::{io_error, unless_gone};
use crate::listing::hex;
use crate::{ListedFile, SnapshotError};

/// Bytes read at once: large enough that calls do not count, small enough that what was read is still in the
/// processor's cache when it is hashed and written.
const CHUNK: u64 = 256 << 10;

/// What of the options concerns a single file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) reflink: Reflink,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) throw_away: bool,
}

/// A file that was copied.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) file: ListedFile,
    /// Whether it shares its blocks with the original.
    pub(crate) shared: bool,
}

/// Copies the file `path` below the first directory to the same path below the second. `None` when it is not there any more, or is no
/// regular file any more.
///
/// The checksum is that of the copy. Where blocks are shared the copy is read once for it. Otherwise the bytes are
/// hashed on their way from the original to the copy, which is why copy_file_range(2) is not used: the bytes have
/// to pass through here anyway, and passing once is cheaper than copying inside the kernel and reading back.
pub(crate) fn copy_file(
    (from, to): (&Root, &Root),
    path: &Path,
    options: How,
    stop: &Stop,
) -> Result<Option<Copied>, SnapshotError> {
    let opened = unless_gone(from.file(path)).map_err(io_error(from, "open file", path))?;
    let Some(mut source) = opened else { return Ok(None) };
    let stat = fstat(&source).map_err(|errno| io_error(from, "examine", path)(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut copy = to.create(path).map_err(io_error(to, "create file", path))?;
    let shared = share(&source, &copy, options.reflink, &|| to.full(path))?;
    let mut transfer = Transfer { hash: Sha256::new(), size: 0, stop };
    if shared && options.throw_away {
        transfer.size = stat_size(&stat);
    } else if shared {
        transfer
            .pass(stat_size(&stat), &mut copy, |_| Ok(()))
            .map_err(|failure| failure.or_io(|error| io_error(to, "read file", path)(error)))?;
    } else {
        let mut written = Ok(());
        let read = transfer.pass(stat_size(&stat), &mut source, |bytes| {
            written = copy.write_all(bytes);
            // The error itself is kept aside, because it belongs to the other file.
            if written.is_ok() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::Other)) }
        });
        written.map_err(io_error(to, "write file", path))?;
        read.map_err(|failure| failure.or_io(|error| io_error(from, "read file", path)(error)))?;
    }
    let attributes = Attributes::of(&stat).owned_by(options.owner);
    attributes.set(&copy).map_err(io_error(to, "set the attributes of", path))?;
    let mut file = transfer.listed(path, attributes.mode());
    if options.throw_away {
        file.sha256.clear();
    }
    Ok(Some(Copied { file, shared }))
}

/// Writes `bytes` as the copy of the file `path`, with the attributes of `stat`.
pub(crate) fn write_file(
    to: &Root,
    path: &Path,
    bytes: &[u8],
    attributes: Attributes,
) -> Result<Copied, SnapshotError> {
    let mut copy = to.create(path).map_err(io_error(to, "create file", path))?;
    copy.write_all(bytes).map_err(io_error(to, "write file", path))?;
    attributes.set(&copy).map_err(io_error(to, "set the attributes of", path))?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let file = listed(path, size, attributes.mode(), &Sha256::digest(bytes));
    Ok(Copied { file, shared: false })
}

fn stat_size(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Tries to let the copy share the blocks of the original. Asked of every file, not once: one tree may
/// span filesystems, and btrfs refuses single files (those without copy-on-write).
fn share(
    source: &File,
    copy: &File,
    reflink: Reflink,
    path: &dyn Fn() -> std::path::PathBuf,
) -> Result<bool, SnapshotError> {
    if reflink == Reflink::Never {
        return Ok(false);
    }
    match ioctl_ficlone(copy, source) {
        Ok(()) => Ok(true),
        Err(errno) if reflink == Reflink::Always => {
            Err(SnapshotError::NotShared { path: path(), source: errno.into() })
        }
        // Whatever the reason was, if it is a real one (a full disk) copying will meet it again.
        Err(_) => Ok(false),
    }
}

struct Transfer<'a> {
    hash: Sha256,
    size: u64,
    stop: &'a Stop,
}

enum Failure {
    Io(io::Error),
    Stopped(SnapshotError),
}

impl Failure {
    fn or_io(self, describe: impl FnOnce(io::Error) -> SnapshotError) -> SnapshotError {
        match self {
            Self::Io(error) => describe(error),
            Self::Stopped(error) => error,
        }
    }
}

impl Transfer<'_> {
    /// Reads `from` to its end, hashing, and gives each piece to `sink`.
    fn pass(
        &mut self,
        expected: u64,
        from: &mut File,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        // One byte more than expected, so that a small file's end is seen without a second buffer's worth.
        let length = usize::try_from(expected.saturating_add(1).min(CHUNK)).unwrap_or(1);
        let mut buffer = vec![0; length];
        loop {
            self.stop.check().map_err(Failure::Stopped)?;
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Io(error)),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            self.hash.update(bytes);
            self.size += u64::try_from(count).unwrap_or(0);
            sink(bytes).map_err(Failure::Io)?;
        }
    }

    fn listed(self, path: &Path, mode: u32) -> ListedFile {
        listed(path, self.size, mode, &self.hash.finalize())
    }
}

pub(crate) fn listed(path: &Path, size: u64, mode: u32, hash: &[u8]) -> ListedFile {
    ListedFile {
        // Paths that are not UTF-8 were refused when the tree was looked through.
        path: path.to_string_lossy().into_owned(),
        size,
        mode,
        sha256: hex(hash),
        link: None,
    }
}

//! The backup's WAL into the restored cluster's `pg_wal`.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use repository::{BackupFolder, FileEntry};
use sha2::{Digest, Sha256};

use crate::RecoveryError;
use crate::plan;

/// Large enough that a segment takes few calls, small enough to stay in the cache.
const BUFFER: usize = 256 * 1024;

/// Copies every file under `wal/` of the backup, and compares what was copied with its SHA-256.
///
/// Each segment is marked as archived: the source has archived it, or never will, and a restored server that archives
/// must not offer it again.
pub(crate) fn place(
    folder: &BackupFolder,
    wal: &[FileEntry],
    pg_wal: &Path,
    mode: u32,
) -> Result<(), RecoveryError> {
    for file in wal {
        let Some(name) = plan::wal_file_name(file) else { continue };
        let to = pg_wal.join(name);
        let from = folder.path(&file.name);
        let found = copy(&from, &to, mode)?;
        super::same_sum(&from, &found, &file.sha256.to_string())?;
        let done = pg_wal.join("archive_status").join(format!("{name}.done"));
        create(&done, mode)?;
    }
    Ok(())
}

/// Copies one file into a new one and answers the SHA-256 of what was copied.
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> Result<String, RecoveryError> {
    let mut source = std::fs::File::open(from).map_err(RecoveryError::io("read file", from))?;
    let mut target = create(to, mode)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = source.read(&mut buffer).map_err(RecoveryError::io("read file", from))?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        sum.update(part);
        target.write_all(part).map_err(RecoveryError::io("write file", to))?;
    }
    Ok(hex(&sum.finalize()))
}

/// The file must not be there: the directory was emptied a moment ago.
fn create(path: &Path, mode: u32) -> Result<std::fs::File, RecoveryError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(RecoveryError::io("create file", path))
}

/// Lower-case hexadecimal digits, as in the manifest.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

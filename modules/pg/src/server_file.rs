//! Reading the small files a server keeps in its data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::PgTypeError;

/// No file read here is longer; `pg_control` is 8 KiB.
const LONGEST: u64 = 64 * 1024;

/// A file of the data directory that does not say what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFileError {
    /// The operating system did not give its content.
    #[error("could not read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It ends too early to be what its name says.
    #[error("file \"{}\" has {length} bytes, too few", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        length: usize,
    },
    /// Its content is not what was written.
    #[error("file \"{}\" has checksum {found:08X}, but its content gives {computed:08X}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The checksum it holds.
        found: u32,
        /// The checksum of its content.
        computed: u32,
    },
    /// A control file of a server these modules do not know.
    #[error("file \"{}\" has control version {version}, only 1300, 1700 and 1800 are supported", path.display())]
    UnknownControlVersion {
        /// The file.
        path: PathBuf,
        /// `pg_control_version`.
        version: u32,
    },
    /// One of its values is impossible.
    #[error("file \"{}\" holds an impossible value", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which one.
        source: PgTypeError,
    },
}

impl ServerFileError {
    /// A stable word a playbook may branch on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "insufficient_privilege"
            }
            Self::Read { .. } => "invalid_argument",
            Self::TooShort { .. } | Self::Value { .. } => "verification_failed",
            Self::Checksum { .. } => "checksum_mismatch",
            Self::UnknownControlVersion { .. } => "unsupported_version",
        }
    }

    /// What to do about it, as whole sentences.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "Only the owner of the data directory and root may read it. Does the task run as one of them?"
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "Is this the data directory of a server on this host?"
            }
            Self::Read { .. } | Self::Value { .. } => return Vec::new(),
            Self::TooShort { .. } | Self::Checksum { .. } => {
                "The file is damaged, or was copied while the server wrote it without backup mode."
            }
            Self::UnknownControlVersion { .. } => {
                "A newer release of this collection may know this version."
            }
        };
        vec![hint.to_owned()]
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        false
    }
}

/// Reads a whole file, which is a regular one and no link: as root we read in a directory that another
/// user may write to, and neither a planted pipe may hold us up nor a link lead elsewhere.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathBuf {
        PathBuf::from("/data/global/pg_control")
    }

    #[test]
    fn texts() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let absent = io::Error::from(io::ErrorKind::NotFound);
        let value = PgTypeError::invalid("timeline", "0", "a number from 1 up");
        let cases = [
            (
                ServerFileError::Read { path: path(), source: denied },
                "could not read \"/data/global/pg_control\"",
                "insufficient_privilege",
            ),
            (
                ServerFileError::Read { path: path(), source: absent },
                "could not read \"/data/global/pg_control\"",
                "invalid_argument",
            ),
            (
                ServerFileError::TooShort { path: path(), length: 3 },
                "file \"/data/global/pg_control\" has 3 bytes, too few",
                "verification_failed",
            ),
            (
                ServerFileError::Checksum { path: path(), found: 1, computed: 0xABCD },
                "file \"/data/global/pg_control\" has checksum 00000001, but its content gives 0000ABCD",
                "checksum_mismatch",
            ),
            (
                ServerFileError::UnknownControlVersion { path: path(), version: 1201 },
                "file \"/data/global/pg_control\" has control version 1201, only 1300, 1700 and 1800 are supported",
                "unsupported_version",
            ),
            (
                ServerFileError::Value { path: path(), source: value },
                "file \"/data/global/pg_control\" holds an impossible value",
                "verification_failed",
            ),
        ];
        for (error, text, kind) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), kind);
            assert!(!error.retryable());
            assert_eq!(error.hints().is_empty(), matches!(error, ServerFileError::Value { .. }));
        }
    }

    #[test]
    fn neither_links_nor_pipes_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), b"content").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(read(&at("file")).unwrap(), b"content");
        for name in ["link", "pipe", "absent", "."] {
            assert!(read(&at(name)).is_err(), "{name}");
        }
    }
}

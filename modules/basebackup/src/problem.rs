//! What is wrong with a base backup.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Sum;

/// One thing that is wrong with a base backup. Paths are those of the manifest: relative to the data directory, with
/// tablespaces as `pg_tblspc/<oid>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// An archive cannot be read to its end.
    Archive {
        /// Its file name.
        archive: String,
        /// What stopped the reading, as a phrase.
        reason: String,
        /// The file in it that was being read, if any.
        at: Option<PathBuf>,
        /// How many bytes of tar could be read before.
        after: u64,
        /// How many files of the manifest belong to it and were not read; 0 also without a manifest.
        missing: u64,
    },
    /// The manifest has files of a tablespace, or the data directory a link to it, but its archive is not there.
    ArchiveMissing {
        /// The tablespace.
        oid: u32,
        /// How many files of the manifest are missing with it; 0 also without a manifest.
        missing: u64,
    },
    /// The manifest has it, the backup has not.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Its size is another one.
    Size {
        /// The file.
        path: PathBuf,
        /// In bytes.
        found: u64,
        /// In bytes, from the manifest.
        expected: u64,
    },
    /// Its content is another one.
    Checksum {
        /// The file.
        path: PathBuf,
        /// Of the content.
        found: Sum,
        /// From the manifest.
        expected: Sum,
    },
    /// The backup has it, the manifest has not.
    Unexpected {
        /// The file.
        path: PathBuf,
    },
    /// It is neither a regular file nor a directory.
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is: `symbolic link`, `device`, ….
        found: &'static str,
    },
    /// An entry of an archive was not unpacked, because it would have done harm.
    Refused {
        /// The archive's file name.
        archive: String,
        /// The entry's path as it is in the archive.
        path: PathBuf,
        /// Why, as a phrase.
        reason: &'static str,
    },
    /// It could not be read.
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        reason: String,
    },
}

impl Problem {
    /// The file it is about; none for archives.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Archive { .. } | Self::ArchiveMissing { .. } => None,
            Self::Missing { path }
            | Self::Size { path, .. }
            | Self::Checksum { path, .. }
            | Self::Unexpected { path }
            | Self::NotAFile { path, .. }
            | Self::Refused { path, .. }
            | Self::Unreadable { path, .. } => Some(path),
        }
    }

    /// Archives first, since they explain the rest; then by path.
    pub(crate) fn sort(problems: &mut [Self]) {
        problems.sort_by(|a, b| a.path().cmp(&b.path()));
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive { archive, reason, at, after, missing } => {
                write!(
                    f,
                    "archive \"{archive}\" cannot be read beyond {after} bytes of its content"
                )?;
                if let Some(path) = at {
                    write!(f, ", in \"{}\"", path.display())?;
                }
                write!(f, ": {reason}")?;
                with_missing(f, *missing)
            }
            Self::ArchiveMissing { oid, missing } => {
                write!(f, "there is no archive \"{oid}.tar\" of tablespace {oid}")?;
                with_missing(f, *missing)
            }
            Self::Missing { path } => {
                write!(f, "\"{}\" is in the manifest but not in the backup", path.display())
            }
            Self::Size { path, found, expected } => write!(
                f,
                "\"{}\" has {found} bytes, but {expected} in the manifest",
                path.display()
            ),
            Self::Checksum { path, found, expected } => write!(
                f,
                "\"{}\" has the {} checksum {found}, but {expected} in the manifest",
                path.display(),
                found.algorithm()
            ),
            Self::Unexpected { path } => {
                write!(f, "\"{}\" is in the backup but not in the manifest", path.display())
            }
            Self::NotAFile { path, found } => {
                write!(f, "\"{}\" is a {found}, not a regular file or directory", path.display())
            }
            Self::Refused { archive, path, reason } => {
                write!(f, "\"{}\" in archive \"{archive}\" was left out: {reason}", path.display())
            }
            Self::Unreadable { path, reason } => {
                write!(f, "\"{}\" could not be read: {reason}", path.display())
            }
        }
    }
}

fn with_missing(f: &mut fmt::Formatter<'_>, missing: u64) -> fmt::Result {
    match missing {
        0 => Ok(()),
        1 => write!(f, "; 1 file of the manifest is missing with it"),
        more => write!(f, "; {more} files of the manifest are missing with it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn path() -> PathBuf {
        PathBuf::from("base/5/1259")
    }

    fn archive(at: Option<PathBuf>, missing: u64) -> Problem {
        let (archive, reason) = ("base.tar.gz".to_owned(), "unexpected end of file".to_owned());
        Problem::Archive { archive, reason, at, after: 99, missing }
    }

    fn sum(last: u8) -> Sum {
        Sum::new(Algorithm::Crc32c, vec![1, 2, 3, last]).unwrap()
    }

    #[test]
    fn texts() {
        for (problem, text) in [
            (
                archive(Some(path()), 2),
                "archive \"base.tar.gz\" cannot be read beyond 99 bytes of its content, in \"base/5/1259\": unexpected end of file; 2 files of the manifest are missing with it",
            ),
            (
                archive(None, 0),
                "archive \"base.tar.gz\" cannot be read beyond 99 bytes of its content: unexpected end of file",
            ),
            (
                Problem::ArchiveMissing { oid: 16400, missing: 1 },
                "there is no archive \"16400.tar\" of tablespace 16400; 1 file of the manifest is missing with it",
            ),
            (
                Problem::Missing { path: path() },
                "\"base/5/1259\" is in the manifest but not in the backup",
            ),
            (
                Problem::Size { path: path(), found: 1, expected: 2 },
                "\"base/5/1259\" has 1 bytes, but 2 in the manifest",
            ),
            (
                Problem::Checksum { path: path(), found: sum(4), expected: sum(255) },
                "\"base/5/1259\" has the CRC32C checksum 01020304, but 010203ff in the manifest",
            ),
            (
                Problem::Unexpected { path: path() },
                "\"base/5/1259\" is in the backup but not in the manifest",
            ),
            (
                Problem::NotAFile { path: path(), found: "symbolic link" },
                "\"base/5/1259\" is a symbolic link, not a regular file or directory",
            ),
            (
                Problem::Refused {
                    archive: "base.tar".to_owned(),
                    path: path(),
                    reason: "it is a device",
                },
                "\"base/5/1259\" in archive \"base.tar\" was left out: it is a device",
            ),
            (
                Problem::Unreadable { path: path(), reason: "permission denied".to_owned() },
                "\"base/5/1259\" could not be read: permission denied",
            ),
        ] {
            assert_eq!(problem.to_string(), text);
        }
    }

    #[test]
    fn archives_come_first() {
        let mut problems = vec![Problem::Missing { path: path() }, archive(None, 0)];
        Problem::sort(&mut problems);
        assert_eq!(problems, [archive(None, 0), Problem::Missing { path: path() }]);
    }
}

//! What of a base backup is in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files::oid;
use crate::{BasebackupError, Manifest};

/// A base backup as `pg_basebackup` left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A data directory (`--format=plain`).
    Plain(PlainBackup),
    /// Archives (`--format=tar`).
    Tar(TarBackup),
}

/// A base backup that is a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainBackup {
    /// The data directory.
    pub data: PathBuf,
    /// Its manifest; none with `--no-manifest`.
    pub manifest: Option<PathBuf>,
}

/// A base backup that is a number of archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarBackup {
    /// The data directory.
    pub base: Archive,
    /// WAL; none with `--wal-method=none`, or with `fetch`: then it is in [`TarBackup::base`].
    pub wal: Option<Archive>,
    /// Tablespaces by their object identifier.
    pub tablespaces: BTreeMap<u32, Archive>,
    /// The manifest; none with `--no-manifest`.
    pub manifest: Option<PathBuf>,
}

impl TarBackup {
    /// Its archives.
    pub fn archives(&self) -> impl Iterator<Item = &Archive> {
        [&self.base].into_iter().chain(&self.wal).chain(self.tablespaces.values())
    }
}

/// One tar file, compressed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub path: PathBuf,
    /// How it is compressed, by its name.
    pub compression: Compression,
}

impl Archive {
    /// Its file name, for messages.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: `.tar`.
    None,
    /// gzip: `.tar.gz`, `.tgz`.
    Gzip,
    /// LZ4: `.tar.lz4`.
    Lz4,
    /// Zstandard: `.tar.zst`.
    Zstd,
}

impl Compression {
    /// By what follows `base` in a file name.
    fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            ".tar" => Some(Self::None),
            ".tar.gz" | ".tgz" => Some(Self::Gzip),
            ".tar.lz4" => Some(Self::Lz4),
            ".tar.zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Format {
    /// Looks which base backup is in the directory `path`. Only names are looked at, no content.
    ///
    /// # Errors
    /// [`BasebackupError::NotADirectory`], [`BasebackupError::NoBackup`], [`BasebackupError::NotFinished`],
    /// [`BasebackupError::BothFormats`], [`BasebackupError::TwoArchives`],
    /// [`BasebackupError::UnknownCompression`]; [`BasebackupError::Io`] when the directory cannot be read.
    pub fn detect(path: &Path) -> Result<Self, BasebackupError> {
        let examine = BasebackupError::io("examine", path);
        if !fs::metadata(path).map_err(examine)?.is_dir() {
            return Err(BasebackupError::NotADirectory { path: path.to_path_buf() });
        }
        let found = Found::look(path)?;
        let manifest = path.join(Manifest::FILE_NAME);
        let manifest = fs::symlink_metadata(&manifest).is_ok().then_some(manifest);
        let plain = fs::symlink_metadata(path.join("PG_VERSION")).is_ok();
        match (plain, found.base) {
            (true, Some(base)) => {
                Err(BasebackupError::BothFormats { path: path.to_path_buf(), archive: base.name() })
            }
            (true, None) if fs::symlink_metadata(path.join("global/pg_control")).is_err() => {
                Err(BasebackupError::NotFinished { path: path.to_path_buf() })
            }
            (true, None) => Ok(Self::Plain(PlainBackup { data: path.to_path_buf(), manifest })),
            (false, Some(base)) => {
                let (wal, tablespaces) = (found.wal, found.tablespaces);
                Ok(Self::Tar(TarBackup { base, wal, tablespaces, manifest }))
            }
            (false, None) => Err(BasebackupError::NoBackup { path: path.to_path_buf() }),
        }
    }
}

/// The archives in a directory.
#[derive(Default)]
struct Found {
    base: Option<Archive>,
    wal: Option<Archive>,
    tablespaces: BTreeMap<u32, Archive>,
}

impl Found {
    fn look(directory: &Path) -> Result<Self, BasebackupError> {
        let unreadable = || BasebackupError::io("read directory", directory);
        let mut found = Self::default();
        for entry in fs::read_dir(directory).map_err(unreadable())? {
            let name = entry.map_err(unreadable())?.file_name();
            // Nothing that pg_basebackup names is outside ASCII.
            if let Some(name) = name.to_str() {
                found.add(directory, name)?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, directory: &Path, name: &str) -> Result<(), BasebackupError> {
        let Some((stem, suffix)) = name.find('.').and_then(|dot| name.split_at_checked(dot)) else {
            return Ok(());
        };
        let tablespace = oid(stem);
        if stem != "base" && stem != "pg_wal" && tablespace.is_none() {
            return Ok(());
        }
        let path = directory.join(name);
        let Some(compression) = Compression::of_suffix(suffix) else {
            // Only what is a tar file for sure: anything may be called base.txt.
            if suffix.starts_with(".tar.") && !suffix.ends_with(".tmp") {
                return Err(BasebackupError::UnknownCompression { path });
            }
            return Ok(());
        };
        let archive = Archive { path, compression };
        let before = match tablespace {
            Some(oid) => self.tablespaces.insert(oid, archive),
            None if stem == "base" => self.base.replace(archive),
            None => self.wal.replace(archive),
        };
        let Some(before) = before else { return Ok(()) };
        let mut names = [before.name(), name.to_owned()];
        names.sort();
        let [first, second] = names;
        Err(BasebackupError::TwoArchives { path: directory.to_path_buf(), first, second })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("global")).unwrap();
        for file in files {
            fs::write(directory.path().join(file), "").unwrap();
        }
        directory
    }

    fn refused(files: &[&str]) -> String {
        let directory = directory(files);
        let error = Format::detect(directory.path()).unwrap_err();
        error.to_string().replace(directory.path().to_str().unwrap(), "/b")
    }

    #[test]
    fn plain() {
        let directory = directory(&["PG_VERSION", "global/pg_control", "backup_manifest"]);
        let data = directory.path().to_path_buf();
        let manifest = Some(data.join("backup_manifest"));
        let plain = Format::Plain(PlainBackup { data: data.clone(), manifest });
        assert_eq!(Format::detect(&data).unwrap(), plain);
    }

    #[test]
    fn archives() {
        let names = ["base.tar.gz", "pg_wal.tar", "16400.tar.lz4", "16401.tar.zst", "notes.txt"];
        let directory = directory(&names);
        let Format::Tar(tar) = Format::detect(directory.path()).unwrap() else { panic!("plain") };
        assert_eq!(tar.base.compression, Compression::Gzip);
        let wal =
            Archive { path: directory.path().join("pg_wal.tar"), compression: Compression::None };
        assert_eq!(tar.wal, Some(wal));
        let tablespaces: Vec<_> =
            tar.tablespaces.iter().map(|(oid, a)| (*oid, a.compression)).collect();
        assert_eq!(tablespaces, [(16400, Compression::Lz4), (16401, Compression::Zstd)]);
        assert_eq!(tar.manifest, None);
        assert_eq!(tar.archives().count(), 4);
    }

    #[test]
    fn what_cannot_be_used() {
        assert_eq!(
            refused(&["pg_wal.tar", "backup_manifest"]),
            "\"/b\" holds no base backup: neither PG_VERSION (plain) nor base.tar, base.tar.gz, base.tar.lz4 or base.tar.zst (tar) is there"
        );
        assert_eq!(
            refused(&["PG_VERSION"]),
            "the base backup in \"/b\" is not whole: it has PG_VERSION but no global/pg_control"
        );
        assert_eq!(
            refused(&["PG_VERSION", "base.tgz"]),
            "\"/b\" holds base backups in both formats: PG_VERSION (plain) and base.tgz (tar)"
        );
        assert_eq!(
            refused(&["base.tar", "base.tar.gz"]),
            "\"/b\" holds more than one archive of the same files: base.tar and base.tar.gz"
        );
        assert_eq!(
            refused(&["base.tar", "16400.tar.bz2"]),
            "archive \"/b/16400.tar.bz2\" is compressed in a way that is not known"
        );
        let file = directory(&["base.tar"]);
        let error = Format::detect(&file.path().join("base.tar")).unwrap_err();
        assert!(error.to_string().ends_with("base.tar\" is not a directory"), "{error}");
    }
}

//! The directories a database cluster consists of.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use host::Process;
use serde::{Deserialize, Serialize};

use crate::view::View;
use crate::{SnapshotError, coverage};

/// What a directory is to the database cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The data directory.
    DataDirectory,
    /// The directory that `pg_wal` is, or points to.
    Wal,
    /// The directory of the tablespace with this oid.
    Tablespace(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDirectory => f.write_str("data directory"),
            Self::Wal => f.write_str("WAL directory"),
            Self::Tablespace(oid) => write!(f, "directory of tablespace {oid}"),
        }
    }
}

/// One directory of the database cluster.
///
/// As JSON: `{"role": "data_directory" | "wal" | "tablespace", "oid": 16400 or null, "path": "/…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SourceJson", into = "SourceJson")]
pub struct Source {
    /// What it is.
    pub role: Role,
    /// Where it is: an absolute path.
    pub path: PathBuf,
}

impl Source {
    /// The directory `path` in the role `role`.
    #[must_use]
    pub fn new(role: Role, path: impl Into<PathBuf>) -> Self {
        Self { role, path: path.into() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.role, self.path.display())
    }
}

#[derive(Serialize, Deserialize)]
struct SourceJson {
    role: RoleWord,
    oid: Option<u32>,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleWord {
    DataDirectory,
    Wal,
    Tablespace,
}

impl From<Source> for SourceJson {
    fn from(source: Source) -> Self {
        let (role, oid) = match source.role {
            Role::DataDirectory => (RoleWord::DataDirectory, None),
            Role::Wal => (RoleWord::Wal, None),
            Role::Tablespace(oid) => (RoleWord::Tablespace, Some(oid)),
        };
        Self { role, oid, path: source.path }
    }
}

impl TryFrom<SourceJson> for Source {
    type Error = &'static str;

    fn try_from(json: SourceJson) -> Result<Self, Self::Error> {
        let role = match (json.role, json.oid) {
            (RoleWord::DataDirectory, _) => Role::DataDirectory,
            (RoleWord::Wal, _) => Role::Wal,
            (RoleWord::Tablespace, Some(oid)) => Role::Tablespace(oid),
            (RoleWord::Tablespace, None) => return Err("a tablespace needs an oid"),
        };
        Ok(Self { role, path: json.path })
    }
}

/// All directories of a database cluster, for a provider to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    all: Vec<Source>,
    /// Whether it is known that the cluster's own symbolic links lead to them.
    links_are_checked: bool,
}

impl Sources {
    /// Those of a server on this host.
    #[must_use]
    pub fn new(all: Vec<Source>) -> Self {
        Self { all, links_are_checked: false }
    }

    /// Those of a server in a container, as `process` in it sees them. The links by which PostgreSQL leaves the data
    /// directory are checked there, since they lead elsewhere on the host; then the same directories are looked for
    /// on the host.
    ///
    /// # Errors
    /// [`SnapshotError::NotCovered`] and [`SnapshotError::Nested`] as of any provider; [`SnapshotError::Host`] when a
    /// directory is mounted nowhere on this host, or the process has ended.
    pub fn of_process(all: &[Source], process: &Process) -> Result<Self, SnapshotError> {
        let view = View::Inside(process);
        let resolved = Resolved::new(all, view)?;
        coverage::check_links(&resolved, view)?;
        coverage::check_mounts(&resolved, &view.mounts()?)?;
        let on_host = |source: &Source| -> Result<Source, SnapshotError> {
            Ok(Source::new(source.role, process.on_host(&source.path)?))
        };
        let all = resolved.all().iter().map(on_host).collect::<Result<_, _>>()?;
        Ok(Self { all, links_are_checked: true })
    }

    /// As they were given.
    pub(crate) fn all(&self) -> &[Source] {
        &self.all
    }

    /// As [`Resolved::new`], the links checked.
    pub(crate) fn resolve(&self) -> Result<Resolved, SnapshotError> {
        let resolved = Resolved::new(&self.all, View::Host)?;
        if !self.links_are_checked {
            coverage::check_links(&resolved, View::Host)?;
        }
        Ok(resolved)
    }
}

/// The sources with every symbolic link resolved, checked to be what a database cluster consists of.
#[derive(Debug)]
pub(crate) struct Resolved(Vec<Source>);

impl Resolved {
    /// Resolves `sources`, whose paths are those of `view`.
    pub(crate) fn new(sources: &[Source], view: View<'_>) -> Result<Self, SnapshotError> {
        let mut seen = BTreeSet::new();
        for source in sources {
            if !seen.insert(source.role) {
                return Err(invalid(source, "it was given twice"));
            }
        }
        if !seen.contains(&Role::DataDirectory) {
            return Err(SnapshotError::NoDataDirectory);
        }
        sources.iter().map(|source| resolve(source, view)).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn all(&self) -> &[Source] {
        &self.0
    }

    /// The source of this role.
    pub(crate) fn role(&self, role: Role) -> Option<&Source> {
        self.0.iter().find(|source| source.role == role)
    }

    pub(crate) fn data_directory(&self) -> Result<&Source, SnapshotError> {
        self.role(Role::DataDirectory).ok_or(SnapshotError::NoDataDirectory)
    }

    /// The source that `path` lies in, if any; of several, the innermost.
    pub(crate) fn containing(&self, path: &Path) -> Option<&Source> {
        self.0
            .iter()
            .filter(|source| path.starts_with(&source.path))
            .max_by_key(|source| source.path.components().count())
    }
}

fn resolve(source: &Source, view: View<'_>) -> Result<Source, SnapshotError> {
    if !source.path.is_absolute() {
        return Err(invalid(source, "it is not an absolute path"));
    }
    let path = view.resolve(&source.path)?;
    if path.to_str().is_none_or(|text| text.contains('\n')) {
        // The path becomes JSON and lines of text; a replaced character would name another directory.
        return Err(invalid(source, "its path is not UTF-8 or has a line break"));
    }
    let found = fs::symlink_metadata(view.reach(&path))
        .map_err(SnapshotError::io("examine directory", &path))?;
    if !found.is_dir() {
        return Err(invalid(source, "it is not a directory"));
    }
    Ok(Source { role: source.role, path })
}

fn invalid(what: &Source, why: &'static str) -> SnapshotError {
    SnapshotError::InvalidSource { what: what.clone(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_documented() {
        let source = Source::new(Role::Tablespace(16400), "/ts");
        let json = r#"{"role":"tablespace","oid":16400,"path":"/ts"}"#;
        assert_eq!(serde_json::to_string(&source).unwrap(), json);
        assert_eq!(serde_json::from_str::<Source>(json).unwrap(), source);
        let json = r#"{"role":"data_directory","oid":null,"path":"/data"}"#;
        let source = Source::new(Role::DataDirectory, "/data");
        assert_eq!(serde_json::to_string(&source).unwrap(), json);
        assert_eq!(serde_json::from_str::<Source>(json).unwrap(), source);
        let error = serde_json::from_str::<Source>(r#"{"role":"tablespace","path":"/ts"}"#);
        assert!(error.unwrap_err().to_string().starts_with("a tablespace needs an oid"));
    }

    #[test]
    fn roles_are_said_in_words() {
        assert_eq!(Source::new(Role::Wal, "/w").to_string(), "WAL directory \"/w\"");
        assert_eq!(Role::Tablespace(7).to_string(), "directory of tablespace 7");
    }

    #[test]
    fn links_are_resolved_and_nonsense_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(temporary.path()).unwrap().join("real");
        fs::create_dir(&real).unwrap();
        let link = temporary.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let data = Source::new(Role::DataDirectory, &link);
        let resolved = Resolved::new(std::slice::from_ref(&data), View::Host).unwrap();
        assert_eq!(resolved.data_directory().unwrap().path, real);

        let refused =
            |sources: &[Source]| Resolved::new(sources, View::Host).unwrap_err().to_string();
        assert_eq!(refused(&[]), "no data directory was given");
        let twice =
            format!("data directory \"{}\" cannot be copied: it was given twice", link.display());
        assert_eq!(refused(&[data.clone(), data.clone()]), twice);
        let relative = Source::new(Role::Wal, "wal");
        assert_eq!(
            refused(&[data.clone(), relative]),
            "WAL directory \"wal\" cannot be copied: it is not an absolute path"
        );
        let absent = Source::new(Role::Wal, "/no/such/directory");
        assert_eq!(refused(&[data, absent]), "could not find directory \"/no/such/directory\"");
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let text = refused(&[Source::new(Role::DataDirectory, file)]);
        assert!(text.ends_with("it is not a directory"), "{text}");
    }
}

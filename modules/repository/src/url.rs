//! Addresses of repositories.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RepositoryError;

/// The address of a repository: an absolute path, or a URL `file:///…` (with `%20` and the like for special
/// characters). Written as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryUrl {
    text: String,
    path: PathBuf,
}

impl RepositoryUrl {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RepositoryUrl {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let path = match text.split_once("://") {
            None => Some(text.to_owned()),
            Some(("file", rest)) => decode(rest.strip_prefix("localhost").unwrap_or(rest)),
            Some((scheme, _)) if is_scheme(scheme) => return Err(unsupported(text, scheme)),
            Some(_) => Some(text.to_owned()),
        };
        let path = path.map(PathBuf::from).filter(|path| is_directory_path(path));
        path.map(|path| Self { text: text.to_owned(), path }).ok_or_else(|| {
            let expected =
                "an absolute path without . and .., or a URL such as file:///var/backups";
            RepositoryError::Invalid { what: "repository", value: text.to_owned(), expected }
        })
    }
}

/// A backup in `/` itself is certainly a mistake, and `..` would make the path mean something else when one
/// of its directories is exchanged for a symbolic link.
fn is_directory_path(path: &Path) -> bool {
    let plain = |component| matches!(component, Component::RootDir | Component::Normal(_));
    let text = path.as_os_str().as_encoded_bytes();
    path.is_absolute()
        && path.parent().is_some()
        && path.components().all(plain)
        && !text.split(|byte| *byte == b'/').any(|part| part == b".")
        && !text.contains(&0)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// What comes before an `@` may be a password, and what comes after a `?` an access key.
fn unsupported(text: &str, scheme: &str) -> RepositoryError {
    let address = text.split_once('?').map_or(text, |(address, _)| address);
    let address = address
        .rsplit_once('@')
        .map_or_else(|| address.to_owned(), |(_, host)| format!("{scheme}://…@{host}"));
    RepositoryError::UnsupportedScheme { url: address, scheme: scheme.to_owned() }
}

/// Turns `%20` and the like into bytes, which together must be UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        let digits =
            after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).ok()
}

impl Serialize for RepositoryUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for RepositoryUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls() {
        for (text, path) in [
            ("/var/backups", "/var/backups"),
            ("file:///var/backups", "/var/backups"),
            ("file://localhost/var/backups", "/var/backups"),
            ("file:///var/my%20b%C3%A4ckups", "/var/my bäckups"),
            ("/var/50%", "/var/50%"),
            ("/mnt/a://b", "/mnt/a://b"),
        ] {
            let url: RepositoryUrl = text.parse().unwrap();
            assert_eq!(url.path(), Path::new(path));
            assert_eq!(url.to_string(), text);
            let json = serde_json::to_string(&url).unwrap();
            assert_eq!(serde_json::from_str::<RepositoryUrl>(&json).unwrap(), url);
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for text in [
            "",
            "/",
            "backups",
            "./backups",
            "/var/../etc",
            "/var/./backups",
            "/a\0",
            "file://",
            "file:///",
            "file://host/var",
            "file:///a%2",
            "file:///a%+1",
            "file:///a%00",
            "file:///a%FF",
            "file:///a%2F..%2Fb",
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid repository \"{text}\": expected an absolute path without . and .., or a URL such as file:///var/backups"
                )
            );
        }
    }

    #[test]
    fn other_schemes_are_named_without_their_secrets() {
        let message = |text: &str| text.parse::<RepositoryUrl>().unwrap_err().to_string();
        assert_eq!(
            message("s3://bucket/prefix"),
            "repository \"s3://bucket/prefix\" has the scheme \"s3\", only \"file\" is supported"
        );
        assert_eq!(
            message("s3://key:secret@host/bucket?secret=x"),
            "repository \"s3://…@host/bucket\" has the scheme \"s3\", only \"file\" is supported"
        );
    }
}

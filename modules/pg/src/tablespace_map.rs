//! The file `tablespace_map`, by which recovery of a backup links tablespaces into the data directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::{MajorVersion, PgTypeError};

const FILE: &str = "tablespace_map";

/// The server reads a line into a buffer of `MAXPGPATH` bytes, and before 14 does not look at its end.
const LONGEST_LINE: usize = 1024 - 1;

/// The file `tablespace_map`: the bytes the stop of the backup returned, never re-encoded. Empty when the
/// cluster has no tablespaces; then there must be no such file.
///
/// Each line is a tablespace's number, a space and its location. Since 14 a backslash stands before a line
/// break or a backslash that is part of the location; 13 writes it before a line break only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablespaceMapFile {
    bytes: Vec<u8>,
}

impl TablespaceMapFile {
    /// The file's content as it came from the server or the repository.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The content, verbatim.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether there are no tablespaces, and so no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number and location of each tablespace, in the file's order. `major` is that of the server that
    /// wrote it.
    ///
    /// # Errors
    /// [`PgTypeError::LineEnding`] for lines that end with CR LF, [`PgTypeError::Line`] for lines of
    /// another form or a last line that does not end: 13 would pass over it without a word.
    pub fn parse(&self, major: MajorVersion) -> Result<Vec<(u32, PathBuf)>, PgTypeError> {
        let entries = self.lines(major)?.into_iter();
        Ok(entries.map(|line| (line.oid, line.location)).collect())
    }

    /// The same map with some tablespaces elsewhere; lines of the others stay as they are, byte for byte.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), [`PgTypeError::NoSuchTablespace`] when `locations` names one that is not
    /// in the map, [`PgTypeError::TablespaceLocation`] for a path that is not absolute or that a server of
    /// this major could not read back.
    pub fn remapped(
        &self,
        locations: &BTreeMap<u32, PathBuf>,
        major: MajorVersion,
    ) -> Result<Self, PgTypeError> {
        let lines = self.lines(major)?;
        if let Some(oid) = locations.keys().find(|oid| lines.iter().all(|line| line.oid != **oid)) {
            return Err(PgTypeError::NoSuchTablespace { oid: *oid });
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for line in lines {
            match locations.get(&line.oid) {
                Some(location) => bytes.extend(written(line.oid, location, major)?),
                None => bytes.extend(line.raw),
            }
        }
        Ok(Self { bytes })
    }

    fn lines(&self, major: MajorVersion) -> Result<Vec<Line<'_>>, PgTypeError> {
        let mut lines = Vec::new();
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            let (line, after) = first_line(rest, major, lines.len() + 1)?;
            lines.push(line);
            rest = after;
        }
        Ok(lines)
    }
}

/// One line of the file.
struct Line<'a> {
    /// Its bytes with their escapes and the line ending.
    raw: &'a [u8],
    oid: u32,
    location: PathBuf,
}

/// Splits off the first line, as `read_tablespace_map` of the major does.
fn first_line(
    bytes: &[u8],
    major: MajorVersion,
    number: usize,
) -> Result<(Line<'_>, &[u8]), PgTypeError> {
    let wrong = |found: &[u8]| PgTypeError::line(FILE, number, found, "NUMBER PATH and a line end");
    let mut text = Vec::new();
    let mut escaped = false;
    for (at, byte) in bytes.iter().copied().enumerate() {
        let line_break = matches!(byte, b'\n' | b'\r');
        if line_break && !escaped {
            if byte == b'\r' {
                return Err(PgTypeError::LineEnding { file: FILE, line: number });
            }
            let (raw, rest) = bytes.split_at(at + 1);
            let (oid, location) = entry(&text).ok_or_else(|| wrong(&text))?;
            return Ok((Line { raw, oid, location }, rest));
        }
        if major.escapes_backslash_in_tablespace_map() {
            escaped = byte == b'\\' && !escaped;
            if escaped {
                continue;
            }
        } else {
            if line_break {
                text.pop();
            }
            escaped = byte == b'\\';
        }
        text.push(byte);
    }
    Err(wrong(bytes))
}

/// `16384 /mnt/fast`
fn entry(text: &[u8]) -> Option<(u32, PathBuf)> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let (oid, location) = text.split_at_checked(space)?;
    let oid =
        std::str::from_utf8(oid).ok().filter(|oid| oid.bytes().all(|b| b.is_ascii_digit()))?;
    let location = PathBuf::from(OsString::from_vec(location.get(1..)?.to_vec()));
    Some((oid.parse().ok()?, location)).filter(|(_, location)| location.is_absolute())
}

/// The line of one tablespace.
fn written(oid: u32, location: &Path, major: MajorVersion) -> Result<Vec<u8>, PgTypeError> {
    let refused = |reason| PgTypeError::TablespaceLocation {
        oid,
        location: location.display().to_string(),
        reason,
    };
    let text = location.as_os_str().as_bytes();
    let escapes_backslash = major.escapes_backslash_in_tablespace_map();
    if !location.is_absolute() {
        return Err(refused("it is not an absolute path"));
    }
    if !escapes_backslash && ends_with_backslash(text) {
        return Err(refused(
            "before PostgreSQL 14 no backslash may stand at its end or before a line break",
        ));
    }
    let mut line = format!("{oid} ").into_bytes();
    if line.len() + text.len() > LONGEST_LINE {
        return Err(refused("it is too long for the server"));
    }
    for byte in text.iter().copied() {
        if matches!(byte, b'\n' | b'\r') || byte == b'\\' && escapes_backslash {
            line.push(b'\\');
        }
        line.push(byte);
    }
    line.push(b'\n');
    Ok(line)
}

/// Whether a backslash would be taken for an escape of the line break after it.
fn ends_with_backslash(text: &[u8]) -> bool {
    text.split(|byte| matches!(byte, b'\n' | b'\r')).any(|part| part.ends_with(b"\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What servers returned for tablespaces at `/ts plain`, `/ts⏎nl` and `/ts\back`.
    const OF_13: &[u8] = b"16384 /ts plain\n16386 /ts\\\nnl\n16385 /ts\\back\n";
    const OF_14: &[u8] = b"16384 /ts plain\n16386 /ts\\\nnl\n16385 /ts\\\\back\n";

    fn samples() -> impl Iterator<Item = (MajorVersion, TablespaceMapFile)> {
        MajorVersion::ALL.into_iter().map(|major| {
            let bytes = if major < MajorVersion::V14 { OF_13 } else { OF_14 };
            (major, TablespaceMapFile::new(bytes.to_vec()))
        })
    }

    #[test]
    fn as_each_major_writes_it() {
        for (major, map) in samples() {
            let expected = [(16384, "/ts plain"), (16386, "/ts\nnl"), (16385, "/ts\\back")];
            let expected = expected.map(|(oid, location)| (oid, PathBuf::from(location)));
            assert_eq!(map.parse(major).unwrap(), expected, "{major}");
        }
        let none = TablespaceMapFile::new(Vec::new());
        assert!(none.is_empty());
        assert_eq!(none.parse(MajorVersion::V15).unwrap(), []);
    }

    #[test]
    fn moved_tablespaces_are_read_back() {
        for (major, map) in samples() {
            for location in ["/new", "/a\nb", "/a\\b c", "/a\r", "/ü", "/\n\n"] {
                let moved = BTreeMap::from([(16386, PathBuf::from(location))]);
                let parsed = map.remapped(&moved, major).unwrap().parse(major).unwrap();
                assert_eq!(parsed[1], (16386, PathBuf::from(location)), "{major}");
                assert_eq!((parsed[0].0, parsed[2].0), (16384, 16385));
            }
            assert_eq!(map.remapped(&BTreeMap::new(), major).unwrap(), map);
        }
    }

    #[test]
    fn every_escape_of_the_escapable_is_read_back() {
        // All texts of up to five of the characters that matter.
        let alphabet = [b'\\', b'\n', b'\r', b'x'];
        let mut texts: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..5 {
            let longer = texts.iter().flat_map(|text| {
                alphabet.map(|byte| text.iter().copied().chain([byte]).collect::<Vec<u8>>())
            });
            texts = texts.clone().into_iter().chain(longer).collect();
            texts.dedup();
        }
        for major in [MajorVersion::V13, MajorVersion::V14] {
            let map = TablespaceMapFile::new(b"1 /a\n2 /b\n".to_vec());
            for text in &texts {
                let path = PathBuf::from(OsString::from_vec([b"/", text.as_slice()].concat()));
                match map.remapped(&BTreeMap::from([(1, path.clone())]), major) {
                    Ok(moved) => assert_eq!(moved.parse(major).unwrap()[0].1, path),
                    Err(error) => {
                        assert!(major < MajorVersion::V14, "{error}");
                        assert!(text.contains(&b'\\'), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn refuses_what_a_server_would_misread() {
        let parse = |bytes: &[u8], major| {
            TablespaceMapFile::new(bytes.to_vec()).parse(major).unwrap_err().to_string()
        };
        for major in MajorVersion::ALL {
            assert_eq!(
                parse(b"16384 /ts\r\n", major),
                "line 1 of tablespace_map has the line ending \"\\r\\n\", expected \"\\n\""
            );
            for (bytes, found) in [
                (&b"1 /a\n16384 /ts"[..], "16384 /ts"),
                (b"1 /a\n\n", ""),
                (b"1 /a\nx /ts\n", "x /ts"),
                (b"1 /a\n16384\n", "16384"),
                (b"1 /a\n16384 ts\n", "16384 ts"),
                (b"1 /a\n99999999999 /ts\n", "99999999999 /ts"),
            ] {
                assert_eq!(
                    parse(bytes, major),
                    format!(
                        "line 2 of tablespace_map is \"{found}\", expected NUMBER PATH and a line end"
                    )
                );
            }
        }
    }

    #[test]
    fn refuses_impossible_moves() {
        let (major, map) = samples().next().unwrap();
        let message = |oid, location: &str| {
            let moved = BTreeMap::from([(oid, PathBuf::from(location))]);
            map.remapped(&moved, major).unwrap_err().to_string()
        };
        assert_eq!(message(1, "/x"), "tablespace 1 is not in the backup's tablespace_map");
        assert_eq!(
            message(16384, "x"),
            "tablespace 16384 cannot be at \"x\": it is not an absolute path"
        );
        assert_eq!(
            message(16384, "/x\\"),
            "tablespace 16384 cannot be at \"/x\\\": before PostgreSQL 14 no backslash may stand at its end or before a line break"
        );
        assert!(
            message(16384, &format!("/{}", "x".repeat(1020))).ends_with("too long for the server")
        );
    }
}

//! The list of files of a copy, `files.json`.

use serde::{Deserialize, Serialize};

/// One file of a copy. As JSON `{"path": "data/base/1/1259", "size": 8192, "mode": 384, "sha256": "…"}`; a
/// symbolic link has `"link"` with its target as well, and there `size` and `sha256` are the target's text's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// Path below the directory of the copy, with `/` between the parts.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits, as a decimal number in JSON.
    pub mode: u32,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub sha256: String,
    /// Where it points to, if it is a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Reads a list of files: a JSON array of [`ListedFile`].
///
/// # Errors
/// The JSON error, when it is not such a list.
pub fn parse_listing(bytes: &[u8]) -> Result<Vec<ListedFile>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Writes a list of files, one file a line, so that two lists can be compared with `diff`.
pub(crate) fn write_listing(files: &[ListedFile]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = b"[".to_vec();
    for (index, file) in files.iter().enumerate() {
        bytes.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut bytes, file)?;
    }
    bytes.extend_from_slice(b"\n]\n");
    Ok(bytes)
}

/// `bytes` as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, link: Option<&str>) -> ListedFile {
        ListedFile {
            path: path.to_owned(),
            size: 3,
            mode: 0o600,
            sha256: "00ff".to_owned(),
            link: link.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let files = [file("data/PG_VERSION", None), file("data/log", Some("/var/log"))];
        let bytes = write_listing(&files).unwrap();
        let text = "[\n{\"path\":\"data/PG_VERSION\",\"size\":3,\"mode\":384,\"sha256\":\"00ff\"},\n\
             {\"path\":\"data/log\",\"size\":3,\"mode\":384,\"sha256\":\"00ff\",\"link\":\"/var/log\"}\n]\n";
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
        assert_eq!(parse_listing(&bytes).unwrap(), files);
        assert_eq!(parse_listing(&write_listing(&[]).unwrap()).unwrap(), []);
        assert!(parse_listing(b"{}").is_err());
    }

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(hex(&[0, 0xff, 0x0a]), "00ff0a");
    }
}

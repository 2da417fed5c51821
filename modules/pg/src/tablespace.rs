//! Tablespaces.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A tablespace outside the data directory. In JSON `{"oid": 16384, "name": "fast", "location": "/mnt/fast"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its number in `pg_tablespace`, and its link's name in the data directory's `pg_tblspc`.
    pub oid: u32,
    /// Its name in SQL.
    pub name: String,
    /// Its directory, an absolute path on the server's host (`pg_tablespace_location(oid)`).
    pub location: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let json = r#"{"oid":16384,"name":"fast","location":"/mnt/fast"}"#;
        let tablespace: Tablespace = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&tablespace).unwrap(), json);
    }
}

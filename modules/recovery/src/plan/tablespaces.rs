//! Where each tablespace goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pg::Tablespace;

use crate::RecoveryError;

/// A tablespace and its new location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedTablespace {
    /// Its OID, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Where it was at the source.
    pub original: PathBuf,
    /// Where it goes.
    pub location: PathBuf,
}

impl PlacedTablespace {
    /// Whether the restore moves it.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.original != self.location
    }
}

/// Applies the mapping. Tablespaces in place (a relative location inside the data directory, as
/// `allow_in_place_tablespaces` makes them) come with the data directory and are left out.
pub(crate) fn place(
    tablespaces: &[Tablespace],
    mapping: &BTreeMap<PathBuf, PathBuf>,
) -> Result<Vec<PlacedTablespace>, RecoveryError> {
    let with_location: Vec<_> =
        tablespaces.iter().filter(|tablespace| tablespace.location.is_absolute()).collect();
    for old in mapping.keys() {
        if !with_location.iter().any(|tablespace| &tablespace.location == old) {
            return Err(unknown(old, &with_location));
        }
    }
    let mut placed: Vec<PlacedTablespace> = Vec::new();
    for tablespace in with_location {
        let original = tablespace.location.clone();
        let location = mapping.get(&original).unwrap_or(&original).clone();
        if let Some(other) = placed.iter().find(|other| other.location == location) {
            return Err(invalid(format!(
                "tablespaces \"{}\" and \"{}\" would both go to \"{}\"",
                other.name,
                tablespace.name,
                location.display()
            )));
        }
        placed.push(PlacedTablespace {
            oid: tablespace.oid,
            name: tablespace.name.clone(),
            original,
            location,
        });
    }
    Ok(placed)
}

fn unknown(old: &Path, known: &[&Tablespace]) -> RecoveryError {
    let names: Vec<_> = known
        .iter()
        .map(|tablespace| format!("\"{}\" ({})", tablespace.location.display(), tablespace.name))
        .collect();
    let known = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
    invalid(format!(
        "the backup has no tablespace at \"{}\"; its tablespaces: {known}",
        old.display()
    ))
}

fn invalid(problem: String) -> RecoveryError {
    RecoveryError::InvalidArgument { option: "tablespace_mapping".to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablespaces() -> Vec<Tablespace> {
        [(1, "fast", "/ssd"), (2, "slow", "/hdd"), (3, "inside", "pg_tblspc/3")]
            .map(|(oid, name, location)| Tablespace {
                oid,
                name: name.to_owned(),
                location: PathBuf::from(location),
            })
            .to_vec()
    }

    fn mapping(pairs: &[(&str, &str)]) -> BTreeMap<PathBuf, PathBuf> {
        pairs.iter().map(|(old, new)| (PathBuf::from(old), PathBuf::from(new))).collect()
    }

    #[test]
    fn mapped_and_unmapped() {
        let placed = place(&tablespaces(), &mapping(&[("/ssd", "/new")])).unwrap();
        assert_eq!(placed.len(), 2);
        assert_eq!(placed[0].location, Path::new("/new"));
        assert!(placed[0].is_moved());
        assert_eq!(placed[1].location, Path::new("/hdd"));
        assert!(!placed[1].is_moved());
    }

    #[test]
    fn an_unknown_location_names_the_known_ones() {
        let error = place(&tablespaces(), &mapping(&[("/sdd", "/new")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid tablespace_mapping: the backup has no tablespace at \"/sdd\"; its tablespaces: \"/ssd\" (fast), \"/hdd\" (slow)"
        );
        let error = place(&[], &mapping(&[("/sdd", "/new")])).unwrap_err();
        assert!(error.to_string().ends_with("its tablespaces: it has none"));
    }

    #[test]
    fn two_onto_one_is_refused() {
        for pairs in [&[("/ssd", "/n"), ("/hdd", "/n")][..], &[("/ssd", "/hdd")][..]] {
            let error = place(&tablespaces(), &mapping(pairs)).unwrap_err();
            assert!(
                error.to_string().contains("tablespaces \"fast\" and \"slow\" would both go to")
            );
        }
    }
}

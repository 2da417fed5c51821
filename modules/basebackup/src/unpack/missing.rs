//! What the manifest has and no archive had.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use pg::{MajorVersion, TablespaceMapFile};

use super::one::Outcome;
use crate::files::{is_ignored, open_regular, tablespace_of};
use crate::{Manifest, Problem};

/// A line of at most 1 kB for each tablespace.
const MAP_LIMIT: u64 = 16 << 20;

/// Archives that broke off or are not there, and files that are missing. Files that are missing because their archive
/// is not whole are counted with it: a list of all of them would bury the reason.
/// `data` is where the archive of the data directory was unpacked to.
pub(super) fn problems(
    outcomes: &[Outcome],
    manifest: Option<&Manifest>,
    data: &Path,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lost = BTreeMap::<u32, u64>::new();
    let mut lost_with: Vec<u64> = vec![0; outcomes.len()];
    let of = |oid: Option<u32>| {
        let is = |outcome: &Outcome| match oid {
            Some(_) => outcome.tablespace == oid,
            None => outcome.is_base,
        };
        outcomes.iter().position(is)
    };
    let files = manifest.into_iter().flat_map(|manifest| manifest.files.keys());
    for path in files.filter(|path| !is_ignored(path)) {
        if outcomes.iter().any(|outcome| outcome.found.contains(path)) {
            continue;
        }
        let tablespace = tablespace_of(path);
        let at = of(tablespace);
        let broken = at.and_then(|at| outcomes.get(at)?.broken.as_ref().and(lost_with.get_mut(at)));
        match (broken, tablespace.filter(|_| at.is_none())) {
            (Some(count), _) => *count += 1,
            (None, Some(oid)) => *lost.entry(oid).or_default() += 1,
            (None, None) => problems.push(Problem::Missing { path: path.clone() }),
        }
    }
    let linked = outcomes.iter().flat_map(|outcome| &outcome.links).copied();
    for oid in linked.chain(mapped(data)) {
        if of(Some(oid)).is_none() {
            lost.entry(oid).or_default();
        }
    }
    let lost = lost.into_iter().map(|(oid, missing)| Problem::ArchiveMissing { oid, missing });
    problems.extend(lost);
    for (outcome, missing) in outcomes.iter().zip(lost_with) {
        if let Some(broken) = &outcome.broken {
            problems.push(Problem::Archive {
                archive: broken.archive.clone(),
                reason: broken.reason.clone(),
                at: broken.at.clone(),
                after: broken.after,
                missing,
            });
        }
    }
    problems
}

/// The tablespaces of `tablespace_map`. `pg_basebackup` has the server write that file into the archive instead of links,
/// which recovery is to make by it.
fn mapped(data: &Path) -> Vec<u32> {
    let read = |name: &str| {
        let (file, _) = open_regular(&data.join(name)).ok()?;
        let mut bytes = vec![];
        file.take(MAP_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let major = read("PG_VERSION")
        .and_then(|text| String::from_utf8(text).ok()?.trim().parse::<MajorVersion>().ok());
    let map = read("tablespace_map").map(TablespaceMapFile::new);
    let Some((map, major)) = map.zip(major) else { return vec![] };
    map.parse(major).map_or_else(|_| vec![], |all| all.into_iter().map(|(oid, _)| oid).collect())
}

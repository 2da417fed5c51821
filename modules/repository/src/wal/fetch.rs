//! The fetching itself.

use std::time::{Duration, Instant};

use pg::{ExpectedWal, TimelineId, WalPageHeader, WalSegmentName};

use super::{WalFetchError, WalSource};
use crate::{BackupFolder, FileEntry};

/// How often a source is asked again. Archivers copy a segment in well under a
/// second; asking faster would only load a restore command.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What is to be fetched.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Every segment, in order.
    pub segments: &'a [WalSegmentName],
    /// What each must say of itself.
    pub expected: ExpectedWal,
    /// The timeline of the backup. Its history file goes along when there is
    /// one: a recovery that leaves the timeline needs to know where it came
    /// from. The first timeline has none.
    pub timeline: TimelineId,
    /// How long to wait.
    pub patience: Duration,
}

/// A segment that is in the backup.
#[derive(Debug, Clone)]
pub struct FetchedSegment {
    /// Its file.
    pub entry: FileEntry,
    /// Where it is from: a source's short name, or `repository` when it was
    /// there already.
    pub source: &'static str,
}

/// Fetches every segment into the backup. One that is there already and whole
/// is not fetched again, so that a second run goes on where the first ended.
///
/// # Errors
/// When a segment does not come in time or is not what it should be. What was
/// fetched stays.
pub fn fetch(
    folder: &BackupFolder,
    wanted: &Wanted<'_>,
    sources: &[&dyn WalSource],
    known: &[FileEntry],
) -> Result<Vec<FetchedSegment>, WalFetchError> {
    let until = Instant::now() + wanted.patience;
    let mut fetched = vec![];
    for segment in wanted.segments {
        let name = format!("wal/{segment}");
        if let Some(entry) = known.iter().find(|entry| entry.name == name.as_str())
            && folder.verify(entry).is_ok()
        {
            fetched.push(FetchedSegment { entry: entry.clone(), source: "repository" });
            continue;
        }
        let (bytes, source) = wait_for(*segment, wanted, sources, until)?;
        fetched.push(FetchedSegment { entry: folder.put(&name, bytes)?, source });
    }
    Ok(fetched)
}

/// The history file of the backup's timeline, if any of the sources has it.
///
/// # Errors
/// When a source fails, or the backup's folder cannot take the file.
pub fn fetch_history(
    folder: &BackupFolder,
    wanted: &Wanted<'_>,
    sources: &[&dyn WalSource],
) -> Result<Option<FileEntry>, WalFetchError> {
    if wanted.timeline == TimelineId::FIRST {
        return Ok(None);
    }
    for source in sources {
        if let Some(bytes) = source.fetch_history(wanted.timeline)? {
            return Ok(Some(
                folder.put(&format!("wal/{}", wanted.timeline.history_file()), bytes)?,
            ));
        }
    }
    Ok(None)
}

fn wait_for(
    segment: WalSegmentName,
    wanted: &Wanted<'_>,
    sources: &[&dyn WalSource],
    until: Instant,
) -> Result<(Vec<u8>, &'static str), WalFetchError> {
    loop {
        for source in sources {
            if let Some(bytes) = source.fetch(segment)? {
                check(segment, &bytes, wanted, *source)?;
                return Ok((bytes, source.name()));
            }
        }
        if Instant::now() >= until {
            return Err(missing(segment, wanted, sources));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn check(
    segment: WalSegmentName,
    bytes: &[u8],
    wanted: &Wanted<'_>,
    source: &dyn WalSource,
) -> Result<(), WalFetchError> {
    let (found, expected) = (bytes.len() as u64, wanted.expected.segment_size.bytes());
    if found != expected {
        return Err(WalFetchError::Size {
            segment,
            source_name: source.describe(),
            found,
            expected,
        });
    }
    WalPageHeader::check_segment(bytes, segment, &wanted.expected)
        .map_err(|error| WalFetchError::Wrong { source_name: source.describe(), source: error })
}

fn missing(
    segment: WalSegmentName,
    wanted: &Wanted<'_>,
    sources: &[&dyn WalSource],
) -> WalFetchError {
    let newest = sources.iter().filter_map(|source| source.newest()).max();
    WalFetchError::Missing {
        segment,
        sources: sources.iter().map(|source| source.describe()).collect::<Vec<_>>().join(" or "),
        seconds: wanted.patience.as_secs(),
        newest: newest
            .map_or_else(String::new, |newest| format!("; the newest there is \"{newest}\"")),
    }
}

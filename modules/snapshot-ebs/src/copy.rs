//! Copies of a backup's snapshots in another region, or under another key.
//!
//! `CopySnapshot` has no client token: a copy is recognised by its tags, of which [`tag::SOURCE_SNAPSHOT`] says what
//! it is a copy of, and [`tag::COPY_KEY`] under which key.

use std::time::{Duration, Instant};

use snapshot::{SnapshotRecord, UploadState};

use crate::{BackupTags, CopyCall, EbsError, Ec2, Filter, Snapshot, Tags, tag};

/// Between two look-ups of a copy whose answer was lost.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest pause between two calls; the first is a second, each twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be copied.
#[derive(Debug, Clone)]
pub struct CopyOrder {
    /// The backup, which the snapshots' own tags must prove.
    pub backup: BackupTags,
    /// Its snapshots, as its manifest has them.
    pub snapshots: Vec<SnapshotRecord>,
    /// The key, in the region they go to; it encrypts the copies.
    pub kms_key: Option<String>,
    /// Whether the copies are encrypted although the sources are not.
    pub encrypted: Option<bool>,
    /// Minutes in which each copy is to be done.
    pub completion_minutes: Option<u32>,
    /// The user's own tags.
    pub tags: Tags,
    /// How long a copy whose answer was lost is looked for.
    pub lookup: Duration,
    /// How long to go on when EC2 refuses for now.
    pub patience: Duration,
}

/// A snapshot of the backup, and its copy if there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    /// The snapshot.
    pub source: Snapshot,
    /// What EC2 says of the copy. A copy in error counts as none.
    pub copy: Option<Snapshot>,
}

/// Finds the backup's snapshots with `source`, and their copies with `destination`. Only reads.
///
/// # Errors
/// [`EbsError::Mismatch`] when a snapshot is not there, is not completed, or is not of this backup by its own tags;
/// [`EbsError::Refused`], [`EbsError::Lost`].
pub fn find_copies(
    source: &Ec2,
    destination: &Ec2,
    order: &CopyOrder,
) -> Result<Vec<Copy>, EbsError> {
    let of_ebs = order.snapshots.iter().filter(|record| record.volume.is_some());
    let ids: Vec<String> = of_ebs.map(|record| record.id.clone()).collect();
    let found = source.snapshots_by_id(&ids)?;
    let copies = ours(destination, order)?;
    let one = |id: &String| {
        let source = prove(order, id, found.iter().find(|found| found.id == *id))?.clone();
        let copy = copy_of(id, order, &copies).cloned();
        Ok(Copy { source, copy })
    };
    ids.iter().map(one).collect()
}

/// Begins every copy that is not there; says whether one was begun. Those that were begun before an error stay, and
/// are found by their tags the next time.
///
/// A refusal that may pass is followed by a pause and another call: a region takes only so many copies at a time. A
/// lost answer is followed by a look-up, and by another call when nothing has turned up within [`CopyOrder::lookup`].
///
/// # Errors
/// [`EbsError::Refused`]; [`EbsError::Unknown`] when two calls for one snapshot were not answered.
pub fn copy(
    source_region: &str,
    destination: &Ec2,
    order: &CopyOrder,
    copies: &mut [Copy],
) -> Result<bool, EbsError> {
    let begun = Instant::now();
    let mut changed = false;
    for one in copies.iter_mut().filter(|one| one.copy.is_none()) {
        let call = call(source_region, order, &one.source);
        let id = begin(destination, order, &call, begun)?;
        changed = true;
        let mut found = destination.snapshots_by_id(std::slice::from_ref(&id))?;
        // It may not be shown yet.
        one.copy = Some(found.pop().unwrap_or_else(|| expected(&id, &one.source, &call.tags)));
    }
    Ok(changed)
}

fn call(source_region: &str, order: &CopyOrder, source: &Snapshot) -> CopyCall {
    CopyCall {
        source_region: source_region.to_owned(),
        source_snapshot: source.id.clone(),
        description: format!(
            "copy of {} from {source_region}: {} {}",
            source.id, order.backup.cluster, order.backup.backup_id
        ),
        encrypted: order.encrypted.or_else(|| order.kms_key.as_ref().map(|_| true)),
        kms_key: order.kms_key.clone(),
        completion_minutes: order.completion_minutes,
        tags: tags(order, source),
    }
}

/// The source's tags, of the user's own those given now first. Keys that begin with `aws:` cannot be given.
fn tags(order: &CopyOrder, source: &Snapshot) -> Tags {
    let mut tags = source.tags.clone();
    tags.retain(|key, _| !key.starts_with("aws:"));
    tags.extend(order.tags.clone());
    tags.insert(tag::SOURCE_SNAPSHOT.to_owned(), source.id.clone());
    if let Some(key) = &order.kms_key {
        tags.insert(tag::COPY_KEY.to_owned(), key.clone());
    }
    tags
}

fn begin(
    destination: &Ec2,
    order: &CopyOrder,
    call: &CopyCall,
    begun: Instant,
) -> Result<String, EbsError> {
    let mut lost = false;
    let mut pause = Duration::from_secs(1);
    loop {
        let error = match destination.copy_snapshot(call) {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        if error.is_lost() {
            if let Some(id) = look_up(destination, order, &call.source_snapshot)? {
                return Ok(id);
            }
            if lost {
                return Err(unknown(destination.region(), order, call, error));
            }
            lost = true;
            continue;
        }
        if !error.retryable() || begun.elapsed() >= order.patience {
            return Err(error);
        }
        destination.wait(pause.min(order.patience.saturating_sub(begun.elapsed())));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks for a copy for so long: what was made is not visible at once.
fn look_up(destination: &Ec2, order: &CopyOrder, source: &str) -> Result<Option<String>, EbsError> {
    let begun = Instant::now();
    loop {
        if let Some(found) = copy_of(source, order, &ours(destination, order)?) {
            return Ok(Some(found.id.clone()));
        }
        if begun.elapsed() >= order.lookup {
            return Ok(None);
        }
        destination.wait(LOOK_EVERY.min(order.lookup));
    }
}

fn ours(destination: &Ec2, order: &CopyOrder) -> Result<Vec<Snapshot>, EbsError> {
    destination.describe_snapshots(&[
        Filter::Tag(tag::CLUSTER.to_owned(), order.backup.cluster.clone()),
        Filter::Tag(tag::BACKUP_ID.to_owned(), order.backup.backup_id.clone()),
    ])
}

/// The copy of the snapshot under the key that is asked for, a completed one before others. Whoever asks for no key is
/// content with any.
fn copy_of<'a>(source: &str, order: &CopyOrder, copies: &'a [Snapshot]) -> Option<&'a Snapshot> {
    let same = |found: &Snapshot, key: &str, wanted: &str| {
        found.tags.get(key).is_some_and(|value| value == wanted)
    };
    copies
        .iter()
        .filter(|found| same(found, tag::SOURCE_SNAPSHOT, source))
        .filter(|found| order.kms_key.as_ref().is_none_or(|key| same(found, tag::COPY_KEY, key)))
        .filter(|found| found.state != UploadState::Error)
        .min_by_key(|found| (found.state != UploadState::Completed, found.started_at))
}

fn prove<'a>(
    order: &CopyOrder,
    id: &str,
    found: Option<&'a Snapshot>,
) -> Result<&'a Snapshot, EbsError> {
    let not = |why: String| Err(EbsError::Mismatch(format!("snapshot \"{id}\" {why}")));
    match found {
        None => not("is not in this region and account".to_owned()),
        Some(found) if !order.backup.prove(&found.tags) => not(format!(
            "is not of backup \"{}\" of cluster \"{}\": its own tags say otherwise",
            order.backup.backup_id, order.backup.cluster
        )),
        Some(found) if found.state != UploadState::Completed => {
            not("is not completed, and only then it can be copied".to_owned())
        }
        Some(found) => Ok(found),
    }
}

/// What EC2 will say of a copy that has just been begun.
fn expected(id: &str, source: &Snapshot, tags: &Tags) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        state: UploadState::Pending,
        progress: 0,
        completed_at: None,
        tags: tags.clone(),
        ..source.clone()
    }
}

fn unknown(region: &str, order: &CopyOrder, call: &CopyCall, last: EbsError) -> EbsError {
    let why = format!(
        "two calls to copy \"{}\" to region \"{region}\" were not answered, and within {} s no copy has turned up",
        call.source_snapshot,
        order.lookup.as_secs()
    );
    EbsError::Unknown { why, last: Box::new(last) }
}

#[cfg(test)]
mod tests;

//! One archive from its first to its last byte.

use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pg::WalSegmentName;
use tar::Entry;

use super::Job;
use super::directories::Owner;
use crate::files::CHUNK;
use crate::stream::{self, Stream};
use crate::{BasebackupError, Manifest, Problem};

/// A block of a tar file.
const BLOCK: u64 = 512;

/// What came out of one archive.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) wal_segments: Vec<WalSegmentName>,
    /// Files of the manifest that were read, whether they were right or not.
    pub(crate) found: HashSet<PathBuf>,
    /// Tablespaces that the archive has links to.
    pub(crate) links: BTreeSet<u32>,
    /// Why it could not be read to its end.
    pub(crate) broken: Option<Broken>,
    /// The tablespace it is of.
    pub(crate) tablespace: Option<u32>,
    /// Whether it is the archive of the data directory.
    pub(crate) is_base: bool,
}

/// Why an archive could not be read to its end.
pub(crate) struct Broken {
    pub(crate) archive: String,
    pub(crate) reason: String,
    pub(crate) at: Option<PathBuf>,
    pub(crate) after: u64,
}

/// What ends the work on an archive early.
pub(crate) enum End {
    /// The archive cannot be read.
    Archive(io::Error),
    /// Something else went wrong.
    Failed(BasebackupError),
}

impl From<BasebackupError> for End {
    fn from(error: BasebackupError) -> Self {
        Self::Failed(error)
    }
}

/// An archive being unpacked.
pub(crate) struct One<'a> {
    pub(crate) job: &'a Job<'a>,
    pub(crate) manifest: Option<&'a Manifest>,
    pub(crate) owner: Owner,
    pub(crate) buffer: Vec<u8>,
    pub(crate) result: Outcome,
    /// The file that is being read.
    pub(crate) at: Option<PathBuf>,
}

impl<'a> One<'a> {
    pub(crate) fn new(job: &'a Job<'a>, manifest: Option<&'a Manifest>, owner: Owner) -> Self {
        let result = Outcome {
            tablespace: job.tablespace,
            is_base: job.prefix.as_os_str().is_empty(),
            ..Outcome::default()
        };
        Self { job, manifest, owner, buffer: vec![0; CHUNK], result, at: None }
    }

    /// Unpacks it. `stop` ends it early.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<Outcome, BasebackupError> {
        let (source, stream) = stream::open(self.job.archive, stop)?;
        let ended = thread::scope(|scope| {
            scope.spawn(|| source.run());
            self.entries(stream)
        });
        match ended {
            Ok(()) => Ok(self.result),
            Err(End::Failed(error)) => Err(error),
            Err(End::Archive(_)) if stop.load(Ordering::Relaxed) => Err(BasebackupError::Stopped),
            Err(End::Archive(_)) => Ok(self.result),
        }
    }

    /// Everything in the archive. The stream is dropped at the end, so that its thread ends too.
    fn entries(&mut self, stream: Stream<'_>) -> Result<(), End> {
        let mut tar = tar::Archive::new(stream);
        let read = self.each(&mut tar);
        let mut stream = tar.into_inner();
        let read = read.and_then(|end| {
            // Where a file is cut off between two entries, nothing but the two empty blocks at the end is missing.
            if stream.position() < end + BLOCK {
                let kind = ErrorKind::UnexpectedEof;
                return Err(End::Archive(io::Error::new(kind, "its end is missing")));
            }
            stream.drain().map_err(End::Archive)
        });
        if let Err(End::Archive(error)) = &read {
            self.result.broken = Some(Broken {
                archive: self.job.archive.name(),
                reason: reason(error),
                at: self.at.take(),
                after: stream.position(),
            });
        }
        read
    }

    /// All entries; returns where the last of them ends.
    fn each(&mut self, tar: &mut tar::Archive<Stream<'_>>) -> Result<u64, End> {
        let mut end = 0;
        for entry in tar.entries().map_err(End::Archive)? {
            let mut entry: Entry<'_, _> = entry.map_err(End::Archive)?;
            let blocks = entry.size().div_ceil(BLOCK);
            let after = entry.raw_file_position().saturating_add(blocks.saturating_mul(BLOCK));
            // A sparse file is shorter in the archive than its size, and where it ends there is not told.
            end = if entry.header().entry_type().is_gnu_sparse() { end } else { after };
            self.entry(&mut entry)?;
            self.at = None;
        }
        Ok(end)
    }
}

/// An error with its causes, as a phrase that fits into our messages.
fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_a_phrase() {
        let error = io::Error::other("Data corruption detected");
        assert_eq!(reason(&error), "data corruption detected");
    }
}

//! What the first page of a WAL segment says of the segment.

use crate::bytes::Bytes;
use crate::{
    Lsn, MajorVersion, PgTypeError, SystemIdentifier, TimelineId, WalError, WalSegmentName,
    WalSegmentSize,
};

/// In a page's `info`: the page is a segment's first, its header the long one (`XLP_LONG_HEADER`).
const LONG_HEADER: u16 = 0x0002;

/// The header of a WAL segment's first page, `XLogLongPageHeaderData` in PostgreSQL's
/// `access/xlog_internal.h`: 40 bytes, the same from 13 to 18 but for the magic number. It costs one read of
/// 40 bytes to notice that a segment is missing its content, misnamed, or of another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalPageHeader {
    /// The first two bytes, another number with each major version.
    pub magic: u16,
    /// Flags of the page.
    pub info: u16,
    /// The timeline the page was written on; in a timeline's first segment that is the parent's.
    pub timeline: u32,
    /// The place of the page's first byte.
    pub page_address: Lsn,
    /// The cluster that wrote it.
    pub system_identifier: SystemIdentifier,
    /// The size of the segment in bytes.
    pub segment_size: u32,
    /// The size of a WAL page in bytes.
    pub block_size: u32,
}

/// What a WAL segment's header should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedWal {
    /// The cluster.
    pub system_identifier: SystemIdentifier,
    /// Its segment size.
    pub segment_size: WalSegmentSize,
    /// Its server's major version.
    pub major: MajorVersion,
}

impl WalPageHeader {
    /// How many bytes of a segment's beginning are needed.
    pub const LENGTH: usize = 40;

    /// Reads the beginning of a segment. What it says is not yet compared with anything.
    ///
    /// # Errors
    /// [`PgTypeError::Invalid`] for fewer than [`LENGTH`](Self::LENGTH) bytes.
    pub fn parse(beginning: &[u8]) -> Result<Self, PgTypeError> {
        Self::fields(Bytes(beginning)).ok_or_else(|| {
            let length = format!("{} bytes", beginning.len());
            PgTypeError::invalid("WAL page header", &length, "40 bytes")
        })
    }

    fn fields(bytes: Bytes<'_>) -> Option<Self> {
        Some(Self {
            magic: bytes.u16(0)?,
            info: bytes.u16(2)?,
            timeline: bytes.u32(4)?,
            page_address: Lsn::from(bytes.u64(8)?),
            system_identifier: SystemIdentifier::from(bytes.u64(24)?),
            segment_size: bytes.u32(32)?,
            block_size: bytes.u32(36)?,
        })
    }

    /// Whether this is the beginning of the segment `name` of the cluster `expected`.
    ///
    /// The timeline may be an earlier one than the name's: the server begins a new timeline with a copy of
    /// the parent's segment up to the branching point.
    ///
    /// # Errors
    /// [`WalError`] with what is wrong first, both values in it.
    pub fn check(&self, name: WalSegmentName, expected: &ExpectedWal) -> Result<(), WalError> {
        let ExpectedWal { system_identifier, segment_size, major } = *expected;
        let magic = major.wal_magic();
        if self.magic != magic {
            return Err(WalError::Magic { name, found: self.magic, expected: magic, major });
        }
        if self.info & LONG_HEADER == 0 {
            return Err(WalError::NotFirstPage { name });
        }
        if self.system_identifier != system_identifier {
            let found = self.system_identifier;
            return Err(WalError::SystemIdentifier { name, found, expected: system_identifier });
        }
        if u64::from(self.segment_size) != segment_size.bytes() {
            let found = self.segment_size;
            return Err(WalError::SegmentSize { name, found, expected: segment_size });
        }
        let start = name.start_lsn(segment_size).map_err(WalError::Name)?;
        if self.page_address != start {
            return Err(WalError::PageAddress { name, found: self.page_address, expected: start });
        }
        check_timeline(name, self.timeline)
    }

    /// Reads and compares the beginning of a segment in one step.
    ///
    /// # Errors
    /// [`WalError::TooShort`] for fewer than [`LENGTH`](Self::LENGTH) bytes, otherwise as
    /// [`check`](Self::check).
    pub fn check_segment(
        beginning: &[u8],
        name: WalSegmentName,
        expected: &ExpectedWal,
    ) -> Result<(), WalError> {
        let length = beginning.len();
        let header = Self::fields(Bytes(beginning)).ok_or(WalError::TooShort { name, length })?;
        header.check(name, expected)
    }
}

fn check_timeline(name: WalSegmentName, found: u32) -> Result<(), WalError> {
    let expected: TimelineId = name.timeline();
    if (1..=expected.as_u32()).contains(&found) {
        Ok(())
    } else {
        Err(WalError::Timeline { name, found, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::from_hex;

    /// The beginnings of segments servers of each major wrote: on timeline 1, and the first of timeline 2.
    const SAMPLES: [(MajorVersion, &str, &str); 6] = [
        (
            MajorVersion::V13,
            "06d102000100000000000002000000000000000000000000e5ddd58c670e016b0000000100200000",
            "06d106000100000000000005000000000000000000000000e5ddd58c670e016b0000000100200000",
        ),
        (
            MajorVersion::V14,
            "0dd102000100000000000002000000000000000000000000fbdd6302680e016b0000000100200000",
            "0dd106000100000000000005000000000000000000000000fbdd6302680e016b0000000100200000",
        ),
        (
            MajorVersion::V15,
            "10d1020001000000000000020000000000000000000000000dfe8d78680e016b0000000100200000",
            "10d1060001000000000000050000000000000000000000000dfe8d78680e016b0000000100200000",
        ),
        (
            MajorVersion::V16,
            "13d102000100000000000002000000000000000000000000208e01ed680e016b0000000100200000",
            "13d106000100000000000005000000000000000000000000208e01ed680e016b0000000100200000",
        ),
        (
            MajorVersion::V17,
            "16d10200010000000000000200000000000000000000000046fe6d7d690e016b0000000100200000",
            "16d10600010000000000000500000000000000000000000046fe6d7d690e016b0000000100200000",
        ),
        (
            MajorVersion::V18,
            "18d1020001000000000000020000000000000000000000005c0ece0d6a0e016b0000000100200000",
            "18d1060001000000000000050000000000000000000000005c0ece0d6a0e016b0000000100200000",
        ),
    ];

    fn header(hex: &str) -> WalPageHeader {
        WalPageHeader::parse(&from_hex(hex)).unwrap()
    }

    fn sample_of_15() -> (WalPageHeader, WalSegmentName, ExpectedWal) {
        let header = header(SAMPLES[2].1);
        let expected = ExpectedWal {
            system_identifier: header.system_identifier,
            segment_size: WalSegmentSize::DEFAULT,
            major: MajorVersion::V15,
        };
        (header, "000000010000000000000002".parse().unwrap(), expected)
    }

    #[test]
    fn segments_of_every_major() {
        for (major, first, branched) in SAMPLES {
            let header = header(first);
            assert_eq!(header.timeline, 1);
            assert_eq!(header.page_address.to_string(), "0/2000000");
            assert_eq!(header.block_size, 8192);
            let expected = ExpectedWal {
                system_identifier: header.system_identifier,
                segment_size: WalSegmentSize::DEFAULT,
                major,
            };
            let check = |hex: &str, name: &str| {
                WalPageHeader::check_segment(&from_hex(hex), name.parse().unwrap(), &expected)
            };
            check(first, "000000010000000000000002").unwrap();
            // The page was written on timeline 1, and copied when timeline 2 began.
            check(branched, "000000020000000000000005").unwrap();
        }
    }

    #[test]
    fn says_what_is_wrong_first() {
        let (header, name, expected) = sample_of_15();
        let kind = |header: WalPageHeader| header.check(name, &expected).unwrap_err();
        assert!(matches!(kind(WalPageHeader { magic: 0, ..header }), WalError::Magic { .. }));
        assert!(matches!(kind(WalPageHeader { info: 4, ..header }), WalError::NotFirstPage { .. }));
        let foreign = SystemIdentifier::from(1_u64);
        assert!(matches!(
            kind(WalPageHeader { system_identifier: foreign, ..header }),
            WalError::SystemIdentifier { .. }
        ));
        assert!(matches!(
            kind(WalPageHeader { segment_size: 0, ..header }),
            WalError::SegmentSize { .. }
        ));
        assert!(matches!(
            kind(WalPageHeader { page_address: Lsn::INVALID, ..header }),
            WalError::PageAddress { .. }
        ));
        for timeline in [0, 2] {
            assert!(matches!(
                kind(WalPageHeader { timeline, ..header }),
                WalError::Timeline { .. }
            ));
        }
    }

    #[test]
    fn a_name_of_another_segment_size_is_an_error() {
        let (header, _, expected) = sample_of_15();
        let name = "000000010000000000000FFF".parse().unwrap();
        assert!(matches!(header.check(name, &expected), Err(WalError::Name(_))));
    }

    #[test]
    fn short_files_are_errors() {
        let (_, name, expected) = sample_of_15();
        for length in 0..WalPageHeader::LENGTH {
            let bytes = vec![0; length];
            let error = WalPageHeader::parse(&bytes).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid WAL page header \"{length} bytes\": expected 40 bytes")
            );
            assert!(matches!(
                WalPageHeader::check_segment(&bytes, name, &expected),
                Err(WalError::TooShort { .. })
            ));
        }
    }
}

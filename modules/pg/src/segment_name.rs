//! Names of WAL segments.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{Lsn, LsnRange, PgTypeError, TimelineId, WalSegmentSize};

/// The name of one WAL segment: 24 hexadecimal digits, of which 8 are the timeline, 8 the high half of
/// the LSN, and 8 the segment's number within that half.
///
/// The name alone does not tell the segment's place: that takes the server's [`WalSegmentSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalSegmentName {
    timeline: TimelineId,
    high: u32,
    number: u32,
}

impl WalSegmentName {
    /// The segment that holds the byte at `lsn`: where reading from `lsn` begins.
    #[must_use]
    pub fn containing(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> Self {
        Self::numbered(timeline, lsn.as_u64() / size.bytes(), size)
    }

    /// The segment that holds the last byte before `lsn`: where WAL up to `lsn` ends. At a segment
    /// boundary this is the segment before [`containing`](Self::containing)'s. PostgreSQL's own
    /// `pg_walfile_name()` gives this one up to 16 and the other from 17 on, which is why there are
    /// two methods and no call of that function.
    #[must_use]
    pub fn ending_at(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> Self {
        Self::numbered(timeline, lsn.as_u64().saturating_sub(1) / size.bytes(), size)
    }

    /// The segments that together hold all of `range`, in order; at least one.
    pub fn range(
        timeline: TimelineId,
        range: LsnRange,
        size: WalSegmentSize,
    ) -> impl Iterator<Item = Self> + Clone + use<> {
        let first = range.start().as_u64() / size.bytes();
        let last = range.end().as_u64().saturating_sub(1) / size.bytes();
        (first..=last.max(first)).map(move |index| Self::numbered(timeline, index, size))
    }

    /// The timeline it was written on.
    #[must_use]
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// The place of its first byte.
    ///
    /// # Errors
    /// [`PgTypeError::NoSuchSegment`] when segments of this size never get this name.
    pub fn start_lsn(self, size: WalSegmentSize) -> Result<Lsn, PgTypeError> {
        // Below 2^64, since `index` has checked the number: the product cannot overflow.
        self.index(size).map(|index| Lsn::from(index * size.bytes()))
    }

    /// The segment after it on the same timeline.
    ///
    /// # Errors
    /// [`PgTypeError::NoSuchSegment`] when segments of this size never get this name, or when it is the
    /// very last one of the 64-bit space.
    pub fn next(self, size: WalSegmentSize) -> Result<Self, PgTypeError> {
        let last = u64::MAX / size.bytes();
        match self.index(size)? {
            index if index < last => Ok(Self::numbered(self.timeline, index + 1, size)),
            _ => Err(self.no_such_segment(size)),
        }
    }

    /// The segment of this number since the beginning of WAL. Callers divide an LSN by the size, so the
    /// high half fits in 32 bits.
    fn numbered(timeline: TimelineId, index: u64, size: WalSegmentSize) -> Self {
        let per_half = size.per_high_half();
        let narrow = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
        Self { timeline, high: narrow(index / per_half), number: narrow(index % per_half) }
    }

    /// Its number since the beginning of WAL.
    fn index(self, size: WalSegmentSize) -> Result<u64, PgTypeError> {
        let per_half = size.per_high_half();
        if u64::from(self.number) >= per_half {
            return Err(self.no_such_segment(size));
        }
        Ok(u64::from(self.high) * per_half + u64::from(self.number))
    }

    fn no_such_segment(self, size: WalSegmentSize) -> PgTypeError {
        PgTypeError::NoSuchSegment { name: self.to_string(), size }
    }
}

impl fmt::Display for WalSegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.as_u32(), self.high, self.number)
    }
}

impl FromStr for WalSegmentName {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        parts(text).ok_or_else(|| {
            PgTypeError::invalid("WAL segment name", text, "24 hexadecimal digits in upper case")
        })
    }
}

serde_as_text!(WalSegmentName);

/// PostgreSQL accepts capital digits only (`IsXLogFileName`), and so do we: on a case-sensitive file
/// system the other spelling is another file.
pub(crate) fn upper_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

fn parts(text: &str) -> Option<WalSegmentName> {
    if !upper_hexadecimal(text, 24) {
        return None;
    }
    let part = |from: usize| {
        text.get(from..from + 8).and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    Some(WalSegmentName {
        timeline: TimelineId::new(part(0)?).ok()?,
        high: part(8)?,
        number: part(16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> impl Iterator<Item = WalSegmentSize> {
        (20..=30).map(|shift| WalSegmentSize::from_bytes(1 << shift).unwrap())
    }

    /// Places worth asking about: the edges of everything, and some in between.
    fn places() -> Vec<u64> {
        let mut places = vec![1, 0x300_0028, 0x16_B374_D848, u64::MAX, u64::MAX - 1];
        for shift in 20..64 {
            places.extend([
                (1_u64 << shift) - 1,
                1 << shift,
                (1 << shift) + 1,
                (1 << shift) + (1 << 20),
            ]);
        }
        places
    }

    #[test]
    fn names_as_postgresql_gives_them() {
        let two = TimelineId::new(2).unwrap();
        let name = |lsn: &str, size: u64| {
            let size = WalSegmentSize::from_bytes(size).unwrap();
            WalSegmentName::containing(two, lsn.parse().unwrap(), size).to_string()
        };
        assert_eq!(name("0/3000028", 16 << 20), "000000020000000000000003");
        assert_eq!(name("A2/41000000", 16 << 20), "00000002000000A200000041");
        assert_eq!(name("1/0", 16 << 20), "000000020000000100000000");
        assert_eq!(name("0/3000028", 1 << 20), "000000020000000000000030");
        assert_eq!(name("0/FFFFFFFF", 1 << 20), "000000020000000000000FFF");
        assert_eq!(name("0/FFFFFFFF", 1 << 30), "000000020000000000000003");
    }

    #[test]
    fn a_boundary_has_two_answers() {
        let size = WalSegmentSize::DEFAULT;
        let boundary: Lsn = "0/11000000".parse().unwrap();
        let containing = WalSegmentName::containing(TimelineId::FIRST, boundary, size);
        let ending = WalSegmentName::ending_at(TimelineId::FIRST, boundary, size);
        assert_eq!(containing.to_string(), "000000010000000000000011");
        assert_eq!(ending.to_string(), "000000010000000000000010");
    }

    #[test]
    fn properties_hold_at_every_size() {
        for size in sizes() {
            for place in places() {
                let lsn = Lsn::from(place);
                let name = WalSegmentName::containing(TimelineId::FIRST, lsn, size);
                let start = name.start_lsn(size).unwrap();
                assert!(
                    start <= lsn && place - start.as_u64() < size.bytes(),
                    "{lsn} in {name} of {size}"
                );
                assert_eq!(name.to_string().parse::<WalSegmentName>().unwrap(), name);

                let ending = WalSegmentName::ending_at(TimelineId::FIRST, lsn, size);
                let before = Lsn::from(place - 1);
                assert_eq!(ending, WalSegmentName::containing(TimelineId::FIRST, before, size));

                if let Ok(next) = name.next(size) {
                    assert_eq!(
                        next.start_lsn(size).unwrap(),
                        start.checked_add(size.bytes()).unwrap()
                    );
                    assert!(name < next);
                } else {
                    assert_eq!(start.checked_add(size.bytes()), None);
                }
            }
        }
    }

    #[test]
    fn a_range_is_whole_and_in_order() {
        for size in sizes() {
            let start = Lsn::from(5 * size.bytes() + 40);
            let end = Lsn::from(8 * size.bytes());
            let range = LsnRange::new(start, end).unwrap();
            let names: Vec<_> = WalSegmentName::range(TimelineId::FIRST, range, size).collect();
            assert_eq!(names.len(), 3, "the segment that begins at the end is not needed");
            assert_eq!(names[0], WalSegmentName::containing(TimelineId::FIRST, start, size));
            assert_eq!(names[0].next(size).unwrap(), names[1]);
            assert_eq!(names[2], WalSegmentName::ending_at(TimelineId::FIRST, end, size));
        }
        let nowhere = LsnRange::new(Lsn::from(1 << 24), Lsn::from(1 << 24)).unwrap();
        let names: Vec<_> =
            WalSegmentName::range(TimelineId::FIRST, nowhere, WalSegmentSize::DEFAULT).collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn refuses_other_text() {
        for text in [
            "",
            "00000001000000000000000",
            "0000000100000000000000011",
            "00000001000000000000000a",
            "000000000000000000000001",
            "00000001000000000000000G",
            "+00000010000000000000001",
            "0000000100000000000000é",
            "000000010000000000000001.partial",
        ] {
            let error = text.parse::<WalSegmentName>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid WAL segment name \"{text}\": expected 24 hexadecimal digits in upper case"
                )
            );
        }
    }

    #[test]
    fn a_name_of_another_size_has_no_place() {
        let name: WalSegmentName = "0000000100000000FFFFFFFF".parse().unwrap();
        for size in sizes() {
            assert!(matches!(name.start_lsn(size), Err(PgTypeError::NoSuchSegment { .. })));
            assert!(name.next(size).is_err());
        }
    }
}

//! Places in the write-ahead log.

use std::fmt;
use std::str::FromStr;

use crate::PgTypeError;
use crate::text::serde_as_text;

/// A log sequence number: a byte's place in WAL. Written `0/3000028`, as `pg_lsn` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which PostgreSQL uses for "none": no WAL record stands there.
    pub const INVALID: Self = Self(0);

    /// The place as a number of bytes since the beginning of WAL.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether this is PostgreSQL's "none".
    #[must_use]
    pub const fn is_invalid(self) -> bool {
        self.0 == 0
    }

    /// The place so many bytes later; `None` beyond the end of the 64-bit space.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// The place so many bytes earlier; `None` before the beginning of WAL.
    #[must_use]
    pub fn checked_sub(self, bytes: u64) -> Option<Self> {
        self.0.checked_sub(bytes).map(Self)
    }
}

impl From<u64> for Lsn {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl FromStr for Lsn {
    type Err = PgTypeError;

    fn from_str(text: &str) -> Result<Self, PgTypeError> {
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        match halves {
            Some((high, low)) => Ok(Self(u64::from(high) << 32 | u64::from(low))),
            None => Err(PgTypeError::invalid(
                "LSN",
                text,
                "two hexadecimal numbers around a slash, like 0/3000028",
            )),
        }
    }
}

serde_as_text!(Lsn);

/// One half of an LSN: 1 to 8 hexadecimal digits, what `pg_lsn_in` accepts. `from_str_radix` alone
/// would let a sign pass.
fn half(digits: &str) -> Option<u32> {
    let only_digits =
        (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    only_digits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// A stretch of WAL from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LsnRange {
    start: Lsn,
    end: Lsn,
}

impl LsnRange {
    /// The stretch between two places, `start <= end`.
    ///
    /// # Errors
    /// [`PgTypeError::BackwardRange`] when `end` is before `start`.
    pub fn new(start: Lsn, end: Lsn) -> Result<Self, PgTypeError> {
        if end < start {
            return Err(PgTypeError::BackwardRange { start, end });
        }
        Ok(Self { start, end })
    }

    /// The first byte's place.
    #[must_use]
    pub const fn start(self) -> Lsn {
        self.start
    }

    /// The place just behind the last byte.
    #[must_use]
    pub const fn end(self) -> Lsn {
        self.end
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Whether the byte at `lsn` is part of it.
    #[must_use]
    pub fn contains(self, lsn: Lsn) -> bool {
        self.start <= lsn && lsn < self.end
    }
}

impl fmt::Display for LsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_as_postgresql_does() {
        for (text, number) in [
            ("0/0", 0),
            ("0/3000028", 0x300_0028),
            ("16/B374D848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
            ("1/0", 1 << 32),
        ] {
            let lsn: Lsn = text.parse().unwrap();
            assert_eq!(lsn.as_u64(), number);
            assert_eq!(lsn.to_string(), text);
        }
        assert_eq!("0/0300000a".parse::<Lsn>().unwrap().to_string(), "0/300000A");
    }

    #[test]
    fn refuses_other_text() {
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/1/2",
            "+1/0",
            "0/-1",
            "0/100000000",
            "0/G",
            " 0/1",
            "0/1 ",
            "0/１",
        ] {
            let error = text.parse::<Lsn>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid LSN \"{text}\": expected two hexadecimal numbers around a slash, like 0/3000028"
                )
            );
        }
    }

    #[test]
    fn is_a_json_string() {
        let lsn = Lsn::from(0x300_0028);
        assert_eq!(serde_json::to_string(&lsn).unwrap(), "\"0/3000028\"");
        assert_eq!(serde_json::from_str::<Lsn>("\"0/3000028\"").unwrap(), lsn);
        assert!(serde_json::from_str::<Lsn>("50331688").is_err());
    }

    #[test]
    fn arithmetic_stays_inside() {
        assert_eq!(Lsn::from(u64::MAX).checked_add(1), None);
        assert_eq!(Lsn::from(1).checked_add(1), Some(Lsn::from(2)));
        assert_eq!(Lsn::INVALID.checked_sub(1), None);
        assert!(Lsn::INVALID.is_invalid());
    }

    #[test]
    fn ranges_know_their_order() {
        let range = LsnRange::new(Lsn::from(10), Lsn::from(20)).unwrap();
        assert_eq!((range.start(), range.end(), range.bytes()), (Lsn::from(10), Lsn::from(20), 10));
        assert!(
            range.contains(Lsn::from(10))
                && range.contains(Lsn::from(19))
                && !range.contains(Lsn::from(20))
        );
        assert_eq!(range.to_string(), "0/A to 0/14");
        let backward = LsnRange::new(Lsn::from(20), Lsn::from(10)).unwrap_err();
        assert_eq!(backward.to_string(), "WAL range ends at 0/A, before its start at 0/14");
    }
}

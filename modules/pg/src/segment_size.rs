//! The size of WAL segments, chosen by `initdb --wal-segsize`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::PgTypeError;

/// The size of one WAL segment: a power of two from 1 MiB to 1 GiB. A JSON number of bytes.
///
/// Always asked of the server or the control file, never assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct WalSegmentSize(u32);

impl WalSegmentSize {
    /// What `initdb` chooses by itself: 16 MiB.
    pub const DEFAULT: Self = Self(16 << 20);

    /// A segment of this many bytes.
    ///
    /// # Errors
    /// [`PgTypeError::Invalid`] when PostgreSQL could not have been initialised with this size.
    pub fn from_bytes(bytes: u64) -> Result<Self, PgTypeError> {
        let possible = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        u32::try_from(bytes).ok().filter(|_| possible).map(Self).ok_or_else(|| {
            PgTypeError::invalid(
                "WAL segment size",
                &bytes.to_string(),
                "a power of two from 1 MiB to 1 GiB in bytes",
            )
        })
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// How many segments one high half of an LSN holds: where the last eight digits of names wrap.
    #[must_use]
    pub(crate) const fn per_high_half(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl TryFrom<u64> for WalSegmentSize {
    type Error = PgTypeError;

    fn try_from(bytes: u64) -> Result<Self, PgTypeError> {
        Self::from_bytes(bytes)
    }
}

impl From<WalSegmentSize> for u64 {
    fn from(size: WalSegmentSize) -> Self {
        size.bytes()
    }
}

impl fmt::Display for WalSegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.bytes() >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleven_sizes_and_no_other() {
        for shift in 0..64 {
            let size = WalSegmentSize::from_bytes(1 << shift);
            assert_eq!(size.is_ok(), (20..=30).contains(&shift), "2^{shift}");
        }
        for bytes in [0, 3 << 20, (16 << 20) + 1, u64::MAX] {
            let error = WalSegmentSize::from_bytes(bytes).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "invalid WAL segment size \"{bytes}\": expected a power of two from 1 MiB to 1 GiB in bytes"
                )
            );
        }
        assert_eq!(WalSegmentSize::DEFAULT.to_string(), "16 MiB");
    }

    #[test]
    fn is_a_json_number() {
        assert_eq!(serde_json::to_string(&WalSegmentSize::DEFAULT).unwrap(), "16777216");
        assert_eq!(
            serde_json::from_str::<WalSegmentSize>("16777216").unwrap(),
            WalSegmentSize::DEFAULT
        );
        assert!(serde_json::from_str::<WalSegmentSize>("16777217").is_err());
    }
}

//! Checksums of files, as a backup manifest has them.

use std::fmt;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// How a file's checksum is computed; `pg_basebackup --manifest-checksums`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// The Castagnoli CRC of 32 bits: the default.
    Crc32c,
    /// SHA-2 of 224 bits.
    Sha224,
    /// SHA-2 of 256 bits.
    Sha256,
    /// SHA-2 of 384 bits.
    Sha384,
    /// SHA-2 of 512 bits.
    Sha512,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Crc32c, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }

    /// The algorithm of this name, in capitals or not, as PostgreSQL takes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// How many bytes its checksums have.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A checksum. Its `Display` is hexadecimal, as in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Sum {
    /// The checksum of these bytes; none when their number does not fit.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == algorithm.length()).then_some(Self { algorithm, bytes })
    }

    /// The checksum that these hexadecimal digits stand for; none when they are something else, or not so many.
    #[must_use]
    pub fn from_hex(algorithm: Algorithm, digits: &str) -> Option<Self> {
        from_hex(digits).and_then(|bytes| Self::new(algorithm, bytes))
    }

    /// How it was computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A checksum being computed.
pub(crate) enum Hasher {
    Crc32c(u32),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Box<Sha384>),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32c => Self::Crc32c(0),
            Algorithm::Sha224 => Self::Sha224(Sha224::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Box::default()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            Self::Sha224(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Sum {
        match self {
            // The server writes the number as it lies in memory, and every platform of ours is little-endian.
            Self::Crc32c(crc) => {
                Sum { algorithm: Algorithm::Crc32c, bytes: crc.to_le_bytes().to_vec() }
            }
            Self::Sha224(hash) => {
                Sum { algorithm: Algorithm::Sha224, bytes: hash.finalize().to_vec() }
            }
            Self::Sha256(hash) => {
                Sum { algorithm: Algorithm::Sha256, bytes: hash.finalize().to_vec() }
            }
            Self::Sha384(hash) => {
                Sum { algorithm: Algorithm::Sha384, bytes: hash.finalize().to_vec() }
            }
            Self::Sha512(hash) => {
                Sum { algorithm: Algorithm::Sha512, bytes: hash.finalize().to_vec() }
            }
        }
    }
}

/// The bytes that these hexadecimal digits stand for; none when they are something else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_123456789() {
        for (algorithm, sum) in [
            // RFC 3720 has e3069283; least byte first here.
            (Algorithm::Crc32c, "839206e3"),
            (Algorithm::Sha224, "9b3e61bf29f17c75572fae2e86e17809a4513d07c8a18152acf34521"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            assert_eq!(hasher.finish().to_string(), sum);
        }
        for algorithm in Algorithm::ALL {
            let sum = Hasher::new(algorithm).finish();
            assert_eq!(sum.to_string().len(), 2 * algorithm.length());
            assert_eq!(Sum::new(algorithm, from_hex(&sum.to_string()).unwrap()), Some(sum));
            assert_eq!(Algorithm::named(&algorithm.to_string().to_lowercase()), Some(algorithm));
        }
    }

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(from_hex("00fFa9"), Some(vec![0, 255, 0xA9]));
        assert_eq!(from_hex("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex(""), Some(Vec::new()));
        for wrong in ["0", "000", "0g", "+1", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}

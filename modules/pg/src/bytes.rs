//! Numbers inside the files PostgreSQL writes as its structures lie in memory: little-endian on every
//! machine these modules are built for.

/// A file's bytes; every question about them may be answered `None`, never by a panic.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }
}

/// Bytes written as hexadecimal digits over several lines, for captured samples.
#[cfg(test)]
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_none_beyond_the_end() {
        let bytes = Bytes(&[1, 2, 3, 4]);
        assert_eq!((bytes.u16(2), bytes.u16(3)), (Some(0x0403), None));
        assert_eq!((bytes.u32(0), bytes.u32(1)), (Some(0x0403_0201), None));
        assert_eq!((bytes.u64(0), bytes.u32(usize::MAX)), (None, None));
    }
}

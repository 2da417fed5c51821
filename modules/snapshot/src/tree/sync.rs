//! How a copy gets to the disk.

/// Since Linux 5.8 syncfs(2) fails when something could not be written to the filesystem since the descriptor was
/// opened; before, it said nothing.
const TELLS_FAILURES: (u32, u32) = (5, 8);

/// Whether one syncfs(2) is as good as an fsync(2) of each file.
pub(crate) fn filesystem_tells_failures() -> bool {
    nix::sys::utsname::uname()
        .ok()
        .and_then(|name| version(name.release().to_str()?))
        .is_some_and(|version| version >= TELLS_FAILURES)
}

/// The first two numbers of `5.14.0-427.el9.x86_64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("4.18.0-553.el8_10.x86_64"), Some((4, 18)));
        assert_eq!(version("5.8-rc1"), Some((5, 8)));
        assert_eq!(version("6"), None);
        assert_eq!(version("next"), None);
        assert!(version("5.10.0").is_some_and(|version| version >= TELLS_FAILURES));
    }
}

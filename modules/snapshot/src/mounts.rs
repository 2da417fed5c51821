//! What is mounted where: `/proc/self/mountinfo`, see proc(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::SnapshotError;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Its type: `ext4`, `btrfs`, ….
    pub(crate) fstype: String,
    /// The device as the kernel names it.
    pub(crate) device: String,
}

/// All mounted filesystems that this process sees, in the order in which they were mounted.
#[derive(Debug)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn read() -> Result<Self, SnapshotError> {
        let bytes =
            std::fs::read(MOUNTINFO).map_err(SnapshotError::io("read", Path::new(MOUNTINFO)))?;
        Ok(Self::parse(&bytes))
    }

    /// Lines that are not understood are passed over: a kernel may add things, and a mount that is missing here
    /// still shows as a change of the device number.
    fn parse(bytes: &[u8]) -> Self {
        Self(bytes.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    /// The filesystem that `path`, which must be absolute and resolved, is on.
    pub(crate) fn of(&self, path: &Path) -> Result<&Mount, SnapshotError> {
        // The last of several that are mounted over each other is the one that is seen.
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
            .ok_or_else(|| SnapshotError::NoMount { path: path.to_path_buf() })
    }

    /// The mount points below `path`, not `path` itself.
    pub(crate) fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.point != path && mount.point.starts_with(path))
    }
}

/// `36 35 98:0 /root /mount\040point rw,noatime master:1 - ext3 /dev/root rw`: the number of fields before the
/// dash varies.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = rest.next()?;
    let device = rest.next().unwrap_or_default();
    Some(Mount {
        point: OsString::from_vec(unescape(point)).into(),
        fstype: String::from_utf8_lossy(fstype).into_owned(),
        device: String::from_utf8_lossy(&unescape(device)).into_owned(),
    })
}

/// The kernel writes space, tab, line break, backslash (and `#`) as a backslash and three octal digits.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        match rest.split_at_checked(3) {
            Some((digits, after)) if *first == b'\\' && is_octal(digits) => {
                bytes.push(digits.iter().fold(0, |byte: u8, digit| byte << 3 | (digit & 7)));
                text = after;
            }
            _ => {
                bytes.push(*first);
                text = rest;
            }
        }
    }
    bytes
}

fn is_octal(digits: &[u8]) -> bool {
    digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:40 / /data rw shared:2 master:1 - btrfs /dev/vdb rw,subvol=/
23 22 0:41 / /data/with\\040space\\134and\\011more rw - zfs pool/a\\040b rw
24 21 254:1 / /data rw - xfs /dev/mapper/vg-data rw
nonsense
";

    fn mounts() -> Mounts {
        Mounts::parse(TEXT)
    }

    #[test]
    fn the_longest_and_then_the_last_mount_point_counts() {
        let mounts = mounts();
        let of = |path: &str| mounts.of(Path::new(path)).unwrap().device.clone();
        assert_eq!(of("/"), "/dev/vda");
        assert_eq!(of("/database"), "/dev/vda");
        assert_eq!(of("/data/15/main"), "/dev/mapper/vg-data");
        assert_eq!(of("/data/with space\\and\tmore/x"), "pool/a b");
        assert_eq!(mounts.of(Path::new("/data")).unwrap().fstype, "xfs");
        let error = Mounts::parse(b"").of(Path::new("/x")).unwrap_err();
        assert_eq!(error.to_string(), "found no mount point for \"/x\"");
    }

    #[test]
    fn below_means_strictly_below() {
        let mounts = mounts();
        let below: Vec<_> = mounts.below(Path::new("/data")).map(|mount| &mount.device).collect();
        assert_eq!(below, ["pool/a b"]);
    }

    #[test]
    fn the_real_file_is_understood() {
        let mounts = Mounts::read().unwrap();
        assert_eq!(mounts.of(Path::new("/")).unwrap().point, Path::new("/"));
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"a\\089"), b"a\\089");
        assert_eq!(unescape(b"\\040"), b" ");
    }
}

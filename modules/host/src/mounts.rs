//! What is mounted where: `/proc/<pid>/mountinfo`, see proc(5).

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::{HostError, Process};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The kernel's number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The driver; 0 for filesystems that are on no block device, and for btrfs.
    pub major: u32,
    /// The device of that driver.
    pub minor: u32,
}

impl DeviceNumber {
    /// From what `stat(2)` gives as `st_dev` or `st_rdev`.
    #[must_use]
    pub fn of(device: u64) -> Self {
        let part = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            major: part(nix::sys::stat::major(device)),
            minor: part(nix::sys::stat::minor(device)),
        }
    }

    /// From `259:1`, as the kernel writes it; spaces around it do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The part of the filesystem that is mounted there: `/` for all of it, another path for a bind mount or a
    /// btrfs subvolume.
    pub root: PathBuf,
    /// Its type: `ext4`, `btrfs`, ….
    pub fstype: String,
    /// The device as the kernel names it.
    pub device: String,
    /// The device's number; of btrfs a made-up one with major 0.
    pub number: DeviceNumber,
    /// The options of this mount, then those of the filesystem that are not among them.
    pub options: Vec<String>,
}

impl Mount {
    /// The path inside the filesystem of `path`, which is at or below the mount point: with `/pg` mounted at `/data`,
    /// that of `/data/15` is `/pg/15`.
    #[must_use]
    pub fn path_in_filesystem(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.point).ok().map(|below| join(&self.root, below))
    }

    /// Where `path`, a path inside the filesystem, is seen through this mount, if it is.
    #[must_use]
    pub fn path_seen(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(|below| join(&self.point, below))
    }
}

/// `base` joined with `below`, without the slash at the end that joining with an empty path would give.
pub(crate) fn join(base: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { base.to_path_buf() } else { base.join(below) }
}

/// All mounted filesystems that a process sees, in the order in which they were mounted.
#[derive(Debug, Clone)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// What this process sees.
    ///
    /// # Errors
    /// [`HostError::Io`] when `/proc` is not there.
    pub fn read() -> Result<Self, HostError> {
        Self::read_file(Path::new(MOUNTINFO))
    }

    /// What `process` sees; mount points are paths inside its root.
    ///
    /// # Errors
    /// [`HostError::NoProcess`] when it is gone; [`HostError::Io`].
    pub fn of_process(process: &Process) -> Result<Self, HostError> {
        let mounts = Self::read_file(&process.proc("mountinfo"))?;
        process.check_alive()?;
        Ok(mounts)
    }

    fn read_file(path: &Path) -> Result<Self, HostError> {
        std::fs::read(path).map(|bytes| Self::parse(&bytes)).map_err(HostError::io("read", path))
    }

    /// Lines that are not understood are passed over: a kernel may add things, and a mount that is missing here
    /// still shows as a change of the device number.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(bytes.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// The filesystem that `path`, which must be absolute and resolved, is on.
    ///
    /// # Errors
    /// [`HostError::NoMount`] when nothing is mounted at any of its parents.
    pub fn of(&self, path: &Path) -> Result<&Mount, HostError> {
        // The last of several that are mounted over each other is the one that is seen.
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
            .ok_or_else(|| HostError::NoMount { path: path.to_path_buf() })
    }

    /// The mount points below `path`, not `path` itself.
    pub fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.point != path && mount.point.starts_with(path))
    }
}

/// `36 35 98:0 /root /mount\040point rw,noatime master:1 - ext3 /dev/root rw`: the number of fields before the
/// dash varies.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = DeviceNumber::parse(&String::from_utf8_lossy(fields.nth(2)?))?;
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    let mut options = words(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = String::from_utf8_lossy(rest.next()?).into_owned();
    let device = String::from_utf8_lossy(&unescape(rest.next().unwrap_or_default())).into_owned();
    for option in words(rest.next().unwrap_or_default()) {
        // A filesystem that is `rw` may be mounted `ro`, and then it is the mount that counts.
        let opposite = match option.as_str() {
            "rw" => "ro",
            "ro" => "rw",
            _ => "",
        };
        if !options.iter().any(|known| *known == option || known == opposite) {
            options.push(option);
        }
    }
    Some(Mount { point, root, fstype, device, number, options })
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

fn words(field: &[u8]) -> Vec<String> {
    let text = unescape(field);
    let words = text.split(|byte| *byte == b',').filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
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
24 21 254:1 /pg /data ro,noatime - xfs /dev/mapper/vg-data rw,attr2,noatime
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
    fn all_fields_are_read() {
        let mounts = mounts();
        let mount = mounts.of(Path::new("/data")).unwrap();
        assert_eq!(mount.root, Path::new("/pg"));
        assert_eq!(mount.number, DeviceNumber { major: 254, minor: 1 });
        assert_eq!(mount.options, ["ro", "noatime", "attr2"]);
        assert_eq!(mount.path_in_filesystem(Path::new("/data/15")).unwrap(), Path::new("/pg/15"));
        assert_eq!(mount.path_in_filesystem(Path::new("/data")).unwrap(), Path::new("/pg"));
        assert_eq!(mount.path_in_filesystem(Path::new("/other")), None);
        assert_eq!(mount.path_seen(Path::new("/pg/15")).unwrap(), Path::new("/data/15"));
        assert_eq!(mount.path_seen(Path::new("/pgdata")), None);
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
        let root = mounts.of(Path::new("/")).unwrap();
        assert_eq!(root.point, Path::new("/"));
        assert!(root.options.iter().any(|option| option == "rw" || option == "ro"));
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"a\\089"), b"a\\089");
        assert_eq!(unescape(b"\\040"), b" ");
    }
}

//! What is on a device: blkid(8).

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use program::{Cause, Program, ProgramError};

use crate::HostError;

/// Reading a few blocks of a device takes milliseconds; a volume that hangs must not hang us.
const TIME: Duration = Duration::from_secs(30);
/// How `blkid` ends when it recognises nothing, among others.
const NOTHING: i32 = 2;

/// What a filesystem calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type: `ext4`, `xfs`, `btrfs`, ….
    pub fstype: String,
    /// Its UUID, as mount(8) takes it.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// What is on `device`, read from the device itself, not from a cache. Mostly only root may read it.
///
/// # Errors
/// [`HostError::Io`] when the device cannot be opened; [`HostError::NoFilesystem`] when there is no filesystem that
/// `blkid` knows; [`HostError::Program`] when `blkid` is missing, or finds signs of several filesystems.
pub fn filesystem_of(device: impl AsRef<Path>) -> Result<Filesystem, HostError> {
    let device = device.as_ref();
    // `blkid` says the same of a device without a filesystem and of one that it may not read.
    File::open(device).map_err(HostError::io("read device", device))?;
    let program = Program::new("blkid").args(["-p", "-o", "export", "--"]).arg(device);
    let failed = |source| HostError::Program {
        action: "find out what is on",
        device: device.display().to_string(),
        source,
    };
    let output = program.deadline(TIME).output().map_err(failed)?;
    let nothing = || HostError::NoFilesystem { device: device.display().to_string() };
    if output.success() {
        return parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(nothing);
    }
    let stderr = output.stderr.trim();
    if output.status == NOTHING && stderr.is_empty() {
        return Err(nothing());
    }
    let cause = Cause::Failed { status: output.status, stderr: stderr.to_owned() };
    Err(failed(ProgramError { program: "blkid".to_owned(), cause }))
}

fn parse(text: &str) -> Option<Filesystem> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| unescape(value))
    };
    Some(Filesystem { fstype: value("TYPE")?, uuid: value("UUID"), label: value("LABEL") })
}

/// `blkid` puts a backslash in front of what a shell would not take as it is.
fn unescape(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_filesystem_is_recognised() {
        let temporary = tempfile::tempdir().unwrap();
        let image = temporary.path().join("image");
        let text = image.display().to_string();
        std::fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
        assert_eq!(
            filesystem_of(&image).unwrap_err().to_string(),
            format!("found no filesystem on device \"{text}\"")
        );
        let uuid = "0d5c1a2e-58b2-4d4b-9c57-2f2f7ae5d2ab";
        Program::new("mkfs.ext4")
            .args(["-q", "-L", "a \"b", "-U", uuid])
            .arg(&image)
            .run()
            .unwrap();
        let found = filesystem_of(&image).unwrap();
        assert_eq!(found.fstype, "ext4");
        assert_eq!(found.uuid.as_deref(), Some(uuid));
        assert_eq!(found.label.as_deref(), Some("a \"b"));
    }

    #[test]
    fn a_device_that_cannot_be_read_is_an_error_of_its_own() {
        let error = filesystem_of("/no/such/device").unwrap_err();
        assert_eq!(error.to_string(), "could not read device \"/no/such/device\"");
        assert_eq!(error.kind(), "file_not_found");
    }

    #[test]
    fn a_filesystem_without_a_name_is_one() {
        let found = parse("DEVNAME=/dev/x\nTYPE=xfs\n").unwrap();
        assert_eq!(found, Filesystem { fstype: "xfs".to_owned(), uuid: None, label: None });
        assert_eq!(parse("DEVNAME=/dev/x\nPTTYPE=gpt\n"), None);
    }
}

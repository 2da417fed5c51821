//! Archives made and changed by hand.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

/// An entry of an archive as no decent program would write it.
pub(crate) fn add(to: &mut Builder<File>, name: &str, kind: EntryType, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o777);
    let data = if kind.is_file() {
        content
    } else {
        header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        &[]
    };
    header.set_size(u64::try_from(data.len()).unwrap());
    header.set_cksum();
    to.append(&header, data).unwrap();
}

/// Writes an archive anew, without the entry `without` and with one more file.
pub(crate) fn replace(path: &Path, without: &str, with: &str) {
    let aside = path.with_extension("aside");
    fs::rename(path, &aside).unwrap();
    let mut to = Builder::new(File::create(path).unwrap());
    for entry in Archive::new(File::open(&aside).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap() != Path::new(without) {
            let (header, mut content) = (entry.header().clone(), Vec::new());
            entry.read_to_end(&mut content).unwrap();
            to.append(&header, &content[..]).unwrap();
        }
    }
    add(&mut to, with, EntryType::Regular, b"more");
    to.finish().unwrap();
    fs::remove_file(aside).unwrap();
}

/// Where in an archive the content of a file begins and ends.
pub(crate) fn content_of(path: &Path, name: &str) -> (u64, u64) {
    for entry in Archive::new(File::open(path).unwrap()).entries().unwrap() {
        let entry = entry.unwrap();
        if entry.path().unwrap() == Path::new(name) {
            return (entry.raw_file_position(), entry.raw_file_position() + entry.size());
        }
    }
    panic!("no {name} in {}", path.display());
}

/// Where the last entry of an archive ends.
pub(crate) fn end_of(path: &Path) -> u64 {
    let mut archive = Archive::new(File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let ends = entries.map(|entry| entry.raw_file_position() + entry.size().div_ceil(512) * 512);
    ends.max().unwrap()
}

/// Flips one bit.
pub(crate) fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Cuts a file off.
pub(crate) fn cut(path: &Path, at: u64) {
    File::options().write(true).open(path).unwrap().set_len(at).unwrap();
}

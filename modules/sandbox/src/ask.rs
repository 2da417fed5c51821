//! The other end of [`crate::Answers`]: what a program inside runs to get a file.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Above 125 a `restore_command` that failed ends recovery; up to it, the file is taken as not being there.
const CANNOT: u8 = 200;

/// Runs the hidden command: `sandbox-ask SOCKET NAME PATH`. The exit status is 0 when the file is at `PATH`, 1 when there is
/// no such file, 200 when that could not be found out.
#[must_use]
pub fn run(words: &[&str]) -> u8 {
    let [socket, name, path] = words else { return CANNOT };
    match ask(Path::new(socket), name, Path::new(path)) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            // What the server has run may speak to its log.
            let _ = writeln!(io::stderr(), "could not get \"{name}\": {error}");
            CANNOT
        }
    }
}

fn ask(socket: &Path, name: &str, path: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    let mut word = [0];
    stream.read_exact(&mut word)?;
    if word == *b"n" {
        return Ok(false);
    }
    let mut content = vec![];
    stream.read_to_end(&mut content)?;
    if word != *b"y" {
        return Err(io::Error::other(String::from_utf8_lossy(&content).into_owned()));
    }
    fs::write(path, content)?;
    Ok(true)
}

//! A client for tests of the fixtures themselves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks a server at `endpoint` (as `http://127.0.0.1:40000`) and gives the
/// status and the body of its answer, or nothing where none comes within two
/// seconds. `head` is the first line, as `GET /path`, and headers, a line each.
///
/// # Panics
///
/// When nobody listens there.
#[must_use]
pub fn ask(endpoint: &str, head: &str, body: &str) -> Option<(u16, String)> {
    let address = endpoint.trim_start_matches("http://");
    let stream = TcpStream::connect(address);
    let mut stream = stream.unwrap_or_else(|error| panic!("could not ask {address}: {error}"));
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience).expect("a time that is not zero");
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{first} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

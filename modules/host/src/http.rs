//! The little HTTP that container engines and the metadata service need: one request, one answer, no TLS.
//!
//! A whole HTTP client would add more to the executable than all the rest of this crate, and would still have to be
//! taught to speak over unix sockets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// An answer longer than this is none that we asked for.
const MOST_BYTES: usize = 4 << 20;
const MOST_HEADERS: usize = 64;

/// A stream on which waiting can be limited.
pub(crate) trait Stream: Read + Write {
    fn limit(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Stream for UnixStream {
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

/// What is asked. All of it must be free of line breaks.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) header: Option<(&'a str, &'a str)>,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The header `Server`.
    pub(crate) server: String,
    pub(crate) body: Vec<u8>,
}

/// Sends `request` and reads the answer, all within `time`.
pub(crate) fn exchange(
    stream: &mut dyn Stream,
    request: &Request<'_>,
    time: Duration,
) -> io::Result<Response> {
    let until = Instant::now() + time;
    let Request { method, path, host, header } = request;
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some((name, value)) = header {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if *method == "PUT" {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("\r\n");
    stream.limit(time)?;
    stream.write_all(text.as_bytes()).map_err(|error| in_words(error, time))?;

    let mut bytes = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late(time));
        }
        stream.limit(left)?;
        let read = match stream.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(in_words(error, time)),
        };
        bytes.extend(piece.iter().take(read));
        if let Some(response) = parse(&bytes, read == 0)? {
            return Ok(response);
        }
        if bytes.len() > MOST_BYTES {
            return Err(invalid(format!("the answer is longer than {MOST_BYTES} bytes")));
        }
        if read == 0 {
            let why = "the connection was closed before the whole answer came";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
    }
}

/// What a timeout on a socket is called differs; say it the same way always.
fn in_words(error: io::Error, time: Duration) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(time),
        _ => error,
    }
}

pub(crate) fn late(time: Duration) -> io::Error {
    let why = format!("no answer within {} s", time.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, why)
}

pub(crate) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn no_http(error: impl std::fmt::Display) -> io::Error {
    invalid(format!("the answer is not HTTP: {error}"))
}

/// The answer, if `bytes` is all of it. `ended`: no more will come.
fn parse(bytes: &[u8], ended: bool) -> io::Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(no_http)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_owned())
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let body = if header("transfer-encoding").is_some_and(|value| value.ends_with("chunked")) {
        chunks(rest)?
    } else if let Some(length) = header("content-length") {
        let length: usize = length.parse().map_err(|_| no_http("its length is no number"))?;
        rest.get(..length).map(<[u8]>::to_vec)
    } else {
        ended.then(|| rest.to_vec())
    };
    let status = head.code.unwrap_or_default();
    let server = header("server").unwrap_or_default();
    Ok(body.map(|body| Response { status, server, body }))
}

/// The content of the chunks, if the last of them is there.
fn chunks(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(rest).map_err(|_| no_http("a chunk has no size"))?;
        let httparse::Status::Complete((start, size)) = size else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(end) = usize::try_from(size).ok().and_then(|size| start.checked_add(size)) else {
            return Err(no_http("a chunk is too long"));
        };
        let (Some(chunk), Some(after)) = (rest.get(start..end), rest.get(end + 2..)) else {
            return Ok(None);
        };
        body.extend(chunk);
        rest = after;
    }
}

/// `text` as one segment of a URL's path.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Option<Response> {
        parse(text.as_bytes(), false).unwrap()
    }

    #[test]
    fn a_body_ends_where_it_says() {
        let head = "HTTP/1.1 200 OK\r\nServer: Docker/20.10\r\n";
        let response =
            Response { status: 200, server: "Docker/20.10".to_owned(), body: b"hello".to_vec() };
        let text = format!("{head}Content-Length: 5\r\n\r\nhello");
        assert_eq!(whole(&text), Some(Response { ..response }));
        assert_eq!(whole(&format!("{head}Content-Length: 6\r\n\r\nhello")), None);
        assert_eq!(whole(head), None);

        let text = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n");
        assert_eq!(whole(&text), None);
        assert_eq!(whole(&format!("{text}0\r\n\r\n")).unwrap().body, b"hello");

        let text = "HTTP/1.0 404 Not Found\r\n\r\nno";
        assert_eq!(whole(text), None);
        let response = parse(text.as_bytes(), true).unwrap().unwrap();
        assert_eq!((response.status, response.body.as_slice()), (404, b"no".as_slice()));
    }

    #[test]
    fn what_is_no_http_is_refused() {
        let refused = |text: &str| parse(text.as_bytes(), true).unwrap_err().to_string();
        assert!(refused("220 mail.example.org\r\n").starts_with("the answer is not HTTP: "));
        let head = "HTTP/1.1 200 OK\r\n";
        assert_eq!(
            refused(&format!("{head}Content-Length: x\r\n\r\n")),
            "the answer is not HTTP: its length is no number"
        );
        assert_eq!(
            refused(&format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
            "the answer is not HTTP: a chunk has no size"
        );
        let long = format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n");
        assert_eq!(refused(&long), "the answer is not HTTP: a chunk is too long");
    }

    #[test]
    fn a_silent_peer_is_not_waited_for() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let request = Request { method: "GET", path: "/", host: "localhost", header: None };
        let error = exchange(&mut ours, &request, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(late(Duration::from_secs(1)).to_string(), "no answer within 1 s");
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let error = exchange(&mut ours, &request, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.to_string(), "the connection was closed before the whole answer came");
    }

    #[test]
    fn names_are_encoded() {
        assert_eq!(percent_encoded("pg-15_a.b~"), "pg-15_a.b~");
        assert_eq!(percent_encoded("../x y/ä?"), "..%2Fx%20y%2F%C3%A4%3F");
    }
}

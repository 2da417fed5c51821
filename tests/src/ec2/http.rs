//! As much HTTP as the AWS clients speak to a server without TLS, with a
//! thread for every connection, and with answers that never come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What a client asked.
#[derive(Debug)]
pub(crate) struct Request {
    /// `POST`, `GET`, `PUT`.
    pub(crate) method: String,
    /// The path, with its query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    /// The body as text.
    pub(crate) body: String,
}

impl Request {
    /// The header of that name, given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn read(from: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { method, path, headers, body: String::new() };
        let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        Some(request)
    }
}

/// What a client gets.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Status, headers and body.
    Reply(u16, Vec<(String, String)>, String),
    /// The connection is closed without a byte.
    Close,
    /// Nothing, and the connection stays open until the client gives up.
    Hang,
}

impl Answer {
    /// An answer of this type.
    pub(crate) fn of(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self::Reply(status, headers, body.into())
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server that listens until it is dropped, and then cuts every connection.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `address`, as `127.0.0.1:0`.
    pub(crate) fn start(address: &str, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("could not listen on {address}: {error}"));
        let address = listener.local_addr().expect("the address of a listening socket");
        let (ended, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let stop = Arc::clone(&ended);
        let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::clone(&open);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let handler = Arc::clone(&handler);
                let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend(stream.try_clone());
                drop(all);
                std::thread::spawn(move || serve(stream, &*handler));
            }
        });
        Self { address, ended, open, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // wakes the thread that waits for the next connection
        let _ = TcpStream::connect(self.address);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, handler: &Handler) {
    let _ = stream.set_nodelay(true);
    let Ok(mut output) = stream.try_clone() else { return };
    let mut input = BufReader::new(stream);
    while let Some(request) = Request::read(&mut input) {
        match handler(&request) {
            Answer::Reply(status, headers, body) => {
                if output.write_all(render(status, &headers, &body).as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Close => {
                let _ = output.shutdown(std::net::Shutdown::Both);
                return;
            }
            Answer::Hang => {
                let _ = input.read_to_end(&mut Vec::new());
                return;
            }
        }
        if request.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
            // the list of open connections holds a second handle
            let _ = output.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn render(status: u16, headers: &[(String, String)], body: &str) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        412 => "Precondition Failed",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("HTTP/1.1 {status} {reason}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

//! A far network: a TCP relay that hands each byte on later.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use backstay_tests::place::Port;

/// Listens on 127.0.0.1 as long as this process lives. No limit of bandwidth.
#[derive(Debug)]
pub(crate) struct Relay {
    port: Port,
}

impl Relay {
    /// To `target` on 127.0.0.1, with `delay` each way.
    pub(crate) fn start(target: u16, delay: Duration) -> Self {
        let port = Port::free();
        let listener =
            TcpListener::bind(("127.0.0.1", port.number())).expect("a port that is free");
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", target)) {
                    hand_on(&near, &far, delay);
                    hand_on(&far, &near, delay);
                }
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }
}

fn hand_on(from: &TcpStream, to: &TcpStream, delay: Duration) {
    let (mut from, to) =
        (from.try_clone().expect("a second handle"), to.try_clone().expect("a second handle"));
    // the delay is ours alone: nothing waits for a fuller packet
    to.set_nodelay(true).expect("an option of TCP");
    let (send, receive) = channel();
    thread::spawn(move || deliver(&receive, to));
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if send.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
                break;
            }
        }
    });
}

fn deliver(queue: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, bytes) in queue {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

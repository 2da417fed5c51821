//! Answers in EC2's XML.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// An element.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// With text in it.
    Text(&'static str, String),
    /// With elements in it.
    Group(&'static str, Vec<Self>),
}

/// An element with text in it.
pub(crate) fn text(name: &'static str, value: impl ToString) -> Node {
    Node::Text(name, value.to_string())
}

/// An element with elements in it.
pub(crate) fn group(name: &'static str, members: Vec<Node>) -> Node {
    Node::Group(name, members)
}

/// A list: each of its members is an element `item`.
pub(crate) fn set(name: &'static str, items: impl IntoIterator<Item = Vec<Node>>) -> Node {
    Node::Group(name, items.into_iter().map(|members| Node::Group("item", members)).collect())
}

impl Node {
    fn write(&self, into: &mut String) {
        match self {
            Self::Text(name, value) => {
                let _ = write!(into, "<{name}>{}</{name}>", escape(value));
            }
            Self::Group(name, members) if members.is_empty() => {
                let _ = write!(into, "<{name}/>");
            }
            Self::Group(name, members) => {
                let _ = write!(into, "<{name}>");
                for member in members {
                    member.write(into);
                }
                let _ = write!(into, "</{name}>");
            }
        }
    }
}

/// The answer of `action`.
pub(crate) fn answer(action: &str, members: &[Node]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{}</requestId>",
        request_id()
    );
    for member in members {
        member.write(&mut out);
    }
    let _ = write!(out, "</{action}Response>");
    out
}

/// The answer that tells an error.
pub(crate) fn error(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code>\
         <Message>{}</Message></Error></Errors><RequestID>{}</RequestID></Response>",
        escape(code),
        escape(message),
        request_id()
    )
}

/// A moment as EC2 writes it.
pub(crate) fn moment(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-4000-8000-{:012x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

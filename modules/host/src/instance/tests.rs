use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

const DOCUMENT: &str = r#"{"accountId":"123456789012","architecture":"x86_64","availabilityZone":"eu-central-1a","instanceId":"i-0123456789abcdef0","region":"eu-central-1","kernelId":null}"#;
/// Long enough for a busy machine, where an answer is expected.
const LONG: Duration = Duration::from_secs(20);

/// What the stub does with a connection.
enum Act {
    /// Sends this.
    Answer(&'static str, String),
    /// Lets it wait until it gives up, as a hop limit does.
    Nothing,
}

/// A metadata service that treats its connections as told, one after another, and then tells what was asked.
struct Stub {
    endpoint: String,
    thread: JoinHandle<Vec<String>>,
}

impl Stub {
    fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            acts.iter().map(|act| serve(&mut listener.accept().unwrap().0, act)).collect()
        });
        Self { endpoint, thread }
    }

    fn asked(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn serve(stream: &mut TcpStream, act: &Act) -> String {
    let mut asked = Vec::new();
    let mut byte = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        asked.push(byte[0]);
    }
    match act {
        Act::Answer(status, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
        Act::Nothing => {
            let _ = stream.read(&mut byte);
        }
    }
    String::from_utf8(asked).unwrap()
}

fn token(token: &str) -> Act {
    Act::Answer("200 OK", token.to_owned())
}

fn document() -> Act {
    Act::Answer("200 OK", DOCUMENT.to_owned())
}

#[test]
fn a_token_is_asked_for_and_shown() {
    let stub = Stub::start(vec![token("abc=="), document()]);
    let instance = Instance::ask_at(&stub.endpoint, LONG).unwrap();
    let expected = Instance {
        id: "i-0123456789abcdef0".to_owned(),
        region: "eu-central-1".to_owned(),
        zone: "eu-central-1a".to_owned(),
        account: "123456789012".to_owned(),
    };
    assert_eq!(instance, expected);
    let asked = stub.asked();
    assert!(asked[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"));
    assert!(asked[0].contains("\r\nContent-Length: 0\r\n"));
    assert!(asked[1].starts_with("GET /latest/dynamic/instance-identity/document HTTP/1.1\r\n"));
    assert!(asked[1].contains("\r\nX-aws-ec2-metadata-token: abc==\r\n"));
}

#[test]
fn an_expired_token_is_renewed_and_a_short_failure_is_waited_out() {
    let refused = Act::Answer("401 Unauthorized", String::new());
    let busy = Act::Answer("503 Service Unavailable", String::new());
    let stub = Stub::start(vec![token("old"), refused, busy, token("new"), document()]);
    assert!(Instance::ask_at(&stub.endpoint, LONG).is_ok());
    assert!(stub.asked()[4].contains("\r\nX-aws-ec2-metadata-token: new\r\n"));
}

#[test]
fn nobody_waits_long_for_an_answer_that_a_hop_limit_swallows() {
    let stub = Stub::start(vec![Act::Nothing, Act::Nothing, Act::Nothing]);
    let error = Instance::ask_at(&stub.endpoint, Duration::from_millis(50)).unwrap_err();
    let text = format!("could not ask the instance metadata service at \"{}\"", stub.endpoint);
    assert_eq!(error.to_string(), text);
    assert!(error.retryable());
    assert!(error.hints().iter().any(|hint| hint.contains("hop limit")));
    assert_eq!(stub.asked().len(), 3);
}

#[test]
fn a_refusal_is_final() {
    let stub = Stub::start(vec![Act::Answer("403 Forbidden", String::new())]);
    let error = Instance::ask_at(&stub.endpoint, LONG).unwrap_err();
    let text = format!(
        "the instance metadata service at \"{}\" answered PUT /latest/api/token with status 403",
        stub.endpoint
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(error.kind(), "instance_metadata_unavailable");
    assert!(!error.retryable());
    stub.asked();
}

#[test]
fn nonsense_is_not_taken_for_an_instance() {
    let ask = |acts: fn() -> Vec<Act>| {
        let stub = Stub::start((0..TRIES).flat_map(|_| acts()).collect());
        let error = Instance::ask_at(&stub.endpoint, LONG).unwrap_err();
        stub.asked();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert_eq!(ask(|| vec![token("two words")]), "the token is not a word");
    let text = ask(|| vec![token("a"), Act::Answer("200 OK", "{}".to_owned())]);
    assert!(text.starts_with("missing field `instanceId`"), "{text}");
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Instance::ask_at(&format!("http://127.0.0.1:{port}"), LONG).unwrap_err();
    assert!(matches!(error, HostError::Metadata { .. }));
    let error = Instance::ask_at("https://127.0.0.1", LONG).unwrap_err();
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "the endpoint is not of the form http://host or http://host:port"
    );
}

#[test]
fn the_environment_decides_whom_to_ask() {
    let ask = |set: &[(&str, &str)]| {
        let find = |name: &str| set.iter().find(|(key, _)| *key == name);
        endpoint(&|name| find(name).map(|(_, value)| (*value).to_owned()))
    };
    assert_eq!(ask(&[]).unwrap(), "http://169.254.169.254");
    let mode = ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6");
    assert_eq!(ask(&[mode]).unwrap(), "http://[fd00:ec2::254]");
    let given = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338/");
    assert_eq!(ask(&[mode, given]).unwrap(), "http://127.0.0.1:1338");
    let error = ask(&[given, ("AWS_EC2_METADATA_DISABLED", "True")]).unwrap_err();
    assert_eq!(error.to_string(), "AWS_EC2_METADATA_DISABLED is set");
}

//! The instance metadata service, version 2: who this machine is, and the
//! credentials of its role, which expire.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::ec2::http::{Answer, Listener, Request};
use crate::ec2::{ACCOUNT, Instance};

/// The role of the instance.
pub const ROLE: &str = "backstay-test-role";

/// Credentials that the role gets.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key's id.
    pub key: String,
    /// The session token.
    pub token: String,
    /// The end that the document says.
    pub expires: SystemTime,
    /// The moment from which on the next ones are given out.
    pub rotates: SystemTime,
}

impl Credentials {
    /// Credentials that end, and are replaced, in `time` from now.
    #[must_use]
    pub fn expiring_in(key: &str, time: Duration) -> Self {
        let expires = SystemTime::now() + time;
        Self { key: key.to_owned(), token: format!("token of {key}"), expires, rotates: expires }
    }

    /// Replaces them at another time than their end.
    #[must_use]
    pub fn rotating_in(mut self, time: Duration) -> Self {
        self.rotates = SystemTime::now() + time;
        self
    }
}

/// The service, on 127.0.0.1. Give a program its [`Imds::endpoint`] as
/// `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
#[derive(Debug)]
pub struct Imds {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    instance: String,
    region: String,
    zone: String,
    credentials: Vec<Credentials>,
    tokens: Vec<(String, SystemTime)>,
    given: u32,
    silent: bool,
    asked: Vec<String>,
}

impl Imds {
    /// The service of this instance, whose role has credentials for an hour.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        let state = Arc::new(Mutex::new(State {
            instance: instance.id.clone(),
            region: instance.region.clone(),
            zone: instance.zone.clone(),
            credentials: vec![Credentials::expiring_in(
                "ASIATESTROLE00000001",
                Duration::from_secs(3600),
            )],
            tokens: Vec::new(),
            given: 0,
            silent: false,
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        let answer = move |request: &Request| lock(&shared).answer(request);
        Self { listener: Listener::start("127.0.0.1:0", Arc::new(answer)), state }
    }

    /// As `http://127.0.0.1:40000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// The credentials to give out: each until it rotates, then the next, the
    /// last for ever.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn set_credentials(&self, credentials: &[Credentials]) {
        assert!(!credentials.is_empty(), "a role always has credentials");
        lock(&self.state).credentials = credentials.to_vec();
    }

    /// Never answers a request for a token, as happens in a container when the
    /// hop limit is 1.
    pub fn be_silent(&self, silent: bool) {
        lock(&self.state).silent = silent;
    }

    /// Forgets every token it gave: the next request with one gets 401.
    pub fn forget_tokens(&self) {
        lock(&self.state).tokens.clear();
    }

    /// What was asked so far, as `GET /latest/dynamic/instance-identity/document`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        self.asked.push(format!("{} {}", request.method, request.path));
        if request.method == "PUT" && request.path == "/latest/api/token" {
            return self.give_token(request);
        }
        let now = SystemTime::now();
        let token = request.header("x-aws-ec2-metadata-token").unwrap_or_default();
        if !self.tokens.iter().any(|(known, until)| known == token && *until > now) {
            return Answer::of(401, "text/html", "401 - Unauthorized");
        }
        let plain = |text: &str| Answer::of(200, "text/plain", text);
        let roles = "/latest/meta-data/iam/security-credentials/";
        match request.path.as_str() {
            "/latest/dynamic/instance-identity/document" => plain(&self.identity()),
            "/latest/meta-data/instance-id" => plain(&self.instance),
            "/latest/meta-data/placement/region" => plain(&self.region),
            "/latest/meta-data/placement/availability-zone" => plain(&self.zone),
            "/latest/meta-data/iam/security-credentials" => plain(ROLE),
            path if path == roles => plain(ROLE),
            path if path.strip_prefix(roles) == Some(ROLE) => plain(&self.credentials()),
            _ => Answer::of(404, "text/html", "404 - Not Found"),
        }
    }

    fn give_token(&mut self, request: &Request) -> Answer {
        if self.silent {
            return Answer::Hang;
        }
        let header = "x-aws-ec2-metadata-token-ttl-seconds";
        let seconds = request.header(header).and_then(|s| s.parse::<u64>().ok());
        let Some(seconds) = seconds.filter(|s| (1..=21_600).contains(s)) else {
            return Answer::of(400, "text/html", "400 - Bad Request");
        };
        self.given += 1;
        let token = format!("AQAE-token-{}==", self.given);
        self.tokens.push((token.clone(), SystemTime::now() + Duration::from_secs(seconds)));
        let headers = [("content-type", "text/plain".to_owned()), (header, seconds.to_string())];
        Answer::Reply(200, headers.map(|(n, v)| (n.to_owned(), v)).to_vec(), token)
    }

    fn identity(&self) -> String {
        let document = json!({
            "accountId": ACCOUNT,
            "architecture": "arm64",
            "availabilityZone": self.zone,
            "billingProducts": null,
            "imageId": "ami-00000000000000001",
            "instanceId": self.instance,
            "instanceType": "m7g.large",
            "pendingTime": "2026-01-01T00:00:00Z",
            "privateIp": "10.0.0.1",
            "region": self.region,
            "version": "2017-09-30",
        });
        format!("{document:#}")
    }

    fn credentials(&self) -> String {
        let now = SystemTime::now();
        let current = self.credentials.iter().find(|c| c.rotates > now);
        let current = current.or(self.credentials.last());
        let Some(current) = current else { return "{}".to_owned() };
        let moment = |time: SystemTime| {
            chrono::DateTime::<chrono::Utc>::from(time).format("%Y-%m-%dT%H:%M:%SZ").to_string()
        };
        let document = json!({
            "Code": "Success",
            "LastUpdated": moment(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": current.key,
            "SecretAccessKey": "a secret of the test's",
            "Token": current.token,
            "Expiration": moment(current.expires),
        });
        format!("{document:#}")
    }
}

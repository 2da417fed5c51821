//! The EC2 instance that this host is, by its metadata service (IMDSv2).

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::HostError;
use crate::http::{self, Request, Response};

/// The service is on the same machine and answers in milliseconds. Where it does not exist, nobody answers at all, and
/// each second is one that a person waits.
const TIME: Duration = Duration::from_secs(1);
const TRIES: usize = 3;
const ENDPOINT: &str = "http://169.254.169.254";
const ENDPOINT_IPV6: &str = "http://[fd00:ec2::254]";
/// How long the token is to be good for; the service wants to be told.
const TOKEN_SECONDS: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "60");
const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";
const DOCUMENT_PATH: &str = "/latest/dynamic/instance-identity/document";

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `eu-central-1`.
    pub region: String,
    /// Availability zone: `eu-central-1a`.
    pub zone: String,
    /// The account it belongs to: 12 digits.
    pub account: String,
}

impl Instance {
    /// Asks the metadata service: the one that the environment names in `AWS_EC2_METADATA_SERVICE_ENDPOINT`, or the
    /// one of `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE` (`IPv4`, `IPv6`). One second for each answer, three tries.
    ///
    /// # Errors
    /// [`HostError::MetadataDisabled`] when `AWS_EC2_METADATA_DISABLED` is `true`; [`HostError::Metadata`] when nobody
    /// answers, [`HostError::MetadataStatus`] when the answer is a refusal.
    pub fn ask() -> Result<Self, HostError> {
        let endpoint = endpoint(&|name| std::env::var(name).ok())?;
        Self::ask_at(&endpoint, TIME)
    }

    fn ask_at(endpoint: &str, time: Duration) -> Result<Self, HostError> {
        let service = Service { endpoint, time };
        let mut tries = 1;
        loop {
            match service.instance() {
                Err(error) if tries < TRIES && may_pass(&error) => tries += 1,
                result => return result,
            }
        }
    }
}

/// 401 means that the token was not good any more: the next try gets another one.
fn may_pass(error: &HostError) -> bool {
    error.retryable() || matches!(error, HostError::MetadataStatus { status: 401, .. })
}

fn endpoint(environment: &dyn Fn(&str) -> Option<String>) -> Result<String, HostError> {
    let value = |name| environment(name).filter(|value| !value.is_empty());
    if value("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(HostError::MetadataDisabled);
    }
    if let Some(endpoint) = value("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    let mode = value("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    let is_ipv6 = mode.is_some_and(|value| value.eq_ignore_ascii_case("ipv6"));
    Ok(if is_ipv6 { ENDPOINT_IPV6 } else { ENDPOINT }.to_owned())
}

/// What we read of the instance identity document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    instance_id: String,
    region: String,
    availability_zone: String,
    account_id: String,
}

struct Service<'a> {
    endpoint: &'a str,
    time: Duration,
}

impl Service<'_> {
    fn instance(&self) -> Result<Instance, HostError> {
        let token = self.send("PUT", TOKEN_PATH, TOKEN_SECONDS)?;
        let token = String::from_utf8(token.body)
            .ok()
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.problem(http::invalid("the token is not a word")))?;
        let answer = self.send("GET", DOCUMENT_PATH, (TOKEN_HEADER, &token))?;
        let document: Document = serde_json::from_slice(&answer.body)
            .map_err(|error| self.problem(http::invalid(error.to_string())))?;
        Ok(Instance {
            id: document.instance_id,
            region: document.region,
            zone: document.availability_zone,
            account: document.account_id,
        })
    }

    fn send(&self, method: &str, path: &str, header: (&str, &str)) -> Result<Response, HostError> {
        let host = self.endpoint.strip_prefix("http://").unwrap_or(self.endpoint);
        let request = Request { method, path, host, header: Some(header) };
        let response = self.exchange(host, &request).map_err(|error| self.problem(error))?;
        if response.status == 200 {
            return Ok(response);
        }
        Err(HostError::MetadataStatus {
            endpoint: self.endpoint.to_owned(),
            request: format!("{method} {path}"),
            status: response.status,
        })
    }

    fn exchange(&self, host: &str, request: &Request<'_>) -> io::Result<Response> {
        if self.endpoint.starts_with("https://") || host.contains('/') {
            return Err(http::invalid(
                "the endpoint is not of the form http://host or http://host:port",
            ));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
            && !host.ends_with(']');
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        let address = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| http::invalid("the endpoint's name has no address"))?;
        let started = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address, self.time).map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut { http::late(self.time) } else { error }
        })?;
        let left = self.time.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        http::exchange(&mut stream, request, left)
    }

    fn problem(&self, source: io::Error) -> HostError {
        HostError::Metadata { endpoint: self.endpoint.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;

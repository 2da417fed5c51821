//! Access keys: whom a call is from, until when, and what it may do.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::http::Request;
use super::parameters::Form;
use super::world::World;
use super::{Refusal, policy};

/// An access key. Signatures are not checked.
#[derive(Clone, Debug)]
pub struct Key {
    id: String,
    token: Option<String>,
    expires: Option<SystemTime>,
    denied: BTreeSet<String>,
    allowed: Option<BTreeSet<String>>,
    policy: Option<Value>,
}

impl Key {
    /// A key that may do everything, for ever.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            token: None,
            expires: None,
            denied: BTreeSet::new(),
            allowed: None,
            policy: None,
        }
    }

    /// Its calls must bring this session token.
    #[must_use]
    pub fn session_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Calls are refused with `RequestExpired` after `time` from now.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Some(SystemTime::now() + time);
        self
    }

    /// It may not do this; `CreateTags` also means: no tags in another call.
    #[must_use]
    pub fn deny(mut self, action: &str) -> Self {
        self.denied.insert(action.to_owned());
        self
    }

    /// It may do nothing else than these.
    #[must_use]
    pub fn allow_only(mut self, actions: &[&str]) -> Self {
        self.allowed = Some(actions.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    /// It may do what this IAM policy allows: actions, resources, and conditions
    /// on tags.
    #[must_use]
    pub fn policy(mut self, policy: &Value) -> Self {
        self.policy = Some(policy.clone());
        self
    }

    fn may(&self, action: &str) -> bool {
        !self.denied.contains(action) && self.allowed.as_ref().is_none_or(|a| a.contains(action))
    }
}

/// Whom a call is from, as its signature says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The access key's id.
    pub(crate) key: Option<String>,
    /// The region it was signed for.
    pub(crate) region: Option<String>,
    token: Option<String>,
}

impl Caller {
    /// Reads `Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/ec2/aws4_request, …`.
    pub(crate) fn of(request: &Request) -> Self {
        let signature = request.header("authorization").unwrap_or_default();
        let scope = signature.split("Credential=").nth(1).unwrap_or_default();
        let mut parts = scope.split(['/', ',']).map(str::to_owned);
        let key = parts.next().filter(|k| !k.is_empty());
        let region = parts.nth(1);
        Self { key, region, token: request.header("x-amz-security-token").map(str::to_owned) }
    }

    /// Whether this caller may do that in this region, with tags in the same call
    /// or without.
    pub(crate) fn check(
        &self,
        world: &World,
        (action, form): (&str, &Form),
        region: &str,
    ) -> Result<(), Refusal> {
        if world.keys.is_empty() {
            return Ok(());
        }
        let known = world.keys.iter().find(|k| Some(&k.id) == self.key.as_ref());
        let known = known.filter(|k| k.token.is_none() || k.token == self.token);
        let Some(key) = known else {
            let text = "AWS was not able to validate the provided access credentials";
            return Err(Refusal::new("AuthFailure", text));
        };
        if key.expires.is_some_and(|when| when <= SystemTime::now()) {
            return Err(Refusal::new("RequestExpired", "Request has expired."));
        }
        let tags = form.keys().any(|name| name.starts_with("TagSpecification."));
        let mut actions = std::iter::once(action).chain(tags.then_some("CreateTags"));
        let denied = actions.find(|a| !key.may(a)).map(|a| (a.to_owned(), "*".to_owned()));
        let denied =
            denied.or_else(|| policy::denied(key.policy.as_ref()?, world, (action, form), region));
        let Some((denied, resource)) = denied else { return Ok(()) };
        let message = format!(
            "You are not authorized to perform this operation. User: \
             arn:aws:sts::123456789012:assumed-role/test/{} is not authorized to perform: \
             ec2:{denied} on resource: {resource} because no identity-based policy allows the \
             ec2:{denied} action.",
            key.id
        );
        Err(Refusal::new("UnauthorizedOperation", message))
    }
}

//! The synchronous door to the AWS SDK. Behind it are its types and tokio; nothing of either comes out.

mod answers;
mod connect;
mod snapshots;
mod volumes;

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};

pub use connect::AwsOptions;
pub use snapshots::CopyCall;
pub(crate) use snapshots::SnapshotCall;
pub use volumes::NewVolume;

use crate::error::EXPIRED;
use crate::{EbsError, Tags};

/// EC2 in one region, as one identity.
#[derive(Debug)]
pub struct Ec2 {
    /// Only this thread: the calls are few, and a task that takes a snapshot waits for it anyway.
    runtime: tokio::runtime::Runtime,
    options: AwsOptions,
    region: String,
    clients: RefCell<Clients>,
}

/// Two clients of one identity.
#[derive(Debug, Clone)]
struct Clients {
    /// For calls that may be made again: reads, and what has a client token or is done only once anyway.
    again: aws_sdk_ec2::Client,
    /// For calls that make something and have no client token. The SDK must not repeat them by itself.
    once: aws_sdk_ec2::Client,
}

impl Ec2 {
    /// Connects as `options` say. The credentials are looked up now, so that a lack of them is told before anything
    /// else happens.
    ///
    /// # Errors
    /// [`EbsError::Credentials`], [`EbsError::NoRegion`], [`EbsError::Setup`].
    pub fn connect(options: &AwsOptions) -> Result<Self, EbsError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| EbsError::Setup { reason: error.to_string() })?;
        let (clients, region) = runtime.block_on(connect::clients(options))?;
        Ok(Self { runtime, options: options.clone(), region, clients: RefCell::new(clients) })
    }

    /// The same identity in another region.
    ///
    /// # Errors
    /// As [`Ec2::connect`].
    pub fn in_region(&self, region: &str) -> Result<Self, EbsError> {
        Self::connect(&AwsOptions { region: Some(region.to_owned()), ..self.options.clone() })
    }

    /// The region that is talked to.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Waits for so long.
    pub fn wait(&self, time: Duration) {
        // Made inside: a timer needs the runtime that it is for.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Makes a call that may be repeated.
    fn again<T, E, F>(
        &self,
        action: &'static str,
        call: impl Fn(aws_sdk_ec2::Client) -> F,
    ) -> Result<T, EbsError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.call(action, |clients| call(clients.again))
    }

    /// Makes a call that must not be repeated without looking first.
    fn once<T, E, F>(
        &self,
        action: &'static str,
        call: impl Fn(aws_sdk_ec2::Client) -> F,
    ) -> Result<T, EbsError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.call(action, |clients| call(clients.once))
    }

    /// Credentials that ran out mid-way (failure mode F29) are looked up anew, once. EC2 refused the call for them,
    /// so that it had no effect and may be made again.
    fn call<T, E, F>(
        &self,
        action: &'static str,
        call: impl Fn(Clients) -> F,
    ) -> Result<T, EbsError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let clients = self.clients.borrow().clone();
        let first = self.runtime.block_on(call(clients)).map_err(|error| failed(action, &error));
        match first {
            Err(error) if error.code().is_some_and(|code| EXPIRED.contains(&code)) => {
                let Ok((fresh, _)) = self.runtime.block_on(connect::clients(&self.options)) else {
                    return Err(error);
                };
                self.clients.replace(fresh.clone());
                self.runtime.block_on(call(fresh)).map_err(|error| failed(action, &error))
            }
            result => result,
        }
    }
}

/// An error and its causes as one line; the SDK's own way to show them adds its internals.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// What an error of the SDK means: EC2 said no, or nothing is known.
fn failed<E>(action: &'static str, error: &SdkError<E>) -> EbsError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(refusal) => {
            let said = refusal.err();
            EbsError::Refused {
                action,
                code: said.code().unwrap_or("no error code").to_owned(),
                message: said.message().unwrap_or("no message").to_owned(),
            }
        }
        SdkError::ConstructionFailure(_) => EbsError::Setup { reason: chain(error) },
        _ => EbsError::Lost { action, reason: chain(error) },
    }
}

/// Tags for what a call makes.
fn tag_specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(sdk_tags(tags))).build()
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

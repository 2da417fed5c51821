//! From options to clients.

use std::path::PathBuf;
use std::time::Duration;

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::config::{Credentials, ProvideCredentials, SharedHttpClient};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::Clients;
use crate::EbsError;

/// One attempt of a call. EC2 mostly answers within a second; `CreateSnapshots` of many volumes takes a few.
const ATTEMPT: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// How often a read is tried. With the SDK's back-off (doubling, jittered, at most 20 s) that is over a minute: a
/// hundred hosts that ask at once get through an API that takes ten calls a second.
const READ_ATTEMPTS: u32 = 8;

/// How EC2 is reached, as amazon.aws names it.
#[derive(Debug, Clone, Default)]
pub struct AwsOptions {
    /// `eu-central-1`; without it that of the environment, the profile, or the instance.
    pub region: Option<String>,
    /// A profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Access key id; with `secret_key`.
    pub access_key: Option<String>,
    /// Secret access key.
    pub secret_key: Option<String>,
    /// Of temporary credentials.
    pub session_token: Option<String>,
    /// Another address of EC2's API.
    pub endpoint_url: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
}

pub(super) async fn clients(options: &AwsOptions) -> Result<(Clients, String), EbsError> {
    let http = http_client(options)?;
    let profile = options.profile.clone();
    let given = options.region.clone().map(Region::new);
    let provider = aws_config::provider_config::ProviderConfig::without_region()
        .with_http_client(http.clone());
    let own = RegionProviderChain::first_try(given)
        .or_else(region_of_environment(&provider, profile.as_deref()))
        .or_else(ImdsRegionProvider::builder().configure(&provider).build());
    let region = own.region().await.ok_or(EbsError::NoRegion)?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region.clone())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(ATTEMPT)
                .build(),
        );
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &options.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(credentials) = explicit(options)? {
        loader = loader.credentials_provider(credentials);
    }
    let config = loader.load().await;
    expect_credentials(&config).await?;
    let base = aws_sdk_ec2::config::Builder::from(&config);
    let again =
        base.clone().retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS)).build();
    let once = base.retry_config(RetryConfig::disabled()).build();
    let clients = Clients {
        again: aws_sdk_ec2::Client::from_conf(again),
        once: aws_sdk_ec2::Client::from_conf(once),
    };
    Ok((clients, region.to_string()))
}

fn region_of_environment(
    provider: &aws_config::provider_config::ProviderConfig,
    profile: Option<&str>,
) -> impl aws_config::meta::region::ProvideRegion + use<> {
    let environment = aws_config::environment::region::EnvironmentVariableRegionProvider::new();
    let mut files =
        aws_config::profile::region::ProfileFileRegionProvider::builder().configure(provider);
    if let Some(profile) = profile {
        files = files.profile_name(profile);
    }
    RegionProviderChain::first_try(environment).or_else(files.build())
}

fn explicit(options: &AwsOptions) -> Result<Option<Credentials>, EbsError> {
    match (&options.access_key, &options.secret_key) {
        (Some(id), Some(secret)) => Ok(Some(Credentials::new(
            id,
            secret,
            options.session_token.clone(),
            None,
            "options of the task",
        ))),
        (None, None) => Ok(None),
        _ => Err(EbsError::Credentials {
            reason: "of access_key and secret_key only one is given".to_owned(),
        }),
    }
}

async fn expect_credentials(config: &aws_config::SdkConfig) -> Result<(), EbsError> {
    let Some(provider) = config.credentials_provider() else {
        return Err(EbsError::Credentials { reason: "there is no source for them".to_owned() });
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => Err(EbsError::Credentials { reason: super::chain(&error) }),
    }
}

/// rustls over ring, as everywhere in these executables.
fn http_client(options: &AwsOptions) -> Result<SharedHttpClient, EbsError> {
    let mut trusted = TrustStore::default();
    let bundle = options.ca_bundle.clone().or_else(|| {
        std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from)
    });
    if let Some(path) = bundle {
        let bytes = std::fs::read(&path).map_err(|error| EbsError::Setup {
            reason: format!("could not read the certificates in \"{}\": {error}", path.display()),
        })?;
        trusted = TrustStore::empty().with_pem_certificate(bytes);
    }
    let context = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| EbsError::Setup { reason: error.to_string() })?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_key_is_refused() {
        let half = AwsOptions { access_key: Some("a".into()), ..AwsOptions::default() };
        let error = explicit(&half).unwrap_err().to_string();
        let text =
            "no AWS credentials could be found: of access_key and secret_key only one is given";
        assert_eq!(error, text);
        assert!(explicit(&AwsOptions::default()).unwrap().is_none());
    }

    #[test]
    fn certificates_that_are_not_there_are_named() {
        let options =
            AwsOptions { ca_bundle: Some("/no/such.pem".into()), ..AwsOptions::default() };
        let error = http_client(&options).unwrap_err().to_string();
        let text = "could not prepare the connection to EC2: could not read the certificates in \"/no/such.pem\"";
        assert!(error.starts_with(text), "{error}");
    }
}

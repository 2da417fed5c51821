//! The options by which EC2 is reached, as amazon.aws has them.

use ansible::{Failure, Kind, OptionSpec, Options};
use frame::sessions;
use snapshot_ebs::{AwsOptions, EbsError, Ec2, Tags};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("region", Kind::Str).aliases(&["aws_region", "ec2_region"]),
    OptionSpec::new("profile", Kind::Str).aliases(&["aws_profile"]),
    OptionSpec::new("access_key", Kind::Str).aliases(&["aws_access_key_id", "aws_access_key"]),
    OptionSpec::new("secret_key", Kind::Str)
        .aliases(&["aws_secret_access_key", "aws_secret_key"])
        .secret(),
    OptionSpec::new("session_token", Kind::Str).aliases(&["aws_session_token"]).secret(),
    OptionSpec::new("endpoint_url", Kind::Str).aliases(&["aws_endpoint_url"]),
    OptionSpec::new("aws_ca_bundle", Kind::Path),
];

/// The options of a module: those that every module has, those of AWS, and its own.
pub(crate) fn options(own: &[OptionSpec]) -> Vec<OptionSpec> {
    sessions::options(&[OPTIONS, own].concat())
}

/// What the options say of AWS.
pub(crate) fn read(options: &Options) -> Result<AwsOptions, Failure> {
    let text = |name: &str| options.text(name).map(str::to_owned);
    Ok(AwsOptions {
        region: text("region"),
        profile: text("profile"),
        access_key: text("access_key"),
        secret_key: text("secret_key"),
        session_token: text("session_token"),
        endpoint_url: text("endpoint_url"),
        ca_bundle: options.absolute_path("aws_ca_bundle")?,
    })
}

/// Connects.
pub(crate) fn connect(options: &AwsOptions) -> Result<Ec2, Failure> {
    Ec2::connect(options).map_err(|error| explain(&error))
}

/// An error of EC2 as a failure.
pub(crate) fn explain(error: &EbsError) -> Failure {
    let failure = frame::failure(error, error.kind(), error.hints(), error.retryable());
    match error {
        EbsError::Partial { kept, .. } if !kept.is_empty() => {
            failure.value("kept", serde_json::json!(kept))
        }
        _ => failure,
    }
}

/// The option `tags`: the user's own.
pub(crate) fn tags(options: &Options) -> Result<Tags, Failure> {
    let tags: Tags = options.pairs("tags")?.into_iter().collect();
    match tags.keys().find(|key| key.starts_with("backstay:") || key.starts_with("aws:")) {
        None => Ok(tags),
        Some(key) => Err(Failure::invalid(format!(
            "option \"tags\" has the key \"{key}\": those that begin with \"backstay:\" and \"aws:\" are taken"
        ))),
    }
}

//! AWS's own client for Python, asking the service.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::Ec2;
use crate::need;
use crate::place::cache;

/// The Python that has boto3, made by `tests/setup/tools`; barman-cloud's programs
/// and `moto_server` lie beside it.
#[must_use]
pub fn python() -> PathBuf {
    cache().join("venv-cloud/bin/python")
}

/// Whether a test can have it: see [`crate::need`].
///
/// # Panics
///
/// In CI, when it is missing.
#[track_caller]
#[must_use]
pub fn possible() -> bool {
    let missing = || format!("{} is missing: run tests/setup/tools", python().display());
    need::can_run(python().exists().then_some(()).ok_or_else(missing))
}

/// Runs Python and gives what it puts into `out`. It has
///
/// - `data`: what is given here, and `endpoint` and `instance`
/// - `c(region, key, token)`: a client that never repeats a call
/// - `refused(call, **options)`: code and status of the error that a call ends
///   with, the name of another error, or `None`
/// - `tags(key=value)`: a `TagSpecifications` of snapshots
///
/// # Panics
///
/// When it ends otherwise.
#[must_use]
pub fn run(ec2: &Ec2, data: &Value, script: &str) -> Value {
    let output = command(ec2, data, script).output().expect("Python can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The same, not started yet.
#[must_use]
pub fn command(ec2: &Ec2, data: &Value, script: &str) -> Command {
    let before = "
import boto3, json, os, sys
from botocore.config import Config
from botocore.exceptions import ClientError, BotoCoreError
data, out = json.loads(sys.argv[1]), None
def c(region='eu-central-1', key='KEY', token=None):
    return boto3.client('ec2', endpoint_url=data['endpoint'], region_name=region,
        aws_access_key_id=key, aws_secret_access_key='secret', aws_session_token=token,
        config=Config(retries={'total_max_attempts': 1}, read_timeout=2))
def refused(call, **options):
    try:
        call(**options)
    except ClientError as error:
        status = error.response['ResponseMetadata']['HTTPStatusCode']
        return [error.response['Error']['Code'], status]
    except BotoCoreError as error:
        return type(error).__name__
    return None
tags = lambda **t: [{'ResourceType': 'snapshot', 'Tags': [{'Key': k, 'Value': v} for k, v in t.items()]}]
";
    let mut data = data.clone();
    data["endpoint"] = json!(ec2.endpoint());
    data["instance"] = json!(ec2.instance());
    let mut python = Command::new(python());
    python.args(["-c", &format!("{before}{script}\nprint(json.dumps(out, default=str))")]);
    python.arg(data.to_string()).env("AWS_EC2_METADATA_DISABLED", "true");
    python.env_remove("AWS_PROFILE").env("AWS_CONFIG_FILE", "/dev/null");
    python
}

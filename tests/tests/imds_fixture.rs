//! The metadata service, asked by hand and by AWS's own Python client.

use std::time::Duration;

use backstay_tests::ec2::{Key, boto3, client};
use backstay_tests::imds::Credentials;
use backstay_tests::{Ec2, Imds, command};
use serde_json::{Value, json};

#[test]
fn metadata_needs_a_token() {
    let ec2 = Ec2::start();
    let imds = Imds::of(&ec2.describe(&ec2.instance()));
    let document = |token: &str| {
        let head = "GET /latest/dynamic/instance-identity/document\nX-aws-ec2-metadata-token: ";
        client::ask(&imds.endpoint(), &format!("{head}{token}"), "").expect("an answer")
    };
    let give = |seconds: &str| {
        let head = "PUT /latest/api/token\nX-aws-ec2-metadata-token-ttl-seconds: ";
        client::ask(&imds.endpoint(), &format!("{head}{seconds}"), "")
    };
    assert_eq!(document("").0, 401);
    assert_eq!(document("nonsense").0, 401);
    assert_eq!(give("0").expect("an answer").0, 400);
    let token = give("1").expect("an answer").1;
    let (status, text) = document(&token);
    assert_eq!(status, 200);
    let identity: Value = serde_json::from_str(&text).expect("a document of JSON");
    assert_eq!(identity["instanceId"], json!(ec2.instance()));
    assert_eq!(identity["region"], json!("eu-central-1"));
    assert_eq!(identity["availabilityZone"], json!("eu-central-1a"));
    assert_eq!(identity["accountId"], json!("123456789012"));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(document(&token).0, 401);
    let token = give("60").expect("an answer").1;
    assert_eq!(document(&token).0, 200);
    imds.forget_tokens();
    assert_eq!(document(&token).0, 401);
    imds.be_silent(true);
    assert!(give("60").is_none(), "it was to be silent");
    assert_eq!(imds.asked()[0], "GET /latest/dynamic/instance-identity/document");
}

/// boto3 itself gets the role's credentials, and the next ones when they end. It
/// is asked anew: a client of boto3's keeps credentials that end within 15 minutes
/// beyond their end, since it takes that for a fault of the service.
#[test]
fn credentials_of_the_role_end_and_are_replaced() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let imds = Imds::of(&ec2.describe(&ec2.instance()));
    let first = Duration::from_secs(2);
    imds.set_credentials(&[
        Credentials::expiring_in("FIRST", first),
        Credentials::expiring_in("SECOND", Duration::from_secs(3600)),
    ]);
    ec2.add_key(Key::new("FIRST").session_token("token of FIRST").expires_in(first));
    ec2.add_key(Key::new("SECOND").session_token("token of SECOND"));
    let script = "
import time
client = lambda: boto3.Session().client('ec2', endpoint_url=data['endpoint'], region_name='eu-central-1')
old = client()
out = [refused(old.describe_volumes)]
time.sleep(2.5)
out += [refused(old.describe_volumes), refused(client().describe_volumes)]
";
    let mut python = boto3::command(&ec2, &json!({}), script);
    python.env_remove("AWS_EC2_METADATA_DISABLED");
    python.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.endpoint());
    python.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = command::run(&mut python);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        r#"[null, ["RequestExpired", 400], null]"#
    );
    let keys: Vec<_> = ec2.calls("DescribeVolumes").into_iter().filter_map(|c| c.key).collect();
    assert_eq!(keys, ["FIRST", "FIRST", "SECOND"]);
}

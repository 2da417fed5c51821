//! Whom the scripted EC2 lets in, to what, and how often.

use std::time::{Duration, Instant};

use backstay_tests::Ec2;
use backstay_tests::ec2::{Key, boto3};
use serde_json::{Value, json};

#[test]
fn limits_hold_for_keys_volumes_and_the_whole_service() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volume = ec2.add_volume(&ec2.instance(), "/dev/sdf", 3);
    ec2.limit_volume_rate(Duration::from_secs(15));
    ec2.add_key(Key::new("ALL"));
    ec2.add_key(Key::new("NOTAGS").deny("CreateTags"));
    ec2.add_key(Key::new("READS").allow_only(&["DescribeSnapshots"]));
    ec2.add_key(Key::new("OLD").session_token("t").expires_in(Duration::ZERO));
    let script = "
take = lambda key, token=None, **k: refused(c(key=key, token=token).create_snapshot, VolumeId=data['volume'], **k)
out = [take('WHO'), take('OLD'), take('OLD', 't'), take('READS'), take('NOTAGS', TagSpecifications=tags(a='b')),
  take('NOTAGS'), take('ALL'), refused(c(key='READS').describe_snapshots)]
";
    let out = boto3::run(&ec2, &json!({"volume": volume}), script);
    let expected = json!([
        ["AuthFailure", 401],
        ["AuthFailure", 401],
        ["RequestExpired", 400],
        ["UnauthorizedOperation", 403],
        ["UnauthorizedOperation", 403],
        null,
        ["SnapshotCreationPerVolumeRateExceeded", 400],
        null,
    ]);
    assert_eq!(out, expected);
    ec2.throttle(20.0, 5.0);
    let script = "
import time
ec2, start, got = c(key='ALL'), time.monotonic(), []
while time.monotonic() < start + 1:
    got.append(refused(ec2.describe_snapshots, OwnerIds=['self']))
out = got
";
    let started = Instant::now();
    let out = boto3::run(&ec2, &json!({}), script);
    let passed = out.as_array().expect("a list").iter().filter(|o| o.is_null()).count();
    let most = 5.0 + 20.0 * started.elapsed().as_secs_f64();
    assert!(out.as_array().is_some_and(|all| all.len() > passed), "nothing was refused: {out}");
    assert!(passed >= 20, "{passed} of {out}");
    assert!(u32::try_from(passed).is_ok_and(|n| f64::from(n) <= most), "{passed}");
}

/// A policy as ours are: makes and tags snapshots, deletes those that are not done.
fn policy() -> Value {
    let taking = json!({"StringEquals": {"aws:ResourceTag/state": "taking"}});
    let tagging = json!({
        "StringEquals": {"ec2:CreateAction": ["CreateSnapshots"]},
        "ForAllValues:StringLike": {"aws:TagKeys": ["state", "team:*"]},
    });
    let snapshots = "arn:aws:ec2:*::snapshot/*";
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:CreateSnapshots", "Resource": [
            "arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:*:*:instance/*"]},
        {"Effect": "Allow", "Action": "ec2:CreateSnapshots", "Resource": snapshots,
         "Condition": {"StringEquals": {"aws:RequestTag/state": "taking"}}},
        {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": snapshots, "Condition": tagging},
        {"Effect": "Allow", "Action": "ec2:DeleteSnapshot", "Resource": snapshots, "Condition": taking},
        {"Effect": "Deny", "Action": "ec2:*", "Resource": "*",
         "Condition": {"StringNotEquals": {"aws:RequestedRegion": "eu-central-1"}}},
    ]})
}

#[test]
fn a_key_may_do_what_its_policy_allows() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volume = ec2.add_volume(&ec2.instance(), "/dev/sdf", 3);
    ec2.add_key(Key::new("POLICY").policy(&policy()));
    let script = "
e = c(key='POLICY')
take = lambda **t: refused(e.create_snapshots, InstanceSpecification={'InstanceId': data['instance']}, TagSpecifications=tags(**t))
mark = lambda state: refused(e.create_tags, Resources=[id], Tags=[{'Key': 'state', 'Value': state}])
out = [take(state='taken'), take(state='taking', other='x'), take(state='taking', **{'team:a': 'x'})]
id = e.describe_snapshots()['Snapshots'][0]['SnapshotId']
out += [mark('taken'), refused(e.create_snapshot, VolumeId=data['volume']), refused(e.delete_snapshot, SnapshotId=id),
  refused(c('us-east-1', 'POLICY').describe_snapshots)]
";
    let out = boto3::run(&ec2, &json!({"volume": volume}), script);
    let no = json!(["UnauthorizedOperation", 403]);
    assert_eq!(out, json!([no, no, null, no, no, null, no]));
    let left = ec2.snapshots();
    assert_eq!(left.len(), 1, "root and data volume, and one of them is deleted");
    ec2.edit_snapshot(&left[0].id, |s| drop(s.tags.insert("state".to_owned(), "taken".to_owned())));
    let script = "out = refused(c(key='POLICY').delete_snapshot, SnapshotId=data['id'])";
    assert_eq!(boto3::run(&ec2, &json!({"id": left[0].id}), script), no);
}

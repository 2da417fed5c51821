//! The scripted EC2, asked by AWS's own Python client: what the other tests stand on must speak as AWS does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use backstay_tests::Ec2;
use backstay_tests::ec2::{Lost, Outcome, boto3, client};
use serde_json::{Value, json};

#[test]
fn a_set_leaves_out_what_it_is_told_and_is_tagged_in_the_same_call() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let instance = ec2.instance();
    let ours = [ec2.add_volume(&instance, "/dev/sdf", 8), ec2.add_volume(&instance, "/dev/sdg", 4)];
    let other = ec2.add_volume(&instance, "/dev/sdh", 2);
    let elsewhere = ec2.add_instance("other", "eu-central-1", "eu-central-1b");
    let foreign = ec2.add_volume(&elsewhere, "/dev/sdf", 1);
    ec2.edit_volume(&ours[0], |v| {
        drop(v.tags.insert("team".to_owned(), "ä & <b> + \"q\"".to_owned()));
        v.encrypted = true;
        v.kms_key = Some("arn:aws:kms:eu-central-1:123456789012:key/k".to_owned());
    });
    ec2.on("CreateSnapshots").pending_for(Duration::from_secs(3600));
    let script = "
spec = {'InstanceId': data['instance'], 'ExcludeBootVolume': True, 'ExcludeDataVolumeIds': [data['other']]}
made = c().create_snapshots(InstanceSpecification=spec, CopyTagsFromSource='volume',
    TagSpecifications=tags(cluster='m & n'), Description='a backup')['Snapshots']
spec['ExcludeDataVolumeIds'] = [data['foreign']]
found = c().describe_snapshots(Filters=[{'Name': 'tag:cluster', 'Values': ['m*']}], OwnerIds=['self'])
out = [made, found['Snapshots'], refused(c().create_snapshots, InstanceSpecification=spec),
    refused(c().create_snapshots, InstanceSpecification=spec | {'InstanceId': 'i-00000000000000000'})]
";
    let out = boto3::run(&ec2, &json!({"other": other, "foreign": foreign}), script);
    for (list, progress) in [(&out[0], ""), (&out[1], "0%")] {
        let volumes: BTreeSet<&str> = list
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|s| s["VolumeId"].as_str())
            .collect();
        assert_eq!(volumes, ours.iter().map(String::as_str).collect(), "{list:#}");
        for snapshot in list.as_array().expect("a list") {
            assert_eq!(snapshot["State"], json!("pending"));
            assert_eq!(snapshot["Progress"], json!(progress));
            assert_eq!(snapshot["Description"], json!("a backup"));
            let first = snapshot["VolumeId"] == json!(ours[0]);
            assert_eq!(snapshot["Encrypted"], json!(first));
            let tags = snapshot["Tags"].as_array().expect("tags");
            assert!(tags.contains(&json!({"Key": "cluster", "Value": "m & n"})), "{tags:?}");
            let copied = json!({"Key": "team", "Value": "ä & <b> + \"q\""});
            assert_eq!(tags.contains(&copied), first, "{tags:?}");
        }
    }
    assert_eq!(out[2], json!(["InvalidParameterValue", 400]));
    assert_eq!(out[3], json!(["InvalidInstanceID.NotFound", 400]));
    let calls = ec2.calls("CreateSnapshots");
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].parameters["InstanceSpecification.ExcludeDataVolumeId.1"], other);
    assert_eq!(calls[0].key.as_deref(), Some("KEY"));
    assert_eq!(calls[2].outcome, Outcome::Refused("InvalidInstanceID.NotFound".to_owned()));
}

#[test]
fn faults_come_in_the_order_they_were_scripted() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let _ = ec2.add_volume(&ec2.instance(), "/dev/sdf", 1);
    let _ = ec2.add_volume(&ec2.instance(), "/dev/sdg", 1);
    ec2.on("CreateSnapshots")
        .fail_times(2, "RequestLimitExceeded")
        .fail_times(1, "InternalError")
        .drop_requests(1, Lost::Closed)
        .drop_answer_once()
        .drop_answers(1, Lost::Hanging)
        .leave_out(1)
        .add_one();
    let script = "
spec = {'InstanceId': data['instance'], 'ExcludeBootVolume': True}
count = lambda: len(c().describe_snapshots(OwnerIds=['self'])['Snapshots'])
out = [[refused(c().create_snapshots, InstanceSpecification=spec), count()] for _ in range(9)]
";
    let out = boto3::run(&ec2, &json!({}), script);
    let busy = json!(["RequestLimitExceeded", 503]);
    let expected = json!([
        [busy, 0],
        [busy, 0],
        [["InternalError", 500], 0],
        ["ConnectionClosedError", 0],
        ["ConnectionClosedError", 2],
        ["ReadTimeoutError", 4],
        [null, 5],
        [null, 8],
        [null, 10],
    ]);
    assert_eq!(out, expected);
    let outcomes: Vec<Outcome> =
        ec2.calls("CreateSnapshots").into_iter().map(|c| c.outcome).collect();
    assert_eq!(outcomes[3], Outcome::RequestLost);
    assert_eq!(outcomes[4..6], [Outcome::AnswerLost, Outcome::AnswerLost]);
    assert_eq!(outcomes[6..], [Outcome::Answered, Outcome::Answered, Outcome::Answered]);
}

#[test]
fn snapshots_take_their_time_fail_and_are_not_seen_at_once() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volume = ec2.add_volume(&ec2.instance(), "/dev/sdf", 1);
    let second = ec2.add_volume(&ec2.instance(), "/dev/sdg", 1);
    ec2.on("CreateSnapshots")
        .pending_for(Duration::from_secs(2))
        .error_after(1, Duration::from_secs(1), "Given key ID is not accessible")
        .visible_after(Duration::from_millis(700));
    let script = "
import time
made = c().create_snapshots(InstanceSpecification={'InstanceId': data['instance'], 'ExcludeBootVolume': True})
ids = [s['SnapshotId'] for s in made['Snapshots']]
early = [refused(c().describe_snapshots, SnapshotIds=ids), len(c().describe_snapshots(OwnerIds=['self'])['Snapshots'])]
time.sleep(1.2)
look = lambda: [[s['State'], s.get('StateMessage'), 'CompletionTime' in s] for s in
    sorted(c().describe_snapshots(SnapshotIds=ids)['Snapshots'], key=lambda s: ids.index(s['SnapshotId']))]
later = look()
c().get_waiter('snapshot_completed').wait(SnapshotIds=ids[:1], WaiterConfig={'Delay': 1, 'MaxAttempts': 5})
out = [early, later, look(), refused(c().create_volume, SnapshotId=ids[1], AvailabilityZone='eu-central-1a')]
";
    let out = boto3::run(&ec2, &json!({}), script);
    let failed = json!(["error", "Given key ID is not accessible", false]);
    assert_eq!(out[0], json!([["InvalidSnapshot.NotFound", 400], 0]));
    assert_eq!(out[1], json!([["pending", null, false], failed]));
    assert_eq!(out[2], json!([["completed", null, true], failed]));
    assert_eq!(out[3], json!(["IncorrectState", 400]));
    let by_hand = ec2.snapshots();
    assert!(by_hand.iter().all(|s| [&volume, &second].contains(&&s.volume)));
    ec2.break_snapshot(&by_hand[0].id, "lost");
    assert_eq!(ec2.snapshot(&by_hand[0].id).state(), "error");
}

#[test]
fn lists_come_in_pages_and_through_filters() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volumes: Vec<String> =
        ('f'..='l').map(|l| ec2.add_volume(&ec2.instance(), &format!("/dev/sd{l}"), 1)).collect();
    let foreign = ec2.add_foreign_snapshot();
    ec2.on("DescribeVolumes").page_size(3);
    ec2.on("DescribeSnapshots").page_size(2);
    let script = "
c().create_snapshots(InstanceSpecification={'InstanceId': data['instance'], 'ExcludeBootVolume': True}, TagSpecifications=tags(a='b'))
pages = lambda what, **k: [len(p['Volumes' if what == 'describe_volumes' else 'Snapshots']) for p in c().get_paginator(what).paginate(**k)]
f = lambda name, *values: {'Filters': [{'Name': name, 'Values': list(values)}]}
out = {
  'volumes': pages('describe_volumes', **f('attachment.instance-id', data['instance'])),
  'in use': pages('describe_volumes', **f('status', 'in-use')),
  'one': pages('describe_volumes', VolumeIds=[data['volume']]),
  'everybody': sum(pages('describe_snapshots')),
  'ours': pages('describe_snapshots', OwnerIds=['self']),
  'tag': pages('describe_snapshots', **f('tag:a', 'x', 'b')),
  'no such tag': pages('describe_snapshots', **f('tag:a', 'x')),
  'tag-key': pages('describe_snapshots', **f('tag-key', 'a')),
  'volume': pages('describe_snapshots', **f('volume-id', data['volume'])),
  'status': pages('describe_snapshots', OwnerIds=['123456789012'], **f('status', 'completed')),
  'few': refused(c().describe_snapshots, MaxResults=2),
  'ids and pages': refused(c().describe_volumes, VolumeIds=[data['volume']], MaxResults=10),
  'unknown filter': refused(c().describe_volumes, **f('color', 'red')),
  'unknown parameter': refused(c().describe_volumes, NextToken='nonsense'),
  'tags': len(c().describe_tags(**f('resource-type', 'snapshot'))['Tags']),
  'regions': pages('describe_snapshots') == [] or len(c('us-east-1').describe_snapshots()['Snapshots']),
}
";
    let out = boto3::run(&ec2, &json!({"volume": volumes[0]}), script);
    let expected = json!({
        "volumes": [3, 3, 2], "in use": [3, 3, 2], "one": [1], "everybody": 8,
        "ours": [2, 2, 2, 1], "tag": [2, 2, 2, 1], "no such tag": [0], "tag-key": [2, 2, 2, 1],
        "volume": [1], "status": [2, 2, 2, 1],
        "few": ["InvalidParameterValue", 400],
        "ids and pages": ["InvalidParameterCombination", 400],
        "unknown filter": ["InvalidParameterValue", 400],
        "unknown parameter": ["InvalidParameterValue", 400],
        "tags": 7, "regions": 0,
    });
    assert_eq!(out, expected);
    assert!(ec2.snapshots().iter().all(|s| s.id != foreign));
}

#[test]
fn snapshots_are_copied_locked_and_deleted() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volume = ec2.add_volume(&ec2.instance(), "/dev/sdf", 3);
    let foreign = ec2.add_foreign_snapshot();
    let script = "
one = c().create_snapshot(VolumeId=data['volume'], TagSpecifications=tags(Name='x'))
id, us = one['SnapshotId'], c('us-east-1')
copy = lambda **k: us.copy_snapshot(SourceRegion='eu-central-1', SourceSnapshotId=id, **k)
two = copy(KmsKeyId='k', Encrypted=True, TagSpecifications=tags(a='b'))['SnapshotId']
seen = us.describe_snapshots(SnapshotIds=[two])['Snapshots'][0]
out = [one['State'], one['Tags'], seen['VolumeId'], seen['Encrypted'], seen['VolumeSize'], seen['Tags'],
  refused(c().describe_snapshots, SnapshotIds=[two]),
  refused(copy, CompletionDurationMinutes=20), refused(copy, CompletionDurationMinutes=45),
  c().lock_snapshot(SnapshotId=id, LockMode='compliance', LockDuration=7, CoolOffPeriod=3)['LockState'],
  refused(c().delete_snapshot, SnapshotId=id), refused(c().unlock_snapshot, SnapshotId=id),
  refused(c().delete_snapshot, SnapshotId=id), refused(c().delete_snapshot, SnapshotId=id),
  refused(c().delete_snapshot, SnapshotId=data['foreign']), refused(c().delete_snapshot, SnapshotId='snap-1'),
  refused(us.lock_snapshot, SnapshotId=two, LockMode='governance'),
  us.lock_snapshot(SnapshotId=two, LockMode='governance', LockDuration=1)['LockState'],
  refused(us.delete_snapshot, SnapshotId=two), refused(us.delete_snapshot, SnapshotId=two, DryRun=True)]
";
    let out = boto3::run(&ec2, &json!({"volume": volume, "foreign": foreign}), script);
    let refused = |code: &str| json!([code, 400]);
    let expected = json!([
        "pending",
        [{"Key": "Name", "Value": "x"}],
        "vol-ffffffff",
        true,
        3,
        [{"Key": "a", "Value": "b"}],
        refused("InvalidSnapshot.NotFound"),
        refused("InvalidParameterValue"),
        null,
        "compliance-cooloff",
        refused("SnapshotLocked"),
        null,
        null,
        refused("InvalidSnapshot.NotFound"),
        refused("OperationNotPermitted"),
        refused("InvalidSnapshotID.Malformed"),
        refused("InvalidParameterCombination"),
        "governance",
        refused("SnapshotLocked"),
        ["DryRunOperation", 412],
    ]);
    assert_eq!(out, expected);
}

#[test]
fn volumes_are_made_once_attached_once_and_deleted() {
    if !boto3::possible() {
        return;
    }
    let ec2 = Ec2::start();
    let volume = ec2.add_volume(&ec2.instance(), "/dev/sdf", 3);
    ec2.on("CreateVolume").pending_for(Duration::from_secs(1));
    let script = "
snapshot = c().create_snapshot(VolumeId=data['volume'])['SnapshotId']
wish = dict(SnapshotId=snapshot, AvailabilityZone='eu-central-1a', ClientToken='t', VolumeType='gp3', VolumeInitializationRate=200,
  TagSpecifications=[{'ResourceType': 'volume', 'Tags': [{'Key': 'a', 'Value': 'b'}]}])
make = lambda **k: c().create_volume(**(wish | k))
one, two = make(), make()
id = one['VolumeId']
attach = lambda device='/dev/sdm', **k: c().attach_volume(**({'VolumeId': id, 'InstanceId': data['instance'], 'Device': device} | k))
out = [one['State'], one['Size'], one['Iops'], id == two['VolumeId'], refused(make, Iops=4000), refused(attach)]
c().get_waiter('volume_available').wait(VolumeIds=[id], WaiterConfig={'Delay': 1, 'MaxAttempts': 5})
out += [refused(attach, device='/dev/sdf'), attach()['State'], refused(attach)]
far = make(ClientToken='u', AvailabilityZone='eu-central-1b')['VolumeId']
c().get_waiter('volume_available').wait(VolumeIds=[far], WaiterConfig={'Delay': 1, 'MaxAttempts': 5})
out += [refused(attach, VolumeId=far, device='/dev/sdn'), refused(make, ClientToken='v', AvailabilityZone='us-east-1a'),
  refused(make, ClientToken='v', Size=1), refused(make, ClientToken='v', VolumeType='io2'),
  refused(make, ClientToken='v', VolumeInitializationRate=50),
  c().describe_volumes(VolumeIds=[id])['Volumes'][0]['Attachments'][0]['State'],
  refused(c().delete_volume, VolumeId=id), c().detach_volume(VolumeId=id)['State']]
c().get_waiter('volume_available').wait(VolumeIds=[id], WaiterConfig={'Delay': 1, 'MaxAttempts': 5})
out += [refused(c().delete_volume, VolumeId=id), refused(c().delete_volume, VolumeId=id)]
";
    let out = boto3::run(&ec2, &json!({"volume": volume}), script);
    let refused = |code: &str| json!([code, 400]);
    let expected = json!([
        "creating",
        3,
        3000,
        true,
        refused("IdempotentParameterMismatch"),
        refused("IncorrectState"),
        refused("InvalidParameterValue"),
        "attaching",
        refused("VolumeInUse"),
        refused("InvalidVolume.ZoneMismatch"),
        refused("InvalidZone.NotFound"),
        refused("InvalidParameterValue"),
        refused("InvalidParameterCombination"),
        refused("InvalidParameterValue"),
        "attached",
        refused("VolumeInUse"),
        "detaching",
        null,
        refused("InvalidVolume.NotFound"),
    ]);
    assert_eq!(out, expected);
    assert_eq!(ec2.volumes().len(), 3, "{:#?}", ec2.volumes());
    ec2.on("CreateVolume").error_after(0, Duration::ZERO, "");
    let answer = ec2.ask("Action=CreateVolume&AvailabilityZone=eu-central-1a&Size=1");
    assert!(answer.contains("<status>error</status>"), "{answer}");
}

#[test]
fn what_ec2_does_not_know_is_refused() {
    let ec2 = Ec2::start();
    let ask = |form: &str| {
        client::ask(&ec2.endpoint(), "POST /", form).map(|(_, body)| body).unwrap_or_default()
    };
    let version = "Version=2016-11-15";
    for (form, code) in [
        (format!("Action=RunInstances&{version}"), "InvalidAction"),
        (format!("Action=DescribeVolumes&{version}&VolumeIds.1=vol-1"), "UnknownParameter"),
        (format!("Action=CreateSnapshots&{version}"), "MissingParameter"),
        ("Action=DescribeVolumes&Version=2010-01-01".to_owned(), "NoSuchVersion"),
    ] {
        let answer = ask(&form);
        assert!(answer.contains(&format!("<Errors><Error><Code>{code}</Code>")), "{answer}");
        assert!(answer.contains("</RequestID></Response>"), "{answer}");
    }
    let log = client::ask(&ec2.endpoint(), "GET /calls", "").expect("the log").1;
    let calls: Value = serde_json::from_str(&log).expect("JSON");
    assert_eq!(calls[0]["action"], json!("RunInstances"));
    assert_eq!(calls[3]["outcome"], json!("NoSuchVersion"));
}

#[test]
fn the_program_does_as_its_script_says_and_ends_with_its_input() {
    let script = json!({
        "volumes": [{"device": "/dev/sdf", "gibibytes": 8, "tags": {"Name": "data"}}, {"device": "/dev/sdg"}],
        "throttle": {"rate": 1000, "burst": 1000},
        "on": {
            "CreateSnapshots": {"pending_for": 60, "faults": ["InternalError", "hang answer", "pass"]},
            "DescribeVolumes": {"page_size": 1, "delay": 0.01},
        },
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_ec2"));
    let program = program.arg(script.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = program.spawn().expect("our own program");
    let mut line = String::new();
    let output = program.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let facts: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(facts["volumes"].as_array().map(Vec::len), Some(2));
    assert_eq!(facts["region"], json!("eu-central-1"));
    let endpoint = facts["endpoint"].as_str().expect("an endpoint");
    let form = "Action=DescribeVolumes&Version=2016-11-15";
    let answer = client::ask(endpoint, "POST /", form).expect("an answer").1;
    assert!(answer.contains("<nextToken>"), "{answer}");
    drop(program.stdin.take());
    assert!(program.wait().expect("our own child").success());
}

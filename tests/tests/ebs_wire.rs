//! The modules against moto, whose EC2 was written by others and after the same documents: what our own scripted EC2
//! understands of a call, or answers, is not of our making only.

use backstay_tests::backup::task;
use backstay_tests::ec2::boto3;
use backstay_tests::moto::Moto;
use backstay_tests::scene::{Asked, Reply, merge, request};
use backstay_tests::{Cloud, Place, Volumes, collection, command};
use serde_json::{Value, json};

/// An instance with three data volumes, as many as the cluster has.
const MACHINE: &str = "
ec2 = client('ec2')
image = ec2.describe_images(Owners=['amazon'])['Images'][0]['ImageId']
made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)['Instances'][0]
instance, zone = made['InstanceId'], made['Placement']['AvailabilityZone']
volumes = [ec2.create_volume(AvailabilityZone=zone, Size=size)['VolumeId'] for size in (1, 2, 3)]
for letter, volume in zip('fgh', volumes):
    ec2.attach_volume(InstanceId=instance, VolumeId=volume, Device='/dev/sd' + letter)
out = {'instance': instance, 'volumes': volumes}
";

/// What is there of a backup in a region.
const OF_BACKUP: &str = "
found = client('ec2', data['region']).describe_snapshots(Filters=[{'Name': 'tag:backstay:backup-id', 'Values': ['b1']}])
out = [[s['SnapshotId'], s['VolumeId'], {t['Key']: t['Value'] for t in s['Tags']}] for s in found['Snapshots']]
";

/// Asks with moto's address and credentials.
fn ask(moto: &Moto, cloud: &Cloud, module: &str, options: &Value) -> Reply {
    let own = json!({"endpoint_url": moto.endpoint(), "region": "us-east-1"});
    let request = request(&task(module, &[&own, options]));
    let user = cloud.scene.backup.user();
    let mut command = command::tied(collection::executable_of(module), user);
    command.arg("run").envs(moto.variables()).env("AWS_EC2_METADATA_DISABLED", "true");
    Asked::by(command, &request).reply()
}

/// The same with other volumes.
fn renumbered(value: &Value, from: &[String], to: &[String]) -> Value {
    let pairs = from.iter().zip(to);
    let text = pairs.fold(value.to_string(), |text, (old, new)| text.replace(old, new));
    serde_json::from_str(&text).expect("still JSON")
}

#[test]
fn a_backup_is_taken_copied_tried_to_be_restored_and_expired_at_moto() {
    if !(Volumes::possible() && boto3::possible()) {
        return;
    }
    let cloud = Cloud::of(18);
    let moto = Moto::start();
    let machine = moto.ask(&json!({}), MACHINE);
    take(&cloud, &moto, &machine);
    let of_repository = |module: &str, more: &Value| {
        let mut options = json!({"repository": cloud.scene.backup.repository()});
        merge(&mut options, more);
        ask(&moto, &cloud, module, &options)
    };
    let wait = of_repository("ebs_snapshot_wait", &json!({"backup_id": "b1", "delay": 1})).ok();
    assert_eq!(wait.word("manifest_state"), "complete");
    let there = moto.ask(&json!({"region": "us-east-1"}), OF_BACKUP);
    assert!(!there.to_string().contains("taking"), "{there:#}");

    let copy = json!({"backup_id": "b1", "destination_region": "us-west-2"});
    assert_eq!(of_repository("ebs_snapshot_copy", &copy).ok().result["changed"], json!(true));
    assert_eq!(of_repository("ebs_snapshot_copy", &copy).ok().result["changed"], json!(false));
    let copies = moto.ask(&json!({"region": "us-west-2"}), OF_BACKUP);
    assert_eq!(copies.as_array().map(Vec::len), Some(3));

    // moto attaches volumes to no machine of ours: no device comes, and everything is undone
    let restore = of_repository(
        "ebs_restore",
        &json!({
            "backup_id": "b1",
            "instance_id": machine["instance"],
            "zone": "us-east-1a",
            "mount_points": cloud.mapping(),
            "wait_timeout": 5,
        }),
    );
    assert_eq!(restore.result["failed"], json!(true), "{:#}", restore.result);
    assert!(restore.message().contains("no disk with its serial"), "{}", restore.message());
    let left = moto.ask(&json!({}), "out = [v['VolumeId'] for v in client('ec2').describe_volumes()['Volumes'] if v.get('Tags')]");
    assert_eq!(left, json!([]), "{:#}", restore.result);

    let expire = json!({"backup_ids": ["b1"], "grace": 0});
    let expired = of_repository("ebs_expire", &expire).ok();
    assert_eq!(expired.result["expired"][0]["snapshots"].as_array().map(Vec::len), Some(3));
    assert_eq!(moto.ask(&json!({"region": "us-east-1"}), OF_BACKUP), json!([]));
}

/// A backup `b1` whose set moto takes, up to the WAL.
fn take(cloud: &Cloud, moto: &Moto, machine: &Value) {
    cloud.start("b1");
    // the volumes of this machine, as moto numbers them
    let info = cloud.ask(&cloud.task("volume_info", "b1", &json!({}))).ok();
    let theirs: Vec<String> = serde_json::from_value(machine["volumes"].clone()).expect("ids");
    let mut volumes = renumbered(&info.result, &cloud.ids(), &theirs);
    volumes["other_volumes"] = json!([]);
    let elsewhere = Place::new();
    let taken = ask(
        moto,
        cloud,
        "ebs_snapshot",
        &json!({
            "session": "main.b1",
            "state_directory": elsewhere.join("state"),
            "volumes": volumes,
            "instance_id": machine["instance"],
            "tags": {"team": "örders & \"more\" <3 ="},
        }),
    )
    .ok();
    let there = moto.ask(&json!({"region": "us-east-1"}), OF_BACKUP);
    let there = there.as_array().cloned().unwrap_or_default();
    assert_eq!(there.len(), 3, "{there:#?}");
    for snapshot in &there {
        assert!(machine["volumes"].to_string().contains(snapshot[1].as_str().unwrap_or("none")));
        assert_eq!(snapshot[2]["team"], json!("örders & \"more\" <3 ="));
        assert_eq!(snapshot[2]["backstay:state"], json!("taking"));
        assert_eq!(snapshot[2]["backstay:system-identifier"], volumes["system_identifier"]);
    }

    // on record under our own numbers, as the server is on our devices
    let snapshots = renumbered(&taken.result["snapshots"], &theirs, &cloud.ids());
    let adopt = json!({"provider": "ebs", "snapshots": snapshots});
    let _ = cloud.ask(&cloud.task("snapshot_create", "b1", &adopt)).ok();
    cloud.stop_and_fetch("b1");
}

//! The volumes of the EC2 fixture: what is in a snapshot of them, and who sees them.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backstay_tests::ec2::boto3;
use backstay_tests::place::User;
use backstay_tests::server::Stop;
use backstay_tests::volumes::{Format, Mounted, Volumes};
use backstay_tests::{Ansible, Core, ObjectStore, Server, Writer, amcheck, command, wait_until};
use serde_json::json;

/// Snapshots of all data volumes by one call; the newest ids by volume.
fn snapshot_set(volumes: &Volumes) -> impl Fn(&Mounted) -> String {
    let answer = volumes.ec2().ask(&format!(
        "Action=CreateSnapshots&InstanceSpecification.ExcludeBootVolume=true\
             &InstanceSpecification.InstanceId={}",
        volumes.instance()
    ));
    assert!(answer.contains("<snapshotSet><item>"), "{answer}");
    newest(volumes)
}

fn newest(volumes: &Volumes) -> impl Fn(&Mounted) -> String {
    let all = volumes.ec2().snapshots();
    move |mounted| {
        let found = all.iter().rev().find(|s| s.volume == mounted.volume);
        found.expect("a snapshot of the volume").id.clone()
    }
}

/// How many loop devices are on files of that place, whoever sees them.
fn loops_of(place: &str) -> usize {
    let devices = fs::read_dir("/sys/devices/virtual/block").expect("the kernel's own").flatten();
    let files = devices.map(|d| fs::read_to_string(d.path().join("loop/backing_file")));
    files.filter(|file| file.as_ref().is_ok_and(|file| file.contains(place))).count()
}

/// Two writers' numbers: each one flushed to the first volume before the second.
fn count_in_both(first: &Path, second: &Path, stop: &AtomicBool) {
    let open = |path: &Path| fs::File::create(path.join("n")).expect("a file on the volume");
    let (mut first, mut second) = (open(first), open(second));
    for number in 1_u64.. {
        for file in [&mut first, &mut second] {
            file.seek(SeekFrom::Start(0)).expect("a seek");
            file.write_all(format!("{number:020}").as_bytes()).expect("a write");
            file.sync_data().expect("a flush");
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn number_in(mounted: &Mounted) -> u64 {
    let mut text = String::new();
    let file = fs::File::open(mounted.mount_point.join("n"));
    file.and_then(|mut f| f.read_to_string(&mut text)).expect("the number");
    text.trim().parse().expect("a number")
}

/// A set is of one moment: the second volume never has a number that the
/// first has not. Single snapshots one after the other are not, which shows
/// that the first half of this test proves something.
#[test]
fn a_set_is_of_one_moment_and_single_snapshots_are_not() {
    if !Volumes::possible() {
        return;
    }
    let volumes = Volumes::start();
    let (first, second) = (volumes.add("first", Format::Ext4), volumes.add("second", Format::Xfs));
    let stop = Arc::new(AtomicBool::new(false));
    let (a, b, ended) = (first.mount_point.clone(), second.mount_point.clone(), Arc::clone(&stop));
    let writer = std::thread::spawn(move || count_in_both(&a, &b, &ended));
    wait_until("both are written", Duration::from_secs(30), || {
        fs::read(second.mount_point.join("n")).is_ok_and(|text| text.len() == 20)
    });
    let mut torn = 0;
    for round in 0..6 {
        let ids = snapshot_set(&volumes);
        for mounted in [&first, &second] {
            let answer =
                volumes.ec2().ask(&format!("Action=CreateSnapshot&VolumeId={}", mounted.volume));
            assert!(answer.contains("<status>pending</status>"), "{answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let singles = newest(&volumes);
        let copy =
            |id: String, name: &str| number_in(&volumes.copy(&id, &format!("{name}{round}")));
        let set = (copy(ids(&first), "a"), copy(ids(&second), "b"));
        assert!(set.0 == set.1 || set.0 == set.1 + 1, "round {round}: {set:?}");
        let single = (copy(singles(&first), "c"), copy(singles(&second), "d"));
        torn += usize::from(single.1 > single.0);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer");
    assert!(torn > 0, "six pairs of single snapshots happened to be of one moment each");
}

#[test]
fn only_what_was_flushed_is_sure_and_nothing_written_later_is_there() {
    if !Volumes::possible() {
        return;
    }
    let volumes = Volumes::start();
    let mounted = volumes.add("data", Format::Ext4);
    let write = |name: &str| {
        let mut file = fs::File::create(mounted.mount_point.join(name)).expect("a file");
        file.write_all(&[7; 1 << 20]).expect("a write");
        file
    };
    write("before").sync_all().expect("a flush");
    command::run(Command::new("sync").arg("-f").arg(&mounted.mount_point));
    let id = snapshot_set(&volumes)(&mounted);
    write("after").sync_all().expect("a flush");
    let copy = volumes.copy(&id, "copy");
    assert_eq!(fs::read(copy.mount_point.join("before")).expect("it was flushed"), [7; 1 << 20]);
    assert!(!copy.mount_point.join("after").exists());
}

fn link_target(path: &str) -> std::path::PathBuf {
    fs::canonicalize(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_devices_look_like_ebs_volumes_to_this_test_and_its_programs_only() {
    if !Volumes::possible() {
        return;
    }
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let outside = std::thread::spawn(move || {
        wait.recv().expect("the test goes on");
        fs::read_to_string("/proc/thread-self/mountinfo").expect("the mounts")
    });
    let volumes = Volumes::start();
    let mounted = volumes.add("data", Format::Xfs);
    let serial = |disk: &str| {
        let text = fs::read_to_string(format!("/sys/block/{disk}/device/serial"));
        text.expect("a serial number").trim().to_owned()
    };
    let disk = volumes.disk(&mounted.volume);
    assert_eq!(serial(&disk), mounted.volume.replacen('-', "", 1));
    let node = mounted.device.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(!Path::new("/sys/block").join(&node).exists(), "the loop device is still there");
    let number = fs::read_to_string(format!("/sys/block/{disk}/dev")).expect("a number");
    let by_number = link_target(&format!("/sys/dev/block/{}", number.trim()));
    assert_eq!(by_number, link_target(&format!("/sys/block/{disk}")));
    assert_eq!(link_target(&format!("/dev/{disk}")), mounted.device);
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("the mounts");
    assert!(mounts.contains(&format!(" {} ", number.trim())), "{mounts}");
    // what else the machine has is still there
    let others = fs::read_dir("/sys/block").expect("the disks").flatten();
    for other in others {
        assert!(other.path().join("dev").exists(), "{} leads nowhere", other.path().display());
    }
    // a playbook sees it, a process from elsewhere does not
    let ansible = Ansible::local(Core::Newest);
    let task = "ansible.builtin.raw";
    let run = ansible.module(task, &json!(format!("cat /sys/block/{disk}/device/serial"))).ok();
    assert!(run.task(task).text("stdout").contains("vol0"), "{}", run.output);
    go.send(()).expect("the thread from before");
    let outside = outside.join().expect("the thread from before");
    assert!(!outside.contains(&mounted.mount_point.display().to_string()));
    let place = mounted.mount_point.components().nth(2).expect("below /tmp").as_os_str();
    let place = place.to_string_lossy().into_owned();
    assert_eq!(loops_of(&place), 2, "the store and the volume");
    drop(volumes);
    wait_until("no loop device is left", Duration::from_secs(20), || loops_of(&place) == 0);
    assert!(!Path::new("/sys/block").join(&disk).exists());
    assert!(fs::symlink_metadata(Path::new("/dev").join(&disk)).is_err(), "/dev/{disk} is left");
    assert!(!mounted.mount_point.exists());
}

fn has_serial(serial: &str) -> bool {
    let disks = fs::read_dir("/sys/block").expect("the disks").flatten();
    let serials = disks.map(|d| fs::read_to_string(d.path().join("device/serial")));
    serials.flatten().any(|found| found.trim() == serial)
}

#[test]
fn a_volume_comes_from_a_snapshot_and_goes_again() {
    if !Volumes::possible() {
        return;
    }
    let volumes = Volumes::start();
    let mounted = volumes.add("data", Format::Ext4);
    fs::write(mounted.mount_point.join("f"), "here").expect("a file");
    command::run(Command::new("sync").arg("-f").arg(&mounted.mount_point));
    let id = snapshot_set(&volumes)(&mounted);
    let zone = "AvailabilityZone=eu-central-1a";
    let answer = volumes.ec2().ask(&format!("Action=CreateVolume&{zone}&SnapshotId={id}"));
    let made = volumes.ec2().volumes().pop().expect("the new volume");
    assert!(answer.contains(&made.id), "{answer}");
    volumes.ec2().on("AttachVolume").device_after(Duration::from_millis(500));
    let answer = volumes.ec2().ask(&format!(
        "Action=AttachVolume&VolumeId={}&InstanceId={}&Device=/dev/sdm",
        made.id,
        volumes.instance()
    ));
    assert!(answer.contains("<status>attaching</status>"), "{answer}");
    let serial = made.id.replacen('-', "", 1);
    assert!(!has_serial(&serial), "the device is there at once");
    wait_until("the device is there", Duration::from_secs(5), || has_serial(&serial));
    let at = volumes.mount_point("restored");
    fs::create_dir_all(&at).expect("a directory");
    command::run(Command::new("mount").arg(volumes.device(&made.id)).arg(&at));
    assert_eq!(fs::read_to_string(at.join("f")).expect("the file"), "here");
    let detach = format!("Action=DetachVolume&VolumeId={}", made.id);
    assert!(volumes.ec2().ask(&detach).contains("<status>detaching</status>"));
    // it is mounted, so it stays
    assert_eq!(volumes.ec2().volume(&made.id).state(), "in-use");
    let delete = format!("Action=DeleteVolume&VolumeId={}", made.id);
    assert!(volumes.ec2().ask(&delete).contains("<Code>VolumeInUse</Code>"));
    command::run(Command::new("umount").arg(&at));
    wait_until("it is detached", Duration::from_secs(10), || {
        volumes.ec2().volume(&made.id).state() == "available"
    });
    assert!(!has_serial(&serial));
    assert!(volumes.ec2().ask(&delete).contains("<return>true</return>"));
    assert!(!volumes.file(&made.id).exists());
    assert!(volumes.ec2().ask(&format!("Action=DeleteSnapshot&SnapshotId={id}")).contains("true"));
}

/// What EC2's own guide promises, with nothing of ours in between: a server on
/// three volumes, one set of snapshots, crash recovery from the copies.
#[test]
fn a_server_on_three_volumes_recovers_from_one_set() {
    if !Volumes::possible() {
        return;
    }
    let volumes = Volumes::start();
    let data = volumes.add("data", Format::Xfs);
    let wal = volumes.add("wal", Format::Ext4);
    let space = volumes.add("data/tablespace 1", Format::Ext4);
    let mut server = Server::builder()
        .data_parent(&data.mount_point)
        .wal_directory(&wal.mount_point.join("wal"))
        .tablespaces(1)
        .setting("fsync", "on")
        .start();
    let writer = Writer::start(&server, 2);
    writer.wait_for(20);
    volumes.flush();
    let before = server.query("select pg_current_wal_flush_lsn()");
    let ids = snapshot_set(&volumes);
    writer.wait_for(20);
    let ledger = writer.stop();
    server.stop(Stop::Immediate);
    // the copies where the originals were: every path in the cluster holds
    for mounted in [&space, &wal, &data] {
        command::run(Command::new("umount").arg(&mounted.mount_point));
    }
    for (mounted, name) in [(&data, "data"), (&wal, "wal"), (&space, "data/tablespace 1")] {
        let _ = volumes.copy(&ids(mounted), name);
    }
    fs::remove_file(server.data_directory().join("postmaster.pid")).expect("the copy's pid file");
    server.start();
    assert!(ledger.assert_all_in(&server, &before) >= 20);
    let rows: usize = server.query("select count(*) from ledger").parse().expect("a number");
    assert!(rows < ledger.len(), "the copy has what was written after the snapshots");
    amcheck(&server);
}

/// The nearest peer takes a backup of a server here, so all that it asks of EC2
/// and of the machine is as it has it from AWS.
#[test]
fn barman_takes_a_snapshot_backup() {
    if !(Volumes::possible() && boto3::possible()) {
        return;
    }
    let volumes = Volumes::start();
    let data = volumes.add("data", Format::Ext4);
    let server =
        Server::builder().data_parent(&data.mount_point).setting("fsync", "on").major(16).start();
    let s3 = ObjectStore::start("barman");
    let bin = boto3::python().with_file_name("barman-cloud-backup");
    let mut barman = command::tied(bin, &User::current());
    barman.envs(volumes.variables()).envs(s3.variables());
    barman.args(["--aws-region", "eu-central-1", "--endpoint-url", &s3.endpoint()]);
    barman.args(["--snapshot-instance", volumes.instance(), "--snapshot-disk", &data.volume]);
    barman.args(["--immediate-checkpoint", "-U", "postgres", "-p", &server.port().to_string()]);
    barman.arg("-h").arg(server.socket_directory()).args(["s3://barman/test", "main"]);
    command::run(&mut barman);
    let snapshots = volumes.ec2().snapshots();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].volume, data.volume);
    assert_eq!(snapshots[0].state(), "completed");
}

/// The same test holds volumes, in a process that is killed, where this is set.
const HOLD: &str = "BACKSTAY_TEST_HOLDS";

#[test]
fn what_a_killed_test_leaves_is_swept() {
    if !Volumes::possible() {
        return;
    }
    if std::env::var_os(HOLD).is_some() {
        let volumes = Volumes::start();
        let _ = volumes.add("data", Format::Ext4);
        eprintln!("holding {}", volumes.mount_point("").display());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test's executable"));
    command.args(["--exact", "what_a_killed_test_leaves_is_swept", "--nocapture"]);
    let held = command.env(HOLD, "1").stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut held = held.expect("this test can be started again");
    let lines = std::io::BufReader::new(held.stderr.take().expect("its standard error"));
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    let line = lines.find_map(|l| l.strip_prefix("holding ").map(str::to_owned));
    let line = line.expect("it says what it holds");
    let place = line.split('/').find(|part| part.starts_with("bt-")).expect("its place").to_owned();
    assert_eq!(loops_of(&place), 2, "the store and the volume");
    held.kill().expect("our own child");
    let _ = held.wait();
    command::run(&mut Command::new(backstay_tests::place::project().join("tests/setup/sweep")));
    wait_until("no loop device is left", Duration::from_secs(20), || loops_of(&place) == 0);
    assert!(!Path::new(&line).exists());
}

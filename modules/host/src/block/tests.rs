use std::os::unix::fs::symlink;

use super::*;

/// A `/sys` of our own, in which every device is described as the kernel does it.
struct Fake {
    temporary: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        for directory in ["block", "dev/block", "devices"] {
            fs::create_dir_all(temporary.path().join(directory)).unwrap();
        }
        Self { temporary }
    }

    fn sysfs(&self) -> Sysfs {
        Sysfs::at(self.temporary.path())
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.temporary.path().join("devices").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A device in `devices/<path>`, of 2048 sectors.
    fn device(&self, path: &str, number: &str) {
        let name = path.rsplit('/').next().unwrap();
        self.write(&format!("{path}/dev"), &format!("{number}\n"));
        self.write(&format!("{path}/size"), "2048\n");
        self.write(&format!("{path}/uevent"), &format!("MAJOR=1\nDEVNAME={name}\nDEVTYPE=disk\n"));
        let at = self.temporary.path();
        let device = at.join("devices").join(path);
        fs::create_dir_all(device.join(stack::PARTS)).unwrap();
        symlink(&device, at.join("dev/block").join(number)).unwrap();
        if path == name {
            symlink(&device, at.join("block").join(name)).unwrap();
        }
    }

    fn nvme(&self, name: &str, number: &str, serial: &str) {
        self.device(name, number);
        self.write(&format!("{name}/device/serial"), &format!("{serial}\n"));
        self.write(&format!("{name}/device/model"), "Amazon Elastic Block Store              \n");
    }

    fn partition(&self, path: &str, number: &str) {
        self.device(path, number);
        self.write(&format!("{path}/partition"), "1\n");
    }

    fn part(&self, of: &str, path: &str) {
        let devices = self.temporary.path().join("devices");
        let name = path.rsplit('/').next().unwrap();
        symlink(devices.join(path), devices.join(of).join(stack::PARTS).join(name)).unwrap();
    }

    fn under(&self, number: &str) -> (Vec<String>, Vec<String>) {
        let stack = self.sysfs().under(DeviceNumber::parse(number).unwrap()).unwrap();
        let layers = stack.layers.iter().map(ToString::to_string).collect();
        (layers, stack.disks.iter().map(|disk| disk.ebs_volume().unwrap_or_default()).collect())
    }
}

#[test]
fn a_partition_is_on_its_disk() {
    let fake = Fake::new();
    fake.nvme("nvme1n1", "259:0", "vol0123456789abcdef0");
    fake.partition("nvme1n1/nvme1n1p1", "259:1");
    let (layers, volumes) = fake.under("259:1");
    assert_eq!(layers, ["partition nvme1n1p1", "disk nvme1n1"]);
    assert_eq!(volumes, ["vol-0123456789abcdef0"]);
    let (layers, volumes) = fake.under("259:0");
    assert_eq!(layers, ["disk nvme1n1"]);
    assert_eq!(volumes, ["vol-0123456789abcdef0"]);
    let number = DeviceNumber::parse("259:1").unwrap();
    assert_eq!(fake.sysfs().device(number).unwrap(), "/dev/nvme1n1p1");

    let disks = fake.sysfs().disks().unwrap();
    let disk = Disk {
        name: "nvme1n1".to_owned(),
        device: "/dev/nvme1n1".to_owned(),
        number: DeviceNumber { major: 259, minor: 0 },
        serial: Some("vol0123456789abcdef0".to_owned()),
        model: Some("Amazon Elastic Block Store".to_owned()),
        bytes: 1 << 20,
    };
    assert_eq!(disks, [disk]);
}

#[test]
fn a_logical_volume_may_be_on_two_disks() {
    let fake = Fake::new();
    fake.nvme("nvme1n1", "259:0", "vol0a");
    fake.nvme("nvme2n1", "259:5", "vol00000000000000002");
    fake.partition("nvme1n1/nvme1n1p1", "259:1");
    fake.device("dm-0", "253:0");
    fake.write("dm-0/dm/name", "vg-data\n");
    fake.write("dm-0/dm/uuid", "LVM-abcdef\n");
    fake.part("dm-0", "nvme2n1");
    fake.part("dm-0", "nvme1n1/nvme1n1p1");
    fake.device("dm-1", "253:1");
    fake.write("dm-1/dm/name", "secret\n");
    fake.write("dm-1/dm/uuid", "CRYPT-LUKS2-0123-secret\n");
    fake.part("dm-1", "dm-0");
    let (layers, volumes) = fake.under("253:1");
    let expected =
        ["crypt secret", "lvm vg-data", "partition nvme1n1p1", "disk nvme2n1", "disk nvme1n1"];
    assert_eq!(layers, expected);
    assert_eq!(volumes, ["vol-00000000000000002", ""], "vol0a is no volume's id");
    let number = DeviceNumber::parse("253:0").unwrap();
    assert_eq!(fake.sysfs().device(number).unwrap(), "/dev/mapper/vg-data");
    let stack = fake.sysfs().under(number).unwrap();
    assert_eq!(stack.between().count(), 2);
}

#[test]
fn raid_and_its_partition() {
    let fake = Fake::new();
    fake.nvme("nvme1n1", "259:0", "vol00000001");
    fake.nvme("nvme2n1", "259:1", "vol-00000002");
    fake.device("md0", "9:0");
    fake.write("md0/md/level", "raid0\n");
    fake.part("md0", "nvme1n1");
    fake.part("md0", "nvme2n1");
    fake.partition("md0/md0p1", "259:7");
    let (layers, volumes) = fake.under("259:7");
    assert_eq!(layers, ["partition md0p1", "raid md0", "disk nvme1n1", "disk nvme2n1"]);
    assert_eq!(volumes, ["vol-00000001", "vol-00000002"]);
}

#[test]
fn a_loop_device_is_no_volume() {
    let fake = Fake::new();
    fake.device("loop3", "7:3");
    fake.write("loop3/loop/backing_file", "/image\n");
    let (layers, volumes) = fake.under("7:3");
    assert_eq!(layers, ["loop loop3"]);
    assert_eq!(volumes, [""]);
    let error = fake.sysfs().under(DeviceNumber { major: 7, minor: 4 }).unwrap_err();
    let at = fake.temporary.path().display();
    assert_eq!(error.to_string(), format!("found no block device 7:4 in \"{at}\""));
}

#[test]
fn the_name_is_that_of_the_list_and_the_device_that_of_its_events() {
    let fake = Fake::new();
    fake.nvme("loop3", "7:3", "vol0123456789abcdef0");
    let block = fake.temporary.path().join("block");
    fs::rename(block.join("loop3"), block.join("nvme1n1")).unwrap();
    let stack = fake.sysfs().under(DeviceNumber { major: 7, minor: 3 }).unwrap();
    let disk = stack.disks.first().unwrap();
    assert_eq!((disk.name.as_str(), disk.device.as_str()), ("nvme1n1", "/dev/loop3"));
    assert_eq!(stack.layers.first().unwrap().to_string(), "disk nvme1n1");
    // Such as `cciss!c0d0`.
    fake.device("array!c0d0", "104:0");
    fs::remove_file(fake.temporary.path().join("devices/array!c0d0/uevent")).unwrap();
    let number = DeviceNumber { major: 104, minor: 0 };
    assert_eq!(fake.sysfs().device(number).unwrap(), "/dev/array/c0d0");
}

#[test]
fn kinds_of_device_mapper() {
    let fake = Fake::new();
    fake.nvme("sda", "8:0", "x");
    for (minor, uuid, kind) in [
        (0, "mpath-3600", "multipath"),
        (1, "part1-mpath-3600", "partition"),
        (2, "DM-RAID-x", "mapper"),
        (3, "", "mapper"),
    ] {
        let name = format!("dm-{minor}");
        fake.device(&name, &format!("253:{minor}"));
        fake.write(&format!("{name}/dm/uuid"), uuid);
        fake.part(&name, "sda");
        let (layers, _) = fake.under(&format!("253:{minor}"));
        assert_eq!(layers.first().unwrap(), &format!("{kind} {name}"));
    }
    fake.device("bcache0", "252:0");
    fake.part("bcache0", "sda");
    assert_eq!(fake.under("252:0").0, ["other bcache0", "disk sda"]);
}

#[test]
fn btrfs_is_on_all_of_its_devices() {
    let fake = Fake::new();
    fake.nvme("nvme1n1", "259:0", "vol00000001");
    fake.nvme("nvme2n1", "259:1", "vol00000002");
    let devices = fake.temporary.path().join("fs/btrfs/0d5c1a2e/devices");
    fs::create_dir_all(&devices).unwrap();
    fs::create_dir_all(fake.temporary.path().join("fs/btrfs/features")).unwrap();
    for name in ["nvme1n1", "nvme2n1"] {
        symlink(fake.temporary.path().join("devices").join(name), devices.join(name)).unwrap();
    }
    let numbers = fake.sysfs().of_btrfs(DeviceNumber { major: 259, minor: 1 }).unwrap();
    assert_eq!(numbers.len(), 2);
    assert_eq!(fake.sysfs().of_btrfs(DeviceNumber { major: 259, minor: 2 }), None);
    let other =
        |uuid: &str, minor| fake.sysfs().has_other_btrfs(uuid, DeviceNumber { major: 259, minor });
    assert!(other("0d5c1a2e", 2) && !other("0d5c1a2e", 1) && !other("none", 2));
}

#[test]
fn filesystems_that_are_on_no_device_are_refused() {
    let mount = |fstype: &str, device: &str| Mount {
        point: PathBuf::from("/data"),
        root: PathBuf::from("/"),
        fstype: fstype.to_owned(),
        device: device.to_owned(),
        number: DeviceNumber { major: 0, minor: 50 },
        options: Vec::new(),
    };
    let sysfs = Sysfs::default();
    for (fstype, device) in [("overlay", "overlay"), ("btrfs", "/no/such/device"), ("btrfs", "/")] {
        let error = sysfs.under_mount(Path::new("/data/x"), &mount(fstype, device)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "\"/data/x\" is on no block device: \"/data\" is a filesystem of type {fstype}"
            )
        );
    }
}

#[test]
fn the_real_kernel_is_understood() {
    let sysfs = Sysfs::default();
    let disks = sysfs.disks().unwrap();
    for disk in disks.iter().take(4) {
        let stack = sysfs.under(disk.number).unwrap();
        assert!(!stack.layers.is_empty());
        assert_eq!(sysfs.device(disk.number).unwrap().split('/').next(), Some(""));
    }
    if disks.is_empty() {
        println!("skipped: the kernel lists no block device here");
    }
}

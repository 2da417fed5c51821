use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Child, Command, Stdio};

use host::DeviceNumber;

use super::*;
use crate::{Role, UploadState, VolumeRecord};

const VOLUME: &str = "vol-0123456789abcdef0";

/// A database cluster in a temporary directory, and a `/sys` of our own in which the real disk of that directory is
/// an EBS volume with a partition.
struct Case {
    _temporary: tempfile::TempDir,
    top: PathBuf,
    device: String,
}

impl Case {
    /// `None` when the temporary directory is on no disk that this user sees.
    fn new(serial: &str) -> Option<Self> {
        let temporary = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(temporary.path()).unwrap();
        let mounts = Mounts::read().unwrap();
        let mount = mounts.of(&top).unwrap();
        let sysfs = Sysfs::default();
        let Ok(device) = sysfs.device_of_mount(&top, mount) else {
            println!("skipped: \"{}\" is on no disk of this host", top.display());
            return None;
        };
        if !Path::new(&device).exists() || mount.fstype == "btrfs" || mount.root != Path::new("/") {
            println!("skipped: \"{}\" is not simply on a disk", top.display());
            return None;
        }
        for directory in ["data/base", "data/pg_tblspc", "wal", "space"] {
            fs::create_dir_all(top.join(directory)).unwrap();
        }
        symlink(top.join("wal"), top.join("data/pg_wal")).unwrap();
        symlink(top.join("space"), top.join("data/pg_tblspc/16400")).unwrap();
        let case = Self { _temporary: temporary, top, device };
        let disk = |name: &str, number: &str, serial: &str| {
            case.write(&format!("devices/{name}/dev"), number);
            case.write(&format!("devices/{name}/size"), "4096\n");
            case.write(&format!("devices/{name}/device/serial"), serial);
            case.write(&format!("devices/{name}/device/model"), "Some Disk");
            case.link(&format!("devices/{name}"), &format!("block/{name}"));
            case.link(&format!("devices/{name}"), &format!("dev/block/{number}"));
        };
        disk("nvme1n1", "259:900", serial);
        disk("nvme2n1", "259:901", "vol00000002");
        let partition = "devices/nvme1n1/nvme1n1p1";
        let number = DeviceNumber::of(fs::metadata(&case.top).unwrap().dev()).to_string();
        case.write(&format!("{partition}/dev"), &number);
        case.write(&format!("{partition}/size"), "4000");
        case.write(&format!("{partition}/partition"), "1");
        let name = case.device.strip_prefix("/dev/").unwrap();
        case.write(&format!("{partition}/uevent"), &format!("DEVNAME={name}\n"));
        case.link(partition, &format!("dev/block/{number}"));
        Some(case)
    }

    fn sysfs(&self) -> Sysfs {
        Sysfs::at(self.top.join("sys"))
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.top.join("sys").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, to: &str, at: &str) {
        let at = self.top.join("sys").join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(self.top.join("sys").join(to), at).unwrap();
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source::new(Role::Tablespace(16400), self.top.join("space")),
            Source::new(Role::Wal, self.top.join("data/pg_wal")),
            Source::new(Role::DataDirectory, self.top.join("data")),
        ]
    }

    fn discover(&self, inside: Option<&Process>) -> Result<ClusterVolumes, SnapshotError> {
        ClusterVolumes::discover(&self.sources(), inside, &self.sysfs())
    }

    /// `path`, below the temporary directory, as a path in its filesystem.
    fn in_filesystem(&self, path: &str) -> PathBuf {
        let mounts = Mounts::read().unwrap();
        let point = &mounts.of(&self.top).unwrap().point;
        self.top.join(path).strip_prefix(point).unwrap().to_path_buf()
    }
}

/// A process with mounts of its own; `None` where none can be made.
fn elsewhere(script: &str) -> Option<(Child, Process)> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: a mount namespace needs root");
        return None;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the test needs a process that stays, with a pipe that ends it"
    )]
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg(format!("{script}\necho ready\nread -r line"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.trim() != "ready" {
        println!("skipped: no mount namespace can be made here");
        let _ = child.wait();
        return None;
    }
    let process = Process::find(i32::try_from(child.id()).unwrap()).unwrap();
    Some((child, process))
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    let _ = child.wait();
}

#[test]
fn everything_is_found_from_the_directories() {
    let Some(case) = Case::new("vol0123456789abcdef0") else { return };
    let volumes = case.discover(None).unwrap();
    let mounts = Mounts::read().unwrap();
    let mount = mounts.of(&case.top).unwrap();
    assert_eq!(
        volumes.volumes,
        [ClusterVolume { id: VOLUME.into(), device: "/dev/nvme1n1".into(), bytes: 4096 * 512 }]
    );
    assert_eq!(volumes.other_volumes, ["vol-00000002"]);
    let is_root = mounts.of(Path::new("/")).unwrap().number == mount.number;
    assert_eq!(volumes.root_volume, is_root.then(|| VOLUME.to_owned()));
    assert_eq!(volumes.instance, None);
    let [filesystem] = volumes.filesystems.as_slice() else { panic!("{volumes:?}") };
    assert_eq!(filesystem.mount_point, mount.point);
    assert_eq!(filesystem.device, case.device);
    assert_eq!(filesystem.fstype, mount.fstype);
    assert_eq!(filesystem.options, mount.options);
    assert_eq!(filesystem.layers, ["partition nvme1n1p1"]);
    assert_eq!(filesystem.volumes, [VOLUME]);
    assert_eq!(filesystem.uuid.is_some(), fs::File::open(&case.device).is_ok());
    let mut covers = case.sources();
    covers.reverse();
    assert_eq!(filesystem.covers, covers, "the data directory first, and paths as they were given");
    let directories = ["data", "wal", "space"].map(|path| case.in_filesystem(path));
    assert_eq!(filesystem.directories, directories);

    let json = serde_json::to_string(&volumes).unwrap();
    assert_eq!(serde_json::from_str::<ClusterVolumes>(&json).unwrap(), volumes);
}

#[test]
fn what_is_on_no_volume_is_named() {
    let Some(case) = Case::new("S4EVNX0R") else { return };
    let error = case.discover(None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "data directory \"{}\" is not on EBS volumes: it is on \"/dev/nvme1n1\" (Some Disk)",
            case.top.join("data").display()
        )
    );
    assert_eq!(error.kind(), "snapshot_not_covered");
}

#[test]
fn memory_is_no_disk() {
    let Some(case) = Case::new("vol00000001") else { return };
    let mounts = Mounts::read().unwrap();
    let memory = Path::new("/dev/shm");
    if mounts.of(memory).unwrap().fstype != "tmpfs" {
        println!("skipped: /dev/shm is no tmpfs");
        return;
    }
    let wal = tempfile::tempdir_in(memory).unwrap();
    fs::remove_file(case.top.join("data/pg_wal")).unwrap();
    symlink(wal.path(), case.top.join("data/pg_wal")).unwrap();
    let error = case.discover(None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "WAL directory \"{}\" is not on EBS volumes",
            case.top.join("data/pg_wal").display()
        )
    );
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        format!(
            "\"{}\" is on no block device: \"/dev/shm\" is a filesystem of type tmpfs",
            wal.path().display()
        )
    );
}

#[test]
fn a_part_that_was_not_given_is_named() {
    let Some(case) = Case::new("vol00000001") else { return };
    let sources = case.sources();
    let discover =
        |sources: &[Source]| ClusterVolumes::discover(sources, None, &case.sysfs()).unwrap_err();
    let error = discover(&sources[1..]);
    assert!(matches!(error, SnapshotError::NotCovered { .. }), "{error}");
    let error = discover(&[sources[0].clone(), sources[2].clone()]);
    assert!(error.to_string().contains("it was not given as WAL directory"), "{error}");
    assert!(matches!(discover(&sources[..2]), SnapshotError::NoDataDirectory));
}

#[test]
fn a_container_is_seen_through() {
    let Some(case) = Case::new("vol00000001") else { return };
    let top = case.top.display();
    // Inside, the data directory is a part of the volume, as Docker mounts it.
    let script = format!(
        "mkdir '{top}/inside'; mount --bind '{top}/data' '{top}/inside'
         mount -t tmpfs none '{top}/data'; mkdir '{top}/data/base'"
    );
    let Some((child, process)) = elsewhere(&script) else { return };
    let sources = [
        Source::new(Role::DataDirectory, case.top.join("inside")),
        Source::new(Role::Wal, case.top.join("wal")),
        Source::new(Role::Tablespace(16400), case.top.join("space")),
    ];
    let discover =
        |sources: &[Source], inside| ClusterVolumes::discover(sources, inside, &case.sysfs());
    let volumes = discover(&sources, Some(&process)).unwrap();
    let filesystem = volumes.filesystems.first().unwrap();
    assert_eq!(filesystem.covers, sources);
    let directories = ["data", "wal", "space"].map(|path| case.in_filesystem(path));
    assert_eq!(filesystem.directories, directories);
    assert_eq!(filesystem.mount_point, Mounts::read().unwrap().of(&case.top).unwrap().point);
    let error = discover(&sources, None).unwrap_err();
    assert!(error.to_string().contains("/pg_wal"), "there is nothing at that path for us: {error}");
    end(child);
    assert!(discover(&sources, Some(&process)).is_err());
}

#[test]
fn a_mount_inside_a_source_is_refused() {
    let Some(case) = Case::new("vol00000001") else { return };
    let top = case.top.display();
    let script = format!("mount -t tmpfs none '{top}/data/base'");
    let Some((child, process)) = elsewhere(&script) else { return };
    assert_eq!(
        case.discover(Some(&process)).unwrap_err().to_string(),
        format!(
            "mount point \"{top}/data/base\" inside the data directory \"{top}/data\" would not be in the snapshot"
        )
    );
    assert!(case.discover(None).is_ok());
    end(child);
}

fn record(volume: &str, of: &[&str], covers: &[Source]) -> SnapshotRecord {
    let filesystem = ClusterFilesystem {
        mount_point: "/data".into(),
        device: "/dev/mapper/vg-data".into(),
        fstype: "xfs".into(),
        uuid: None,
        label: None,
        options: Vec::new(),
        layers: Vec::new(),
        volumes: of.iter().map(|id| (*id).to_owned()).collect(),
        covers: covers.to_vec(),
        directories: covers.iter().map(|_| PathBuf::from("x")).collect(),
    };
    let mut record = crate::record::tests::record();
    record.covers = covers.to_vec();
    record.volume = Some(VolumeRecord {
        volume_id: volume.to_owned(),
        filesystems: vec![filesystem],
        ..crate::record::tests::volume(UploadState::Pending)
    });
    record
}

#[test]
fn every_source_and_every_volume_of_it_must_be_there() {
    let data = Source::new(Role::DataDirectory, "/data/main");
    let wal = Source::new(Role::Wal, "/wal");
    let both = [data.clone(), wal.clone()];
    let one = record("vol-1", &["vol-1", "vol-2"], std::slice::from_ref(&data));
    let two = record("vol-2", &["vol-1", "vol-2"], std::slice::from_ref(&data));
    let three = record("vol-3", &["vol-3"], std::slice::from_ref(&wal));
    check_covered(&both, &[one.clone(), two.clone(), three.clone()]).unwrap();
    let refused =
        |records: &[SnapshotRecord]| check_covered(&both, records).unwrap_err().to_string();
    assert_eq!(
        refused(&[one.clone(), two]),
        "WAL directory \"/wal\" would not be in the snapshot: no snapshot has it"
    );
    assert_eq!(
        refused(&[one, three]),
        "data directory \"/data/main\" would not be in the snapshot: volume \"vol-2\", which the filesystem at \"/data\" is on, has no snapshot"
    );
}

#[test]
fn records_of_other_providers_name_resolved_paths() {
    let temporary = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(temporary.path()).unwrap();
    symlink(&real, real.join("link")).unwrap();
    let mut record = crate::record::tests::record();
    record.covers = vec![Source::new(Role::DataDirectory, &real)];
    let given = Source::new(Role::DataDirectory, real.join("link"));
    check_covered(std::slice::from_ref(&given), std::slice::from_ref(&record)).unwrap();
    // For a volume, another path is another server's.
    let record = self::record("vol-1", &["vol-1"], &record.covers);
    assert!(check_covered(&[given], &[record]).is_err());
}

//! What there is: instances, volumes, snapshots.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::keys::{Caller, Key};
use super::parameters::{self, Form, Read};
use super::script::{Fault, Script};
use super::storage::Storage;
use super::throttle::Bucket;
use super::{Call, Nodes, Refusal, instances, snapshots, tags, volumes};

/// The account that everything belongs to.
pub const ACCOUNT: &str = "123456789012";
/// An account that is not ours.
pub const OTHER_ACCOUNT: &str = "999999999999";

/// Tags by their keys.
pub type Tags = BTreeMap<String, String>;

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// As `eu-central-1`.
    pub region: String,
    /// As `eu-central-1a`.
    pub zone: String,
    /// The volume at `/dev/xvda`.
    pub root_volume: String,
    /// Its tags.
    pub tags: Tags,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// As `eu-central-1`.
    pub region: String,
    /// As `eu-central-1a`.
    pub zone: String,
    /// Its size.
    pub gibibytes: u32,
    /// As `gp3`.
    pub kind: String,
    /// Operations a second, where they were given or the type has them.
    pub iops: Option<u32>,
    /// MiB a second.
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key's ARN.
    pub kms_key: Option<String>,
    /// The snapshot it was made from.
    pub snapshot: Option<String>,
    /// MiB a second at which it is filled from its snapshot.
    pub initialization_rate: Option<u32>,
    /// When it was made.
    pub created: SystemTime,
    /// Its tags.
    pub tags: Tags,
    /// The instance it is attached to.
    pub attachment: Option<Attachment>,
    pub(crate) token: Option<String>,
    pub(crate) available: SystemTime,
    pub(crate) fails: Option<SystemTime>,
    pub(crate) visible: SystemTime,
}

/// Where a volume is attached.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// `i-…`.
    pub instance: String,
    /// The name in the API, as `/dev/sdf`.
    pub device: String,
    /// When that was asked for.
    pub since: SystemTime,
    pub(crate) attached: SystemTime,
    /// The moment from which on it may be gone.
    pub(crate) detaching: Option<SystemTime>,
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `snap-…`.
    pub id: String,
    /// As `eu-central-1`.
    pub region: String,
    /// The volume it is of; `vol-ffffffff` for a copy, as EC2 has it.
    pub volume: String,
    /// The snapshot it was copied from.
    pub copied_from: Option<String>,
    /// The volume's size.
    pub gibibytes: u32,
    /// What the call gave.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
    /// Whose it is.
    pub owner: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key's ARN.
    pub kms_key: Option<String>,
    /// Its point in time.
    pub started: SystemTime,
    /// Its lock.
    pub lock: Option<Lock>,
    /// Zones in which it restores fast.
    pub fast_restore: Vec<String>,
    pub(crate) completes: SystemTime,
    pub(crate) fails: Option<(SystemTime, String)>,
    pub(crate) visible: SystemTime,
}

/// A lock on a snapshot.
#[derive(Clone, Debug)]
pub struct Lock {
    /// `governance` or `compliance`.
    pub mode: String,
    /// Days.
    pub duration: u32,
    /// Hours.
    pub cool_off: Option<u32>,
    /// When it was locked.
    pub since: SystemTime,
}

impl Snapshot {
    /// `pending`, `completed` or `error`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let now = SystemTime::now();
        match &self.fails {
            Some((when, _)) if *when <= now => "error",
            _ if self.completes <= now => "completed",
            _ => "pending",
        }
    }

    /// Percent.
    #[must_use]
    pub fn progress(&self) -> u128 {
        let part = |d: Result<Duration, _>| d.map_or(0, |d: Duration| d.as_millis());
        let whole = part(self.completes.duration_since(self.started));
        let done = part(SystemTime::now().duration_since(self.started));
        if done >= whole { 100 } else { done * 100 / whole }
    }
}

impl Volume {
    /// `creating`, `available`, `in-use` or `error`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.attachment {
            Some(_) => "in-use",
            None if self.fails.is_some_and(|when| when <= SystemTime::now()) => "error",
            None if self.available > SystemTime::now() => "creating",
            None => "available",
        }
    }
}

/// All that the service knows.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) region: String,
    pub(crate) instances: Vec<Instance>,
    pub(crate) volumes: Vec<Volume>,
    /// Whose tokens still stand for them.
    pub(crate) deleted: Vec<Volume>,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) keys: Vec<Key>,
    pub(crate) script: Script,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) volume_rate: Duration,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) count: u64,
}

impl World {
    /// Empty.
    pub(crate) fn new(region: &str, storage: Box<dyn Storage>) -> Self {
        Self {
            region: region.to_owned(),
            instances: Vec::new(),
            volumes: Vec::new(),
            deleted: Vec::new(),
            snapshots: Vec::new(),
            keys: Vec::new(),
            script: Script::default(),
            bucket: None,
            volume_rate: Duration::ZERO,
            storage,
            count: 0,
        }
    }

    /// Notes a volume that has been attached for long.
    pub(crate) fn add_volume(&mut self, id: String, instance: &str, device: &str, gibibytes: u32) {
        let now = SystemTime::now();
        let found = self.instances.iter().find(|i| i.id == instance);
        let found = found.unwrap_or_else(|| panic!("there is no instance {instance}"));
        let (region, zone) = (found.region.clone(), found.zone.clone());
        self.volumes.push(Volume {
            id,
            region,
            zone,
            gibibytes,
            kind: "gp3".to_owned(),
            iops: Some(3000),
            throughput: Some(125),
            encrypted: false,
            kms_key: None,
            snapshot: None,
            initialization_rate: None,
            created: now,
            tags: Tags::new(),
            attachment: Some(Attachment {
                instance: instance.to_owned(),
                device: device.to_owned(),
                since: now,
                attached: now,
                detaching: None,
            }),
            token: None,
            available: now,
            fails: None,
            visible: now,
        });
    }

    /// A call: what happens to it, and its answer, which may be lost.
    pub(crate) fn call(&mut self, action: &str, form: &Form, caller: &Caller) -> (Fault, Nodes) {
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.take()) {
            let refusal = Refusal::new("RequestLimitExceeded", "Request limit exceeded.");
            return (Fault::None, Err(refusal));
        }
        let region = caller.region.clone().unwrap_or_else(|| self.region.clone());
        let checked = caller
            .check(self, (action, form), &region)
            .and_then(|()| parameters::check_known(action, form));
        if let Err(refusal) = checked {
            return (Fault::None, Err(refusal));
        }
        let fault = self.script.next(action);
        match &fault {
            Fault::Refuse(code, message) => {
                let refusal = Refusal::new(code, message);
                return (Fault::None, Err(refusal));
            }
            Fault::LoseRequest(_) => return (fault, Ok(Vec::new())),
            _ if form.flag("DryRun") => {
                let message = "Request would have succeeded, but DryRun flag is set.";
                return (fault, Err(Refusal::new("DryRunOperation", message)));
            }
            _ => {}
        }
        self.settle();
        let behaviour = self.script.of(action);
        let call = Call { form, region, behaviour, fault: fault.clone() };
        let result = action_of(action).map_or_else(
            || Err(Refusal::new("InvalidAction", format!("The action {action} is not valid"))),
            |act| act(self, &call),
        );
        (fault, result)
    }

    /// A new id, as `vol-0…`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        // EC2's have 17 digits; these look as scattered as EC2's do, so that no order can be read
        // from them
        let scattered = self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{prefix}-0{scattered:016x}")
    }

    /// The instance of that id.
    pub(crate) fn instance(&self, id: &str, region: &str) -> Result<&Instance, Refusal> {
        check_id(id, "i-", "InvalidInstanceID.Malformed")?;
        self.instances.iter().find(|i| i.id == id && i.region == region).ok_or_else(|| {
            let message = format!("The instance ID '{id}' does not exist");
            Refusal::new("InvalidInstanceID.NotFound", message)
        })
    }

    /// Where the volume of that id is in the list.
    pub(crate) fn volume(&self, id: &str, region: &str) -> Result<usize, Refusal> {
        check_id(id, "vol-", "InvalidParameterValue")?;
        self.volumes.iter().position(|v| v.id == id && v.region == region).ok_or_else(|| {
            let message = format!("The volume '{id}' does not exist.");
            Refusal::new("InvalidVolume.NotFound", message)
        })
    }

    /// Where the snapshot of that id is in the list.
    pub(crate) fn snapshot(&self, id: &str, region: &str) -> Result<usize, Refusal> {
        check_id(id, "snap-", "InvalidSnapshotID.Malformed")?;
        self.snapshots.iter().position(|s| s.id == id && s.region == region).ok_or_else(|| {
            let message = format!("The snapshot '{id}' does not exist.");
            Refusal::new("InvalidSnapshot.NotFound", message)
        })
    }

    /// Ends what had to take its time: detachments whose device is free.
    pub(crate) fn settle(&mut self) {
        let (now, storage) = (SystemTime::now(), &mut self.storage);
        for volume in &mut self.volumes {
            let leaving = volume.attachment.as_ref().and_then(|a| a.detaching);
            if leaving.is_some_and(|when| when <= now) && !storage.is_busy(&volume.id) {
                volume.attachment = None;
            }
        }
    }
}

type Action = fn(&mut World, &Call<'_>) -> Nodes;

fn action_of(name: &str) -> Option<Action> {
    Some(match name {
        "AttachVolume" => volumes::attach,
        "CopySnapshot" => snapshots::copy,
        "CreateSnapshot" => snapshots::create_one,
        "CreateSnapshots" => snapshots::create_many,
        "CreateTags" => tags::create,
        "CreateVolume" => volumes::create,
        "DeleteSnapshot" => snapshots::delete,
        "DeleteTags" => tags::delete,
        "DeleteVolume" => volumes::delete,
        "DescribeAvailabilityZones" => instances::zones,
        "DescribeInstances" => instances::describe,
        "DescribeSnapshots" => snapshots::describe,
        "DescribeTags" => tags::describe,
        "DescribeVolumes" => volumes::describe,
        "DetachVolume" => volumes::detach,
        "EnableFastSnapshotRestores" => snapshots::enable_fast_restore,
        "LockSnapshot" => snapshots::lock,
        "UnlockSnapshot" => snapshots::unlock,
        _ => return None,
    })
}

fn check_id(id: &str, prefix: &str, code: &str) -> Result<(), Refusal> {
    let digits = id.strip_prefix(prefix).unwrap_or_default();
    if [8, 17].contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Refusal::new(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}...\")")))
}

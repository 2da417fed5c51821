//! EC2, scripted: snapshots and volumes over its Query protocol, as AWS's own
//! clients speak it, with faults at will.
//!
//! ```no_run
//! use backstay_tests::Ec2;
//! use std::time::Duration;
//!
//! let ec2 = Ec2::start();
//! let instance = ec2.instance();
//! let data = ec2.add_volume(&instance, "/dev/sdf", 8);
//! ec2.on("CreateSnapshots").fail_times(2, "RequestLimitExceeded").drop_answer_once();
//! ec2.on("CreateSnapshots").pending_for(Duration::from_secs(5));
//! // … something that talks to ec2.endpoint() …
//! assert_eq!(ec2.calls("CreateSnapshots").len(), 3);
//! assert_eq!(ec2.snapshots()[0].volume, data);
//! ```
//!
//! The region of a call is the one it was signed for. Tests, and nobody else,
//! can read the log of calls as JSON from `/calls`.

pub mod boto3;
pub mod client;
mod filters;
pub(crate) mod http;
mod instances;
mod keys;
mod log;
mod parameters;
mod policy;
pub mod program;
mod script;
mod service;
mod snapshots;
pub mod storage;
mod tags;
mod throttle;
mod volumes;
mod world;
mod xml;

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};

pub use keys::Key;
pub use log::{Logged, Outcome};
pub use parameters::Form;
pub use script::{Lost, On};
pub use storage::Storage;
pub use world::{ACCOUNT, Attachment, Instance, Lock, OTHER_ACCOUNT, Snapshot, Tags, Volume};

use http::Listener;
use script::{Behaviour, Fault};
use service::Service;
use world::World;
use xml::Node;

/// The region that everything is in unless it is said otherwise.
pub const REGION: &str = "eu-central-1";

/// An error answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    code: String,
    message: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// The HTTP status that EC2 has for the code.
    fn status(&self) -> u16 {
        match self.code.as_str() {
            "AuthFailure" => 401,
            "UnauthorizedOperation" => 403,
            "DryRunOperation" => 412,
            "InternalError" | "InternalFailure" => 500,
            "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" => 503,
            _ => 400,
        }
    }
}

pub(crate) type Nodes = Result<Vec<Node>, Refusal>;

/// One call, as an action sees it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) form: &'a Form,
    pub(crate) region: String,
    pub(crate) behaviour: Behaviour,
    pub(crate) fault: Fault,
}

/// The service. It ends, and with it every connection, when this is dropped.
#[derive(Debug)]
pub struct Ec2 {
    listener: Listener,
    service: Arc<Service>,
}

impl Ec2 {
    /// On 127.0.0.1, with one instance that has nothing but its root volume.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0", Box::new(storage::Nothing))
    }

    /// The same on another address, as `0.0.0.0:0`, with real blocks.
    ///
    /// # Panics
    ///
    /// When it cannot listen, or the storage makes no root volume.
    #[must_use]
    pub fn start_at(address: &str, storage: Box<dyn Storage>) -> Self {
        let world = World::new(REGION, storage);
        let service = Arc::new(Service::of(world));
        let asked = Arc::clone(&service);
        let listener = Listener::start(address, Arc::new(move |request| asked.serve(request)));
        let ec2 = Self { listener, service };
        let _ = ec2.add_instance("database", REGION, "eu-central-1a");
        ec2
    }

    /// As `http://127.0.0.1:40000`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.service.world()
    }

    /// The first instance.
    #[must_use]
    pub fn instance(&self) -> String {
        self.world().instances[0].id.clone()
    }

    /// What there is to know of an instance.
    ///
    /// # Panics
    ///
    /// When there is none of that id.
    #[track_caller]
    #[must_use]
    pub fn describe(&self, instance: &str) -> Instance {
        let found = self.world().instances.iter().find(|i| i.id == instance).cloned();
        found.unwrap_or_else(|| panic!("there is no instance {instance}"))
    }

    /// A further instance with its root volume; gives its id.
    ///
    /// # Panics
    ///
    /// When the storage makes no root volume.
    #[must_use]
    pub fn add_instance(&self, name: &str, region: &str, zone: &str) -> String {
        let mut world = self.world();
        let (id, root) = (world.id("i"), world.id("vol"));
        world.instances.push(Instance {
            id: id.clone(),
            region: region.to_owned(),
            zone: zone.to_owned(),
            root_volume: root.clone(),
            tags: Tags::from([("Name".to_owned(), name.to_owned())]),
        });
        world.add_volume(root, &id, instances::ROOT_DEVICE, 8);
        id
    }

    /// A volume of that many GiB, attached to the instance at `device`; gives its id.
    ///
    /// # Panics
    ///
    /// When there is no such instance, or the storage does not make the volume.
    #[must_use]
    pub fn add_volume(&self, instance: &str, device: &str, gibibytes: u32) -> String {
        let mut world = self.world();
        let id = world.id("vol");
        world.storage.create(&id, gibibytes, None).expect("the storage makes a volume");
        world.storage.attach(&id, instance).expect("the storage attaches a volume");
        world.add_volume(id.clone(), instance, device, gibibytes);
        id
    }

    /// A completed snapshot that another account has, and everybody can see; gives its id.
    #[must_use]
    pub fn add_foreign_snapshot(&self) -> String {
        let mut world = self.world();
        let (id, volume, now) = (world.id("snap"), world.id("vol"), SystemTime::now());
        let region = world.region.clone();
        world.snapshots.push(Snapshot {
            id: id.clone(),
            region,
            volume,
            copied_from: None,
            gibibytes: 8,
            description: "not ours".to_owned(),
            tags: Tags::new(),
            owner: OTHER_ACCOUNT.to_owned(),
            encrypted: false,
            kms_key: None,
            started: now,
            lock: None,
            fast_restore: Vec::new(),
            completes: now,
            fails: None,
            visible: now,
        });
        id
    }

    /// How an action is to behave from now on.
    #[must_use]
    pub fn on<'a>(&'a self, action: &'a str) -> On<'a> {
        On { ec2: self, action }
    }

    /// Answers at most so many calls a second, after a first burst, and
    /// `RequestLimitExceeded` to the rest.
    pub fn throttle(&self, rate: f64, burst: f64) {
        self.world().bucket = Some(throttle::Bucket::new(rate, burst));
    }

    /// Refuses a snapshot of a volume within `time` of its last one (15 s in
    /// EC2) with `SnapshotCreationPerVolumeRateExceeded`.
    pub fn limit_volume_rate(&self, time: Duration) {
        self.world().volume_rate = time;
    }

    /// Lets only known access keys in from now on, and this is one.
    pub fn add_key(&self, key: Key) {
        self.world().keys.push(key);
    }

    /// Makes a call without a signature, as `Action=DeleteVolume&VolumeId=vol-…`,
    /// and gives its answer, be it an error; nothing where it is lost.
    #[must_use]
    pub fn ask(&self, form: &str) -> String {
        let form = format!("Version=2016-11-15&{form}");
        client::ask(&self.endpoint(), "POST /", &form).map(|(_, body)| body).unwrap_or_default()
    }

    /// The calls of that action so far, as they came.
    #[must_use]
    pub fn calls(&self, action: &str) -> Vec<Logged> {
        self.all_calls().into_iter().filter(|call| call.action == action).collect()
    }

    /// All calls so far, as they came.
    #[must_use]
    pub fn all_calls(&self) -> Vec<Logged> {
        self.service.log().clone()
    }

    /// Every snapshot of ours there is, of all regions, the oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.world().snapshots.iter().filter(|s| s.owner == ACCOUNT).cloned().collect()
    }

    /// The snapshot of that id.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn snapshot(&self, id: &str) -> Snapshot {
        let found = self.world().snapshots.iter().find(|s| s.id == id).cloned();
        found.unwrap_or_else(|| panic!("there is no snapshot {id}"))
    }

    /// Every volume there is, root volumes among them, the oldest first.
    #[must_use]
    pub fn volumes(&self) -> Vec<Volume> {
        let mut world = self.world();
        world.settle();
        world.volumes.clone()
    }

    /// The volume of that id.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn volume(&self, id: &str) -> Volume {
        let found = self.volumes().into_iter().find(|v| v.id == id);
        found.unwrap_or_else(|| panic!("there is no volume {id}"))
    }

    /// Changes a volume: its type, its encryption, its tags.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn edit_volume(&self, id: &str, change: impl FnOnce(&mut Volume)) {
        let mut world = self.world();
        let found = world.volumes.iter_mut().find(|v| v.id == id);
        change(found.unwrap_or_else(|| panic!("there is no volume {id}")));
    }

    /// Changes a snapshot: its tags, its owner, its lock.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn edit_snapshot(&self, id: &str, change: impl FnOnce(&mut Snapshot)) {
        let mut world = self.world();
        let found = world.snapshots.iter_mut().find(|s| s.id == id);
        change(found.unwrap_or_else(|| panic!("there is no snapshot {id}")));
    }

    /// Makes a pending snapshot complete now.
    pub fn complete(&self, id: &str) {
        self.edit_snapshot(id, |s| s.completes = SystemTime::now());
    }

    /// Turns a snapshot to `error` now.
    pub fn break_snapshot(&self, id: &str, message: &str) {
        self.edit_snapshot(id, |s| s.fails = Some((SystemTime::now(), message.to_owned())));
    }
}

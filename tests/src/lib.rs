//! Fixtures of the integration tests: real PostgreSQL servers, a writer that
//! remembers what it committed, real `ansible-playbook`, a real `sshd`, small
//! file systems.
//!
//! A fixture ends what it started when it is dropped, also when the test
//! panics; where the test process itself is killed, its servers die with it
//! (`setpriv --pdeathsig`) and `tests/setup/sweep` takes back the rest.
//!
//! Nothing is skipped silently: see [`need`].

pub mod amcheck;
pub mod ansible;
pub mod backup;
pub mod basebackup;
pub mod certificates;
pub mod cloud;
pub mod collection;
pub mod command;
pub mod container;
pub mod docker;
pub mod drills;
pub mod ec2;
pub mod imds;
pub mod inside;
pub mod log;
pub mod moto;
pub mod mount;
pub mod need;
pub mod nspawn;
pub mod object_store;
pub mod place;
pub mod pooler;
pub mod scene;
pub mod server;
pub mod sshd;
pub mod volumes;
pub mod wait;
pub mod writer;

pub use amcheck::amcheck;
pub use ansible::{Ansible, Become, Core, Outcome, Run};
pub use backup::{Backup, Login};
pub use basebackup::{BaseBackup, Drilled};
pub use cloud::Cloud;
pub use container::Container;
pub use docker::{ContainerScene, ContainerServer, Docker};
pub use drills::Drills;
pub use ec2::Ec2;
pub use imds::Imds;
pub use inside::Inside;
pub use mount::SmallMount;
pub use nspawn::Nspawn;
pub use object_store::ObjectStore;
pub use place::Place;
pub use pooler::Pooler;
pub use scene::{Asked, Reply, Scene};
pub use server::{Auth, Destination, Server, Stop, majors};
pub use sshd::Sshd;
pub use volumes::Volumes;
pub use wait::wait_until;
pub use writer::{Ledger, Writer};

//! A database cluster on three EBS volumes of this "instance": data directory, `pg_wal` and a tablespace.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::backup::task;
use crate::command::tied;
use crate::scene::{Asked, Reply, Scene, merge, request};
use crate::server::Builder;
use crate::volumes::{Format, Mounted, Volumes};
use crate::{Ansible, Core, Ec2, Server, collection};

/// The cluster and what it is on.
#[derive(Debug)]
pub struct Cloud {
    /// The server and its backup. Before the volumes, so that it goes first.
    pub scene: Scene,
    /// The volume of the data directory, XFS.
    pub data: Mounted,
    /// The volume of `pg_wal`, ext4.
    pub wal: Mounted,
    /// The volume of the tablespace, ext4.
    pub space: Mounted,
    /// The machine.
    pub volumes: Volumes,
}

impl Cloud {
    /// Of a new server of this major.
    #[must_use]
    pub fn of(major: u32) -> Self {
        Self::with(Server::builder().major(major))
    }

    /// Of a new server that is otherwise like this.
    #[must_use]
    pub fn with(server: Builder) -> Self {
        Self::made(server, |volumes| volumes.add("data", Format::Xfs))
    }

    /// Of a new server of this major, with a volume for the data directory, mounted at `data`, that `add` makes.
    #[must_use]
    pub fn with_data(major: u32, add: impl FnOnce(&Volumes) -> Mounted) -> Self {
        Self::made(Server::builder().major(major), add)
    }

    fn made(server: Builder, add: impl FnOnce(&Volumes) -> Mounted) -> Self {
        let volumes = Volumes::start();
        let data = add(&volumes);
        let wal = volumes.add("wal", Format::Ext4);
        let space = volumes.add("data/tablespace 1", Format::Ext4);
        let _ = volumes.add_unused(1);
        let server = server
            .data_parent(&data.mount_point)
            .tablespaces(1)
            .wal_directory(&wal.mount_point.join("wal"))
            .setting("fsync", "on")
            .start();
        volumes.flush();
        Self { scene: Scene::around(server), data, wal, space, volumes }
    }

    /// EC2.
    #[must_use]
    pub fn ec2(&self) -> &Ec2 {
        self.volumes.ec2()
    }

    /// `ansible-playbook` with AWS's environment, to this host.
    #[must_use]
    pub fn ansible(&self) -> Ansible {
        let variables = self.volumes.variables();
        let local = Ansible::local(Core::Newest);
        variables.iter().fold(local, |ansible, (name, value)| ansible.env(name, value))
    }

    /// The variables that both playbooks have, and `more`.
    #[must_use]
    pub fn playbook_variables(&self, more: &Value) -> Value {
        let backup = &self.scene.backup;
        let mut options = backup.login().clone();
        options["state_directory"] = json!(backup.state_directory());
        let repository = backup.repository();
        let mut all = json!({"backstay_repository": repository, "backstay_options": options});
        merge(&mut all, more);
        all
    }

    /// Asks an executable with AWS's environment, and waits for its reply.
    #[track_caller]
    #[must_use]
    pub fn ask(&self, task: &Value) -> Reply {
        self.begin(task).reply()
    }

    /// Asks an executable and does not wait.
    #[track_caller]
    #[must_use]
    pub fn begin(&self, task: &Value) -> Asked {
        let request = request(task);
        let module = request["_ansible_module_name"].as_str().unwrap_or_default();
        let mut command = tied(collection::executable_of(module), self.scene.backup.user());
        command.arg("run").envs(self.volumes.variables());
        Asked::by(command, &request)
    }

    /// Starts the backup `id`.
    #[track_caller]
    pub fn start(&self, id: &str) {
        let _ = self.scene.start(id, &json!({}));
    }

    /// A task about the session of the backup `id`.
    #[must_use]
    pub fn task(&self, module: &str, id: &str, more: &Value) -> Value {
        let session = json!({
            "session": format!("main.{id}"),
            "state_directory": self.scene.backup.state_directory(),
        });
        task(module, &[&session, more])
    }

    /// `ebs_snapshot` in the session of the backup `id`.
    #[track_caller]
    #[must_use]
    pub fn snapshot(&self, id: &str, more: &Value) -> Reply {
        self.ask(&self.task("ebs_snapshot", id, more))
    }

    /// `backup_stop` and `wal_fetch`.
    #[track_caller]
    pub fn stop_and_fetch(&self, id: &str) {
        let _ = self.ask(&self.task("backup_stop", id, &json!({}))).ok();
        let _ = self.ask(&self.task("wal_fetch", id, &json!({}))).ok();
    }

    /// A whole backup `id`, uploaded.
    #[track_caller]
    pub fn take(&self, id: &str) {
        self.start(id);
        let _ = self.snapshot(id, &json!({})).ok();
        self.stop_and_fetch(id);
        let _ = self.ask(&self.task("ebs_snapshot_wait", id, &json!({"delay": 1}))).ok();
    }

    /// A task about the backup in the repository.
    #[must_use]
    pub fn of_repository(&self, module: &str, more: &Value) -> Value {
        task(module, &[&json!({"repository": self.scene.backup.repository()}), more])
    }

    /// `ebs_restore` of the backup `id` to other mount points: `restored/<…>` beside the originals.
    #[must_use]
    pub fn restore(&self, id: &str, more: &Value) -> Value {
        let mut options = json!({"backup_id": id, "mount_points": self.mapping()});
        merge(&mut options, more);
        self.of_repository("ebs_restore", &options)
    }

    /// Where [`Cloud::restore`] mounts each volume.
    #[must_use]
    pub fn mapping(&self) -> Value {
        let new = |mounted: &Mounted, name: &str| {
            (mounted.mount_point.display().to_string(), json!(self.restored(name)))
        };
        let all = [new(&self.data, "data"), new(&self.wal, "wal"), new(&self.space, "space")];
        Value::Object(all.into_iter().collect())
    }

    /// A mount point of [`Cloud::mapping`].
    #[must_use]
    pub fn restored(&self, name: &str) -> PathBuf {
        self.volumes.mount_point("restored").join(name)
    }

    /// The lines of `/proc/mounts` of what [`Cloud::restore`] has mounted.
    ///
    /// # Panics
    ///
    /// When the kernel does not say.
    #[must_use]
    pub fn restored_mounts(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("our own mounts");
        let place = self.volumes.mount_point("restored").display().to_string();
        mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned).collect()
    }

    /// The ids of the snapshots that there are.
    #[must_use]
    pub fn snapshot_ids(&self) -> Vec<String> {
        self.ec2().snapshots().into_iter().map(|found| found.id).collect()
    }

    /// The volumes' ids.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        [&self.data, &self.wal, &self.space].map(|mounted| mounted.volume.clone()).to_vec()
    }
}

/// The ids of the snapshots in a reply or a manifest.
#[must_use]
pub fn ids(values: &Value) -> Vec<String> {
    let list = values["snapshots"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect()
}

/// Fails unless two lists are of the same ids.
///
/// # Panics
///
/// With both.
#[track_caller]
pub fn assert_same(left: &[String], right: &[String]) {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    assert_eq!(sorted(left), sorted(right));
}

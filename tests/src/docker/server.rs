//! A server in a container.

use std::path::Path;

use super::{Docker, Engine, OWNER};
use crate::inside::{Inside, Way, variables};
use crate::log::ServerLog;

/// Where a container keeps the files of its server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Data {
    /// In a named volume of the engine.
    Volume,
    /// In a directory of the host.
    Bind,
    /// In the container's own layer, which goes with it.
    Layer,
}

/// What a server in a container is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// In whose container it is.
    pub engine: Engine,
    /// Its major version.
    pub major: u32,
    /// Where its files are.
    pub data: Data,
    /// How it is reached.
    pub way: Way,
    /// Further options of `initdb`.
    pub initdb: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { engine: Engine::Docker, major: 18, data: Data::Volume, way: Way::Peer, initdb: "" }
    }
}

/// A server in a container of an engine of its own. The container has a network
/// with nothing but a loopback in it, publishes no port, and runs as a user that
/// this host does not know.
#[derive(Debug)]
pub struct ContainerServer {
    setup: Setup,
    image: String,
    name: &'static str,
    mounts: Vec<String>,
    log: ServerLog,
    docker: Docker,
}

impl ContainerServer {
    /// Starts an engine and the container `database` in it.
    ///
    /// # Panics
    ///
    /// When one of them, or the server, does not start.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        Self::start_on(setup, &[])
    }

    /// The same with these directories of the host in it: each with the path at
    /// which the container has it. The server's files go into `/var/lib/pg`.
    ///
    /// # Panics
    ///
    /// As [`ContainerServer::start`].
    #[must_use]
    pub fn start_on(setup: &Setup, directories: &[(&Path, &str)]) -> Self {
        let mount = |(host, inside): &(&Path, &str)| {
            std::os::unix::fs::chown(host, Some(OWNER), Some(OWNER)).expect("root may");
            format!("--mount=type=bind,source={},target={inside}", host.display())
        };
        let mounts = directories.iter().map(mount).collect();
        let docker = Docker::start(setup.engine);
        let image = docker.import(setup.major);
        let mut log = ServerLog::at(&docker.place().join("server.log"));
        // to us, who ask until it lets us in
        log.announce("the database system is");
        let server = Self { setup: *setup, image, name: "database", mounts, log, docker };
        server.create();
        server
    }

    /// Makes the container and waits until the server lets us in. For the first
    /// time, or after it was removed: with the same files, where they outlive it.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn create(&self) {
        let user = format!("--user={OWNER}:{OWNER}");
        let name = format!("--name={}", self.name);
        let mut run = vec!["run", "--detach", "--network=none", "--shm-size=64m", &user, &name];
        let variables = variables(self.setup.way, self.setup.initdb);
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| format!("--env={name}={value}")).collect();
        run.extend(variables.iter().map(String::as_str));
        let mount = match self.setup.data {
            Data::Volume => Some("--volume=files:/var/lib/pg".to_owned()),
            Data::Bind => Some(format!("--volume={}:/var/lib/pg", self.bound().display())),
            Data::Layer => None,
        };
        run.extend(mount.as_deref());
        run.extend(self.mounts.iter().map(String::as_str));
        let options = self.docker.run_options();
        run.extend(options.iter().map(String::as_str));
        run.extend([self.image.as_str(), "/serve"]);
        self.docker.run(&run);
        self.wait_until_ready();
    }

    /// The directory of the host that the container has.
    fn bound(&self) -> std::path::PathBuf {
        let bound = self.docker.place().join("bound");
        std::fs::create_dir_all(&bound).expect("a directory in the test's place");
        std::os::unix::fs::chown(&bound, Some(OWNER), Some(OWNER)).expect("root may");
        bound
    }

    /// Waits until the server lets us in, after the container was started.
    ///
    /// # Panics
    ///
    /// When it does not in time, with its log.
    pub fn wait_until_ready(&self) {
        let ready = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.inside().wait_until_ready();
        }));
        if let Err(why) = ready {
            eprintln!("{}", self.text());
            std::panic::resume_unwind(why);
        }
    }

    /// Its engine.
    #[must_use]
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// What it is like.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// The container's whole id; another one after it was made again.
    ///
    /// # Panics
    ///
    /// When there is no such container.
    #[must_use]
    pub fn id(&self) -> String {
        self.docker.run(&["inspect", "--format={{.Id}}", self.name])
    }

    /// The server as this host sees it now; another one after a restart.
    ///
    /// # Panics
    ///
    /// When there is no such container.
    #[must_use]
    pub fn inside(&self) -> Inside {
        let pid = self.docker.run(&["inspect", "--format={{.State.Pid}}", self.name]);
        Inside::of(pid.parse().expect("docker prints a number"), self.setup.way)
    }

    /// Runs a shell line in the container, as its root: what somebody who has
    /// the container could do in it.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn shell(&self, line: &str) -> String {
        self.docker.run(&["exec", "--user=0", self.name, "sh", "-ec", line])
    }

    /// What the server wrote since the container was made.
    #[must_use]
    pub fn text(&self) -> String {
        let output = self.docker.command(&["logs", self.name]).output();
        output.map_or_else(
            |error| error.to_string(),
            |output| {
                let text = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&text).into_owned()
            },
        )
    }

    /// Says that log lines of `ERROR` or above with `text` in them are expected.
    pub fn announce_log(&mut self, text: &str) {
        self.log.announce(text);
    }
}

impl Drop for ContainerServer {
    fn drop(&mut self) {
        if std::fs::write(self.log.path(), self.text()).is_ok() {
            self.log.check();
        }
    }
}

//! Docker, and Podman: an engine of the test's own, and servers in its containers.
//!
//! ```no_run
//! use backstay_tests::docker::{ContainerServer, Data, Setup};
//!
//! if !backstay_tests::Docker::possible() { return; }
//! let server = ContainerServer::start(&Setup { data: Data::Layer, ..Setup::default() });
//! // … modules with server.docker().variable() in their environment …
//! assert_eq!(server.inside().query("select 1"), "1");
//! server.docker().run(&["restart", "--time=5", server.name()]);
//! ```

mod image;
pub mod scene;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::{find, run, signal, tied};
use crate::place::{Place, Undo, User};
use crate::wait::wait_until;

pub(crate) use image::add_server;
pub use image::{OWNER, image_files};
pub use scene::ContainerScene;
pub use server::{ContainerServer, Data, Setup};

/// How long the engine may take for anything it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose engine it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// Docker's.
    Docker,
    /// Podman's, whose programs and socket take the same words.
    Podman,
}

/// A Docker engine with a socket, containers and images of its own, which
/// leaves the machine's network alone. Its containers go with it.
#[derive(Debug)]
pub struct Docker {
    engine: Engine,
    server: Child,
    program: PathBuf,
    // dropped in this order: what is left of containers and mounts, then the files
    _undo: Undo,
    place: Place,
}

impl Docker {
    /// Whether the test can have one; when not, that is said or is a failure:
    /// see [`crate::need`].
    ///
    /// # Panics
    ///
    /// In CI, when a program is missing.
    #[track_caller]
    #[must_use]
    pub fn possible() -> bool {
        Self::possible_of(Engine::Docker)
    }

    /// The same of either engine.
    ///
    /// # Panics
    ///
    /// In CI, when a program is missing.
    #[track_caller]
    #[must_use]
    pub fn possible_of(engine: Engine) -> bool {
        let programs = match engine {
            Engine::Docker => ["dockerd", "docker", "debootstrap"],
            Engine::Podman => ["podman", "runc", "debootstrap"],
        };
        let programs = programs.into_iter().map(crate::need::program);
        let found = std::iter::once(crate::need::root()).chain(programs).collect();
        crate::need::can_run(found) && crate::need::is_allowed(Self::probe())
    }

    /// What a machine that is a container itself is often denied.
    fn probe() -> Result<(), String> {
        let script =
            "mount --make-rprivate / && mount -t proc none /proc && mount -t tmpfs none /mnt";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]);
        let output = unshare.args(["sh", "-ec", script]).output();
        let output = output.map_err(|error| format!("unshare cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("namespaces and mounts are not allowed here: {}", said.trim()))
    }

    /// Starts one, without images.
    ///
    /// # Panics
    ///
    /// When it does not start, with its log.
    #[must_use]
    pub fn start(engine: Engine) -> Self {
        let place = Place::new();
        let undo = Undo::with(&undo(place.path()));
        let log = fs::File::create(place.join("engine.log")).expect("a file in the test's place");
        let program = match engine {
            Engine::Docker => find("docker"),
            Engine::Podman => find("podman"),
        };
        let program = program.expect("asked for by possible()");
        let mut server = match engine {
            Engine::Docker => dockerd(&place),
            Engine::Podman => {
                let mut podman = tied(&program, &User::current());
                podman.args(podman_options(&place)).args(["system", "service", "--time=0"]);
                podman.arg(socket(&place));
                podman
            }
        };
        server.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let server = server.spawn().expect("setpriv can be started");
        let mut started = Self { engine, server, program, _undo: undo, place };
        started.wait_for_answer();
        started
    }

    fn wait_for_answer(&mut self) {
        wait_until("the engine answers", PATIENCE, || {
            let gone = self.server.try_wait().expect("our own child").is_some();
            assert!(!gone, "the engine ended:\n{}", self.log());
            let socket = self.place.join("engine").exists();
            socket
                && self.command(&["version"]).output().is_ok_and(|output| output.status.success())
        });
    }

    /// What the engine said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.join("engine.log")).unwrap_or_default()
    }

    /// `DOCKER_HOST` or `CONTAINER_HOST`, and what clients need there to find this engine.
    #[must_use]
    pub fn variable(&self) -> (&'static str, String) {
        let name = match self.engine {
            Engine::Docker => "DOCKER_HOST",
            Engine::Podman => "CONTAINER_HOST",
        };
        (name, socket(&self.place))
    }

    /// What a container needs besides: what the engine was told already, or what
    /// a machine with fewer rights than root's cannot give.
    #[must_use]
    pub fn run_options(&self) -> Vec<String> {
        match self.engine {
            Engine::Docker => vec![],
            Engine::Podman => vec![
                format!("--cgroup-parent=/{}", group(self.place.path())),
                "--ulimit=nofile=1024:1024".to_owned(),
                "--ulimit=nproc=1000:1000".to_owned(),
            ],
        }
    }

    /// The directory of its files; others may pass through it.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `docker` of this engine.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DOCKER_") || text.starts_with("CONTAINER_") {
                docker.env_remove(name);
            }
        }
        match self.engine {
            Engine::Docker => {
                let (name, value) = self.variable();
                docker.env(name, value);
            }
            // it needs no service
            Engine::Podman => drop(docker.args(podman_options(&self.place))),
        }
        docker.env("HOME", self.place.path()).args(arguments);
        docker
    }

    /// Runs `docker` and gives what it printed.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.command(arguments));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Ok(output) = self.command(&["ps", "--all", "--quiet"]).output() {
            let found = String::from_utf8_lossy(&output.stdout).into_owned();
            for id in found.lines() {
                let _ = self.command(&["rm", "--force", "--volumes", id]).output();
            }
        }
        // the first signal lets it end containerd as well
        if let Some(pid) = crate::command::descendants(self.server.id()).first() {
            signal(*pid, Signal::SIGTERM);
        }
        signal(self.server.id(), Signal::SIGTERM);
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.server.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn socket(place: &Place) -> String {
    format!("unix://{}", place.join("engine").display())
}

fn dockerd(place: &Place) -> Command {
    let mut dockerd = tied(find("dockerd").expect("asked for by possible()"), &User::current());
    for (option, name) in [("data-root", "d"), ("exec-root", "e"), ("pidfile", "dockerd.pid")] {
        dockerd.arg(format!("--{option}={}", place.join(name).display()));
    }
    dockerd.arg(format!("--host={}", socket(place)));
    dockerd.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
    // a control group that can be told from others' when the test is killed
    dockerd.args(["--exec-opt=native.cgroupdriver=cgroupfs", "--shutdown-timeout=5"]);
    dockerd.arg(format!("--cgroup-parent=/{}", group(place.path())));
    // its configuration file is for the machine's own engine
    dockerd.arg(format!("--config-file={}", place.join("dockerd.json").display()));
    fs::write(place.join("dockerd.json"), "{}").expect("a file in the test's place");
    dockerd
}

fn podman_options(place: &Place) -> Vec<String> {
    let own = [("root", "d"), ("runroot", "e"), ("tmpdir", "t")];
    let mut options: Vec<String> = own
        .iter()
        .map(|(option, name)| format!("--{option}={}", place.join(name).display()))
        .collect();
    // crun does not run where both kinds of control groups are mounted
    let fixed = [
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
        "--storage-driver=overlay",
        "--runtime=runc",
    ];
    options.extend(fixed.map(str::to_owned));
    options
}

/// The control group of an engine's containers.
fn group(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Commands that take back an engine of which nothing is left but what it
/// started: whoever is in its containers (a frozen process is ended only by
/// being thawed), the shims that name its directory, what it mounted.
fn undo(place: &Path) -> String {
    let (place, group) = (place.display(), group(place));
    format!(
        "groups=$(find /sys/fs/cgroup -depth -type d -path '*/{group}*' 2>/dev/null)\n\
         for g in $groups; do\n\
         \x20 [ ! -e $g/freezer.state ] || echo THAWED >$g/freezer.state\n\
         \x20 [ ! -e $g/cgroup.freeze ] || echo 0 >$g/cgroup.freeze\n\
         \x20 [ ! -e $g/cgroup.procs ] || xargs -r kill -KILL <$g/cgroup.procs 2>/dev/null\n\
         done\n\
         for p in /proc/[0-9]*; do\n\
         \x20 tr '\\0' ' ' 2>/dev/null <$p/cmdline | grep -qE '^[^ ]*(dockerd|containerd|containerd-shim[^ ]*|podman|conmon) .*{place}/' && kill -KILL ${{p#/proc/}} 2>/dev/null\n\
         done\n\
         for attempt in 1 2 3 4 5; do\n\
         \x20 awk '{{print $5}}' /proc/self/mountinfo | grep -F '{place}/' | sort -r | xargs -r -n 1 umount -l 2>/dev/null\n\
         \x20 for g in $groups; do [ ! -d $g ] || rmdir $g 2>/dev/null; done\n\
         \x20 left=$(find /sys/fs/cgroup -type d -path '*/{group}*' 2>/dev/null; grep -F '{place}/' /proc/self/mountinfo)\n\
         \x20 [ -n \"$left\" ] || exit 0\n\
         \x20 sleep 0.2\n\
         done\n\
         echo 'left of the engine in {place}:' \"$left\" >&2\n\
         exit 1\n\
         # the engine in {place}\n"
    )
}

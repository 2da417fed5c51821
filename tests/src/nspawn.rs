//! A server in `systemd-nspawn`, a container that no engine knows of.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::{descendants, find, run, signal, tied};
use crate::docker::{OWNER, add_server, image_files};
use crate::inside::{Inside, SOCKETS, Way, variables};
use crate::log::ServerLog;
use crate::place::{Place, User};
use crate::server::bin_directory;
use crate::wait::wait_until;

/// A container with a server as its own process, a network of its own, and the
/// server's files in a directory of the host.
#[derive(Debug)]
pub struct Nspawn {
    nspawn: Child,
    way: Way,
    log: ServerLog,
    place: Place,
}

impl Nspawn {
    /// Starts it. Ask [`crate::Container::possible`] first.
    ///
    /// # Panics
    ///
    /// When it does not start, with its log.
    #[must_use]
    pub fn start(major: u32, way: Way) -> Self {
        let place = Place::new();
        // nspawn writes into it, and what is made once for everybody stays as it is
        let (files, root) = (image_files(), place.join("root"));
        std::fs::create_dir(&root).expect("a directory in the test's place");
        let mut copy = std::process::Command::new("cp");
        run(copy.args(["-a", "--reflink=auto", "-T"]).arg(&files).arg(&root));
        add_server(&files, &root);
        let bound = place.join("bound");
        std::fs::create_dir(&bound).expect("a directory in the test's place");
        std::os::unix::fs::chown(&bound, Some(OWNER), Some(OWNER)).expect("root may");
        let log = ServerLog::at(&place.join("server.log"));
        let output = std::fs::File::create(log.path()).expect("a file in the test's place");
        let program = find("systemd-nspawn").expect("asked for by possible()");
        let mut nspawn = tied(program, &User::current());
        nspawn.args(["--quiet", "--register=no", "--keep-unit", "--as-pid2", "--private-network"]);
        nspawn.args(["--console=pipe", "--user=postgres", "--machine"]);
        nspawn.arg(place.path().file_name().expect("it has a name"));
        nspawn.arg("--directory").arg(&root);
        nspawn.arg(format!("--bind={}:/var/lib/pg", bound.display()));
        nspawn.arg(format!("--tmpfs={SOCKETS}:mode=0777"));
        let programs = bin_directory(major);
        let postgresql = programs.parent().expect("bin is in it");
        nspawn.arg(format!("--bind-ro={}:/usr/local/pgsql", postgresql.display()));
        for (name, value) in variables(way, "") {
            nspawn.arg(format!("--setenv={name}={value}"));
        }
        nspawn.arg("/serve").stdout(output.try_clone().expect("a second handle")).stderr(output);
        let nspawn = nspawn.spawn().expect("setpriv can be started");
        let mut server = Self { nspawn, way, log, place };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let log = self.log.path().to_path_buf();
        let what = format!("the server in systemd-nspawn is ready; its log is {}", log.display());
        wait_until(&what, Duration::from_secs(60), || {
            let gone = self.nspawn.try_wait().expect("our own child").is_some();
            assert!(!gone, "systemd-nspawn ended:\n{}", self.log.text());
            // `postgres --single` says nothing of connections
            self.log.text().contains("ready to accept connections")
        });
    }

    /// The directory of the host that has the server's files.
    #[must_use]
    pub fn bound(&self) -> PathBuf {
        self.place.join("bound")
    }

    /// The processes in the container, its first one first.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        descendants(self.nspawn.id())
            .into_iter()
            .filter(|pid| {
                let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
                of(*pid).is_some() && of(*pid) != of(std::process::id())
            })
            .collect()
    }

    /// The server's first process, which the pid file inside numbers otherwise.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn postmaster(&self) -> u32 {
        let [_, postmaster, ..] = self.processes()[..] else {
            panic!("no server in the container: {:?}", self.processes());
        };
        postmaster
    }

    /// The server as this host sees it.
    #[must_use]
    pub fn inside(&self) -> Inside {
        Inside::of(self.postmaster(), self.way)
    }

    /// Says that log lines of `ERROR` or above with `text` in them are expected.
    pub fn announce_log(&mut self, text: &str) {
        self.log.announce(text);
    }
}

impl Drop for Nspawn {
    fn drop(&mut self) {
        self.log.check();
        for pid in self.processes() {
            signal(pid, Signal::SIGKILL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

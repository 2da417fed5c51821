//! A machine with systemd as its first process, in `systemd-nspawn`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::command::{descendants, run, tied};
use crate::place::{LOGIN_USER, Place, Port, User, project};
use crate::sshd::Access;
use crate::wait::wait_until;

/// A booted container: logind, and an `sshd` that opens sessions with it. It
/// shares the network with the machine, so servers of fixtures are on its
/// 127.0.0.1. What it writes is gone with it.
#[derive(Debug)]
pub struct Container {
    nspawn: Child,
    port: Port,
    place: Place,
    kills: bool,
}

impl Container {
    /// Whether the test can have one; when not, that is said or is a failure:
    /// see [`crate::need`].
    ///
    /// # Panics
    ///
    /// When the container's files cannot be made, and in CI when a program is
    /// missing.
    #[track_caller]
    #[must_use]
    pub fn possible() -> bool {
        let programs = ["systemd-nspawn", "debootstrap"].into_iter().map(crate::need::program);
        let found = std::iter::once(crate::need::root()).chain(programs).collect();
        crate::need::can_run(found) && crate::need::is_allowed(Self::probe())
    }

    /// Runs one program in a container: namespaces, mounts and control groups
    /// are what a machine that is a container itself is often denied.
    fn probe() -> Result<(), String> {
        let output = nspawn(&files()).args(["--pipe", "/bin/true"]).output();
        let output =
            output.map_err(|error| format!("systemd-nspawn cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("systemd-nspawn is not allowed to work here: {}", said.trim()))
    }

    /// Boots one with logind's `KillUserProcesses` as given, and the directories
    /// `bound` at the same paths as outside.
    ///
    /// # Panics
    ///
    /// When it does not boot.
    #[must_use]
    pub fn boot(kill_user_processes: bool, bound: &[&Path]) -> Self {
        let (place, port) = (Place::new(), Port::free());
        configure(&place, &port, kill_user_processes);
        let bind = |from: &str, to: &str| format!("--bind-ro={}:{to}", place.join(from).display());
        let log = fs::File::create(place.join("console")).expect("a file in the test's place");
        let mut nspawn = nspawn(&files());
        nspawn.args(["--console=pipe", "--boot", "--machine"]);
        nspawn.arg(format!("backstay-{}", port.number()));
        nspawn
            .arg(bind("sshd_config", "/etc/ssh/sshd_config"))
            .arg(bind("logind.conf", "/etc/systemd/logind.conf"));
        nspawn.arg(bind(".", "/test"));
        for directory in bound {
            nspawn.arg(format!("--bind={}", directory.display()));
        }
        let nspawn = nspawn.stdout(log.try_clone().expect("a second handle")).stderr(log).spawn();
        let nspawn = nspawn.expect("setpriv can be started");
        let mut container = Self { nspawn, port, place, kills: kill_user_processes };
        container.wait_for_ssh();
        container
    }

    fn wait_for_ssh(&mut self) {
        let console = self.place.join("console");
        wait_until("the container lets us in", Duration::from_secs(60), || {
            let gone = self.nspawn.try_wait().expect("our own child").is_some();
            assert!(
                !gone,
                "systemd-nspawn ended: {}",
                fs::read_to_string(&console).unwrap_or_default()
            );
            self.command("true").status().is_ok_and(|status| status.success())
        });
    }

    /// How to log in.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            port: self.port.number(),
            user: LOGIN_USER.to_owned(),
            private_key: self.place.join("user"),
            known_hosts: self.place.join("known_hosts"),
        }
    }

    fn command(&self, line: &str) -> Command {
        let access = self.access();
        let mut ssh = Command::new("ssh");
        ssh.args(access.options().split_whitespace()).arg("-i").arg(&access.private_key);
        ssh.args([
            "-o",
            "BatchMode=yes",
            "-p",
            &access.port.to_string(),
            &format!("{LOGIN_USER}@127.0.0.1"),
            line,
        ]);
        ssh.stderr(
            fs::File::create(self.place.join("ssh.log")).expect("a file in the test's place"),
        );
        ssh
    }

    /// Runs a shell line in a login session of its own.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    #[must_use]
    pub fn shell(&self, line: &str) -> String {
        String::from_utf8_lossy(&run(&mut self.command(line)).stdout).trim().to_owned()
    }

    /// Waits until every login has ended for logind: where it kills, what it
    /// kills is dead then; where it does not, what was left behind runs in a
    /// session that is "closing".
    pub fn wait_until_logged_out(&self) {
        let sessions = "for s in $(loginctl list-sessions --no-legend | awk '{print $1}'); do \
            echo $(loginctl show-session $s --property=Class --property=State); done";
        wait_until("logind has closed every session", Duration::from_secs(60), || {
            let found = self.shell(sessions);
            let open = found
                .lines()
                // a login, not the manager of a user's services
                .filter(|session| session.split(' ').any(|word| word == "Class=user"))
                .filter(|session| self.kills || !session.contains("State=closing"));
            // asked from a session, which is one itself
            open.count() == 1
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // its first process before nspawn itself: the kernel then ends all of it
        for pid in descendants(self.nspawn.id()) {
            crate::command::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

/// The files of the container, made once by `tests/setup/container`.
fn files() -> PathBuf {
    let made = run(&mut Command::new(project().join("tests/setup/container")));
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
}

/// `systemd-nspawn` of these files, to which nothing is written.
fn nspawn(files: &Path) -> Command {
    let program = crate::command::find("systemd-nspawn").expect("asked for by possible()");
    let mut nspawn = tied(program, &User::current());
    nspawn.args(["--quiet", "--register=no", "--keep-unit", "--volatile=overlay", "--directory"]);
    nspawn.arg(files);
    nspawn
}

fn configure(place: &Place, port: &Port, kill_user_processes: bool) {
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.join(key)));
    }
    let write = |name: &str, text: &str| {
        fs::write(place.join(name), text).expect("a file in the test's place");
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o644))
            .expect("chmod of an own file");
    };
    let public = |name: &str| fs::read_to_string(place.join(name)).expect("a key just made");
    write("authorized", &public("user.pub"));
    write("known_hosts", &format!("[127.0.0.1]:{} {}", port.number(), public("host.pub")));
    write(
        "sshd_config",
        &format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey /test/host\nAuthorizedKeysFile /test/authorized\nUsePAM yes\n\
             PasswordAuthentication no\nStrictModes no\nUseDNS no\nSubsystem sftp internal-sftp\n",
            port.number()
        ),
    );
    let kill = if kill_user_processes { "yes" } else { "no" };
    write("logind.conf", &format!("[Login]\nKillUserProcesses={kill}\n"));
}

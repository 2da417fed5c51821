//! A real `sshd` on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::command::{descendants, find, run, signal, tied};
use crate::place::{LOGIN_USER, Place, Port, Undo, User};
use crate::wait::wait_until;

/// What an ssh client needs to log in on 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Access {
    /// The port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
    /// The private key of that user.
    pub private_key: PathBuf,
    /// The host's key.
    pub known_hosts: PathBuf,
}

impl Access {
    /// Options for `ssh` that name nothing of the developer's own.
    #[must_use]
    pub fn options(&self) -> String {
        format!(
            "-F none -o UserKnownHostsFile={} -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes",
            self.known_hosts.display()
        )
    }
}

/// A running `sshd` with keys of its own, one user who may log in, and, when
/// tests run as root, a sudo rule that lets this user become anybody.
#[derive(Debug)]
pub struct Sshd {
    port: Port,
    login: User,
    daemon: Child,
    place: Place,
    _sudo_rule: Option<Undo>,
}

impl Sshd {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn start() -> Self {
        let place = Place::new();
        let port = Port::free();
        let is_root = nix::unistd::geteuid().is_root();
        let login = if is_root { User::named(LOGIN_USER) } else { User::current() };
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.join(key)));
        }
        fs::copy(place.join("user.pub"), place.join("authorized"))
            .expect("a copy of the user's key");
        fs::set_permissions(place.join("authorized"), fs::Permissions::from_mode(0o644))
            .expect("chmod of an own file");
        let public = fs::read_to_string(place.join("host.pub")).expect("the host's key");
        let known = format!("[127.0.0.1]:{} {public}", port.number());
        fs::write(place.join("known_hosts"), known).expect("a file in the test's place");
        fs::write(place.join("sshd_config"), configuration(&place, &port))
            .expect("a file in the test's place");
        if is_root {
            fs::create_dir_all("/run/sshd").expect("sshd's own directory");
        }
        let log = fs::File::create(place.join("sshd.log")).expect("a file in the test's place");
        // sshd wants to be started by its whole path
        let program =
            find("sshd").unwrap_or_else(|| panic!("sshd is missing: run tests/setup/tools"));
        let mut command = tied(program, &User::current());
        let mut daemon = command
            .args(["-D", "-e", "-f"])
            .arg(place.join("sshd_config"))
            .stderr(log)
            .spawn()
            .expect("setpriv can be started");
        wait_until("sshd listens", Duration::from_secs(20), || {
            let gone = daemon.try_wait().expect("our own child").is_some();
            assert!(
                !gone,
                "sshd ended: {}",
                fs::read_to_string(place.join("sshd.log")).unwrap_or_default()
            );
            std::net::TcpStream::connect(("127.0.0.1", port.number())).is_ok()
        });
        let sudo_rule = is_root.then(|| allow_sudo(&login, &port));
        Self { port, login, daemon, place, _sudo_rule: sudo_rule }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Who logs in.
    #[must_use]
    pub fn login(&self) -> &User {
        &self.login
    }

    /// How to log in.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            port: self.port(),
            user: self.login.name.clone(),
            private_key: self.place.join("user"),
            known_hosts: self.place.join("known_hosts"),
        }
    }

    /// Kills every connection as a broken network would look to both ends, and
    /// says how many processes served one. New ones are let in.
    #[must_use]
    pub fn drop_connections(&self) -> usize {
        let served: Vec<u32> =
            descendants(self.daemon.id()).into_iter().filter(|pid| is_sshd(*pid)).collect();
        for pid in &served {
            signal(*pid, Signal::SIGKILL);
        }
        served.len()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.drop_connections();
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn is_sshd(pid: u32) -> bool {
    // "sshd", and from OpenSSH 9.8 on also "sshd-session" and "sshd-auth"
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("sshd"))
}

fn configuration(place: &Place, port: &Port) -> String {
    let path = |name: &str| place.join(name).display().to_string();
    format!(
        "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n\
         UseDNS no\nMaxStartups 200\nMaxSessions 200\nSubsystem sftp internal-sftp\n",
        port.number(),
        path("host"),
        path("authorized")
    )
}

fn allow_sudo(user: &User, port: &Port) -> Undo {
    // sudo reads no file whose name has a dot
    let rule = Path::new("/etc/sudoers.d").join(format!("backstay-test-{}", port.number()));
    let undo = Undo::with(&format!("rm -f '{}'", rule.display()));
    let text =
        format!("Defaults:{0} !requiretty, !lecture\n{0} ALL=(ALL) NOPASSWD: ALL\n", user.name);
    fs::write(&rule, text).expect("a sudo rule can be written");
    fs::set_permissions(&rule, fs::Permissions::from_mode(0o440)).expect("chmod of an own file");
    undo
}

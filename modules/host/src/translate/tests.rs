use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::*;

fn own() -> Process {
    Process::find(i32::try_from(std::process::id()).unwrap()).unwrap()
}

fn resolved(root: &Path, path: &str) -> String {
    match resolve_in(root, Path::new(path)) {
        Ok(path) => path.display().to_string(),
        Err(Obstacle::Links) => "too many links".to_owned(),
        Err(Obstacle::Io(path, error)) => format!("{}: {:?}", path.display(), error.kind()),
    }
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::create_dir_all(root.join("data/main")).unwrap();
    fs::write(root.join("data/file"), "").unwrap();
    let link = |target: &str, at: &str| symlink(target, root.join(at)).unwrap();
    link("/data", "absolute");
    link("../../../../data/main", "relative");
    link("../absolute/main", "data/back");
    link("/loop2", "loop1");
    link("loop1", "loop2");
    link("/nowhere", "dangling");
    assert_eq!(resolved(root, "/"), "/");
    assert_eq!(resolved(root, "/data/./main/"), "/data/main");
    assert_eq!(resolved(root, "/absolute/main"), "/data/main");
    assert_eq!(resolved(root, "/relative/.."), "/data");
    assert_eq!(resolved(root, "/data/back"), "/data/main");
    assert_eq!(resolved(root, "/../../absolute"), "/data");
    assert_eq!(resolved(root, "/loop1"), "too many links");
    assert_eq!(resolved(root, "/dangling/x"), "/nowhere: NotFound");
    assert_eq!(resolved(root, "/data/file/x"), "/data/file/x: NotADirectory");
    // This link exists outside, and must not be taken for the one inside.
    link("/proc", "proc-link");
    assert_eq!(resolved(root, "/proc-link"), "/proc: NotFound");
}

#[test]
fn forty_links_are_followed_and_not_one_more() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::create_dir(root.join("0")).unwrap();
    for number in 1..=41 {
        symlink(format!("{}", number - 1), root.join(number.to_string())).unwrap();
    }
    assert_eq!(resolved(root, "/40"), "/0");
    assert_eq!(resolved(root, "/41"), "too many links");
}

#[test]
fn in_our_own_mounts_a_path_is_itself() {
    let temporary = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(temporary.path()).unwrap();
    symlink(&real, real.join("link")).unwrap();
    let this = own();
    assert_eq!(this.on_host(&real.join("link")).unwrap(), real);
    assert_eq!(this.resolve(&real.join("link/..")).unwrap(), real.parent().unwrap());
    assert!(this.reach(&real).starts_with(this.root()));
    assert_eq!(
        this.resolve(Path::new("relative")).unwrap_err().to_string(),
        "\"relative\" is not an absolute path"
    );
    assert_eq!(
        this.resolve(Path::new("/no/such/path")).unwrap_err().to_string(),
        format!("could not find \"/no\" inside the root of process {}", this.pid)
    );
    let gone = Process { start_ticks: 1, ..this };
    assert!(matches!(gone.resolve(&real), Err(HostError::NoProcess { .. })));
}

/// A process with mounts of its own, which ends when this value is dropped.
struct Elsewhere {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Elsewhere {
    /// Runs `script` in a new mount namespace; `None` when that is not possible here.
    fn start(script: &str) -> Option<Self> {
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
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            println!("skipped: no mount namespace can be made here");
            let _ = child.wait();
            return None;
        }
        Some(Self { child, stdin })
    }

    fn process(&self) -> Process {
        Process::find(i32::try_from(self.child.id()).unwrap()).unwrap()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(b"end\n");
        }
        let _ = self.child.wait();
    }
}

#[test]
fn a_directory_bound_elsewhere_is_found_here() {
    let temporary = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(temporary.path()).unwrap();
    for name in ["volume/pg", "inside/data", "inside/private", "other"] {
        fs::create_dir_all(real.join(name)).unwrap();
    }
    symlink(real.join("inside/data"), real.join("link")).unwrap();
    let at = real.display();
    let Some(elsewhere) = Elsewhere::start(&format!(
        "mount --bind '{at}/volume/pg' '{at}/inside/data'
         mkdir '{at}/inside/data/main'
         mount -t tmpfs none '{at}/inside/private'
         mkdir '{at}/inside/private/main'"
    )) else {
        return;
    };
    let process = elsewhere.process();
    let on_host = |path: &str| process.on_host(&real.join(path));
    assert_eq!(on_host("inside/data").unwrap(), real.join("volume/pg"));
    assert_eq!(on_host("link/main").unwrap(), real.join("volume/pg/main"));
    assert_eq!(on_host("other").unwrap(), real.join("other"));
    assert_eq!(process.on_host(Path::new("/")).unwrap(), Path::new("/"));
    assert!(process.reach(&real.join("inside/data/main")).is_dir());

    let error = on_host("inside/private/main").unwrap_err();
    assert_eq!(error.kind(), "path_not_visible");
    assert_eq!(
        error.to_string(),
        format!(
            "\"{at}/inside/private/main\" inside the root of process {} is not visible on this host: it is on \"{at}/inside/private\" (tmpfs of \"none\"), which is not mounted here",
            process.pid
        )
    );
}

#[test]
fn another_root_may_show_the_same_directory() {
    let temporary = tempfile::tempdir().unwrap();
    let real = fs::canonicalize(temporary.path()).unwrap();
    fs::create_dir_all(real.join("root/data")).unwrap();
    let Some(elsewhere) = Elsewhere::start(&format!(
        "mount --bind / '{0}/root'
         exec chroot '{0}/root' sh -c 'echo ready; read -r line'",
        real.display()
    )) else {
        return;
    };
    let process = elsewhere.process();
    assert_eq!(process.on_host(&real).unwrap(), real);
}

#[test]
fn what_has_ended_is_said_to_have_ended() {
    let Some(elsewhere) = Elsewhere::start("true") else { return };
    let process = elsewhere.process();
    drop(elsewhere);
    assert!(matches!(process.on_host(Path::new("/")), Err(HostError::NoProcess { .. })));
    assert!(matches!(Mounts::of_process(&process), Err(HostError::Io { .. })));
}

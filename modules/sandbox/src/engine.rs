//! Sandboxes that another program makes: it is told what to show inside, and starts process 1 there.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};

use crate::builder::{Job, Refused};
use crate::order::{Bind, Engine};
use crate::place::SHARED;
use crate::system::{EMPTY, System, below};
use crate::{EXECUTABLE_INSIDE, INIT_COMMAND, SHARED_INSIDE};

/// In a work directory: the root that an engine is given, with empty places for what is shown in it.
const TREE: &str = "tree";

/// The image that Docker is given: links and empty places, as everything else is shown in it.
const IMAGE: &str = "backstay-sandbox:1";

/// Runs the engine to its end. Process 1 speaks over the standard streams that the engine hands on.
pub(crate) fn run(engine: Engine, job: &Job) -> Result<(), Refused> {
    if !job.order.overlays.is_empty() {
        let step = format!("show an overlay in {}", engine.name());
        return Err(Refused { step, reason: "only namespaces of our own can".to_owned() });
    }
    let system = System::of_host(job.order.run_as);
    let mut binds = system.binds.clone();
    binds.push(Bind::read_only(&job.executable, EXECUTABLE_INSIDE));
    binds.push(Bind::writable(job.place.join(SHARED), SHARED_INSIDE));
    binds.extend(job.order.binds.iter().cloned());
    let tree = job.place.join(TREE);
    plant(&tree, &system, &binds)?;
    let told = Told { job, tree: &tree, binds: &binds };
    let words = match engine {
        Engine::Bubblewrap => told.bubblewrap(&system),
        Engine::Nspawn => told.nspawn(),
        Engine::Lxc => told.lxc()?,
        Engine::Podman => told.podman(),
        Engine::Docker => {
            image(&job.place, &tree)?;
            told.docker()
        }
    };
    start(engine, &words)
}

/// What an engine's command line is made of.
struct Told<'a> {
    job: &'a Job,
    tree: &'a Path,
    binds: &'a [Bind],
}

impl Told<'_> {
    fn bubblewrap(&self, system: &System) -> Vec<String> {
        let mut words = texts(&[
            "bwrap",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--die-with-parent",
            "--new-session",
            "--as-pid-1",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--perms",
            "1777",
            "--tmpfs",
            "/dev/shm",
            "--perms",
            "1777",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/run",
            "--chdir",
            "/",
        ]);
        if nix::unistd::geteuid().is_root() {
            // Process 1 becomes the server's user, which needs these two; then it has none.
            words.extend(texts(&["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]));
        }
        // It would make what is above a bind for itself alone.
        let above = self.binds.iter().flat_map(|bind| bind.to.ancestors().skip(1));
        let above: BTreeSet<&Path> = above.filter(|path| path.parent().is_some()).collect();
        for path in above {
            words.extend(texts(&["--perms", "0755", "--dir"]));
            words.push(text(path));
        }
        for (path, target) in &system.links {
            words.extend(["--symlink".to_owned(), text(target), text(path)]);
        }
        for (path, _) in &system.files {
            words.extend(["--ro-bind".to_owned(), text(&below(self.tree, path)), text(path)]);
        }
        for bind in self.binds {
            let how = if bind.writable { "--bind" } else { "--ro-bind" };
            words.extend([how.to_owned(), text(&bind.from), text(&bind.to)]);
        }
        words.push("--".to_owned());
        self.and_init(words)
    }

    fn nspawn(&self) -> Vec<String> {
        let mut words = texts(&[
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
            "--read-only",
            "--no-new-privileges=yes",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--tmpfs=/tmp:mode=1777",
        ]);
        words.push(format!("--directory={}", self.tree.display()));
        words.push(format!("--machine={}", self.name()));
        for bind in self.binds {
            let how = if bind.writable { "bind" } else { "bind-ro" };
            words.push(format!("--{how}={}:{}", colons(&bind.from), colons(&bind.to)));
        }
        words.push("--".to_owned());
        self.and_init(words)
    }

    /// `lxc-execute` reads its configuration from a file.
    fn lxc(&self) -> Result<Vec<String>, Refused> {
        let mut lines = vec![
            format!("lxc.rootfs.path = dir:{}", self.tree.display()),
            "lxc.net.0.type = empty".to_owned(),
            "lxc.uts.name = sandbox".to_owned(),
            "lxc.mount.auto = proc:mixed".to_owned(),
            "lxc.autodev = 1".to_owned(),
            "lxc.environment = PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                .to_owned(),
            "lxc.mount.entry = tmpfs tmp tmpfs rw,nosuid,nodev,mode=1777 0 0".to_owned(),
            "lxc.mount.entry = tmpfs dev/shm tmpfs rw,nosuid,nodev,mode=1777,create=dir 0 0"
                .to_owned(),
        ];
        for bind in self.binds {
            let to = bind.to.strip_prefix("/").unwrap_or(&bind.to);
            let how = if bind.writable { "rw" } else { "ro" };
            lines.push(format!(
                "lxc.mount.entry = {} {} none bind,{how},nosuid,nodev 0 0",
                octal(&bind.from),
                octal(to)
            ));
        }
        let path = self.job.place.join("lxc.conf");
        fs::write(&path, lines.join("\n") + "\n").map_err(Refused::at("write", &path))?;
        let words = [
            "lxc-execute".to_owned(),
            format!("--name={}", self.name()),
            format!("--lxcpath={}", self.job.place.display()),
            format!("--rcfile={}", path.display()),
            "--".to_owned(),
        ];
        Ok(self.and_init(words.to_vec()))
    }

    fn podman(&self) -> Vec<String> {
        let mut words = texts(&["podman", "run"]);
        words.extend(own_limits());
        words.extend(self.container());
        words.extend(["--rootfs".to_owned(), text(self.tree)]);
        self.and_init(words)
    }

    fn docker(&self) -> Vec<String> {
        let mut words = texts(&["docker", "run"]);
        words.extend(self.container());
        for (path, _) in System::of_host(self.job.order.run_as).files {
            let from = below(self.tree, &path);
            words.push(format!("--mount={}", mount(&Bind::read_only(from, path))));
        }
        words.push(IMAGE.to_owned());
        self.and_init(words)
    }

    fn container(&self) -> Vec<String> {
        let mut words = texts(&[
            "--rm",
            "--interactive",
            "--network=none",
            "--read-only",
            "--tmpfs=/tmp:mode=1777",
            "--user=0:0",
            "--cap-drop=ALL",
            "--cap-add=SETUID",
            "--cap-add=SETGID",
            "--security-opt=no-new-privileges",
            "--hostname=sandbox",
            "--log-driver=none",
        ]);
        words.push(format!("--name={}", self.name()));
        words.extend(self.binds.iter().map(|bind| format!("--mount={}", mount(bind))));
        words
    }

    fn and_init(&self, mut words: Vec<String>) -> Vec<String> {
        let run_as = self.job.order.run_as;
        words.extend(texts(&[EXECUTABLE_INSIDE, INIT_COMMAND]));
        words.extend([run_as.uid.to_string(), run_as.gid.to_string()]);
        words
    }

    /// The work directory's name is this host's alone.
    fn name(&self) -> String {
        let name = self.job.place.file_name().unwrap_or_default().to_string_lossy();
        format!("backstay-{name}")
    }
}

/// Makes the root: links, small files, and an empty place for everything that is shown in it.
fn plant(tree: &Path, system: &System, binds: &[Bind]) -> Result<(), Refused> {
    directory(tree)?;
    for name in EMPTY {
        directory(&below(tree, Path::new(name)))?;
    }
    for (path, target) in &system.links {
        symlink(target, below(tree, path)).map_err(Refused::at("link", path))?;
    }
    for (path, text) in &system.files {
        file(&below(tree, path), text)?;
    }
    for bind in binds {
        let at = below(tree, &bind.to);
        let found = fs::metadata(&bind.from).map_err(Refused::at("find", &bind.from))?;
        if found.is_dir() { directory(&at)? } else { file(&at, "")? }
    }
    Ok(())
}

fn directory(path: &Path) -> Result<(), Refused> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(Refused::at("make", path))
}

fn file(path: &Path, content: &str) -> Result<(), Refused> {
    path.parent().map_or(Ok(()), directory)?;
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(Refused::at("write", path))
}

/// Docker starts nothing without an image. It is the same for every drill on this host, so it is made once.
fn image(place: &Path, tree: &Path) -> Result<(), Refused> {
    let docker = || {
        let docker = program::Program::new("docker");
        environment().into_iter().fold(docker, |docker, (name, value)| docker.env(name, value))
    };
    if docker().args(["image", "inspect", IMAGE]).run().is_ok() {
        return Ok(());
    }
    let archive = place.join("image.tar");
    let pack = program::Program::new("tar").arg("-cf").arg(&archive).arg("-C").arg(tree).arg(".");
    pack.run().map_err(Refused::step("make an image"))?;
    let import = docker().arg("import").arg(&archive).arg(IMAGE);
    import.run().map(drop).map_err(Refused::step("make an image"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the engine hands our standard streams on to process 1"
)]
fn start(engine: Engine, words: &[String]) -> Result<(), Refused> {
    let Some((name, args)) = words.split_first() else { return Ok(()) };
    let mut child = Command::new(name)
        .args(args)
        .env_clear()
        .env("PATH", program::SEARCH_PATH)
        .env("LC_ALL", "C")
        .envs(environment())
        .current_dir("/")
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Refused::step(&format!("start {name}")))?;
    let said = child.stderr.take().map(|pipe| std::thread::spawn(move || last_words(pipe)));
    let status = child.wait().map_err(Refused::step(&format!("wait for {name}")))?;
    if status.success() {
        return Ok(());
    }
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let reason = if said.is_empty() { status.to_string() } else { said };
    Err(Refused { step: format!("run a sandbox of {}", engine.name()), reason })
}

/// Podman's defaults may be above what the caller may set, and so may be the caller's own limits, since Podman lowers some
/// for itself; then nothing would start. A server of a drill needs far less.
fn own_limits() -> Vec<String> {
    const ENOUGH: u64 = 16_384;
    [("nofile", Resource::RLIMIT_NOFILE), ("nproc", Resource::RLIMIT_NPROC)]
        .into_iter()
        .filter_map(|(name, resource)| {
            let (_, hard) = getrlimit(resource).ok()?;
            let limit = hard.min(ENOUGH);
            Some(format!("--ulimit={name}={limit}:{limit}"))
        })
        .collect()
}

/// Where engines keep their things and whom they talk to, as the caller has it.
pub(crate) fn environment() -> Vec<(&'static str, std::ffi::OsString)> {
    const NAMES: [&str; 6] = [
        "HOME",
        "XDG_RUNTIME_DIR",
        "CONTAINERS_CONF",
        "CONTAINER_HOST",
        "DOCKER_CONFIG",
        "DOCKER_HOST",
    ];
    NAMES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))).collect()
}

/// The end of what an engine complains about.
fn last_words(mut pipe: impl std::io::Read) -> String {
    let mut bytes = vec![];
    let _ = pipe.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let start = text.ceil_char_boundary(text.len().saturating_sub(1000));
    text.get(start..).unwrap_or_default().to_owned()
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Nspawn parts a pair by a colon.
fn colons(path: &Path) -> String {
    text(path).replace('\\', "\\\\").replace(':', "\\:")
}

/// A field of a line in the form of fstab(5).
fn octal(path: &Path) -> String {
    text(path).replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

/// The value of `--mount`, a line of CSV.
fn mount(bind: &Bind) -> String {
    let quoted = |path: &PathBuf| path.display().to_string().replace('"', "\"\"");
    let (from, to) = (quoted(&bind.from), quoted(&bind.to));
    let how = if bind.writable { "" } else { ",readonly" };
    format!("type=bind,\"source={from}\",\"target={to}\"{how}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_quoted_as_each_engine_wants() {
        let path = Path::new("/a b:c\\d");
        assert_eq!(colons(path), "/a b\\:c\\\\d");
        assert_eq!(octal(path), "/a\\040b:c\\134d");
        let bind = Bind::read_only("/a,\"b", "/c");
        assert_eq!(mount(&bind), "type=bind,\"source=/a,\"\"b\",\"target=/c\",readonly");
    }

    #[test]
    fn the_last_words_are_the_end() {
        let long = "x".repeat(2000) + "end\n";
        let said = last_words(long.as_bytes());
        assert!(said.len() == 1000 && said.ends_with("end"));
    }
}

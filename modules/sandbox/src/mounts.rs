//! The files of a sandbox: a small root in memory, the system's programs, and what the order names.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::pivot_root;

use crate::builder::{Job, Refused};
use crate::order::{Bind, Overlay};
use crate::place::ROOT;
use crate::{EXECUTABLE_INSIDE, SHARED_INSIDE};

const NONE: Option<&str> = None;

/// Programs and libraries. A link (`/bin` on a system of today) is made again as a link.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// Of `/etc` only what the dynamic linker, the C library and the alternatives of programs need.
const SETTINGS: [&str; 6] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/alternatives",
    "/etc/locale.alias",
];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Makes the root and enters it. `unprivileged`: inside a user namespace, where flags of mounts are locked.
pub(crate) fn build(job: &Job, unprivileged: bool) -> Result<(), Refused> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(Refused::step("keep mounts to ourselves"))?;
    let root = job.place.join(ROOT);
    small(&root, "mode=0755,size=4m")?;
    system(&root)?;
    devices(&root)?;
    accounts(&root, job)?;
    bind(&root, &Bind::read_only(&job.executable, EXECUTABLE_INSIDE))?;
    bind(&root, &Bind::writable(job.place.join(crate::place::SHARED), SHARED_INSIDE))?;
    for one in &job.order.binds {
        bind(&root, one)?;
    }
    for one in &job.order.overlays {
        overlay(&root, one, unprivileged)?;
    }
    enter(&root)
}

fn small(at: &Path, options: &str) -> Result<(), Refused> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(Refused::at("mount", at))
}

fn system(root: &Path) -> Result<(), Refused> {
    for name in SYSTEM {
        let path = Path::new(name);
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(path).map_err(Refused::at("read", path))?;
                symlink(target, inside(root, path)).map_err(Refused::at("link", path))?;
            }
            Ok(_) => bind(root, &Bind::read_only(path, path))?,
            Err(_) => {}
        }
    }
    for name in SETTINGS.map(Path::new).into_iter().filter(|path| path.exists()) {
        // What a link points to, such as the time zone, and not the link.
        let from = name.canonicalize().map_err(Refused::at("find", name))?;
        bind(root, &Bind::read_only(from, name))?;
    }
    for (name, options) in [("/tmp", "mode=1777"), ("/run", "mode=0755,size=1m")] {
        let path = inside(root, Path::new(name));
        directory(&path)?;
        small(&path, options)?;
    }
    directory(&root.join("proc"))?;
    directory(&root.join("var"))
}

fn devices(root: &Path) -> Result<(), Refused> {
    directory(&root.join("dev"))?;
    for name in DEVICES {
        let device = Path::new("/dev").join(name);
        let to = inside(root, &device);
        File::create(&to).map_err(Refused::at("make", &to))?;
        mount(Some(&device), &to, NONE, MsFlags::MS_BIND, NONE)
            .map_err(Refused::at("show", &device))?;
    }
    let memory = root.join("dev/shm");
    directory(&memory)?;
    small(&memory, "mode=1777")
}

/// The server's user by name, and nobody else's.
fn accounts(root: &Path, job: &Job) -> Result<(), Refused> {
    let (uid, gid) = (job.order.run_as.uid, job.order.run_as.gid);
    let files = [
        ("passwd", format!("root:x:0:0::/:/bin/false\npostgres:x:{uid}:{gid}::/tmp:/bin/sh\n")),
        ("group", format!("root:x:0:\npostgres:x:{gid}:\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\n".to_owned()),
    ];
    directory(&root.join("etc"))?;
    for (name, text) in files {
        let path = root.join("etc").join(name);
        fs::write(&path, text).map_err(Refused::at("write", &path))?;
    }
    Ok(())
}

fn bind(root: &Path, bind: &Bind) -> Result<(), Refused> {
    let to = inside(root, &bind.to);
    let found = fs::metadata(&bind.from).map_err(Refused::at("find", &bind.from))?;
    if found.is_dir() {
        directory(&to)?;
    } else {
        to.parent().map_or(Ok(()), directory)?;
        File::create(&to).map_err(Refused::at("make", &to))?;
    }
    mount(Some(&bind.from), &to, NONE, MsFlags::MS_BIND, NONE)
        .or_else(|_| {
            // In a user namespace what lies mounted below may not be uncovered.
            mount(Some(&bind.from), &to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        })
        .map_err(Refused::at("show", &bind.from))?;
    restrict(&to, bind.writable)
}

/// Set-user-id bits and devices never count inside. What the host has locked must be said again, or the kernel refuses.
fn restrict(at: &Path, writable: bool) -> Result<(), Refused> {
    let found = statvfs(at).map_err(Refused::at("examine", at))?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let locked = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    for (is, flag) in locked {
        if found.contains(is) {
            flags |= flag;
        }
    }
    if !writable {
        flags |= MsFlags::MS_RDONLY;
    }
    mount(NONE, at, NONE, flags, NONE).map_err(Refused::at("restrict", at))
}

fn overlay(root: &Path, overlay: &Overlay, unprivileged: bool) -> Result<(), Refused> {
    let to = inside(root, &overlay.to);
    directory(&to)?;
    let part = |name: &str, path: &Path| {
        let text = path.display().to_string();
        // The kernel parses these as lists.
        if text.contains([',', ':', '\\', '"']) {
            return Err(Refused::at("overlay", path)("its name holds one of , : \\ \""));
        }
        Ok(format!("{name}={text}"))
    };
    let mut options = [
        part("lowerdir", &overlay.lower)?,
        part("upperdir", &overlay.upper)?,
        part("workdir", &overlay.work)?,
    ]
    .join(",");
    if unprivileged {
        options.push_str(",userxattr");
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), &to, Some("overlay"), flags, Some(options.as_str()))
        .map_err(Refused::at("overlay", &overlay.lower))
}

/// From here on the host's files are gone, but for those that were shown.
fn enter(root: &Path) -> Result<(), Refused> {
    const STEP: &str = "leave the host's files";
    std::env::set_current_dir(root).map_err(Refused::step(STEP))?;
    pivot_root(".", ".").map_err(Refused::step(STEP))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(Refused::step(STEP))?;
    std::env::set_current_dir("/").map_err(Refused::step(STEP))?;
    restrict(Path::new("/"), false)
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn directory(path: &Path) -> Result<(), Refused> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .and_then(|()| match fs::symlink_metadata(path)?.permissions().mode() & 0o7777 {
            // A file mode mask of the caller's must not close it to the server.
            mode if mode & 0o055 != 0o055 => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            }
            _ => Ok(()),
        })
        .map_err(Refused::at("make", path))
}

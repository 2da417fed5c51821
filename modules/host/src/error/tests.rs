//! The texts are the operator's: each is looked at here.

use program::Cause;

use super::*;

fn path() -> PathBuf {
    PathBuf::from("/a/b")
}

fn refused() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

fn check(cases: Vec<(HostError, &str, &str)>) {
    for (error, text, kind) in cases {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        for hint in error.hints() {
            assert!(hint.ends_with(['.', '?']), "{hint}");
        }
    }
}

#[test]
fn texts_about_mounts_and_devices() {
    use HostError as E;
    let none = io::Error::from(io::ErrorKind::NotFound);
    let cause = Cause::Failed { status: 8, stderr: "ambivalent result".to_owned() };
    let source = ProgramError { program: "blkid".to_owned(), cause };
    check(vec![
        (E::io("read", &path())(none), "could not read \"/a/b\"", "file_not_found"),
        (E::io("read", &path())(refused()), "could not read \"/a/b\"", "file_failed"),
        (E::NoMount { path: path() }, "found no mount point for \"/a/b\"", "file_failed"),
        (
            E::NotABlockDevice {
                path: path(),
                mount_point: PathBuf::from("/a"),
                fstype: "tmpfs".to_owned(),
            },
            "\"/a/b\" is on no block device: \"/a\" is a filesystem of type tmpfs",
            "snapshot_not_covered",
        ),
        (
            E::NoDevice {
                number: DeviceNumber { major: 259, minor: 1 },
                sysfs: PathBuf::from("/sys"),
            },
            "found no block device 259:1 in \"/sys\"",
            "file_failed",
        ),
        (
            E::NoFilesystem { device: "/dev/vdb".to_owned() },
            "found no filesystem on device \"/dev/vdb\"",
            "file_failed",
        ),
        (
            E::Program { action: "find out what is on", device: "/dev/vdb".to_owned(), source },
            "could not find out what is on \"/dev/vdb\"",
            "program_failed",
        ),
    ]);
}

#[test]
fn texts_about_processes() {
    use HostError as E;
    let pid = 7;
    check(vec![
        (
            E::NotAbsolute { path: PathBuf::from("a") },
            "\"a\" is not an absolute path",
            "invalid_argument",
        ),
        (E::NoProcess { pid }, "process 7 does not run", "process_not_found"),
        (
            E::NeedsRoot { pid, source: refused() },
            "could not look into process 7: needs root (become: true)",
            "insufficient_privilege",
        ),
        (
            E::Inside {
                action: "find",
                path: path(),
                pid,
                source: io::Error::from(io::ErrorKind::NotFound),
            },
            "could not find \"/a/b\" inside the root of process 7",
            "file_not_found",
        ),
        (
            E::TooManyLinks { path: path(), pid, limit: 40 },
            "\"/a/b\" leads through more than 40 symbolic links inside the root of process 7",
            "invalid_argument",
        ),
        (
            E::NotVisible {
                path: path(),
                pid,
                mount_point: PathBuf::from("/a"),
                fstype: "ext4".to_owned(),
                device: "/dev/vdb".to_owned(),
            },
            "\"/a/b\" inside the root of process 7 is not visible on this host: it is on \"/a\" (ext4 of \"/dev/vdb\"), which is not mounted here",
            "path_not_visible",
        ),
    ]);
}

#[test]
fn texts_about_containers() {
    use HostError as E;
    let name = || "db".to_owned();
    let engines = || vec!["docker".to_owned(), "podman".to_owned()];
    check(vec![
        (
            E::NoEngine { asked: vec![path(), PathBuf::from("/c")] },
            "found no container engine; asked: \"/a/b\", \"/c\"",
            "connection_failed",
        ),
        (
            E::NoContainer { name: name(), engines: engines() },
            "found no container \"db\"; asked: docker, podman",
            "container_not_found",
        ),
        (
            E::Ambiguous { name: name(), engines: engines() },
            "container \"db\" runs in more than one engine: docker, podman",
            "invalid_argument",
        ),
        (
            E::NotRunning { name: name(), state: "exited".to_owned() },
            "container \"db\" is not running, its state is \"exited\"",
            "container_not_running",
        ),
        (E::Paused { name: name() }, "container \"db\" is paused", "container_not_running"),
        (
            E::Engine { socket: path(), source: refused() },
            "could not ask the container engine at \"/a/b\"",
            "insufficient_privilege",
        ),
        (
            E::Engine { socket: path(), source: io::Error::from(io::ErrorKind::TimedOut) },
            "could not ask the container engine at \"/a/b\"",
            "connection_failed",
        ),
        (
            E::EngineStatus { socket: path(), status: 500, answer: "no".to_owned() },
            "the container engine at \"/a/b\" answered with status 500: no",
            "connection_failed",
        ),
    ]);
}

#[test]
fn texts_about_the_instance() {
    use HostError as E;
    let endpoint = || "http://169.254.169.254".to_owned();
    let kind = "instance_metadata_unavailable";
    check(vec![
        (E::MetadataDisabled, "AWS_EC2_METADATA_DISABLED is set", kind),
        (
            E::Metadata { endpoint: endpoint(), source: io::Error::from(io::ErrorKind::TimedOut) },
            "could not ask the instance metadata service at \"http://169.254.169.254\"",
            kind,
        ),
        (
            E::MetadataStatus {
                endpoint: endpoint(),
                request: "PUT /latest/api/token".to_owned(),
                status: 403,
            },
            "the instance metadata service at \"http://169.254.169.254\" answered PUT /latest/api/token with status 403",
            kind,
        ),
    ]);
}

#[test]
fn what_may_be_tried_again() {
    let status = |status| HostError::EngineStatus { socket: path(), status, answer: String::new() };
    assert!(status(503).retryable());
    assert!(!status(400).retryable());
    assert!(!HostError::NoProcess { pid: 7 }.retryable());
    assert!(!HostError::MetadataDisabled.retryable());
    let state =
        |state: &str| HostError::NotRunning { name: String::new(), state: state.to_owned() };
    assert!(state("restarting").retryable());
    assert!(!state("exited").retryable());
}

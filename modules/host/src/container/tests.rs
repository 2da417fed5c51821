use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// An engine that answers every question with the same.
fn engine(socket: &Path, server: &str, status: &str, body: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nServer: {server}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    // The thread ends with the test program.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
            }
            let asked = String::from_utf8(asked).unwrap();
            assert!(asked.starts_with("GET /containers/my%20db/json HTTP/1.1\r\n"), "{asked}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

fn inspected(status: &str, pid: u32) -> String {
    let paused = status == "paused";
    let running = paused || status == "running";
    format!(
        r#"{{"Id":"4f5d","Created":"2026-01-02T03:04:05Z","Name":"/my db","State":{{"Status":"{status}","Running":{running},"Paused":{paused},"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":{pid},"ExitCode":0,"StartedAt":"2026-01-02T03:04:05.678Z"}},"HostConfig":{{"PidMode":""}}}}"#
    )
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn find(sockets: &[&Path]) -> Result<Container, HostError> {
    let sockets: Vec<PathBuf> = sockets.iter().map(|path| path.to_path_buf()).collect();
    Container::find_at("my db", &sockets)
}

#[test]
fn a_running_container_is_a_process() {
    let directory = directory();
    let socket = directory.path().join("docker.sock");
    let pid = std::process::id();
    engine(&socket, "Docker/20.10.24 (linux)", "200 OK", &inspected("running", pid));
    let expected = Container {
        id: "4f5d".to_owned(),
        name: "my db".to_owned(),
        engine: "docker".to_owned(),
        process: Process::find(i32::try_from(pid).unwrap()).unwrap(),
        started_at: "2026-01-02T03:04:05.678Z".to_owned(),
    };
    assert_eq!(find(&[&socket]).unwrap(), expected);
    // The same socket by another name is the same engine.
    let link = directory.path().join("link.sock");
    symlink(&socket, &link).unwrap();
    assert_eq!(find(&[&link, &directory.path().join("none.sock"), &socket]).unwrap(), expected);
}

#[test]
fn a_container_that_does_not_run_says_what_it_does() {
    let directory = directory();
    let text = |name: &str, status: &str, pid: u32| {
        let socket = directory.path().join(name);
        engine(&socket, "Docker/20.10.24", "200 OK", &inspected(status, pid));
        let error = find(&[&socket]).unwrap_err();
        (error.to_string(), error.kind(), error.retryable())
    };
    let kind = "container_not_running";
    let said = |text: &str, retryable| (text.to_owned(), kind, retryable);
    let exited = "container \"my db\" is not running, its state is \"exited\"";
    assert_eq!(text("1", "exited", 0), said(exited, false));
    let restarting = "container \"my db\" is not running, its state is \"restarting\"";
    assert_eq!(text("2", "restarting", 0), said(restarting, true));
    assert_eq!(text("3", "paused", 1), said("container \"my db\" is paused", false));
}

#[test]
fn all_engines_are_asked() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let pid = std::process::id();
    let (docker, podman) = (at("docker"), at("podman"));
    engine(&docker, "Docker/20.10.24", "404 Not Found", r#"{"message":"No such container"}"#);
    let running = inspected("running", pid);
    engine(&podman, "Libpod/4.3.1 (linux)", "200 OK", &running);
    assert_eq!(find(&[&docker, &podman]).unwrap().engine, "podman");
    assert_eq!(
        find(&[&docker]).unwrap_err().to_string(),
        "found no container \"my db\"; asked: docker"
    );

    let (stopped, second) = (at("stopped"), at("second"));
    engine(&stopped, "Docker/20.10.24", "200 OK", &inspected("exited", 0));
    engine(&second, "Docker/20.10.24", "200 OK", &running);
    assert_eq!(find(&[&stopped, &podman]).unwrap().engine, "podman");
    assert_eq!(
        find(&[&podman, &second]).unwrap_err().to_string(),
        "container \"my db\" runs in more than one engine: podman, docker"
    );
}

#[test]
fn an_engine_in_trouble_is_named_unless_another_has_the_container() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let (broken, confused, gone, podman) = (at("broken"), at("confused"), at("gone"), at("podman"));
    engine(&broken, "Docker/20.10.24", "500 Internal Server Error", "out of order\n");
    engine(&confused, "Docker/20.10.24", "200 OK", "{}");
    drop(UnixListener::bind(&gone).unwrap());
    engine(&podman, "Libpod/4.3.1", "200 OK", &inspected("running", std::process::id()));
    let text = |socket: &Path| {
        assert!(find(&[socket, &podman]).is_ok());
        let error = find(&[socket]).unwrap_err();
        assert_eq!(error.kind(), "connection_failed");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        (error.to_string().replace(&socket.display().to_string(), "S"), source)
    };
    let status = "the container engine at \"S\" answered with status 500: out of order";
    assert_eq!(text(&broken), (status.to_owned(), None));
    let problem = "could not ask the container engine at \"S\"".to_owned();
    let source = Some("missing field `Id` at line 1 column 2".to_owned());
    assert_eq!(text(&confused), (problem.clone(), source));
    assert_eq!(text(&gone).0, problem);
}

#[test]
fn without_an_engine_the_sockets_are_named() {
    assert_eq!(
        find(&[Path::new("/no/a"), Path::new("/no/b")]).unwrap_err().to_string(),
        "found no container engine; asked: \"/no/a\", \"/no/b\""
    );
}

#[test]
fn the_environment_comes_first() {
    let environment = |name: &str| {
        let value = match name {
            "DOCKER_HOST" => "unix:///run/mine.sock",
            "CONTAINER_HOST" => "ssh://somewhere",
            "XDG_RUNTIME_DIR" => "/run/user/7",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let expected = [
        "/run/mine.sock",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/user/7/podman/podman.sock",
    ];
    assert_eq!(sockets(&environment), expected.map(PathBuf::from));
}

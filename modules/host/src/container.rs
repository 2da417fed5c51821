//! Containers, found through the API of their engine.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::{self, Request};
use crate::{HostError, Process};

/// An engine answers such a question in milliseconds; one that is busy starting containers may take seconds.
const TIME: Duration = Duration::from_secs(10);
/// Where engines listen when the environment says nothing.
const SOCKETS: [&str; 3] = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
/// How much of an answer that is not understood is shown.
const SHOWN: usize = 200;

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its whole id; a container that was made again has another one.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `docker` or `podman`.
    pub engine: String,
    /// Its first process.
    pub process: Process,
    /// When it was started, as the engine says it (RFC 3339).
    pub started_at: String,
}

impl Container {
    /// The container with this name or id, or the beginning of an id. Asked are, over their unix sockets, the engines
    /// that `DOCKER_HOST` and `CONTAINER_HOST` name, then Docker's and Podman's own places. They must number processes
    /// as this host does, which one in a virtual machine does not.
    ///
    /// # Errors
    /// [`HostError::NoEngine`], [`HostError::NoContainer`], [`HostError::NotRunning`], [`HostError::Paused`],
    /// [`HostError::Ambiguous`], [`HostError::Engine`], [`HostError::EngineStatus`]; [`HostError::NoProcess`] when it
    /// ended just now.
    pub fn find(name_or_id: &str) -> Result<Self, HostError> {
        Self::find_at(name_or_id, &sockets(&|name| std::env::var(name).ok()))
    }

    fn find_at(name: &str, sockets: &[PathBuf]) -> Result<Self, HostError> {
        let mut engines = Vec::new();
        let mut running = Vec::new();
        let mut problem = None;
        for socket in existing(sockets) {
            match ask(name, &socket) {
                Ok((engine, found)) => {
                    engines.push(engine.to_owned());
                    running.extend(found.map(|found| (engine, found)));
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        // A stopped container is in nobody's way.
        if running.iter().any(|(_, found)| found.is_running()) {
            running.retain(|(_, found)| found.is_running());
        }
        if running.len() > 1 {
            let engines = running.iter().map(|(engine, _)| (*engine).to_owned()).collect();
            return Err(HostError::Ambiguous { name: name.to_owned(), engines });
        }
        match (running.pop(), problem) {
            (Some((engine, found)), _) => found.container(name, engine),
            (None, Some(problem)) => Err(problem),
            (None, None) if engines.is_empty() => {
                Err(HostError::NoEngine { asked: sockets.to_vec() })
            }
            (None, None) => Err(HostError::NoContainer { name: name.to_owned(), engines }),
        }
    }
}

/// Where engines may listen, in the order in which they are asked.
fn sockets(environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let named = ["DOCKER_HOST", "CONTAINER_HOST"].into_iter().filter_map(|name| {
        environment(name)?
            .strip_prefix("unix://")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    let of_user = environment("XDG_RUNTIME_DIR")
        .map(|directory| Path::new(&directory).join("podman/podman.sock"));
    named.chain(SOCKETS.map(PathBuf::from)).chain(of_user).collect()
}

/// Those that are there, each once: `/var/run` is `/run`, and one engine's socket may be a link to the other's.
fn existing(sockets: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let is_new = |path: &&PathBuf| match std::fs::metadata(path) {
        Ok(found) => seen.insert((found.dev(), found.ino())),
        // It may be there and must be asked, so that the reason is told.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    };
    sockets.iter().filter(is_new).cloned().collect()
}

/// What an engine says of a container; the names are those of Docker's API, which Podman speaks too.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    running: bool,
    paused: bool,
    pid: i32,
    started_at: String,
}

impl Inspected {
    fn is_running(&self) -> bool {
        self.state.running || self.state.paused
    }

    fn container(self, asked: &str, engine: &str) -> Result<Container, HostError> {
        let name = asked.to_owned();
        if self.state.paused {
            return Err(HostError::Paused { name });
        }
        if !self.state.running || self.state.pid <= 0 {
            return Err(HostError::NotRunning { name, state: self.state.status });
        }
        Ok(Container {
            process: Process::find(self.state.pid)?,
            id: self.id,
            name: self.name.trim_start_matches('/').to_owned(),
            engine: engine.to_owned(),
            started_at: self.state.started_at,
        })
    }
}

/// Asks one engine: its name, and the container if it has it.
fn ask(name: &str, socket: &Path) -> Result<(&'static str, Option<Inspected>), HostError> {
    let problem = |source| HostError::Engine { socket: socket.to_path_buf(), source };
    let mut stream = UnixStream::connect(socket).map_err(problem)?;
    // Without a name, the path would be that of another question.
    let path = format!(
        "/containers/{}/json",
        http::percent_encoded(if name.is_empty() { " " } else { name })
    );
    let request = Request { method: "GET", path: &path, host: "localhost", header: None };
    let response = http::exchange(&mut stream, &request, TIME).map_err(problem)?;
    let engine = if response.server.contains("Libpod") { "podman" } else { "docker" };
    match response.status {
        200 => {
            let found = serde_json::from_slice(&response.body)
                .map_err(|error| problem(http::invalid(error.to_string())))?;
            Ok((engine, Some(found)))
        }
        404 => Ok((engine, None)),
        status => {
            let answer = String::from_utf8_lossy(&response.body);
            Err(HostError::EngineStatus {
                socket: socket.to_path_buf(),
                status,
                answer: answer.trim().chars().take(SHOWN).collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests;

//! The executable without Ansible: a request on its standard input.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use backstay_tests::collection::executable;
use backstay_tests::command::tied;
use backstay_tests::place::{Place, User};
use serde_json::{Value, json};

/// The shipped executable, where `user` can reach it.
#[derive(Debug)]
pub(crate) struct Direct {
    path: PathBuf,
    user: User,
    _place: Place,
}

impl Direct {
    pub(crate) fn new(user: User) -> Self {
        let place = Place::new();
        let path = place.join("backstay");
        fs::copy(executable(), &path).expect("a copy in an own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("chmod of an own file");
        Self { path, user, _place: place }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the module of a task as a playbook has it; the reply, or what went
    /// wrong.
    pub(crate) fn ask(&self, task: &Value) -> Result<Value, String> {
        let mut child = tied(&self.path, &self.user)
            .arg("run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("setpriv could not be started: {error}"))?;
        let mut input = child.stdin.take().ok_or("no standard input")?;
        input.write_all(&request(task)).map_err(|error| format!("no request sent: {error}"))?;
        drop(input);
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let reply: Value = serde_json::from_str(text.trim()).map_err(|error| {
            format!("{error}: \"{text}\" {}", String::from_utf8_lossy(&output.stderr))
        })?;
        if reply["failed"] == json!(true) {
            return Err(reply["msg"].as_str().unwrap_or("no message").to_owned());
        }
        Ok(reply)
    }

    /// The same, where nothing may go wrong.
    #[track_caller]
    pub(crate) fn must(&self, task: &Value) -> Value {
        self.ask(task).unwrap_or_else(|why| panic!("{}: {why}", task["name"]))
    }
}

/// What the action plugin would send for a task.
pub(crate) fn request(task: &Value) -> Vec<u8> {
    let module = task["name"].as_str().expect("tasks here are named after their module");
    let mut request = task[format!("backstay.postgresql.{module}")].clone();
    request["_ansible_module_name"] = json!(format!("backstay.postgresql.{module}"));
    request["_ansible_check_mode"] = json!(false);
    request["_ansible_inject_invocation"] = json!(false);
    request.to_string().into_bytes()
}

//! Lays the collection out as it will be installed, with the executable in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::error::XtaskError;
use crate::layout::Layout;

/// The name of the executable, of its package, and of its file in the collection.
const PROGRAM: &str = "backstay";

/// Which build of the executable goes into the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Built in seconds, for tests.
    Dev,
    /// What is shipped.
    Release,
}

/// Builds the executable and lays the collection out in the directory `staged`.
///
/// It is put together beside its place and then moved there, so that whoever
/// reads the staged collection meanwhile finds a whole one.
pub(crate) fn stage(layout: &Layout, profile: Profile, staged: &Path) -> Result<(), XtaskError> {
    let executable = build(layout, profile)?;
    let fresh = staged.with_file_name(format!(".postgresql.{}", std::process::id()));
    remove(&fresh)?;
    copy_tree(&layout.root.join("collection"), &fresh)?;
    copy_tree(&layout.root.join("playbooks"), &fresh.join("playbooks"))?;
    for name in ["COPYING", ".ansible-lint"] {
        copy_file(&layout.root.join(name), &fresh.join(name))?;
    }
    add_program(&executable, &fresh, profile)?;
    remove(staged)?;
    fs::rename(&fresh, staged).map_err(XtaskError::file("replace", staged))
}

fn build(layout: &Layout, profile: Profile) -> Result<PathBuf, XtaskError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut building = command(cargo);
    building
        .current_dir(&layout.root)
        .args(["build", "--quiet", "--package", PROGRAM, "--target-dir"])
        .arg(&layout.target);
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            building.arg("--release");
            "release"
        }
    };
    run(&mut building)?;
    Ok(layout.target.join(directory).join(PROGRAM))
}

/// Puts the executable under `native/` and writes the manifest that the action plugins read.
fn add_program(executable: &Path, staged: &Path, profile: Profile) -> Result<(), XtaskError> {
    let machine = std::env::consts::ARCH;
    let relative = format!("native/linux-{machine}/{PROGRAM}");
    let place = staged.join(&relative);
    copy_file(executable, &place)?;
    if profile == Profile::Dev {
        // Debug information multiplies what crosses the network; without strip it is only slower.
        let _ = run(command("strip").arg("--strip-debug").arg(&place));
    }
    let bytes = fs::read(&place).map_err(XtaskError::file("read", &place))?;
    let mut builds = Map::new();
    builds.insert(
        machine.to_owned(),
        json!({"path": relative, "sha256": sha256(&bytes), "size": bytes.len()}),
    );
    let manifest = staged.join("native/manifest.json");
    let text = format!("{:#}\n", json!({"builds": Value::Object(builds)}));
    fs::write(&manifest, text).map_err(XtaskError::file("write", &manifest))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies a directory; links become the files they point to. What building or running leaves behind stays out.
fn copy_tree(from: &Path, to: &Path) -> Result<(), XtaskError> {
    fs::create_dir_all(to).map_err(XtaskError::file("make", to))?;
    let entries = fs::read_dir(from).map_err(XtaskError::file("read", from))?;
    for entry in entries {
        let entry = entry.map_err(XtaskError::file("read", from))?;
        let name = entry.file_name();
        if name == "__pycache__" || name == "native" {
            continue;
        }
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to.join(&name))?;
        } else {
            copy_file(&entry.path(), &to.join(&name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), XtaskError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(XtaskError::file("make", parent))?;
    }
    fs::copy(from, to).map(|_| ()).map_err(XtaskError::file("copy", from))
}

fn remove(directory: &Path) -> Result<(), XtaskError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(XtaskError::file("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_files_and_leavings_stay_out() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("plugins/__pycache__")).unwrap();
        fs::write(place.path().join("README.md"), "read").unwrap();
        std::os::unix::fs::symlink("../README.md", from.join("README.md")).unwrap();
        copy_tree(&from, &to).unwrap();
        assert!(to.join("README.md").symlink_metadata().unwrap().is_file());
        assert!(to.join("plugins").is_dir() && !to.join("plugins/__pycache__").exists());
    }

    #[test]
    fn the_manifest_names_the_executable_and_its_checksum() {
        let place = tempfile::tempdir().unwrap();
        let executable = place.path().join("built");
        fs::write(&executable, "abc").unwrap();
        add_program(&executable, place.path(), Profile::Release).unwrap();
        let text = fs::read_to_string(place.path().join("native/manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let build = &manifest["builds"][std::env::consts::ARCH];
        assert_eq!(
            build["sha256"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(build["size"], 3);
    }
}

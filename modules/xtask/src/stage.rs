//! Lays the collection out as it will be installed, with the executables in it.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::command::{command, run};
use crate::error::XtaskError;
use crate::layout::Layout;

/// The executables: each is the name of its package and of its file in the collection.
const TOOLS: [&str; 2] = ["backstay", EBS];

/// The one that takes minutes and 8 GB to compile.
const EBS: &str = "backstay-ebs";

/// When this variable is set and not empty, the collection is made without [`EBS`].
const WITHOUT_EBS: &str = "BACKSTAY_WITHOUT_EBS";

/// Which build of the executables goes into the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Built in seconds, for tests.
    Dev,
    /// What is shipped.
    Release,
}

/// The executables that the collection is made with.
pub(crate) fn tools() -> Vec<&'static str> {
    let without = std::env::var_os(WITHOUT_EBS).is_some_and(|value| !value.is_empty());
    TOOLS.into_iter().filter(|tool| !without || *tool != EBS).collect()
}

/// Where an executable is in a collection, relative to it.
pub(crate) fn place_of(tool: &str) -> String {
    format!("native/linux-{}/{tool}", std::env::consts::ARCH)
}

/// Builds the executables and lays the collection out in the directory `staged`.
///
/// It is put together beside its place and then moved there, so that whoever
/// reads the staged collection meanwhile finds a whole one.
pub(crate) fn stage(layout: &Layout, profile: Profile, staged: &Path) -> Result<(), XtaskError> {
    let tools = tools();
    let built = build(layout, profile, &tools)?;
    let fresh = staged.with_file_name(format!(".postgresql.{}", std::process::id()));
    remove(&fresh)?;
    copy_tree(&layout.root.join("collection"), &fresh)?;
    for directory in ["playbooks", "aws"] {
        copy_tree(&layout.root.join(directory), &fresh.join(directory))?;
    }
    for name in ["COPYING", ".ansible-lint"] {
        copy_file(&layout.root.join(name), &fresh.join(name))?;
    }
    add_programs(&built, &tools, &fresh, profile)?;
    remove(staged)?;
    fs::rename(&fresh, staged).map_err(XtaskError::file("replace", staged))
}

/// Builds the executables; gives the directory they are in. Each is built by
/// itself: built together, each would get the features that the other needs of
/// the crates they share.
fn build(layout: &Layout, profile: Profile, tools: &[&str]) -> Result<PathBuf, XtaskError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (flag, directory) = match profile {
        Profile::Dev => (None, "debug"),
        Profile::Release => (Some("--release"), "release"),
    };
    for tool in tools {
        let mut building = command(&cargo);
        building.current_dir(&layout.root).args(["build", "--package", tool]);
        // Who looks on should see that it goes on; a log need not have it.
        if !std::io::stderr().is_terminal() {
            building.arg("--quiet");
        }
        building.args(flag).arg("--target-dir").arg(&layout.target);
        run(&mut building)?;
    }
    Ok(layout.target.join(directory))
}

/// Puts the executables under `native/` and writes the manifest that the action plugins read.
fn add_programs(
    built: &Path,
    tools: &[&str],
    staged: &Path,
    profile: Profile,
) -> Result<(), XtaskError> {
    let mut entries = Map::new();
    for tool in tools {
        let relative = place_of(tool);
        let place = staged.join(&relative);
        copy_file(&built.join(tool), &place)?;
        if profile == Profile::Dev {
            // Debug information multiplies what crosses the network; without strip it is only slower.
            let _ = run(command("strip").arg("--strip-debug").arg(&place));
        }
        let bytes = fs::read(&place).map_err(XtaskError::file("read", &place))?;
        let mut builds = Map::new();
        builds.insert(
            std::env::consts::ARCH.to_owned(),
            json!({"path": relative, "sha256": sha256(&bytes), "size": bytes.len()}),
        );
        entries.insert((*tool).to_owned(), json!({"builds": Value::Object(builds)}));
    }
    let manifest = staged.join("native/manifest.json");
    let text = format!("{:#}\n", json!({"tools": Value::Object(entries)}));
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
    fn the_manifest_names_each_executable_and_its_checksum() {
        let place = tempfile::tempdir().unwrap();
        let (built, staged) = (place.path().join("debug"), place.path().join("staged"));
        fs::create_dir(&built).unwrap();
        fs::write(built.join("backstay"), "abc").unwrap();
        fs::write(built.join("backstay-ebs"), "").unwrap();
        add_programs(&built, &TOOLS, &staged, Profile::Release).unwrap();
        let text = fs::read_to_string(staged.join("native/manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let build = &manifest["tools"]["backstay"]["builds"][std::env::consts::ARCH];
        assert_eq!(
            build["sha256"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(build["size"], 3);
        let build = &manifest["tools"]["backstay-ebs"]["builds"][std::env::consts::ARCH];
        assert_eq!(build["path"], place_of("backstay-ebs"));
        assert_eq!(build["size"], 0);
    }
}

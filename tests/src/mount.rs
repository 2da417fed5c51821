//! Small file systems of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::place::{Place, Undo, User};

/// A mounted file system, the server user's own, unmounted on drop. Needs root.
#[derive(Debug)]
pub struct SmallMount {
    path: PathBuf,
    // dropped in this order: unmounted, then removed
    _undo: Undo,
    _place: Place,
}

impl SmallMount {
    /// In memory, `megabytes` large: for disks that fill up.
    ///
    /// # Panics
    ///
    /// When it cannot be mounted.
    #[must_use]
    pub fn tmpfs(megabytes: u32) -> Self {
        Self::mount(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"], None)
    }

    /// `btrfs`, `xfs` or `ext4` in a sparse file of `megabytes`, at the least
    /// 120 for `btrfs` and 300 for `xfs`.
    ///
    /// # Panics
    ///
    /// When it cannot be made or mounted.
    #[must_use]
    pub fn of_kind(kind: &str, megabytes: u64) -> Self {
        Self::mount(&["-t", kind, "-o", "loop"], Some((kind, megabytes)))
    }

    fn mount(arguments: &[&str], image: Option<(&str, u64)>) -> Self {
        let place = Place::new();
        let path = place.join("m");
        std::fs::create_dir(&path).expect("a directory in the test's place");
        let mut mount = Command::new("mount");
        mount.args(arguments);
        if let Some((kind, megabytes)) = image {
            let file = place.join("image");
            let made = std::fs::File::create(&file).expect("a file in the test's place");
            made.set_len(megabytes << 20).expect("a sparse file");
            run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&file));
            mount.arg(&file);
        }
        // lazily: whatever still has a file open there loses it with the test
        let undo = Undo::with(&format!("! mountpoint -q '{0}' || umount -l '{0}'", path.display()));
        run(mount.arg(&path));
        User::of_servers().give(&path);
        Self { path, _undo: undo, _place: place }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file `filler` until nothing more fits.
    ///
    /// # Panics
    ///
    /// When it fails for another reason than a full disk.
    pub fn fill(&self) {
        let mut file =
            std::fs::File::create(self.path.join("filler")).expect("a file on the small mount");
        loop {
            match std::io::Write::write(&mut file, &[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return,
                Err(error) => panic!("filling {}: {error}", self.path.display()),
            }
        }
    }

    /// Removes what [`SmallMount::fill`] wrote.
    pub fn make_room(&self) {
        let _ = std::fs::remove_file(self.path.join("filler"));
    }
}

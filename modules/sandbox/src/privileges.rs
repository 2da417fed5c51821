//! Giving up every privilege, for good.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::order::RunAs;

/// Becomes the user, without groups, capabilities or a way to get them back. As anybody but root only the last.
pub(crate) fn drop_to(run_as: RunAs) -> nix::Result<()> {
    if nix::unistd::geteuid().is_root() {
        for capability in CapabilitySet::all().iter() {
            // Unknown to an older kernel: then it has none to lose.
            let _ = remove_capability_from_bounding_set(capability);
        }
        let (uid, gid) = (Uid::from_raw(run_as.uid), Gid::from_raw(run_as.gid));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    prctl::set_no_new_privs()
}

/// Ends us when the parent ends. Only after the user was changed: the kernel forgets it then.
pub(crate) fn end_with_parent() -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)
}

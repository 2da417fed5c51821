//! Whether anybody still listens.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// True when the reader of our standard output is gone: the ssh client, hence
/// the playbook, was killed. A pipe without a reader polls as an error at once.
pub(crate) fn is_gone() -> bool {
    let out = std::io::stdout();
    let mut watched = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut watched, PollTimeout::ZERO).is_ok()
        && watched
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|events| events.contains(PollFlags::POLLERR))
}

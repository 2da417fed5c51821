//! Into backup mode.

use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{
    Gid, Uid, User, dup2_stderr, dup2_stdin, dup2_stdout, geteuid, initgroups, setgid, setgroups,
    setuid,
};
use pg::{Identity, Server};

use super::phase::{Expected, InProgress, chain};
use super::{say, serve};
use crate::launch::{Order, Progress};
use crate::{KeeperFailure, KeeperProcess, SessionError, SessionState, StartRecord, Store};

/// From an order to the end of the session.
///
/// # Errors
/// Never after the task has been told: what goes wrong then is in the record.
pub(super) fn run(mut order: Order) -> Result<(), SessionError> {
    let store = Store::new(&order.state_directory);
    match enter(&mut order, &store) {
        Ok((phase, listener)) => {
            let told = say(&Progress::Ready(Box::new(order.record.clone())));
            let silenced = detach_streams();
            let gone = told
                .and(silenced)
                .err()
                .map(|error| format!("the task that asked for the backup went away: {error}"));
            serve::run(serve::Session::new(phase, listener, store, order), gone);
            Ok(())
        }
        Err(error) => {
            let record = order.record.clone().aborted(error.kind(), chain(&error));
            // The task is told either way; a record that cannot be written is
            // then the smaller trouble.
            let _ = store.write(&record);
            let failure = KeeperFailure {
                kind: error.kind().to_owned(),
                message: chain(&error),
                hints: error.hints(),
                retryable: error.retryable(),
                backup_mode: "off".into(),
            };
            let _ = say(&Progress::Failed(failure));
            Ok(())
        }
    }
}

fn enter(order: &mut Order, store: &Store) -> Result<(InProgress, UnixListener), SessionError> {
    // Only root gets into a container; whom the server sees is the user who connects.
    order
        .login
        .enter()
        .map_err(|source| SessionError::Server { doing: "connect the keeper", source })?;
    become_user(order.run_as)?;
    // Blocked here, before any thread exists, and read from a file descriptor
    // later: a terminated keeper leaves a record that says so.
    let mut signals = SigSet::empty();
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .for_each(|signal| signals.add(signal));
    signals
        .thread_block()
        .map_err(|errno| launch_failed("signals could not be blocked", errno.into()))?;
    let keeper = KeeperProcess::current()
        .map_err(|error| launch_failed("this process cannot be examined", error))?;
    order.record.keeper = Some(keeper);
    store.write(&order.record)?;
    let listener = listen(&order.record.socket)?;
    let (server, identity) = start_backup(order)?;
    order.record.state = SessionState::InProgress;
    // On disk before it is said.
    store.write(&order.record)?;
    let expected = Expected {
        identity,
        tablespaces: order.record.server.tablespaces.clone(),
        inside: order.record.server.inside.clone(),
    };
    Ok((InProgress::new(server, expected), listener))
}

fn launch_failed(what: &str, error: std::io::Error) -> SessionError {
    SessionError::Launch { reason: format!("{what}: {error}") }
}

fn become_user(run_as: Option<(u32, u32)>) -> Result<(), SessionError> {
    let Some((uid, gid)) = run_as.filter(|(uid, _)| *uid != geteuid().as_raw()) else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let change = || -> nix::Result<()> {
        match User::from_uid(uid)? {
            Some(user) => {
                let name =
                    std::ffi::CString::new(user.name).map_err(|_| nix::errno::Errno::EINVAL)?;
                initgroups(&name, gid)?;
            }
            // A user of a container need not be one of the host.
            None => setgroups(&[gid])?,
        }
        setgid(gid)?;
        setuid(uid)
    };
    change().map_err(|errno| launch_failed("could not become the user of os_user", errno.into()))
}

/// The socket lies in a folder of its own that only the keeper's user may
/// enter; `launch`'s caller made it.
fn listen(socket: &Path) -> Result<UnixListener, SessionError> {
    UnixListener::bind(socket).map_err(|error| {
        launch_failed(&format!("could not listen on \"{}\"", socket.display()), error)
    })
}

fn start_backup(order: &mut Order) -> Result<(Server, Identity), SessionError> {
    let failed = |doing| move |source| SessionError::Server { doing, source };
    let login = order.login();
    let name = format!("backstay {}", order.record.session);
    let mut server = Server::connect(&login, &name).map_err(failed("connect the keeper"))?;
    let before = server.identity().map_err(failed("examine the server"))?;
    expect_same_cluster(order, &before)?;
    if let Some(slot) = &order.slot {
        server.create_wal_slot(slot).map_err(failed("hold the WAL"))?;
    }
    let lsn = server
        .backup_start(&order.record.label, order.fast)
        .map_err(failed("enter backup mode"))?;
    let identity = server.identity().map_err(failed("examine the server"))?;
    if identity.backend_pid != before.backend_pid
        || identity.postmaster_start_time != before.postmaster_start_time
    {
        return Err(SessionError::Pooled {
            before: before.backend_pid,
            after: identity.backend_pid,
        });
    }
    order.record.start = Some(StartRecord {
        lsn,
        timeline: identity.timeline,
        time: server.clock().map_err(failed("read the server's clock"))?,
        postmaster_start_time: identity.postmaster_start_time.clone(),
        slot: order.slot.as_ref().map(ToString::to_string),
    });
    Ok((server, identity))
}

/// The plan looked at one server; the keeper must not have reached another.
fn expect_same_cluster(order: &Order, found: &Identity) -> Result<(), SessionError> {
    let planned = order.record.server.system_identifier;
    if found.system_identifier != planned || found.in_recovery != order.record.server.in_recovery {
        return Err(SessionError::OtherServer { found: found.system_identifier, planned });
    }
    Ok(())
}

/// An open standard stream would hold the task until the keeper ends.
fn detach_streams() -> std::io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

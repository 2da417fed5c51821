//! The keeper's loop: one request, one look or one signal at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use super::ending::{end_when_hanging, leave, termination_signals};
use super::phase::{InProgress, Loss, Stopped, chain, paused};
use crate::launch::Order;
use crate::protocol::{LINE_LIMIT, Outcome, PROTOCOL, Request, Response, Verb};
use crate::{
    KeeperFailure, LABEL, SessionError, SessionRecord, SessionState, StopRecord, Store,
    TABLESPACE_MAP,
};

/// How often the server is looked at. Rule R8 asks for 15 s at most; a look
/// costs the server less than a millisecond.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a client may take to say what it wants.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// What the keeper holds.
enum Phase {
    /// In backup mode.
    InProgress(InProgress),
    /// Stopped; the label may not be on disk yet.
    Stopped(Stopped),
    /// Nothing: the keeper ends.
    Over,
}

/// A keeper at work.
pub(super) struct Session {
    phase: Phase,
    listener: UnixListener,
    store: Store,
    record: SessionRecord,
    deadline: Instant,
}

impl Session {
    pub(super) fn new(
        phase: InProgress,
        listener: UnixListener,
        store: Store,
        order: Order,
    ) -> Session {
        let deadline = Instant::now() + Duration::from_secs(order.max_duration);
        Session { phase: Phase::InProgress(phase), listener, store, record: order.record, deadline }
    }
}

/// Serves until the session is over. `gone` is set when the task that asked
/// for the backup did not live to hear of it.
pub(super) fn run(mut session: Session, gone: Option<String>) {
    if let Phase::InProgress(backup) = &session.phase {
        end_when_hanging(&session.store, &session.record, session.deadline, backup.watch.clone());
    }
    if let Some(reason) = gone {
        session.give_up("backup_aborted", reason);
    }
    let signals = termination_signals();
    let mut next_look = Instant::now() + LOOK_EVERY;
    while !matches!(session.phase, Phase::Over) {
        let now = Instant::now();
        if now >= session.deadline {
            session.pass_deadline();
        } else if now >= next_look {
            session.look();
            next_look = Instant::now() + LOOK_EVERY;
        } else {
            match session.wait(signals.as_ref(), next_look.min(session.deadline) - now) {
                Event::Nothing => {}
                Event::Client(stream) => session.answer(&stream),
                Event::Signal(name) => session
                    .give_up("backup_aborted", format!("the keeper was told to end by {name}")),
            }
        }
    }
    leave(&session.record.socket);
}

/// What woke the keeper.
enum Event {
    Nothing,
    Client(UnixStream),
    Signal(&'static str),
}

impl Session {
    fn wait(&self, signals: Option<&SignalFd>, time: Duration) -> Event {
        let mut watched = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        if let Some(signals) = signals {
            watched.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        }
        // One millisecond more, or the last one would be spent spinning.
        let timeout =
            PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        if poll(&mut watched, timeout).is_err() {
            return Event::Nothing;
        }
        if let Some(Ok(Some(signal))) = signals.map(SignalFd::read_signal) {
            let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
            return Event::Signal(Signal::try_from(number).map_or("a signal", Signal::as_str));
        }
        let ready = watched
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if !ready {
            return Event::Nothing;
        }
        self.listener.accept().map_or(Event::Nothing, |(stream, _)| Event::Client(stream))
    }

    /// The heartbeat.
    fn look(&mut self) {
        // Asked while it is paused, the server would keep us until it goes on.
        let may_end = self.record.stop.is_some() && self.paused().is_none();
        match &mut self.phase {
            Phase::InProgress(backup) => {
                if let Err(loss) = backup.look() {
                    self.lose(&loss);
                }
            }
            // With its server the slot is gone, and nothing is left to hold;
            // but a label that is only in memory yet is worth waiting for.
            Phase::Stopped(stopped) => {
                if may_end && stopped.is_lost() {
                    self.phase = Phase::Over;
                }
            }
            Phase::Over => {}
        }
    }

    fn pass_deadline(&mut self) {
        if matches!(self.phase, Phase::InProgress(_)) {
            let reason = format!(
                "the backup was not stopped within max_duration, by its deadline {}; backup mode has been left",
                self.record.deadline
            );
            self.give_up("backup_aborted", reason);
        } else if let Err(error) = self.save_stop() {
            let reason = format!(
                "the backup was stopped, but its label could not be stored by the deadline {}: {}",
                self.record.deadline,
                chain(&error)
            );
            self.give_up("backup_aborted", reason);
        }
        // A backup that is whole stays so: only its WAL is held no longer.
        self.phase = Phase::Over;
    }

    /// Ends the session, by closing the connection, and writes down why unless
    /// its backup is safe.
    fn give_up(&mut self, kind: &str, reason: String) {
        if !matches!(self.phase, Phase::Over) && self.record.stop.is_none() {
            self.record = self.record.clone().aborted(kind, reason);
            self.keep_record();
        }
        self.leave();
    }

    /// What a task hears of a loss: as the record has it, with its time.
    fn lost(&self, loss: &Loss) -> KeeperFailure {
        let failure = loss.failure();
        match self.record.reason() {
            Some(message) => KeeperFailure { message, ..failure },
            None => failure,
        }
    }

    fn lose(&mut self, loss: &Loss) {
        self.give_up(loss.kind, loss.reason.clone());
    }

    /// A record that cannot be written (full disk) leaves the one before: the
    /// session then counts as lost, which is as true.
    fn keep_record(&self) {
        let _ = self.store.write(&self.record);
    }

    fn answer(&mut self, stream: &UnixStream) {
        let outcome = match self.hear(stream) {
            Ok(verb) => self.act(verb),
            Err(Some(failure)) => Outcome::Failed(failure),
            Err(None) => return,
        };
        let response = Response { protocol: PROTOCOL, outcome };
        let Ok(mut line) = serde_json::to_vec(&response) else { return };
        line.push(b'\n');
        let mut stream = stream;
        // A task that went away can ask again: the record is on disk.
        let _ = stream.write_all(&line);
    }

    /// Reads a request from root or from our own user; others get no answer.
    fn hear(&self, stream: &UnixStream) -> Result<Verb, Option<KeeperFailure>> {
        let peer = getsockopt(stream, PeerCredentials).map_err(|_| None)?.uid();
        if peer != 0 && peer != geteuid().as_raw() {
            return Err(None);
        }
        let prepared = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(CLIENT_PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(CLIENT_PATIENCE)));
        prepared.map_err(|_| None)?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line).map_err(|_| None)?;
        let request: Request = serde_json::from_str(&line).map_err(|error| {
            Some(self.failure(
                "protocol_mismatch",
                format!("the keeper does not understand the request: {error}"),
            ))
        })?;
        if request.protocol != PROTOCOL {
            return Err(Some(self.failure(
                "protocol_mismatch",
                format!("the keeper speaks protocol {PROTOCOL}, the request {}", request.protocol),
            )));
        }
        Ok(request.verb)
    }

    fn act(&mut self, verb: Verb) -> Outcome {
        match verb {
            Verb::Status => self.status(),
            Verb::AddSnapshots { snapshots } => self.add_snapshots(snapshots),
            Verb::Stop => self.stop(),
            Verb::Abort { reason } => self.abort(reason),
            Verb::WalOnDisk => self.wal_on_disk(),
            Verb::Release => self.release(),
        }
    }

    fn status(&mut self) -> Outcome {
        if let Phase::InProgress(backup) = &mut self.phase
            && let Err(loss) = backup.look()
        {
            self.lose(&loss);
            return Outcome::Failed(self.lost(&loss));
        }
        Outcome::Record(Box::new(self.record.clone()))
    }

    fn add_snapshots(&mut self, snapshots: Vec<serde_json::Value>) -> Outcome {
        let outcome = self.status();
        if !matches!((&self.phase, &outcome), (Phase::InProgress(_), Outcome::Record(_))) {
            return match outcome {
                Outcome::Failed(failure) => Outcome::Failed(failure),
                _ => Outcome::Failed(self.failure(
                    "backup_not_in_progress",
                    "the snapshot was finished after the backup was stopped".into(),
                )),
            };
        }
        let before = self.record.clone();
        self.record.note(snapshots);
        if let Err(error) = self.store.write(&self.record) {
            self.record = before;
            return Outcome::Failed(self.failure_of(&error));
        }
        Outcome::Record(Box::new(self.record.clone()))
    }

    fn stop(&mut self) -> Outcome {
        let holds_wal = self.record.start.as_ref().is_some_and(|start| start.slot.is_some());
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::InProgress(backup) => match backup.stop(holds_wal) {
                Ok(stopped) => {
                    // So that nobody takes a snapshot now, should the label not
                    // get to disk.
                    self.record.state = SessionState::Stopped;
                    Phase::Stopped(stopped)
                }
                Err(loss) => {
                    self.record = self.record.clone().aborted(loss.kind, loss.reason.clone());
                    self.keep_record();
                    return Outcome::Failed(self.lost(&loss));
                }
            },
            other => other,
        };
        // Also when asked again: then a full disk may have room by now.
        if let Err(error) = self.save_stop() {
            return Outcome::Failed(self.failure_of(&error));
        }
        if let Phase::Stopped(stopped) = &self.phase
            && !stopped.holds_wal()
        {
            self.phase = Phase::Over;
        }
        Outcome::Record(Box::new(self.record.clone()))
    }

    /// Label and map first, then the record that names them.
    fn save_stop(&mut self) -> Result<(), SessionError> {
        let Phase::Stopped(stopped) = &self.phase else { return Ok(()) };
        if self.record.stop.is_some() {
            return Ok(());
        }
        let (stop, session) = (&stopped.stop, &self.record.session);
        let label = self.store.save(session, LABEL, &stop.label)?;
        let tablespace_map = match stop.tablespace_map.as_slice() {
            [] => None,
            map => Some(self.store.save(session, TABLESPACE_MAP, map)?),
        };
        let mut record = self.record.clone();
        record.state = SessionState::Stopped;
        record.stop =
            Some(StopRecord { lsn: stop.lsn, time: stop.time.clone(), label, tablespace_map });
        self.store.write(&record)?;
        self.record = record;
        Ok(())
    }

    fn abort(&mut self, reason: String) -> Outcome {
        self.give_up("backup_aborted", reason);
        Outcome::Record(Box::new(self.record.clone()))
    }

    fn wal_on_disk(&mut self) -> Outcome {
        if let Some(reason) = self.paused() {
            return Outcome::Failed(self.failure("connection_lost", reason));
        }
        let answer = match &mut self.phase {
            Phase::InProgress(backup) => Some(backup.wal_on_disk()),
            Phase::Stopped(stopped) => stopped.wal_on_disk(),
            Phase::Over => None,
        };
        match answer {
            Some(Ok(lsn)) => Outcome::Lsn(lsn),
            Some(Err(source)) => Outcome::Failed(
                self.failure_of(&SessionError::Server { doing: "ask how far the WAL is", source }),
            ),
            None => Outcome::Failed(
                self.failure("connection_lost", "the keeper holds no connection any more".into()),
            ),
        }
    }

    fn paused(&self) -> Option<String> {
        paused(self.record.server.inside.as_ref())
    }

    fn leave(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::InProgress(backup) => backup.leave(),
            Phase::Stopped(stopped) => stopped.leave(self.paused().is_some()),
            Phase::Over => {}
        }
    }

    fn release(&mut self) -> Outcome {
        if matches!(self.phase, Phase::InProgress(_)) {
            let failure = self
                .failure("backup_not_in_progress", "the backup has not been stopped yet".into());
            return Outcome::Failed(failure);
        }
        self.leave();
        Outcome::Record(Box::new(self.record.clone()))
    }

    fn failure(&self, kind: &str, message: String) -> KeeperFailure {
        let backup_mode = if matches!(self.phase, Phase::InProgress(_)) { "on" } else { "off" };
        KeeperFailure {
            kind: kind.into(),
            message,
            hints: vec![],
            retryable: false,
            backup_mode: backup_mode.into(),
        }
    }

    fn failure_of(&self, error: &SessionError) -> KeeperFailure {
        let mut failure = self.failure(error.kind(), chain(error));
        failure.hints = error.hints();
        failure.retryable = error.retryable();
        if self.record.stop.is_none() && matches!(self.phase, Phase::Stopped(_)) {
            failure.hints.push(
                "The backup itself was stopped and its label is kept in the keeper's memory until the session's \
                 deadline: make room and run backup_stop again."
                    .into(),
            );
        }
        failure
    }
}

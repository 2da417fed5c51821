//! What goes wrong, and how slowly: per action, in the order it is asked for.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Ec2;

/// How a request or an answer gets lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// The connection is closed without a byte.
    Closed,
    /// Nothing comes, and the connection stays open.
    Hanging,
}

/// What happens to one call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// This error code, with this text.
    Refuse(String, String),
    /// Lost before it had an effect.
    LoseRequest(Lost),
    /// Lost after it had its effect.
    LoseAnswer(Lost),
    /// So many snapshots of the set are not made.
    LeaveOut(usize),
    /// One snapshot more than volumes.
    AddOne,
}

/// How an action behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// What happens to the next calls.
    pub(crate) faults: VecDeque<Fault>,
    /// How long what it makes takes to be ready.
    pub(crate) pending: Duration,
    /// Which of the things it makes turn into errors: when, and why.
    pub(crate) errors: Vec<(usize, Duration, String)>,
    /// How long until other calls see what it made.
    pub(crate) hidden: Duration,
    /// How long until the machine has the device.
    pub(crate) device: Duration,
    /// At most so many on a page.
    pub(crate) page: Option<usize>,
    /// How long a call takes.
    pub(crate) delay: Duration,
}

/// How every action behaves.
#[derive(Debug, Default)]
pub(crate) struct Script {
    actions: HashMap<String, Behaviour>,
}

impl Script {
    /// How this action behaves.
    pub(crate) fn of(&self, action: &str) -> Behaviour {
        self.actions.get(action).cloned().unwrap_or_default()
    }

    /// The fate of the call that is now.
    pub(crate) fn next(&mut self, action: &str) -> Fault {
        let next = self.actions.get_mut(action).and_then(|b| b.faults.pop_front());
        next.unwrap_or(Fault::None)
    }

    pub(crate) fn edit(&mut self, action: &str) -> &mut Behaviour {
        self.actions.entry(action.to_owned()).or_default()
    }
}

/// How one action is to behave. What is said of single calls happens to the
/// next ones in the order it was said; the rest holds from now on.
#[derive(Debug)]
pub struct On<'a> {
    pub(crate) ec2: &'a Ec2,
    pub(crate) action: &'a str,
}

impl On<'_> {
    fn edit(self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(self.ec2.world().script.edit(self.action));
        self
    }

    fn add(self, count: usize, fault: &Fault) -> Self {
        self.edit(|b| b.faults.extend(std::iter::repeat_n(fault.clone(), count)))
    }

    /// The next call, or `count` of them, are answered as usual.
    pub fn pass_times(self, count: usize) -> Self {
        self.add(count, &Fault::None)
    }

    /// The next `count` calls get the error `code`, before any effect, with the
    /// HTTP status that EC2 has for it.
    pub fn fail_times(self, count: usize, code: &str) -> Self {
        self.add(count, &Fault::Refuse(code.to_owned(), format!("scripted {code}")))
    }

    /// The same with a text of the test's own.
    pub fn fail_saying(self, code: &str, message: &str) -> Self {
        self.add(1, &Fault::Refuse(code.to_owned(), message.to_owned()))
    }

    /// The next call has its effect, and its connection is closed without an answer.
    pub fn drop_answer_once(self) -> Self {
        self.add(1, &Fault::LoseAnswer(Lost::Closed))
    }

    /// The next `count` calls have their effect and no answer.
    pub fn drop_answers(self, count: usize, how: Lost) -> Self {
        self.add(count, &Fault::LoseAnswer(how))
    }

    /// The next `count` calls have neither effect nor answer.
    pub fn drop_requests(self, count: usize, how: Lost) -> Self {
        self.add(count, &Fault::LoseRequest(how))
    }

    /// The next set of snapshots lacks its last `count`.
    pub fn leave_out(self, count: usize) -> Self {
        self.add(1, &Fault::LeaveOut(count))
    }

    /// The next set of snapshots has the first volume twice.
    pub fn add_one(self) -> Self {
        self.add(1, &Fault::AddOne)
    }

    /// What it makes is pending (creating, attaching, …) for so long.
    pub fn pending_for(self, time: Duration) -> Self {
        self.edit(|b| b.pending = time)
    }

    /// Of the snapshots that one call makes, the one at `index` (from 0) turns
    /// to `error` after `time`, with this status message. A volume that
    /// `CreateVolume` makes does so too, without one.
    pub fn error_after(self, index: usize, time: Duration, message: &str) -> Self {
        self.edit(|b| b.errors.push((index, time, message.to_owned())))
    }

    /// What it makes is seen by other calls only after `time`.
    pub fn visible_after(self, time: Duration) -> Self {
        self.edit(|b| b.hidden = time)
    }

    /// The machine has the device of an attached volume only after `time`.
    pub fn device_after(self, time: Duration) -> Self {
        self.edit(|b| b.device = time)
    }

    /// At most `count` results on a page, whatever the call asks for.
    pub fn page_size(self, count: usize) -> Self {
        self.edit(|b| b.page = Some(count))
    }

    /// A call takes so long.
    pub fn delay(self, time: Duration) -> Self {
        self.edit(|b| b.delay = time)
    }

    /// Everything as at first.
    pub fn reset(self) {
        self.edit(|b| *b = Behaviour::default());
    }
}

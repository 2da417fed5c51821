//! From a request to its answer, or to none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::http::{Answer, Request};
use super::keys::Caller;
use super::log::{Logged, Outcome, as_json};
use super::parameters::{self, Form, Read};
use super::script::{Fault, Lost};
use super::world::World;
use super::xml;

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Service {
    world: Mutex<World>,
    log: Mutex<Vec<Logged>>,
}

impl Service {
    pub(crate) fn of(world: World) -> Self {
        Self { world: Mutex::new(world), log: Mutex::default() }
    }

    /// What there is.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked.
    pub(crate) fn log(&self) -> MutexGuard<'_, Vec<Logged>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn serve(self: &Arc<Self>, request: &Request) -> Answer {
        if request.method == "GET" && request.path == "/calls" {
            let log = self.log();
            return Answer::of(200, "application/json", as_json(&log).to_string());
        }
        let form = parameters::parse(&request.body);
        let action = form.text("Action").unwrap_or_default().to_owned();
        let caller = Caller::of(request);
        let number = self.note(&action, &form, &caller);
        let delay = self.world().script.of(&action).delay;
        std::thread::sleep(delay);
        let (outcome, answer) = self.answer(&action, &form, &caller);
        self.log()[number].outcome = outcome;
        answer
    }

    fn note(&self, action: &str, form: &Form, caller: &Caller) -> usize {
        let mut log = self.log();
        log.push(Logged {
            action: action.to_owned(),
            parameters: form.clone(),
            at: SystemTime::now(),
            key: caller.key.clone(),
            region: caller.region.clone(),
            outcome: Outcome::Pending,
        });
        log.len() - 1
    }

    fn answer(self: &Arc<Self>, action: &str, form: &Form, caller: &Caller) -> (Outcome, Answer) {
        let mut world = self.world();
        let (fault, result) = world.call(action, form, caller);
        drop(world);
        let device = self.world().script.of(action).device;
        if action == "AttachVolume" && result.is_ok() && device > Duration::ZERO {
            self.attach_later(form, device);
        }
        let reply = match &result {
            Ok(nodes) => Answer::of(200, "text/xml;charset=UTF-8", xml::answer(action, nodes)),
            Err(refusal) => {
                let body = xml::error(&refusal.code, &refusal.message);
                Answer::of(refusal.status(), "text/xml;charset=UTF-8", body)
            }
        };
        let outcome = match (&fault, result) {
            (Fault::LoseRequest(_), _) => Outcome::RequestLost,
            (_, Err(refusal)) => Outcome::Refused(refusal.code),
            (Fault::LoseAnswer(_), Ok(_)) => Outcome::AnswerLost,
            (_, Ok(_)) => Outcome::Answered,
        };
        match fault {
            Fault::LoseRequest(Lost::Closed) | Fault::LoseAnswer(Lost::Closed) => {
                (outcome, Answer::Close)
            }
            Fault::LoseRequest(Lost::Hanging) | Fault::LoseAnswer(Lost::Hanging) => {
                (outcome, Answer::Hang)
            }
            _ => (outcome, reply),
        }
    }

    fn attach_later(self: &Arc<Self>, form: &Form, after: Duration) {
        let (weak, form): (Weak<Self>, Form) = (Arc::downgrade(self), form.clone());
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let (Some(volume), Some(instance)) = (form.text("VolumeId"), form.text("InstanceId"))
            else {
                return;
            };
            let Some(shared) = weak.upgrade() else { return };
            let mut world = shared.world();
            let wanted = world.volumes.iter().any(|v| v.id == volume && v.attachment.is_some());
            if wanted && let Err(text) = world.storage.attach(volume, instance) {
                eprintln!("the device of {volume} did not come: {text}");
            }
        });
    }
}

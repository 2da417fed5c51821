//! What was asked of the service.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::parameters::Form;

/// What became of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is not answered yet.
    Pending,
    /// It was done, and answered.
    Answered,
    /// This error code.
    Refused(String),
    /// Lost before it had an effect.
    RequestLost,
    /// It was done, and the answer was lost.
    AnswerLost,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Logged {
    /// As `CreateSnapshots`.
    pub action: String,
    /// Its parameters, as `TagSpecification.1.Tag.1.Key`.
    pub parameters: Form,
    /// When it came.
    pub at: SystemTime,
    /// The access key's id.
    pub key: Option<String>,
    /// The region it was signed for.
    pub region: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The log for a program in another language; `at` is in seconds since 1970.
pub(crate) fn as_json(log: &[Logged]) -> Value {
    let call = |c: &Logged| {
        let outcome = match &c.outcome {
            Outcome::Pending => "pending",
            Outcome::Answered => "answered",
            Outcome::Refused(code) => code,
            Outcome::RequestLost => "request lost",
            Outcome::AnswerLost => "answer lost",
        };
        json!({
            "action": c.action,
            "parameters": c.parameters,
            "at": c.at.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            "key": c.key,
            "region": c.region,
            "outcome": outcome,
        })
    };
    log.iter().map(call).collect()
}

//! The intent, on disk before the call: a task that was killed may have taken snapshots that nobody knows of. The
//! next one of the same session looks for them first.

use std::time::Duration;

use ansible::Failure;
use chrono::Utc;
use frame::Explain;
use serde_json::json;
use snapshot_ebs::Order;

use super::origin::Origin;

const FILE: &str = "ebs_intent.json";

/// Writes it, and says how long the set of an earlier task, if one had written it, is to be looked for. Elsewhere than
/// on the database host there is no session to put it beside: there the tags are looked at once, every time.
pub(super) fn write(origin: &Origin, order: &Order) -> Result<Option<Duration>, Failure> {
    let Some((store, session)) = origin.store() else { return Ok(Some(Duration::ZERO)) };
    let earlier = store.has(session, FILE);
    let intent = json!({
        "request": order.request,
        "instance_id": order.instance_id,
        "volumes": order.volumes,
        "at": Utc::now(),
    });
    let saved = store.save(session, FILE, intent.to_string().as_bytes());
    saved.map(|_| earlier.then_some(order.lookup)).map_err(|error| error.explain())
}

/// The snapshots are on record: there is nothing left to look for.
pub(super) fn remove(origin: &Origin) {
    if let Some((store, session)) = origin.store() {
        // What stays costs the next task a look, no more.
        let _ = store.discard(session, FILE);
    }
}

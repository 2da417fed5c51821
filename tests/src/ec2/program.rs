//! The service as a program of its own, told by JSON what there is and how it
//! behaves: see [`start`].

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ec2, Lost};

/// Starts a service as `script` says. All of it is optional:
///
/// ```json
/// {
///   "address": "127.0.0.1:0",
///   "volumes": [{"device": "/dev/sdf", "gibibytes": 8, "tags": {"Name": "data"}}],
///   "throttle": {"rate": 10, "burst": 20},
///   "on": {
///     "CreateSnapshot": {"pending_for": 60, "delay": 0.05},
///     "CreateSnapshots": {
///       "faults": ["pass", "RequestLimitExceeded", "drop answer", "drop request", "hang answer", "hang request"],
///       "visible_after": 2, "error_after": [0, 5, "why"]
///     },
///     "DescribeSnapshots": {"page_size": 2}
///   }
/// }
/// ```
///
/// Times are in seconds. Gives the service and what a caller needs to know:
/// `endpoint`, `region`, `instance`, `volumes`.
///
/// # Panics
///
/// When the script has a name that is not known, or the service cannot listen.
#[must_use]
pub fn start(script: &Value) -> (Ec2, Value) {
    let known = ["address", "volumes", "throttle", "on"];
    for name in script.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(known.contains(&name.as_str()), "\"{name}\" is none of {known:?}");
    }
    let address = script["address"].as_str().unwrap_or("127.0.0.1:0");
    let ec2 = Ec2::start_at(address, Box::new(super::storage::Nothing));
    let instance = ec2.instance();
    let mut volumes = Vec::new();
    for volume in script["volumes"].as_array().into_iter().flatten() {
        let device = volume["device"].as_str().expect("a volume has a device");
        let gibibytes = volume["gibibytes"].as_u64().unwrap_or(8);
        let size = u32::try_from(gibibytes).expect("a size that EC2 has");
        let id = ec2.add_volume(&instance, device, size);
        for (key, value) in volume["tags"].as_object().into_iter().flatten() {
            let value = value.as_str().expect("a tag is a string").to_owned();
            ec2.edit_volume(&id, |v| drop(v.tags.insert(key.clone(), value)));
        }
        volumes.push(id);
    }
    if let Some(rate) = script["throttle"]["rate"].as_f64() {
        ec2.throttle(rate, script["throttle"]["burst"].as_f64().unwrap_or(rate));
    }
    for (action, behaviour) in script["on"].as_object().into_iter().flatten() {
        for (name, value) in behaviour.as_object().into_iter().flatten() {
            behave(&ec2, action, name, value);
        }
    }
    let facts = json!({
        "endpoint": ec2.endpoint(),
        "region": super::REGION,
        "instance": instance,
        "volumes": volumes,
    });
    (ec2, facts)
}

fn behave(ec2: &Ec2, action: &str, name: &str, value: &Value) {
    let seconds = || Duration::from_secs_f64(value.as_f64().expect("a time in seconds"));
    let on = ec2.on(action);
    let _ = match name {
        "pending_for" => on.pending_for(seconds()),
        "delay" => on.delay(seconds()),
        "visible_after" => on.visible_after(seconds()),
        "page_size" => {
            let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
            on.page_size(size.expect("a number of results"))
        }
        "error_after" => {
            let index = value[0].as_u64().and_then(|n| usize::try_from(n).ok());
            let after = Duration::from_secs_f64(value[1].as_f64().unwrap_or_default());
            on.error_after(index.unwrap_or(0), after, value[2].as_str().unwrap_or("scripted"))
        }
        "faults" => {
            let faults = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            faults.fold(on, |on, fault| match fault {
                "pass" => on.pass_times(1),
                "drop answer" => on.drop_answers(1, Lost::Closed),
                "hang answer" => on.drop_answers(1, Lost::Hanging),
                "drop request" => on.drop_requests(1, Lost::Closed),
                "hang request" => on.drop_requests(1, Lost::Hanging),
                code => on.fail_times(1, code),
            })
        }
        _ => panic!("\"{name}\" is nothing that an action can be told"),
    };
}

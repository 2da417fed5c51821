//! Snapshots are taken, listed, copied, locked, deleted.

use std::time::{Duration, SystemTime};

use super::filters::{filter, page, tag_values};
use super::parameters::Read;
use super::script::Fault;
use super::tags::{check_tags, merge, tag_set};
use super::world::{ACCOUNT, Lock, Snapshot, Tags, World};
use super::xml::{Node, group, moment, set, text};
use super::{Call, Nodes, Refusal};

/// Pending snapshots that a volume may have, as EC2's quota is.
const PENDING_LIMIT: usize = 5;

pub(crate) fn create_many(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let instance = form.needed("InstanceSpecification.InstanceId")?;
    let root = world.instance(instance, &call.region)?.root_volume.clone();
    let excluded = form.list("InstanceSpecification.ExcludeDataVolumeId");
    let boot = !form.flag("InstanceSpecification.ExcludeBootVolume");
    let attached: Vec<String> = world
        .volumes
        .iter()
        .filter(|v| v.attachment.as_ref().is_some_and(|a| a.instance == instance))
        .map(|v| v.id.clone())
        .collect();
    if let Some(foreign) = excluded.iter().find(|v| **v == root || !attached.contains(v)) {
        let message =
            format!("The volume '{foreign}' is not a data volume attached to '{instance}'");
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    let wanted =
        attached.into_iter().filter(|v| if *v == root { boot } else { !excluded.contains(v) });
    let mut wanted: Vec<String> = wanted.collect();
    wanted.sort();
    match call.fault {
        Fault::LeaveOut(count) => wanted.truncate(wanted.len().saturating_sub(count)),
        Fault::AddOne => wanted.extend(wanted.first().cloned()),
        _ => {}
    }
    if wanted.is_empty() {
        let message = "The instance has no volumes to snapshot after the exclusions";
        return Err(Refusal::new("InvalidParameterCombination", message));
    }
    let made = take(world, call, &wanted)?;
    Ok(vec![set("snapshotSet", made.iter().map(|s| members(s, "state", true)))])
}

pub(crate) fn create_one(world: &mut World, call: &Call<'_>) -> Nodes {
    let volume = call.form.needed("VolumeId")?.to_owned();
    let made = take(world, call, &[volume])?;
    Ok(made.first().map(|s| members(s, "status", true)).unwrap_or_default())
}

/// Takes one snapshot of each volume, all of one moment.
fn take(world: &mut World, call: &Call<'_>, volumes: &[String]) -> Result<Vec<Snapshot>, Refusal> {
    let own: Tags = call.form.tag_specification("snapshot").into_iter().collect();
    check_tags(&own)?;
    for volume in volumes {
        world.volume(volume, &call.region)?;
        check_pace(world, volume)?;
    }
    let now = SystemTime::now();
    let mut made = Vec::new();
    for (index, id) in volumes.iter().enumerate() {
        let volume = world.volumes[world.volume(id, &call.region)?].clone();
        let copied = call.form.text("CopyTagsFromSource") == Some("volume");
        let mut tags = if copied { volume.tags } else { Tags::new() };
        merge(&mut tags, own.clone());
        let error = call.behaviour.errors.iter().find(|(which, ..)| *which == index);
        made.push(Snapshot {
            id: world.id("snap"),
            region: call.region.clone(),
            volume: id.clone(),
            copied_from: None,
            gibibytes: volume.gibibytes,
            description: call.form.text("Description").unwrap_or_default().to_owned(),
            tags,
            owner: ACCOUNT.to_owned(),
            encrypted: volume.encrypted,
            kms_key: volume.kms_key,
            started: now,
            lock: None,
            fast_restore: Vec::new(),
            completes: now + call.behaviour.pending,
            fails: error.map(|(_, after, why)| (now + *after, why.clone())),
            visible: now + call.behaviour.hidden,
        });
    }
    let pairs: Vec<_> = made.iter().map(|s| (s.volume.clone(), s.id.clone())).collect();
    world.storage.snapshot(&pairs).map_err(|text| Refusal::new("InternalError", text))?;
    world.snapshots.extend(made.iter().cloned());
    Ok(made)
}

fn check_pace(world: &World, volume: &str) -> Result<(), Refusal> {
    let of_volume = world.snapshots.iter().filter(|s| s.volume == volume);
    if of_volume.clone().filter(|s| s.state() == "pending").count() >= PENDING_LIMIT {
        let message = "Maximum allowed in-progress snapshots for a single volume exceeded.";
        return Err(Refusal::new("ConcurrentSnapshotLimitExceeded", message));
    }
    let newest = of_volume.map(|s| s.started).max();
    let age = newest.and_then(|n| SystemTime::now().duration_since(n).ok());
    if age.is_some_and(|age| age < world.volume_rate) {
        let message = "The maximum per volume CreateSnapshot request rate has been exceeded. \
            Use an increasing or variable sleep interval between requests.";
        return Err(Refusal::new("SnapshotCreationPerVolumeRateExceeded", message));
    }
    Ok(())
}

/// A snapshot as answers have it; `fresh` is one in the answer of its own making.
fn members(snapshot: &Snapshot, state: &'static str, fresh: bool) -> Vec<Node> {
    let now = if fresh { "pending" } else { snapshot.state() };
    let mut out = vec![
        text("snapshotId", &snapshot.id),
        text("volumeId", &snapshot.volume),
        text(state, now),
        text("startTime", moment(snapshot.started)),
        text("progress", if fresh { String::new() } else { format!("{}%", snapshot.progress()) }),
        text("ownerId", &snapshot.owner),
        text("volumeSize", snapshot.gibibytes),
        text("description", &snapshot.description),
        text("encrypted", snapshot.encrypted),
    ];
    if !snapshot.tags.is_empty() {
        out.push(tag_set(&snapshot.tags));
    }
    out.extend(snapshot.kms_key.as_ref().map(|key| text("kmsKeyId", key)));
    if state == "status" && !fresh {
        out.push(text("storageTier", "standard"));
        match (now, &snapshot.fails) {
            ("completed", _) => out.push(text("completionTime", moment(snapshot.completes))),
            ("error", Some((_, why))) => out.push(text("statusMessage", why)),
            _ => {}
        }
    }
    out
}

pub(crate) fn describe(world: &mut World, call: &Call<'_>) -> Nodes {
    let (form, now) = (call.form, SystemTime::now());
    let visible = |s: &&Snapshot| s.region == call.region && s.visible <= now;
    let mut found: Vec<Snapshot> = world.snapshots.iter().filter(visible).cloned().collect();
    let ids = form.list("SnapshotId");
    for id in &ids {
        let index = world.snapshot(id, &call.region)?;
        if world.snapshots[index].visible > now {
            let message = format!("The snapshot '{id}' does not exist.");
            return Err(Refusal::new("InvalidSnapshot.NotFound", message));
        }
    }
    let owners: Vec<String> = form
        .list("Owner")
        .into_iter()
        .map(|o| if o == "self" { ACCOUNT.to_owned() } else { o })
        .collect();
    found.retain(|s| ids.is_empty() || ids.contains(&s.id));
    found.retain(|s| owners.is_empty() || owners.contains(&s.owner));
    let found = filter(form, found, |s, name| {
        Some(match name {
            "volume-id" => vec![s.volume.clone()],
            "snapshot-id" => vec![s.id.clone()],
            "status" => vec![s.state().to_owned()],
            "owner-id" => vec![s.owner.clone()],
            "start-time" => vec![moment(s.started)],
            "description" => vec![s.description.clone()],
            "encrypted" => vec![s.encrypted.to_string()],
            "progress" => vec![format!("{}%", s.progress())],
            "volume-size" => vec![s.gibibytes.to_string()],
            "storage-tier" => vec!["standard".to_owned()],
            _ => return tag_values(&s.tags, name),
        })
    })?;
    let (found, next) = page(form, found, "SnapshotId", call.behaviour.page)?;
    let list = set("snapshotSet", found.iter().map(|s| members(s, "status", false)));
    Ok(std::iter::once(list).chain(next).collect())
}

pub(crate) fn delete(world: &mut World, call: &Call<'_>) -> Nodes {
    let index = world.snapshot(call.form.needed("SnapshotId")?, &call.region)?;
    let snapshot = world.snapshots[index].clone();
    if snapshot.owner != ACCOUNT {
        let message = format!("You do not own the snapshot {}", snapshot.id);
        return Err(Refusal::new("OperationNotPermitted", message));
    }
    if snapshot.lock.is_some() {
        let message = format!("The snapshot {} is locked and cannot be deleted.", snapshot.id);
        return Err(Refusal::new("SnapshotLocked", message));
    }
    world.storage.delete_snapshot(&snapshot.id);
    world.snapshots.remove(index);
    Ok(vec![text("return", "true")])
}

pub(crate) fn copy(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let source = form.needed("SourceSnapshotId")?;
    let source = world.snapshots[world.snapshot(source, form.needed("SourceRegion")?)?].clone();
    if source.state() != "completed" {
        let message = format!("Snapshot is in invalid state - {}", source.state());
        return Err(Refusal::new("IncorrectState", message));
    }
    let minutes = form.number("CompletionDurationMinutes")?;
    if minutes.is_some_and(|m| m % 15 != 0 || !(15..=2880).contains(&m)) {
        let message = "CompletionDurationMinutes must be between 15 and 2880 in steps of 15";
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    let tags: Tags = form.tag_specification("snapshot").into_iter().collect();
    check_tags(&tags)?;
    let (id, now) = (world.id("snap"), SystemTime::now());
    world.storage.copy(&source.id, &id).map_err(|text| Refusal::new("InternalError", text))?;
    let encrypted = source.encrypted || form.flag("Encrypted") || form.text("KmsKeyId").is_some();
    let key = form.text("KmsKeyId").map(str::to_owned).or_else(|| {
        let default = || format!("arn:aws:kms:{}:{ACCOUNT}:key/default", call.region);
        encrypted.then(default)
    });
    let error = call.behaviour.errors.first();
    let copy = Snapshot {
        id,
        region: call.region.clone(),
        volume: "vol-ffffffff".to_owned(),
        copied_from: Some(source.id.clone()),
        description: form.text("Description").unwrap_or_default().to_owned(),
        tags,
        encrypted,
        kms_key: key,
        started: now,
        lock: None,
        fast_restore: Vec::new(),
        completes: now + call.behaviour.pending,
        fails: error.map(|(_, after, why)| (now + *after, why.clone())),
        visible: now + call.behaviour.hidden,
        ..source
    };
    let mut out = vec![text("snapshotId", &copy.id)];
    if !copy.tags.is_empty() {
        out.push(tag_set(&copy.tags));
    }
    world.snapshots.push(copy);
    Ok(out)
}

pub(crate) fn lock(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let index = world.snapshot(form.needed("SnapshotId")?, &call.region)?;
    let mode = form.needed("LockMode")?.to_owned();
    let duration = form.number("LockDuration")?.unwrap_or(0);
    let cool_off = form.number("CoolOffPeriod")?;
    let sensible = match mode.as_str() {
        "governance" => cool_off.is_none(),
        "compliance" => cool_off.is_none_or(|hours| (1..=72).contains(&hours)),
        _ => false,
    };
    let has_end = (1..=36_500).contains(&duration) || form.text("ExpirationDate").is_some();
    if !sensible || !has_end {
        let message = "The combination of LockMode, LockDuration and CoolOffPeriod is not valid";
        return Err(Refusal::new("InvalidParameterCombination", message));
    }
    let (since, days) = (SystemTime::now(), |d: u32| Duration::from_secs(u64::from(d) * 86_400));
    let state = if cool_off.is_some() { "compliance-cooloff" } else { mode.as_str() };
    let mut out = vec![
        text("snapshotId", &world.snapshots[index].id),
        text("lockState", state),
        text("lockDuration", duration),
        text("lockCreatedOn", moment(since)),
        text("lockExpiresOn", moment(since + days(duration))),
    ];
    out.extend(cool_off.map(|hours| text("coolOffPeriod", hours)));
    world.snapshots[index].lock = Some(Lock { mode, duration, cool_off, since });
    Ok(out)
}

pub(crate) fn unlock(world: &mut World, call: &Call<'_>) -> Nodes {
    let index = world.snapshot(call.form.needed("SnapshotId")?, &call.region)?;
    let snapshot = &mut world.snapshots[index];
    if snapshot.lock.as_ref().is_some_and(|l| l.mode == "compliance" && l.cool_off.is_none()) {
        let message = format!("The snapshot {} is locked in compliance mode", snapshot.id);
        return Err(Refusal::new("SnapshotLocked", message));
    }
    snapshot.lock = None;
    Ok(vec![text("snapshotId", &snapshot.id)])
}

pub(crate) fn enable_fast_restore(world: &mut World, call: &Call<'_>) -> Nodes {
    let zones = call.form.list("AvailabilityZone");
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for id in call.form.list("SourceSnapshotId") {
        let index = world.snapshot(&id, &call.region)?;
        for zone in &zones {
            let mut members = vec![text("snapshotId", &id)];
            if zone.starts_with(&call.region) {
                world.snapshots[index].fast_restore.push(zone.clone());
                members.push(text("availabilityZone", zone));
                members.push(text("state", "enabling"));
                members.push(text("ownerId", ACCOUNT));
                done.push(members);
            } else {
                let error = vec![
                    text("code", "InvalidZone.NotFound"),
                    text("message", format!("The zone '{zone}' does not exist.")),
                ];
                let item = vec![text("availabilityZone", zone), group("error", error)];
                members.push(set("fastSnapshotRestoreStateErrorSet", [item]));
                refused.push(members);
            }
        }
    }
    Ok(vec![set("successful", done), set("unsuccessful", refused)])
}

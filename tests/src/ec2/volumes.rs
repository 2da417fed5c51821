//! Volumes are made, attached, detached, deleted.

use std::time::{Duration, SystemTime};

use super::filters::{filter, page, tag_values};
use super::parameters::Read;
use super::tags::{check_tags, tag_set};
use super::world::{ACCOUNT, Attachment, Tags, Volume, World};
use super::xml::{Node, moment, set, text};
use super::{Call, Nodes, Refusal};

pub(crate) fn describe(world: &mut World, call: &Call<'_>) -> Nodes {
    let (form, now) = (call.form, SystemTime::now());
    let ids = form.list("VolumeId");
    for id in &ids {
        let index = world.volume(id, &call.region)?;
        if world.volumes[index].visible > now {
            let message = format!("The volume '{id}' does not exist.");
            return Err(Refusal::new("InvalidVolume.NotFound", message));
        }
    }
    let visible = |v: &&Volume| v.region == call.region && v.visible <= now;
    let mut found: Vec<Volume> = world.volumes.iter().filter(visible).cloned().collect();
    found.retain(|v| ids.is_empty() || ids.contains(&v.id));
    let found = filter(form, found, |v, name| {
        let attachment = v.attachment.as_ref();
        let of = |pick: fn(&Attachment) -> String| attachment.map(pick).into_iter().collect();
        Some(match name {
            "attachment.instance-id" => of(|a| a.instance.clone()),
            "attachment.device" => of(|a| a.device.clone()),
            "attachment.status" => of(|a| status(a).to_owned()),
            "availability-zone" => vec![v.zone.clone()],
            "encrypted" => vec![v.encrypted.to_string()],
            "size" => vec![v.gibibytes.to_string()],
            "snapshot-id" => v.snapshot.clone().into_iter().collect(),
            "status" => vec![v.state().to_owned()],
            "volume-id" => vec![v.id.clone()],
            "volume-type" => vec![v.kind.clone()],
            _ => return tag_values(&v.tags, name),
        })
    })?;
    let (found, next) = page(form, found, "VolumeId", call.behaviour.page)?;
    let list = set("volumeSet", found.iter().map(|v| members(world, v)));
    Ok(std::iter::once(list).chain(next).collect())
}

fn status(attachment: &Attachment) -> &'static str {
    match attachment {
        a if a.detaching.is_some() => "detaching",
        a if a.attached > SystemTime::now() => "attaching",
        _ => "attached",
    }
}

fn attachment_members(world: &World, volume: &str, a: &Attachment, state: &str) -> Vec<Node> {
    let is_root = world.instances.iter().any(|i| i.root_volume == volume);
    vec![
        text("volumeId", volume),
        text("instanceId", &a.instance),
        text("device", &a.device),
        text("status", state),
        text("attachTime", moment(a.since)),
        text("deleteOnTermination", is_root),
    ]
}

fn members(world: &World, v: &Volume) -> Vec<Node> {
    let mut out = vec![
        text("volumeId", &v.id),
        text("size", v.gibibytes),
        text("snapshotId", v.snapshot.clone().unwrap_or_default()),
        text("availabilityZone", &v.zone),
        text("status", v.state()),
        text("createTime", moment(v.created)),
    ];
    let attachments = v.attachment.iter().map(|a| attachment_members(world, &v.id, a, status(a)));
    out.push(set("attachmentSet", attachments));
    if !v.tags.is_empty() {
        out.push(tag_set(&v.tags));
    }
    out.push(text("volumeType", &v.kind));
    out.extend(v.iops.map(|n| text("iops", n)));
    out.extend(v.throughput.map(|n| text("throughput", n)));
    out.push(text("encrypted", v.encrypted));
    out.extend(v.kms_key.as_ref().map(|key| text("kmsKeyId", key)));
    out.extend(v.initialization_rate.map(|n| text("volumeInitializationRate", n)));
    out.push(text("multiAttachEnabled", "false"));
    out
}

pub(crate) fn create(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let token = form.text("ClientToken").map(|token| {
        // the same token with other wishes is a mistake
        let wishes = form.iter().filter(|(name, _)| *name != "ClientToken" && *name != "DryRun");
        let wishes: Vec<_> = wishes.map(|(name, value)| format!("{name}={value}")).collect();
        (token.to_owned(), format!("{token}\n{}", wishes.join("\n")))
    });
    let known = token.as_ref().and_then(|(short, whole)| {
        // EC2 remembers the token of a volume that is deleted, for hours
        let all = world.volumes.iter().chain(&world.deleted);
        let tokens = all.filter_map(|v| Some((v, v.token.as_ref()?)));
        let same = tokens.into_iter().find(|(_, t)| t.starts_with(&format!("{short}\n")));
        same.map(|(v, t)| (v.clone(), t == whole))
    });
    match known {
        Some((volume, true)) => return Ok(members(world, &volume)),
        Some((_, false)) => {
            let message = "Arguments on this idempotent request are inconsistent with arguments \
                used in previous request(s).";
            return Err(Refusal::new("IdempotentParameterMismatch", message));
        }
        None => {}
    }
    let volume = planned(world, call, token.map(|(_, whole)| whole))?;
    let from = volume.snapshot.as_deref();
    let made = world.storage.create(&volume.id, volume.gibibytes, from);
    made.map_err(|text| Refusal::new("InternalError", text))?;
    let out = members(world, &volume);
    world.volumes.push(volume);
    Ok(out)
}

fn planned(world: &mut World, call: &Call<'_>, token: Option<String>) -> Result<Volume, Refusal> {
    let form = call.form;
    let invalid = |message: String| Err(Refusal::new("InvalidParameterValue", message));
    let zone = form.needed("AvailabilityZone")?.to_owned();
    let letter = zone.strip_prefix(call.region.as_str());
    if !letter.is_some_and(|l| ["a", "b", "c"].contains(&l)) {
        let message = format!("The zone '{zone}' does not exist.");
        return Err(Refusal::new("InvalidZone.NotFound", message));
    }
    let from = match form.text("SnapshotId") {
        Some(id) => Some(world.snapshots[world.snapshot(id, &call.region)?].clone()),
        None => None,
    };
    if let Some(s) = from.as_ref().filter(|s| s.state() != "completed") {
        let message = format!("Snapshot is in invalid state - {}", s.state());
        return Err(Refusal::new("IncorrectState", message));
    }
    let least = from.as_ref().map(|s| s.gibibytes);
    let Some(gibibytes) = form.number("Size")?.or(least) else {
        let message = "The request must contain the parameter size/snapshot";
        return Err(Refusal::new("MissingParameter", message));
    };
    if least.is_some_and(|least| gibibytes < least) {
        return invalid(format!(
            "The volume size cannot be smaller than the snapshot: {gibibytes}"
        ));
    }
    let rate = form.number("VolumeInitializationRate")?;
    if rate.is_some_and(|r| !(100..=300).contains(&r) || from.is_none()) {
        return invalid("VolumeInitializationRate must be 100 to 300, with a snapshot".to_owned());
    }
    let kind = form.text("VolumeType").unwrap_or("gp2").to_owned();
    let (iops, throughput) = performance(call, &kind)?;
    let tags: Tags = form.tag_specification("volume").into_iter().collect();
    check_tags(&tags)?;
    let now = SystemTime::now();
    let encrypted = form.flag("Encrypted") || from.as_ref().is_some_and(|s| s.encrypted);
    let key = form.text("KmsKeyId").map(str::to_owned);
    if key.is_some() && !encrypted {
        return invalid("The parameter KmsKeyId requires the parameter Encrypted".to_owned());
    }
    Ok(Volume {
        id: world.id("vol"),
        region: call.region.clone(),
        zone,
        gibibytes,
        kind,
        iops,
        throughput,
        encrypted,
        kms_key: key.or_else(|| from.as_ref().and_then(|s| s.kms_key.clone())),
        snapshot: from.map(|s| s.id),
        initialization_rate: rate,
        created: now,
        tags,
        attachment: None,
        token,
        available: now + call.behaviour.pending,
        fails: call.behaviour.errors.first().map(|(_, after, _)| now + *after),
        visible: now + call.behaviour.hidden,
    })
}

type Performance = (Option<u32>, Option<u32>);

fn performance(call: &Call<'_>, kind: &str) -> Result<Performance, Refusal> {
    let (iops, throughput) = (call.form.number("Iops")?, call.form.number("Throughput")?);
    let refuse = |text: &str| Err(Refusal::new("InvalidParameterCombination", text));
    if throughput.is_some() && kind != "gp3" {
        return refuse("The parameter throughput is only supported for gp3 volumes");
    }
    match kind {
        "gp3" => Ok((iops.or(Some(3000)), throughput.or(Some(125)))),
        "io1" | "io2" if iops.is_none() => refuse("The parameter iops must be specified"),
        "io1" | "io2" => Ok((iops, None)),
        "gp2" | "st1" | "sc1" | "standard" if iops.is_some() => {
            refuse("The parameter iops is not supported for this volume type")
        }
        "gp2" => Ok((Some(100), None)),
        "st1" | "sc1" | "standard" => Ok((None, None)),
        _ => Err(Refusal::new("InvalidParameterValue", format!("Invalid volume type: {kind}"))),
    }
}

pub(crate) fn attach(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let instance = world.instance(form.needed("InstanceId")?, &call.region)?.clone();
    let index = world.volume(form.needed("VolumeId")?, &call.region)?;
    let device = form.needed("Device")?.to_owned();
    let volume = &world.volumes[index];
    let id = volume.id.clone();
    match volume.state() {
        "in-use" => {
            let message = format!("{id} is already attached to an instance");
            return Err(Refusal::new("VolumeInUse", message));
        }
        "creating" | "error" => {
            let message = format!("Volume '{id}' is not 'available'.");
            return Err(Refusal::new("IncorrectState", message));
        }
        _ => {}
    }
    if volume.zone != instance.zone {
        let message = format!(
            "The volume '{id}' is not in the same availability zone as instance '{}'",
            instance.id
        );
        return Err(Refusal::new("InvalidVolume.ZoneMismatch", message));
    }
    let taken = world.volumes.iter().filter_map(|v| v.attachment.as_ref());
    if taken.into_iter().any(|a| a.instance == instance.id && a.device == device) {
        let message = format!(
            "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        );
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    let since = SystemTime::now();
    // a device that comes later is attached by whoever answers the call
    if call.behaviour.device == Duration::ZERO {
        let done = world.storage.attach(&id, &instance.id);
        done.map_err(|text| Refusal::new("InternalError", text))?;
    }
    let attached = since + call.behaviour.pending;
    let attachment = Attachment { instance: instance.id, device, since, attached, detaching: None };
    let out = attachment_members(world, &id, &attachment, "attaching");
    world.volumes[index].attachment = Some(attachment);
    Ok(out)
}

pub(crate) fn detach(world: &mut World, call: &Call<'_>) -> Nodes {
    let index = world.volume(call.form.needed("VolumeId")?, &call.region)?;
    let id = world.volumes[index].id.clone();
    let wanted = call.form.text("InstanceId");
    let found = world.volumes[index].attachment.as_mut();
    let Some(attachment) = found.filter(|a| wanted.is_none_or(|w| w == a.instance)) else {
        let message = format!("Volume '{id}' is in the 'available' state.");
        return Err(Refusal::new("IncorrectState", message));
    };
    attachment.detaching = Some(SystemTime::now() + call.behaviour.pending);
    let attachment = attachment.clone();
    world.storage.detach(&id);
    Ok(attachment_members(world, &id, &attachment, "detaching"))
}

pub(crate) fn delete(world: &mut World, call: &Call<'_>) -> Nodes {
    let index = world.volume(call.form.needed("VolumeId")?, &call.region)?;
    let id = world.volumes[index].id.clone();
    if let Some(a) = &world.volumes[index].attachment {
        let message = format!("Volume {id} is currently attached to {}", a.instance);
        return Err(Refusal::new("VolumeInUse", message));
    }
    world.storage.delete_volume(&id);
    let gone = world.volumes.remove(index);
    world.deleted.push(gone);
    Ok(vec![text("return", "true")])
}

/// How an instance's volumes stand in its description.
pub(crate) fn mappings(world: &World, instance: &str) -> Node {
    let attached = world.volumes.iter().filter_map(|v| {
        let a = v.attachment.as_ref().filter(|a| a.instance == instance)?;
        let is_root = world.instances.iter().any(|i| i.root_volume == v.id);
        let ebs = vec![
            text("volumeId", &v.id),
            text("status", status(a)),
            text("attachTime", moment(a.since)),
            text("deleteOnTermination", is_root),
            text("volumeOwnerId", ACCOUNT),
        ];
        Some(vec![text("deviceName", &a.device), Node::Group("ebs", ebs)])
    });
    set("blockDeviceMapping", attached)
}

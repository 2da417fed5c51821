//! Instances, and where they are.

use super::filters::{filter, page, tag_values};
use super::parameters::Read;
use super::tags::tag_set;
use super::volumes::mappings;
use super::world::{ACCOUNT, Instance, World};
use super::xml::{group, set, text};
use super::{Call, Nodes, Refusal};

/// The root device's name of every instance.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";

pub(crate) fn describe(world: &mut World, call: &Call<'_>) -> Nodes {
    let form = call.form;
    let ids = form.list("InstanceId");
    for id in &ids {
        world.instance(id, &call.region)?;
    }
    let here = |i: &&Instance| i.region == call.region && (ids.is_empty() || ids.contains(&i.id));
    let found: Vec<Instance> = world.instances.iter().filter(here).cloned().collect();
    let found = filter(form, found, |i, name| {
        Some(match name {
            "instance-id" => vec![i.id.clone()],
            "instance-state-name" => vec!["running".to_owned()],
            "instance-state-code" => vec!["16".to_owned()],
            "availability-zone" => vec![i.zone.clone()],
            "block-device-mapping.volume-id" => world
                .volumes
                .iter()
                .filter(|v| v.attachment.as_ref().is_some_and(|a| a.instance == i.id))
                .map(|v| v.id.clone())
                .collect(),
            _ => return tag_values(&i.tags, name),
        })
    })?;
    let (found, next) = page(form, found, "InstanceId", call.behaviour.page)?;
    let reservations = found.iter().map(|i| {
        let state = vec![text("code", 16), text("name", "running")];
        let mut members = vec![
            text("instanceId", &i.id),
            text("imageId", "ami-00000000000000001"),
            group("instanceState", state),
            text("privateDnsName", "ip-10-0-0-1.internal"),
            text("instanceType", "m7g.large"),
            group("placement", vec![text("availabilityZone", &i.zone), text("tenancy", "default")]),
            text("architecture", "arm64"),
            text("rootDeviceType", "ebs"),
            text("rootDeviceName", ROOT_DEVICE),
            mappings(world, &i.id),
            text("virtualizationType", "hvm"),
            text("hypervisor", "xen"),
        ];
        if !i.tags.is_empty() {
            members.push(tag_set(&i.tags));
        }
        vec![
            text("reservationId", i.id.replacen("i-", "r-", 1)),
            text("ownerId", ACCOUNT),
            set("instancesSet", [members]),
        ]
    });
    let list = set("reservationSet", reservations);
    Ok(std::iter::once(list).chain(next).collect())
}

pub(crate) fn zones(_: &mut World, call: &Call<'_>) -> Nodes {
    let zones = ["a", "b", "c"].map(|letter| {
        vec![
            text("zoneName", format!("{}{letter}", call.region)),
            text("zoneState", "available"),
            text("regionName", &call.region),
        ]
    });
    let wanted = call.form.list("ZoneName");
    if let Some(unknown) = wanted.iter().find(|w| !w.starts_with(call.region.as_str())) {
        let message = format!("Invalid availability zone: [{unknown}]");
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    Ok(vec![set("availabilityZoneInfo", zones)])
}

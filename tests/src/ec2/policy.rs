//! IAM policies, as far as those for EC2 need: which statement lets a call
//! through, by its action, every resource it touches, and conditions on tags.
//!
//! After the table of actions, resources and condition keys in AWS's *Service
//! Authorization Reference*. What a policy has and this does not know is a
//! panic, not a guess.

use std::collections::BTreeMap;

use serde_json::Value;

use super::filters::is_like;
use super::parameters::{Form, Read};
use super::world::{ACCOUNT, Tags, World};

/// One thing that a call must be allowed.
#[derive(Debug)]
struct Need {
    action: String,
    resource: String,
    context: BTreeMap<String, Vec<String>>,
}

/// The first thing that the policy does not allow: an action on a resource.
pub(crate) fn denied(
    policy: &Value,
    world: &World,
    (action, form): (&str, &Form),
    region: &str,
) -> Option<(String, String)> {
    let refused = needs(world, action, form, region).into_iter().find(|n| !is_allowed(policy, n));
    refused.map(|n| (n.action, n.resource))
}

fn is_allowed(policy: &Value, need: &Need) -> bool {
    let statements = match &policy["Statement"] {
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    let effects: Vec<bool> = statements
        .iter()
        .filter(|s| applies(s, need))
        .map(|s| match s["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            other => panic!("no effect of a statement: {other:?}"),
        })
        .collect();
    !effects.is_empty() && effects.iter().all(|allow| *allow)
}

fn applies(statement: &Value, need: &Need) -> bool {
    let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
    for name in statement.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(known.contains(&name.as_str()), "\"{name}\" of a statement is not known here");
    }
    let action = format!("ec2:{}", need.action).to_lowercase();
    let acts = strings(&statement["Action"]).iter().any(|a| is_like(&action, &a.to_lowercase()));
    let touches = strings(&statement["Resource"]).iter().any(|r| is_like(&need.resource, r));
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    acts && touches
        && conditions.into_iter().all(|(operator, keys)| {
            let mut keys = keys.as_object().into_iter().flatten();
            keys.all(|(key, wanted)| holds(operator, key, &strings(wanted), need))
        })
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(is) => vec![is.to_string()],
        Value::Null => Vec::new(),
        other => panic!("neither a string nor a list of them: {other}"),
    }
}

fn holds(operator: &str, key: &str, wanted: &[String], need: &Need) -> bool {
    let known = ["aws:ResourceTag/", "aws:RequestTag/", "ec2:ResourceTag/"];
    let whole = ["aws:TagKeys", "ec2:CreateAction", "aws:RequestedRegion", "ec2:Region"];
    assert!(
        whole.contains(&key) || known.iter().any(|k| key.starts_with(k)),
        "the condition key \"{key}\" is not known here"
    );
    assert!(!wanted.iter().any(|w| w.contains("${")), "policy variables are not known here");
    let found = need.context.get(key);
    let (set, operator) = operator.split_once(':').map_or((None, operator), |(s, o)| (Some(s), o));
    let (operator, optional) =
        operator.strip_suffix("IfExists").map_or((operator, false), |o| (o, true));
    if operator == "Null" {
        return wanted.iter().any(|w| (w == "true") == found.is_none());
    }
    let matches = |value: &String| match operator {
        "StringEquals" => wanted.contains(value),
        "StringNotEquals" => !wanted.contains(value),
        "StringLike" => wanted.iter().any(|w| is_like(value, w)),
        "StringNotLike" => !wanted.iter().any(|w| is_like(value, w)),
        _ => panic!("the condition operator \"{operator}\" is not known here"),
    };
    match (set, found) {
        (Some("ForAllValues"), values) => values.is_none_or(|v| v.iter().all(matches)),
        (Some("ForAnyValue") | None, Some(values)) => values.iter().any(matches),
        // a key that is not there equals nothing
        (Some("ForAnyValue") | None, None) => optional || operator.contains("Not"),
        (Some(other), _) => panic!("\"{other}\" of a condition is not known here"),
    }
}

/// All that a call must be allowed.
fn needs(world: &World, action: &str, form: &Form, region: &str) -> Vec<Need> {
    let own = |tags: Vec<(String, String)>| tags.into_iter().collect::<Tags>();
    let snapshot_tags = own(form.tag_specification("snapshot"));
    let volume_tags = own(form.tag_specification("volume"));
    let mut out = Vec::new();
    let mut add = |id: &str, requested: &Tags| {
        out.push(need(world, action, (id, region), requested));
    };
    let none = Tags::new();
    let given = |name: &str| form.text(name).unwrap_or_default().to_owned();
    match action {
        "CreateSnapshots" => {
            let instance = given("InstanceSpecification.InstanceId");
            add(&instance, &none);
            let excluded = form.list("InstanceSpecification.ExcludeDataVolumeId");
            let boot = !form.flag("InstanceSpecification.ExcludeBootVolume");
            let is_root = |id: &str| world.instances.iter().any(|i| i.root_volume == id);
            for volume in &world.volumes {
                let here = volume.attachment.as_ref().is_some_and(|a| a.instance == instance);
                if here && !excluded.contains(&volume.id) && (boot || !is_root(&volume.id)) {
                    add(&volume.id, &none);
                }
            }
            add("snap-*", &snapshot_tags);
        }
        "CreateSnapshot" => {
            add(&given("VolumeId"), &none);
            add("snap-*", &snapshot_tags);
        }
        "CopySnapshot" => {
            add("snap-*", &snapshot_tags);
            let source = (given("SourceSnapshotId"), given("SourceRegion"));
            out.push(need(world, action, (&source.0, &source.1), &none));
        }
        "CreateVolume" => {
            add("vol-*", &volume_tags);
            form.text("SnapshotId").into_iter().for_each(|id| add(id, &none));
        }
        "AttachVolume" | "DetachVolume" => {
            add(&given("VolumeId"), &none);
            form.text("InstanceId").into_iter().for_each(|id| add(id, &none));
        }
        "DeleteVolume" => add(&given("VolumeId"), &none),
        "DeleteSnapshot" | "LockSnapshot" | "UnlockSnapshot" => add(&given("SnapshotId"), &none),
        "EnableFastSnapshotRestores" => {
            form.list("SourceSnapshotId").iter().for_each(|id| add(id, &none));
        }
        "CreateTags" | "DeleteTags" => {
            let tags = own(form.tags("Tag"));
            form.list("ResourceId").iter().for_each(|id| add(id, &tags));
        }
        _ => add("*", &none),
    }
    out.extend(tagging(world, action, region, [("snap-*", snapshot_tags), ("vol-*", volume_tags)]));
    out
}

/// Tags in a call that makes something need `CreateTags` as well.
fn tagging(world: &World, action: &str, region: &str, made: [(&str, Tags); 2]) -> Vec<Need> {
    let tagged = made.into_iter().filter(|(_, tags)| !tags.is_empty());
    tagged
        .map(|(id, tags)| {
            let mut need = need(world, "CreateTags", (id, region), &tags);
            need.context.insert("ec2:CreateAction".to_owned(), vec![action.to_owned()]);
            need
        })
        .collect()
}

fn need(world: &World, action: &str, (id, region): (&str, &str), requested: &Tags) -> Need {
    let kind = id.split('-').next().unwrap_or_default();
    let name = if id.ends_with("-*") { "*" } else { id };
    let resource = match kind {
        // snapshots may be another account's, so theirs is left out
        "snap" => format!("arn:aws:ec2:{region}::snapshot/{name}"),
        "vol" => format!("arn:aws:ec2:{region}:{ACCOUNT}:volume/{name}"),
        "i" => format!("arn:aws:ec2:{region}:{ACCOUNT}:instance/{name}"),
        _ => "*".to_owned(),
    };
    let snapshots = world.snapshots.iter().map(|s| (&s.id, &s.tags));
    let volumes = world.volumes.iter().map(|v| (&v.id, &v.tags));
    let instances = world.instances.iter().map(|i| (&i.id, &i.tags));
    let found = snapshots.chain(volumes).chain(instances).find(|(found, _)| *found == id);
    let mut context = BTreeMap::from([
        ("aws:RequestedRegion".to_owned(), vec![region.to_owned()]),
        ("ec2:Region".to_owned(), vec![region.to_owned()]),
    ]);
    for (key, value) in found.into_iter().flat_map(|(_, tags)| tags) {
        context.insert(format!("aws:ResourceTag/{key}"), vec![value.clone()]);
        context.insert(format!("ec2:ResourceTag/{key}"), vec![value.clone()]);
    }
    for (key, value) in requested {
        context.insert(format!("aws:RequestTag/{key}"), vec![value.clone()]);
    }
    if !requested.is_empty() {
        context.insert("aws:TagKeys".to_owned(), requested.keys().cloned().collect());
    }
    Need { action: action.to_owned(), resource, context }
}

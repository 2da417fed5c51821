//! Tags.

use super::filters::{filter, page};
use super::parameters::Read;
use super::world::{Tags, World};
use super::xml::{Node, set, text};
use super::{Call, Nodes, Refusal};

/// The element `tagSet`.
pub(crate) fn tag_set(tags: &Tags) -> Node {
    set("tagSet", tags.iter().map(|(k, v)| vec![text("key", k), text("value", v)]))
}

/// EC2's limits.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::new("InvalidParameterValue", text));
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 {
            return refuse("Tag key exceeds the maximum length of 128 characters".to_owned());
        }
        if value.chars().count() > 256 {
            return refuse("Tag value exceeds the maximum length of 256 characters".to_owned());
        }
        if key.starts_with("aws:") {
            return refuse(format!(
                "Tag keys starting with 'aws:' are reserved for internal use: {key}"
            ));
        }
    }
    if tags.len() > 50 {
        let text = "The maximum number of tags per resource is 50";
        return Err(Refusal::new("TagLimitExceeded", text));
    }
    Ok(())
}

/// The later tags over the earlier.
pub(crate) fn merge(tags: &mut Tags, more: Tags) {
    tags.extend(more);
}

fn tags_of<'a>(world: &'a mut World, id: &str, region: &str) -> Result<&'a mut Tags, Refusal> {
    match id.split('-').next() {
        Some("vol") => {
            let index = world.volume(id, region)?;
            Ok(&mut world.volumes[index].tags)
        }
        Some("snap") => {
            let index = world.snapshot(id, region)?;
            Ok(&mut world.snapshots[index].tags)
        }
        Some("i") => {
            world.instance(id, region)?;
            let found = world.instances.iter_mut().find(|i| i.id == id);
            Ok(&mut found.expect("it was found a line above").tags)
        }
        _ => Err(Refusal::new("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}

pub(crate) fn create(world: &mut World, call: &Call<'_>) -> Nodes {
    let new: Tags = call.form.tags("Tag").into_iter().collect();
    check_tags(&new)?;
    let ids = call.form.list("ResourceId");
    // all of them or none
    for id in &ids {
        let mut all = tags_of(world, id, &call.region)?.clone();
        merge(&mut all, new.clone());
        check_tags(&all)?;
    }
    for id in &ids {
        merge(tags_of(world, id, &call.region)?, new.clone());
    }
    Ok(vec![text("return", "true")])
}

pub(crate) fn delete(world: &mut World, call: &Call<'_>) -> Nodes {
    let gone: Tags = call.form.tags("Tag").into_iter().collect();
    for id in call.form.list("ResourceId") {
        tags_of(world, &id, &call.region)?.retain(|key, value| {
            !gone.get(key).is_some_and(|wanted| wanted.is_empty() || wanted == value)
        });
    }
    Ok(vec![text("return", "true")])
}

pub(crate) fn describe(world: &mut World, call: &Call<'_>) -> Nodes {
    let here = |region: &String| *region == call.region;
    let volumes =
        world.volumes.iter().filter(|v| here(&v.region)).map(|v| (&v.id, "volume", &v.tags));
    let snapshots =
        world.snapshots.iter().filter(|s| here(&s.region)).map(|s| (&s.id, "snapshot", &s.tags));
    let instances =
        world.instances.iter().filter(|i| here(&i.region)).map(|i| (&i.id, "instance", &i.tags));
    let all: Vec<[String; 4]> = volumes
        .chain(snapshots)
        .chain(instances)
        .flat_map(|(id, kind, tags)| {
            tags.iter().map(move |(k, v)| [id.clone(), kind.to_owned(), k.clone(), v.clone()])
        })
        .collect();
    let found = filter(call.form, all, |[id, kind, key, value], name| match name {
        "resource-id" => Some(vec![id.clone()]),
        "resource-type" => Some(vec![kind.clone()]),
        "key" => Some(vec![key.clone()]),
        "value" => Some(vec![value.clone()]),
        _ => {
            let wanted = name.strip_prefix("tag:")?;
            Some((wanted == key).then(|| value.clone()).into_iter().collect())
        }
    })?;
    let (found, next) = page(call.form, found, "", call.behaviour.page)?;
    let list = set(
        "tagSet",
        found.into_iter().map(|[id, kind, key, value]| {
            vec![
                text("resourceId", id),
                text("resourceType", kind),
                text("key", key),
                text("value", value),
            ]
        }),
    );
    Ok(std::iter::once(list).chain(next).collect())
}

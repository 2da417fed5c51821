//! Filters, and pages.

use super::Refusal;
use super::parameters::{Form, Read};
use super::world::Tags;
use super::xml::{Node, text};

/// Keeps what all filters let through. `values` gives the values that an item
/// has for a filter's name; none at all means that there is no such filter.
pub(crate) fn filter<T>(
    form: &Form,
    items: Vec<T>,
    values: impl Fn(&T, &str) -> Option<Vec<String>>,
) -> Result<Vec<T>, Refusal> {
    let mut items = items;
    for (name, wanted) in form.filters() {
        let mut kept = Vec::new();
        for item in items {
            let Some(found) = values(&item, &name) else {
                let message = format!("The filter '{name}' is invalid");
                return Err(Refusal::new("InvalidParameterValue", message));
            };
            if found.iter().any(|f| wanted.iter().any(|w| is_like(f, w))) {
                kept.push(item);
            }
        }
        items = kept;
    }
    Ok(items)
}

/// The values that tags have for `tag:K`, `tag-key` and `tag-value`.
pub(crate) fn tag_values(tags: &Tags, filter: &str) -> Option<Vec<String>> {
    match filter.strip_prefix("tag:") {
        Some(key) => Some(tags.get(key).cloned().into_iter().collect()),
        None if filter == "tag-key" => Some(tags.keys().cloned().collect()),
        None if filter == "tag-value" => Some(tags.values().cloned().collect()),
        None => None,
    }
}

/// EC2's patterns: `*` for any characters, `?` for one.
pub(crate) fn is_like(value: &str, pattern: &str) -> bool {
    match (pattern.chars().next(), value.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            is_like(value, &pattern[1..])
                || value.chars().next().is_some_and(|c| is_like(&value[c.len_utf8()..], pattern))
        }
        (Some(p), Some(v)) if p == '?' || p == v => {
            is_like(&value[v.len_utf8()..], &pattern[p.len_utf8()..])
        }
        _ => false,
    }
}

/// The page that is asked for, and the token of the next one. `ids` is the
/// parameter that excludes paging.
pub(crate) fn page<T>(
    form: &Form,
    items: Vec<T>,
    ids: &str,
    forced: Option<usize>,
) -> Result<(Vec<T>, Option<Node>), Refusal> {
    let asked = form.number("MaxResults")?;
    if asked.is_some() && !ids.is_empty() && form.contains_key(&format!("{ids}.1")) {
        let message = format!("The parameter {ids} cannot be used with the parameter MaxResults");
        return Err(Refusal::new("InvalidParameterCombination", message));
    }
    if let Some(few) = asked.filter(|n| *n < 5) {
        let message = format!(
            "Value ( {few} ) for parameter maxResults is invalid. Expecting a value greater than 5."
        );
        return Err(Refusal::new("InvalidParameterValue", message));
    }
    let from = match form.text("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("eyJ+page/")
            .and_then(|t| t.strip_suffix("=="))
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| {
                Refusal::new("InvalidParameterValue", "Unable to parse pagination token")
            })?,
    };
    let asked = asked.map_or(1000, |n| usize::try_from(n).unwrap_or(1000));
    let size = forced.map_or(asked, |f| f.min(asked));
    // with the characters that a careless client forgets to encode
    let next = (items.len() > from + size)
        .then(|| text("nextToken", format!("eyJ+page/{}==", from + size)));
    Ok((items.into_iter().skip(from).take(size).collect(), next))
}

//! What a volume is to be like, and under which name it is attached.

use std::collections::BTreeSet;

use crate::NewVolume;

/// Device names that EC2 recommends for data volumes (EC2 User Guide, "Device names on Linux instances").
const DEVICE_LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// What is asked for, completed by what the volume was. Not every type takes the other two.
pub(super) fn like(
    wanted: &NewVolume,
    (kind, iops, throughput): &(Option<String>, Option<u32>, Option<u32>),
) -> NewVolume {
    let as_it_was = wanted.volume_type.is_none();
    let kind = wanted.volume_type.clone().or_else(|| kind.clone());
    let takes =
        |kinds: &[&str]| as_it_was && kind.as_deref().is_some_and(|kind| kinds.contains(&kind));
    let iops = wanted.iops.or(iops.filter(|_| takes(&["gp3", "io1", "io2"])));
    let throughput = wanted.throughput.or(throughput.filter(|_| takes(&["gp3"])));
    NewVolume { volume_type: kind, iops, throughput, ..wanted.clone() }
}

/// The names to use, in their order: those wanted or the usual ones, without those in use.
pub(super) fn free_names(wanted: &[String], used: &BTreeSet<String>) -> Vec<String> {
    let all: Vec<String> = match wanted {
        [] => DEVICE_LETTERS.map(|letter| format!("/dev/sd{letter}")).collect(),
        wanted => wanted.to_vec(),
    };
    // EC2 takes /dev/sdf and /dev/xvdf for one and the same name.
    let letter = |name: &str| {
        name.trim_start_matches("/dev/").trim_start_matches("xv").trim_start_matches('s').to_owned()
    };
    let taken: BTreeSet<String> = used.iter().map(|name| letter(name)).collect();
    all.into_iter().filter(|name| !taken.contains(&letter(name))).collect()
}

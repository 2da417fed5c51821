//! How long a recovery takes, in its parts, and what the recovered server told.

use super::escape::{code, escape};
use super::facts::{Facts, fact};
use super::titled;
use crate::words::{age, counted, duration, size, time};
use crate::{Evidence, RecoveryTimes, Report};

/// The section; of a drill that recovered nothing it says so.
pub(super) fn section(report: &Report) -> String {
    let times = match &report.recovery {
        Some(times) => parts(times) + &caveat(report),
        None => "<p>Not measured: no recovery came to its end in this drill.</p>\n".to_owned(),
    };
    let told = report.evidence.as_ref().map_or_else(String::new, told);
    titled("recovery", "What a recovery takes", &format!("{times}{told}"))
}

/// The parts as a bar, which prints without colours, and as a table.
fn parts(times: &RecoveryTimes) -> String {
    let parts = [
        ("Files in their place", times.materialise),
        ("Server started, consistent", times.consistent),
        ("WAL replayed to its end", times.replay),
        ("Ready for connections", times.ready),
    ];
    let sum = parts.iter().map(|(_, seconds)| seconds.max(0.0)).sum::<f64>().max(f64::MIN_POSITIVE);
    let mut bar = String::new();
    let mut rows = String::new();
    let mut at = 0.0;
    for (number, (name, seconds)) in parts.iter().enumerate() {
        let width = seconds.max(0.0) / sum * 1000.0;
        bar.push_str(&format!(
            "<rect class=\"part-{number}\" x=\"{at:.1}\" y=\"0\" width=\"{width:.1}\" height=\"20\"/>"
        ));
        at += width;
        rows.push_str(&format!(
            "<tr><th scope=\"row\"><svg class=\"key\" viewBox=\"0 0 12 12\" aria-hidden=\"true\">\
             <rect class=\"part-{number}\" width=\"12\" height=\"12\"/></svg>{name}</th>\
             <td class=\"number\">{}</td></tr>\n",
            duration(*seconds)
        ));
    }
    format!(
        "<div class=\"whole\">\n<svg class=\"stack\" viewBox=\"0 0 1000 20\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{bar}</svg>\n\
         <table class=\"parts\">\n<thead><tr><th scope=\"col\">Part</th><th scope=\"col\" class=\"number\">Time</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n<tfoot><tr><th scope=\"row\">Recovery in all</th><td class=\"number\">{}</td></tr></tfoot>\n</table>\n</div>\n",
        duration(times.total)
    )
}

/// Files that were not copied cost nothing here, but will elsewhere.
fn caveat(report: &Report) -> String {
    let Some(copy) = &report.materialized else { return String::new() };
    if !matches!(copy.way.as_str(), "snapshot" | "reflink" | "overlay" | "in_place") {
        return String::new();
    }
    let Some(bytes) = bytes(report) else { return String::new() };
    format!(
        "<p class=\"note\">The files were not copied here (way: {}). A recovery onto other storage has to copy {} \
         first, which is not in these times.</p>\n",
        code(&copy.way),
        escape(&size(bytes))
    )
}

/// How much a recovery has to bring: what the copy holds, or for a way that copies nothing, what the backup does.
pub(super) fn bytes(report: &Report) -> Option<u64> {
    let copied = report.materialized.as_ref().map(|copy| copy.bytes).filter(|bytes| *bytes > 0);
    copied.or(report.subject.bytes)
}

fn told(found: &Evidence) -> String {
    let mut facts = Facts::default();
    facts.add("Replay ended at", found.replay_lsn.map(|lsn| code(&lsn.to_string())));
    facts.add("On timeline", found.timeline.map(|timeline| escape(&timeline.to_string())));
    facts.add(
        "Last commit replayed",
        Some(found.last_commit.map_or_else(|| "none in its WAL".to_owned(), time)),
    );
    let from =
        if found.last_commit.is_some() { "the last commit" } else { "the backup\u{2019}s stop" };
    facts.add(
        "Age of the data",
        found
            .age
            .map(|seconds| fact(&age(seconds), &format!("from {from} to the start of the drill"))),
    );
    facts.add("WAL asked for", Some(counted(found.wal_segments, "segment")));
    facts.finish()
}

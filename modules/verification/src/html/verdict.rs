//! The top of the page: what the drill came to in one sentence, what it does not prove beside it, and the figures
//! that people ask for first.

use super::escape::{code, escape};
use super::{recovery, sign};
use crate::words::{age, counted, duration, size, time};
use crate::{Check, Outcome, Report, Verdict};

/// So many failed checks are named in the sentence; the table has all.
const NAMED: usize = 2;

/// The verdict in capitals: what remains of the page in a title or on a grey print.
pub(super) fn stamp(report: &Report) -> &'static str {
    match (report.verdict, report.self_test) {
        (Verdict::Failed, false) => "FAILED",
        (Verdict::Failed, true) => "SELF-TEST FAILED",
        (Verdict::Passed, true) => "SELF-TEST PASSED",
        (Verdict::Passed, false) if proved(report).is_empty() => "NOTHING PROVED",
        (Verdict::Passed, false) => "PASSED",
    }
}

/// Heading, sentence, what was not proved, figures.
pub(super) fn section(report: &Report) -> String {
    // Green is for a backup that was restored. What was looked at only, or not at all, is not red either.
    let (class, mark) = match report.verdict {
        Verdict::Failed => ("failed", "failed"),
        Verdict::Passed if report.self_test => ("partly", "ok"),
        Verdict::Passed if restored(report) => ("passed", "ok"),
        Verdict::Passed if proved(report).is_empty() => ("partly", "skipped"),
        Verdict::Passed => ("partly", "ok"),
    };
    let subject = &report.subject;
    format!(
        "<header class=\"{class}\">\n<p class=\"kind\">Restore drill<span> of backup </span><b>{}</b></p>\n\
         <h1>{}{}</h1>\n<p class=\"when\">Level {}, {}, took {}.</p>\n</header>\n{}{}",
        escape(&subject.name()),
        sign(mark),
        led(&sentence(report)),
        code(report.level.name()),
        time(report.started),
        duration(report.seconds()),
        not_proved(report),
        figures(report),
    )
}

/// The verdict in one sentence.
fn sentence(report: &Report) -> String {
    match report.verdict {
        Verdict::Failed => failed(report),
        Verdict::Passed if report.self_test => {
            "Self-test passed: the checks found the damage that this drill did to its own copy. \
             It says nothing of the backup."
                .to_owned()
        }
        Verdict::Passed => {
            let proved = proved(report);
            match proved.as_slice() {
                [] => "Nothing was proved: no check was made.".to_owned(),
                _ if restored(report) => format!("Restored and proved: {}.", listed(&proved)),
                _ => format!("Proved without a restore: {}.", listed(&proved)),
            }
        }
    }
}

/// The sentence with what comes before its first colon, the verdict itself, set off.
fn led(sentence: &str) -> String {
    match sentence.split_once(':') {
        Some((verdict, rest)) => format!("<b>{}:</b>{}", escape(verdict), escape(rest)),
        None => escape(sentence),
    }
}

fn failed(report: &Report) -> String {
    let start = if report.self_test { "SELF-TEST FAILED" } else { "FAILED" };
    let failed: Vec<&Check> = report.with(Outcome::Failed).collect();
    if failed.is_empty() {
        return format!("{start}: the drill did not come to its end.");
    }
    let named: Vec<String> = failed
        .iter()
        .take(NAMED)
        .map(|check| format!("{}: {}", title(&check.name), check.message))
        .collect();
    let rest = failed.len().saturating_sub(NAMED);
    let more = match rest {
        0 => String::new(),
        _ => format!("; and {}", counted(rest as u64, "more failed check")),
    };
    format!("{start}: {}{more}.", named.join("; "))
}

fn restored(report: &Report) -> bool {
    report.with(Outcome::Ok).any(|check| check.name == "recovery")
}

/// What the checks that were made and found nothing stand for, in the order they were made.
fn proved(report: &Report) -> Vec<&str> {
    report.with(Outcome::Ok).map(|check| claim(&check.name)).collect()
}

/// What a check that found nothing proves, in the words of the sentence.
fn claim(check: &str) -> &str {
    match check {
        "label" => "backup label",
        "control_file" => "control file",
        "wal" => "WAL",
        "databases" => "a connection to every database",
        "max_age" => "age of the data",
        "max_recovery_time" => "recovery time",
        "queries" => "your own queries",
        "row_counts" => "row counts",
        "dump" => "a dump of every row",
        "page_checksums" => "page checksums",
        "indexes" => "every index against its table",
        other => other,
    }
}

/// A check's name at the start of a clause.
pub(super) fn title(check: &str) -> String {
    check.replace('_', " ")
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The skipped checks, those with the same reason together.
fn not_proved(report: &Report) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for check in report.with(Outcome::Skipped) {
        let name = code(&check.name);
        match reasons.iter_mut().find(|(reason, _)| *reason == check.message) {
            Some((_, names)) => names.push(name),
            None => reasons.push((&check.message, vec![name])),
        }
    }
    if reasons.is_empty() {
        return "<section class=\"not-proved\" aria-labelledby=\"not-proved\">\n<h2 id=\"not-proved\">Not proved</h2>\n\
                <p>Every check that there is was made.</p>\n</section>\n"
            .to_owned();
    }
    let items: String = reasons
        .iter()
        .map(|(reason, names)| {
            format!("<li>{} <span>{}</span></li>\n", names.join(", "), escape(reason))
        })
        .collect();
    format!(
        "<section class=\"not-proved\" aria-labelledby=\"not-proved\">\n<h2 id=\"not-proved\">Not proved</h2>\n\
         <ul>\n{items}</ul>\n</section>\n"
    )
}

/// How long a recovery takes, how old the data is, how many checks.
fn figures(report: &Report) -> String {
    let recovery = match &report.recovery {
        Some(times) => figure(
            "A recovery takes",
            &duration(times.total),
            &report.materialized.as_ref().map_or_else(String::new, |copy| {
                let files = recovery::bytes(report).map_or_else(String::new, size);
                format!(
                    "measured, {} by {}",
                    if files.is_empty() { "files" } else { &files },
                    copy.way
                )
            }),
        ),
        None => figure("A recovery takes", "not measured", "no recovery came to its end"),
    };
    let evidence = report.evidence.as_ref();
    let data = match evidence.and_then(|found| found.age) {
        Some(seconds) => figure("Age of the data", &age(seconds), &since(report)),
        None => figure("Age of the data", "not known", "no recovered server told of it"),
    };
    let count = |outcome| report.with(outcome).count() as u64;
    let checks = figure(
        "Checks",
        &format!("{} ok, {} failed", count(Outcome::Ok), count(Outcome::Failed)),
        &format!("{} skipped, {} in all", count(Outcome::Skipped), report.checks.len()),
    );
    format!("<dl class=\"figures\">\n{recovery}{data}{checks}</dl>\n")
}

/// From when the age of the data is counted.
fn since(report: &Report) -> String {
    let commit = report.evidence.as_ref().and_then(|found| found.last_commit);
    match (commit, report.subject.stop_time) {
        (Some(commit), _) => format!("last commit replayed {}", time(commit)),
        (None, Some(stop)) => format!("no commit in its WAL; backup stopped {}", time(stop)),
        (None, None) => "no commit in its WAL".to_owned(),
    }
}

fn figure(name: &str, value: &str, note: &str) -> String {
    format!(
        "<div><dt>{name}</dt><dd><b>{}</b> <span>{}</span></dd></div>\n",
        escape(value),
        escape(note)
    )
}

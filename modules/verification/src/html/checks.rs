//! The table of checks, what to mend after a restore, and the end of the server's log.

use super::escape::{code, escape};
use super::{sign, titled};
use crate::words::{counted, duration};
use crate::{Check, Finding, Level, Outcome, Report, Verdict};

/// A details list of so many lines is shown without being asked for.
const SHORT: usize = 3;
/// More lines than these may be parted by the end of a page of paper.
const LONG: usize = 12;

/// Every check, by levels. The roles say what the elements are anyhow: on a phone the rows are laid out as grids, and
/// some browsers then forget that it is a table.
pub(super) fn section(report: &Report) -> String {
    let groups = [
        (Some(Level::Manifest), "Without a server"),
        (Some(Level::Recover), "Restored and started"),
        (Some(Level::Read), "Every row read"),
        (Some(Level::Full), "Every index read"),
        (None, "Other"),
    ];
    let mut number = 0;
    let mut bodies = String::new();
    for (level, title) in groups {
        let mut rows = String::new();
        for check in report.checks.iter().filter(|check| check.level() == level) {
            number += 1;
            rows.push_str(&row(check, number));
        }
        if !rows.is_empty() {
            let name = level.map_or_else(String::new, |level| {
                format!(" <span>level {}</span>", code(level.name()))
            });
            bodies.push_str(&format!(
                "<tbody role=\"rowgroup\">\n<tr role=\"row\" class=\"group\"><th role=\"rowheader\" colspan=\"3\" scope=\"rowgroup\">{title}{name}</th></tr>\n\
                 {rows}</tbody>\n"
            ));
        }
    }
    if bodies.is_empty() {
        return titled("checks", "Checks", "<p>No check was made.</p>\n");
    }
    let table = format!(
        "<table role=\"table\" class=\"checks\">\n<thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" scope=\"col\">Result</th>\
         <th role=\"columnheader\" scope=\"col\">Check</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"number\">Time</th></tr></thead>\n{bodies}</table>\n"
    );
    let note = if report.self_test {
        "<p class=\"note\">What failed here failed on a copy that was damaged on purpose.</p>\n"
    } else {
        ""
    };
    titled("checks", "Checks", &format!("{note}{table}"))
}

fn row(check: &Check, number: usize) -> String {
    let (class, word) = match check.outcome {
        Outcome::Ok => ("ok", "ok"),
        Outcome::Failed => ("failed", "FAILED"),
        Outcome::Skipped => ("skipped", "skipped"),
    };
    let time = match check.outcome {
        Outcome::Skipped => String::new(),
        Outcome::Ok | Outcome::Failed => duration(check.seconds),
    };
    let long = if check.details.len() > LONG { " long" } else { "" };
    format!(
        "<tr role=\"row\" class=\"{class}{long}\"><td role=\"cell\" class=\"result\">{}{word}</td>\
         <th role=\"rowheader\" scope=\"row\"><code>{}</code> <span class=\"message\">{}</span>{}{}</th>\
         <td role=\"cell\" class=\"number\">{time}</td></tr>\n",
        sign(class),
        escape(&check.name),
        escape(&check.message),
        details(check, number),
        see(check)
    )
}

/// The lines of details, open where something failed and when the page is printed. They follow their `details`
/// element instead of being in it, since only so a style sheet alone can show them on paper.
fn details(check: &Check, number: usize) -> String {
    // One line that only says the same again is left out.
    if check.details.is_empty() || check.details.as_slice() == [check.message.as_str()] {
        return String::new();
    }
    let open = check.outcome == Outcome::Failed || check.details.len() <= SHORT;
    let lines: String =
        check.details.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    format!(
        "<details{}><summary aria-controls=\"details-{number}\">{}</summary></details>\
         <ul class=\"details\" id=\"details-{number}\">\n{lines}</ul>",
        if open { " open" } else { "" },
        counted(check.details.len() as u64, "line"),
    )
}

/// From a check to its findings.
fn see(check: &Check) -> String {
    match check.findings.len() {
        0 => String::new(),
        count => format!(
            " <a href=\"#findings\" class=\"see\">{} below</a>",
            counted(count as u64, "finding")
        ),
    }
}

/// What to know or to do, with the statements for it.
pub(super) fn findings(report: &Report) -> String {
    let items: String = report
        .checks
        .iter()
        .flat_map(|check| check.findings.iter().map(move |finding| (check, finding)))
        .map(|(check, finding)| item(check, finding))
        .collect();
    if items.is_empty() {
        return String::new();
    }
    let note = "<p>No failure, but to be known or done after a real restore of this backup.</p>\n";
    titled("findings", "Findings", &format!("{note}<ol class=\"findings\">\n{items}</ol>\n"))
}

fn item(check: &Check, finding: &Finding) -> String {
    let sql = if finding.sql.is_empty() {
        String::new()
    } else {
        let statements: Vec<String> = finding
            .sql
            .iter()
            .map(|sql| format!("{};", sql.trim_end().trim_end_matches(';')))
            .collect();
        format!("<pre class=\"sql\" tabindex=\"0\">{}</pre>", escape(&statements.join("\n")))
    };
    format!("<li><code>{}</code> {}{sql}</li>\n", escape(&check.name), escape(&finding.message))
}

/// The end of the server's log, when something failed.
pub(super) fn log(report: &Report) -> String {
    if report.log.is_empty() || report.verdict == Verdict::Passed {
        return String::new();
    }
    let text = escape(&report.log.join("\n"));
    titled(
        "log",
        "End of the server\u{2019}s log",
        &format!("<pre class=\"log\" tabindex=\"0\">{text}</pre>\n"),
    )
}

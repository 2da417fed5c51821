//! The report as one HTML page that needs nothing else: to be read on a phone or a desk, mailed and printed.
//!
//! No scripts, no links to other places, no fonts. Every text of the report is escaped: it comes from catalogues, file
//! names and logs, which whoever may create a table can write into. Should that ever fail, the page's own
//! content security policy still forbids scripts and loading anything.

mod checks;
mod escape;
mod facts;
mod phases;
mod recovery;
mod verdict;

use crate::Report;
use crate::words::time;
use escape::escape;

/// Kept beside the code as what it is; in the page it is inline.
const STYLE: &str = include_str!("style.css");

/// Signs that are used more than once: drawn, since not every font on every device has them.
const SIGNS: &str = concat!(
    "<svg width=\"0\" height=\"0\" class=\"signs\" aria-hidden=\"true\">",
    "<symbol id=\"ok\" viewBox=\"0 0 16 16\"><path d=\"M2.5 8.5 6.5 12.5 13.5 4\"/></symbol>",
    "<symbol id=\"failed\" viewBox=\"0 0 16 16\"><path d=\"M3.5 3.5 12.5 12.5M12.5 3.5 3.5 12.5\"/></symbol>",
    "<symbol id=\"skipped\" viewBox=\"0 0 16 16\"><path d=\"M4 8H12\"/></symbol></svg>"
);

/// The report as a page.
#[must_use]
pub fn html(report: &Report) -> String {
    let title = format!(
        "{}: {} \u{2013} restore drill of {}",
        verdict::stamp(report),
        report.subject.name(),
        time(report.started)
    );
    let parts = [
        verdict::section(report),
        checks::section(report),
        checks::findings(report),
        checks::log(report),
        recovery::section(report),
        facts::backup(report),
        facts::drill(report),
        phases::section(report),
        facts::footer(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{SIGNS}\n<main>\n{}</main>\n</body>\n</html>\n",
        escape(&title),
        parts.concat()
    )
}

/// One of the signs. The word for it stands beside it, so it says nothing to a screen reader.
fn sign(name: &str) -> String {
    format!("<svg class=\"sign\" aria-hidden=\"true\"><use href=\"#{name}\"/></svg>")
}

/// A section with its heading; nothing when it would be empty.
fn titled(id: &str, title: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{content}</section>\n"
    )
}

#[cfg(test)]
mod tests;

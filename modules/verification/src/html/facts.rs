//! Lists of facts: the backup, the drill, the foot of the page.

use super::escape::{code, escape};
use super::titled;
use crate::proof::seconds;
use crate::words::{bytes, duration, time};
use crate::{Materialized, Report, SandboxUsed, Subject, SubjectKind};

/// Terms and what they are, as a list that grows.
#[derive(Default)]
pub(super) struct Facts(String);

impl Facts {
    /// Adds one, whose value is HTML; none is not shown.
    pub(super) fn add(&mut self, term: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.push_str(&format!("<div><dt>{term}</dt><dd>{value}</dd></div>\n"));
        }
    }

    /// The list.
    pub(super) fn finish(self) -> String {
        format!("<dl class=\"facts\">\n{}</dl>\n", self.0)
    }
}

/// A value and, less loud, what goes with it. Both are text.
pub(super) fn fact(value: &str, note: &str) -> String {
    format!("{} <span class=\"quiet\">{}</span>", escape(value), escape(note))
}

/// The backup that was proved.
pub(super) fn backup(report: &Report) -> String {
    let subject = &report.subject;
    let kind = match subject.kind {
        SubjectKind::Backstay => "backup in a repository",
        SubjectKind::BasebackupPlain => "directory written by pg_basebackup (plain)",
        SubjectKind::BasebackupTar => "tar files written by pg_basebackup",
    };
    let mut facts = Facts::default();
    facts.add("Cluster", subject.cluster.as_deref().map(escape));
    facts.add("Backup id", subject.backup_id.as_deref().map(code));
    facts.add("Label", subject.label.as_deref().map(escape));
    facts.add("Kind", Some(kind.to_owned()));
    facts.add("Place", Some(code(&subject.path.display().to_string())));
    facts.add("Server version", subject.server_version.as_deref().map(escape));
    facts.add("System identifier", subject.system_identifier.map(|id| code(&id.to_string())));
    facts.add("Timeline", subject.timeline.map(|timeline| escape(&timeline.to_string())));
    facts.add("Taken from", subject.from_standby.map(from));
    facts.add(
        "Started",
        point(subject.start_time.map(time), subject.start_lsn.map(|l| l.to_string())),
    );
    facts.add("Stopped", point(stopped(subject), subject.stop_lsn.map(|l| l.to_string())));
    facts.add("Size with WAL", subject.bytes.map(|size| escape(&bytes(size))));
    titled("backup", "Backup", &facts.finish())
}

fn from(standby: bool) -> String {
    if standby { "a standby" } else { "the primary" }.to_owned()
}

/// When it stopped, and how long it had taken.
fn stopped(subject: &Subject) -> Option<String> {
    let stop = subject.stop_time?;
    let took = subject.start_time.map(|start| seconds(start, stop));
    let took = took.map_or_else(String::new, |took| format!(" (after {})", duration(took)));
    Some(format!("{}{took}", time(stop)))
}

fn point(time: Option<String>, lsn: Option<String>) -> Option<String> {
    let lsn = lsn.map(|lsn| format!("LSN {}", code(&lsn)));
    match (time.map(|text| escape(&text)), lsn) {
        (Some(time), Some(lsn)) => Some(format!("{time}, {lsn}")),
        (time, lsn) => time.or(lsn),
    }
}

/// Where the server ran and on which copy.
pub(super) fn drill(report: &Report) -> String {
    let mut facts = Facts::default();
    if let Some(sandbox) = &report.sandbox {
        sandboxed(&mut facts, sandbox);
    } else {
        facts.add("Sandbox", Some("none: no server was started".to_owned()));
    }
    if let Some(copy) = &report.materialized {
        copied(&mut facts, copy);
    }
    facts.add("Host", Some(code(&report.host)));
    facts.add("Began", Some(time(report.started)));
    facts.add("Ended", Some(time(report.ended)));
    titled("drill", "Sandbox and copy", &facts.finish())
}

fn sandboxed(facts: &mut Facts, sandbox: &SandboxUsed) {
    let isolation = match sandbox.isolation.as_str() {
        "none" => "<strong>none</strong>: the server ran beside everything else on this host, kept apart by its \
                   settings alone"
            .to_owned(),
        other => escape(other),
    };
    facts.add("Sandbox", Some(code(&sandbox.kind)));
    facts.add("Isolated by", Some(isolation));
    facts.add("Server ran as", Some(code(&sandbox.user)));
    facts.add("Server version", sandbox.server_version.as_deref().map(escape));
    facts.add("Programs", sandbox.bin_dir.as_ref().map(|path| code(&path.display().to_string())));
}

fn copied(facts: &mut Facts, copy: &Materialized) {
    let way = match copy.way.as_str() {
        "snapshot" => "a writable snapshot",
        "reflink" => "files that share their blocks with the backup (reflink)",
        "overlay" => "a layer over the backup\u{2019}s files",
        "copy" => "a full copy",
        "unpack" => "tar files unpacked",
        "in_place" => "none: the files given were used as they are",
        _ => "",
    };
    facts.add("Copy", Some(format!("{} {way}", code(&copy.way))));
    facts.add("Files", Some(escape(&bytes(copy.bytes))));
    facts.add("Taken on disk", copy.bytes_taken.map(|taken| escape(&bytes(taken))));
    let notes: String = copy.notes.iter().map(|note| format!("<p>{}</p>", escape(note))).collect();
    facts.add("Why this way", (!notes.is_empty()).then_some(notes));
}

/// Who says all this.
pub(super) fn footer(report: &Report) -> String {
    format!(
        "<footer>\n<p>Written by backstay {} on {}, {}. The same for programs is in the JSON file beside this page \
         (schema {}). All times are in UTC.</p>\n</footer>\n",
        escape(&report.backstay_version),
        code(&report.host),
        time(report.ended),
        report.schema
    )
}

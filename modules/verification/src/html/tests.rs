use super::*;
use crate::{Check, Outcome, SandboxUsed, Verdict};

const SAMPLES: [&str; 3] = [
    include_str!("../../samples/passed.json"),
    include_str!("../../samples/failed.json"),
    include_str!("../../samples/skipped.json"),
];

fn reports() -> [Report; 3] {
    SAMPLES.map(|sample| serde_json::from_str(sample).unwrap())
}

fn sentence(report: &Report) -> String {
    let page = html(report);
    let (_, rest) = page.split_once("<h1>").unwrap();
    let (sentence, _) = rest.split_once("</h1>").unwrap();
    let (_, words) = sentence.split_once("</svg>").unwrap();
    words.replace("<b>", "").replace("</b>", "")
}

#[test]
fn the_verdict_comes_first_and_says_what_was_proved() {
    let [passed, failed, skipped] = reports();
    assert_eq!(
        sentence(&passed),
        "Restored and proved: files, backup label, control file, WAL, recovery, a connection to every database, \
         libraries, collations, age of the data, your own queries, row counts, a dump of every row and page checksums."
    );
    assert_eq!(
        sentence(&failed),
        "FAILED: files: 3 files are not as the manifest says; wal: WAL segment \
         &quot;000000030000002A00000005&quot; is missing: it is between the backup&#39;s start and stop; and 1 more \
         failed check."
    );
    assert_eq!(sentence(&skipped), "Proved without a restore: backup label and WAL.");
    let stamps =
        [&passed, &failed, &skipped].map(|report| html(report).contains("<title>FAILED: "));
    assert_eq!(stamps, [false, true, false]);
}

#[test]
fn a_drill_without_a_check_proves_nothing() {
    let [passed, failed, _] = reports();
    let nothing = Report { checks: vec![], ..passed.clone() };
    assert_eq!(sentence(&nothing), "Nothing was proved: no check was made.");
    assert!(html(&nothing).contains("<title>NOTHING PROVED: main/"));
    let interrupted = Report { checks: vec![], ..failed };
    assert_eq!(sentence(&interrupted), "FAILED: the drill did not come to its end.");
    assert!(html(&nothing).contains("<header class=\"partly\">"));
    let test = Report { self_test: true, ..passed };
    assert!(sentence(&test).starts_with("Self-test passed: "), "{}", sentence(&test));
    let test = Report { verdict: Verdict::Failed, ..test };
    assert!(sentence(&test).starts_with("SELF-TEST FAILED: "), "{}", sentence(&test));
}

#[test]
fn every_check_and_every_reason_is_there() {
    for report in reports() {
        let page = html(&report);
        for check in &report.checks {
            assert!(page.contains(&format!("<code>{}</code>", check.name)), "{}", check.name);
            assert!(page.contains(&escape(&check.message)), "{}", check.message);
            for line in &check.details {
                assert!(page.contains(&format!("<li>{}</li>", escape(line))), "{line}");
            }
            for finding in &check.findings {
                assert!(page.contains(&escape(&finding.message)), "{}", finding.message);
            }
        }
        let (_, beside) = page.split_once("<section class=\"not-proved\"").unwrap();
        let (beside, _) = beside.split_once("</section>").unwrap();
        for check in report.with(Outcome::Skipped) {
            assert!(beside.contains(&format!("<code>{}</code>", check.name)), "{}", check.name);
            assert!(beside.contains(&escape(&check.message)), "{}", check.message);
        }
    }
}

#[test]
fn statements_end_with_one_semicolon() {
    let [passed, _, _] = reports();
    let page = html(&passed);
    for name in ["app", "reports"] {
        let sql = format!(
            "REINDEX DATABASE &quot;{name}&quot;;\nALTER DATABASE &quot;{name}&quot; REFRESH COLLATION VERSION;</pre>"
        );
        assert!(page.contains(&sql), "{sql}");
    }
}

#[test]
fn what_failed_is_open_and_its_log_is_there() {
    let [passed, failed, _] = reports();
    let page = html(&failed);
    assert!(page.contains("<details open><summary aria-controls=\"details-1\">4 lines"));
    assert!(page.contains("FATAL:  could not locate required checkpoint record"));
    assert!(html(&passed).contains("<details><summary aria-controls=\"details-12\">40 lines"));
    let quiet = Report { log: failed.log.clone(), ..passed };
    assert!(!html(&quiet).contains("FATAL"), "a log is of use only where something failed");
}

#[test]
fn a_way_that_copies_nothing_names_the_size_of_the_backup() {
    let [mut report, _, _] = reports();
    let copy = report.materialized.as_mut().unwrap();
    (copy.bytes, copy.way) = (0, "overlay".into());
    let page = html(&report);
    assert!(page.contains("<span>measured, 41.3 GiB by overlay</span>"));
    assert!(page.contains("A recovery onto other storage has to copy 41.3 GiB first"));
}

#[test]
fn details_that_say_the_same_again_are_left_out() {
    let [mut report, _, _] = reports();
    report.checks[0].details = vec![report.checks[0].message.clone()];
    assert!(!html(&report).contains("id=\"details-1\""));
    report.checks[0].details.push("more".into());
    assert!(html(&report).contains("id=\"details-1\""));
}

#[test]
fn a_self_test_says_why_checks_failed() {
    let [report, _, _] = reports();
    assert!(!html(&report).contains("damaged on purpose"));
    let test = Report { self_test: true, ..report };
    assert!(html(&test).contains("a copy that was damaged on purpose"));
    assert!(html(&test).contains("<header class=\"partly\">"), "green is for a backup");
}

/// Every text of a report replaced by something that would be markup.
fn hostile() -> Report {
    const EVIL: &str =
        "</style></code><script>alert(1)</script><img src=x onerror='a()'>\" evil=\"\u{202e}\u{0}";
    let evil = || EVIL.to_owned();
    let [mut report, _, _] = reports();
    report.verdict = Verdict::Failed;
    (report.host, report.backstay_version) = (evil(), evil());
    report.log = vec![evil()];
    let subject = &mut report.subject;
    subject.path = EVIL.into();
    for text in [
        &mut subject.cluster,
        &mut subject.backup_id,
        &mut subject.label,
        &mut subject.server_version,
    ] {
        *text = Some(evil());
    }
    report.sandbox = Some(SandboxUsed {
        kind: evil(),
        isolation: evil(),
        user: evil(),
        server_version: Some(evil()),
        bin_dir: Some(EVIL.into()),
    });
    if let Some(copy) = &mut report.materialized {
        (copy.way, copy.notes) = (evil(), vec![evil()]);
    }
    report.phases.iter_mut().for_each(|phase| phase.name = evil());
    for outcome in [Outcome::Ok, Outcome::Failed, Outcome::Skipped] {
        let findings = vec![crate::Finding { message: evil(), sql: vec![evil()] }];
        let (name, message, details) = (evil(), evil(), vec![evil(); 5]);
        report.checks.push(Check { name, outcome, message, details, findings, seconds: 1.0 });
    }
    report
}

#[test]
fn no_text_becomes_markup() {
    let page = html(&hostile());
    for markup in ["<script", "<img", "</style></code>", "\" evil=\"", "\u{202e}", "\u{0}"] {
        assert!(!page.contains(markup), "{markup:?}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn the_page_needs_nothing_else() {
    for report in reports() {
        let page = html(&report);
        for reference in ["http:", "https:", "//", " src=", "@import", "url(", "<script", "<link"] {
            assert!(!page.contains(reference), "{reference}");
        }
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        assert!(page.contains("<meta charset=\"utf-8\">"));
    }
}

/// Start and end tags fit together: a missing end tag would swallow what follows.
#[test]
fn tags_are_closed() {
    for report in reports().into_iter().chain([hostile()]) {
        let page = html(&report);
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with('!')) {
            let (tag, _) = tag.split_once('>').unwrap();
            let name = tag.split_whitespace().next().unwrap();
            if let Some(ended) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(ended));
            } else if name != "meta" && !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn one_line_for_a_log() {
    let [passed, failed, skipped] = reports();
    assert_eq!(
        passed.summary(),
        "backup main/20261121T031500Z-3f9c passed level read in 3 min 32 s (recovery 14.1 s); not proved: \
         max_recovery_time, indexes, self_test"
    );
    let line = failed.summary();
    let start = "backup /var/lib/pgsql/backup FAILED level recover in 7.2 s; failed: files: 3 files are not as the \
                 manifest says; wal: ";
    assert!(line.starts_with(start), "{line}");
    assert!(line.contains("; not proved: databases, "), "{line}");
    assert!(
        skipped.summary().starts_with("backup /srv/backup/plain passed level manifest in 0.09 s; ")
    );
    assert!(!hostile().summary().contains(['\n', '\u{0}']));
}

/// The colours of the style sheet by their names: those of the paper, or of the dark screen.
fn palette(dark: bool) -> std::collections::BTreeMap<&'static str, [f64; 3]> {
    let blocks: Vec<&str> = STYLE.split(":root {").skip(1).collect();
    let lines = blocks[usize::from(dark)].split('}').next().unwrap().lines();
    let colour = |hex: &str| {
        let hex: String =
            if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.into() };
        [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0)
    };
    lines
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
            Some((name, colour(value.trim_end_matches(';'))))
        })
        .collect()
}

/// As WCAG 2 defines it.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let light = |colour: [f64; 3]| {
        let [r, g, b] =
            colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
    };
    let ratio = light(one) / light(other);
    ratio.max(1.0 / ratio)
}

#[test]
fn every_text_can_be_told_from_its_ground() {
    for dark in [false, true] {
        let colours = palette(dark);
        for text in ["ink", "quiet", "link", "ok", "failed"] {
            for ground in ["ground", "panel", "failed-ground"] {
                let ratio = contrast(colours[text], colours[ground]);
                assert!(ratio >= 4.5, "{text} on {ground}, dark {dark}: {ratio:.2}");
            }
        }
    }
}

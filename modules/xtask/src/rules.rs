//! House rules that neither the compiler nor clippy tells.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::XtaskError;
use crate::layout::Layout;

/// Where our own files are, besides those in the workspace's root.
const ROOMS: [&str; 7] = ["modules", "tests", "collection", "playbooks", "aws", "molecule", ".ci"];

/// What other programs leave behind: directories, but for `.git`, which in a worktree is a file.
const LEAVINGS: [&str; 6] = ["target", "native", "__pycache__", ".git", ".ansible", "output"];

/// A file of code may have so many lines besides tests, unless it says why it has more.
const LINES: usize = 400;

/// By these words a longer file begins to say why.
const REASON: &str = "longer than 400 lines because";

/// Looks at every file of ours; gives what breaks a rule, one line each.
pub(crate) fn check(layout: &Layout) -> Result<Vec<String>, XtaskError> {
    let mut files = vec![];
    list(&layout.root, 0, &mut files)?;
    for room in ROOMS {
        list(&layout.root.join(room), 9, &mut files)?;
    }
    files.sort();
    let mut findings = vec![];
    for file in files {
        // What is not text is not ours to judge.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let name = file.strip_prefix(&layout.root).unwrap_or(&file).display().to_string();
        findings.extend(judge(&name, &text).into_iter().map(|finding| format!("{name}{finding}")));
    }
    Ok(findings)
}

/// The files below a directory, so many levels deep. Links are left to what they point to.
fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), XtaskError> {
    if !directory.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(directory).map_err(XtaskError::file("read", directory))?;
    for entry in entries {
        let entry = entry.map_err(XtaskError::file("read", directory))?;
        let kind = entry.file_type().map_err(XtaskError::file("read", entry.path()))?;
        if LEAVINGS.iter().any(|name| entry.file_name() == **name) {
            continue;
        }
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && depth > 0 {
            list(&entry.path(), depth - 1, files)?;
        }
    }
    Ok(())
}

/// What breaks a rule in one file: ":<line>: <why>" each.
fn judge(name: &str, text: &str) -> Vec<String> {
    let mut findings = vec![];
    let rust = name.ends_with(".rs");
    let code = rust || name.ends_with(".py") || name.ends_with(".sh");
    let test = name.contains("tests/");
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if code && !test && lines > LINES && !text.contains(REASON) {
        findings.push(format!(": has {lines} lines, more than {LINES}: split it, or begin the reason with \"{REASON}\""));
    }
    for (number, line) in text.lines().enumerate() {
        let rules = if rust { rust_rules(line) } else { None };
        if let Some(why) = rules.or_else(|| rules_for_all(name, line)) {
            findings.push(format!(":{}: {why}", number + 1));
        }
    }
    findings
}

fn rust_rules(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    // Put together here, so that this file keeps the rules too.
    if ["#", "#!"].iter().any(|mark| code.contains(&format!("{mark}[{}", "allow"))) {
        return Some("an exception is written as #[expect(…, reason = …)]");
    }
    let word = format!("{}{} ", "uns", "afe");
    if code
        .split('"')
        .step_by(2)
        .any(|part| part.trim_start().starts_with(&word) || part.contains(&format!(" {word}")))
    {
        return Some("nothing here opts out of the compiler's checks");
    }
    None
}

/// Rules for prose and code alike.
fn rules_for_all(name: &str, line: &str) -> Option<&'static str> {
    let glossary = name.ends_with("GLOSSARY.md");
    let said = |words: &[[&str; 2]]| {
        words.iter().any(|[head, tail]| line.contains(&format!("{head}{tail}")))
    };
    if said(&[["TO", "DO"], ["FIX", "ME"]]) {
        return Some("work that is left belongs into an issue");
    }
    if said(&[["/ro", "ot/"], ["/wo", "rk/"]]) {
        return Some("a path of somebody's own machine");
    }
    if !glossary
        && said(&[
            ["hot ", "backup"],
            ["Hot ", "backup"],
            ["stan", "za"],
            ["sla", "ve"],
            ["redo ", "log"],
        ])
    {
        return Some("a word that the glossary does not use");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_and_paths_are_found_with_their_line() {
        let text = format!("fn a() {{}}\n#[{}(dead_code)]\nlet x = \"/ro{}\";\n", "allow", "ot/x");
        assert_eq!(
            judge("a.rs", &text),
            [
                ":2: an exception is written as #[expect(…, reason = …)]",
                ":3: a path of somebody's own machine"
            ]
        );
    }

    #[test]
    fn what_other_programs_leave_is_not_looked_at() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(".git"), "gitdir: elsewhere").unwrap();
        fs::write(place.path().join("a.md"), "").unwrap();
        fs::create_dir_all(place.path().join("target/b")).unwrap();
        let mut files = vec![];
        list(place.path(), 9, &mut files).unwrap();
        assert_eq!(files, [place.path().join("a.md")]);
    }

    #[test]
    fn a_long_file_says_why() {
        let long = "x\n".repeat(LINES + 1);
        assert_eq!(judge("a.py", &long).len(), 1);
        assert!(judge("a.py", &format!("# {REASON} it is a table\n{long}")).is_empty());
        assert!(judge("a.md", &long).is_empty());
    }

    #[test]
    fn words_in_strings_and_comments_are_no_code() {
        let word = format!("{}{}", "uns", "afe");
        assert!(
            judge("a.rs", &format!("// {word} is forbidden\nlet a = \"an {word} place\";\n"))
                .is_empty()
        );
        assert_eq!(judge("a.rs", &format!("{word} {{ x }}\n")).len(), 1);
    }
}

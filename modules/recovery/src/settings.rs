//! `postgresql.auto.conf` of the restored cluster: the source's lines that do no harm, then ours.
//!
//! PostgreSQL reads this file from the data directory whatever `config_file` says, and after everything else, so what
//! stands here wins. Its grammar: one `name [=] value` a line, names without regard to case, `#` begins a comment, of two
//! lines with one name the last counts (src/backend/utils/misc/guc-file.l).

use std::collections::BTreeMap;

use pg::conf_quote;

use crate::request::ArchiveMode;

/// Begins every comment line that we write, so that the restore of a restored cluster drops the old ones.
const COMMENT: &str = "# backstay: ";

/// One setting to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What happens to `postgresql.auto.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsChange {
    before: Vec<u8>,
    after: Vec<u8>,
    written: Vec<Setting>,
}

impl SettingsChange {
    /// The file as it is in the backup, for `--diff`; values that may hold a password are hidden.
    #[must_use]
    pub fn before_text(&self) -> String {
        masked(&self.before)
    }

    /// The file as it is written, for `--diff`; values that may hold a password are hidden.
    #[must_use]
    pub fn after_text(&self) -> String {
        masked(&self.after)
    }

    /// What is written and is not merely the neutralising of a setting of the source; values that may hold a password
    /// are hidden.
    #[must_use]
    pub fn written(&self) -> BTreeMap<String, String> {
        self.written
            .iter()
            .filter(|setting| !setting.value.is_empty())
            .map(|setting| {
                let hidden = may_hold_secret(&setting.name, setting.value.as_bytes());
                let value = if hidden { HIDDEN.to_owned() } else { setting.value.clone() };
                (setting.name.clone(), value)
            })
            .collect()
    }

    /// The file's new bytes.
    pub(crate) fn after(&self) -> &[u8] {
        &self.after
    }
}

/// Edits the file: `before` without the lines that a restored cluster must not keep, then `comments`, then `ours`.
pub(crate) fn edit(
    before: &[u8],
    archive_mode: ArchiveMode,
    comments: &[String],
    ours: Vec<Setting>,
) -> SettingsChange {
    let dropped = |name: &str| is_of_the_source(name, archive_mode) || names(&ours, name);
    let mut after = without(before, &dropped);
    for comment in comments {
        // A comment is ours, but it may quote a name or a time from outside.
        let line: String = comment.chars().filter(|c| !c.is_control()).collect();
        after.extend_from_slice(format!("{COMMENT}{line}\n").as_bytes());
    }
    for Setting { name, value } in &ours {
        after.extend_from_slice(format!("{name} = {}\n", conf_quote(value)).as_bytes());
    }
    SettingsChange { before: before.to_vec(), after, written: ours }
}

fn names(settings: &[Setting], name: &str) -> bool {
    settings.iter().any(|setting| setting.name.eq_ignore_ascii_case(name))
}

/// Settings that belong to the source's place in its replication and archive, not to the data.
fn is_of_the_source(name: &str, archive_mode: ArchiveMode) -> bool {
    match name {
        "primary_conninfo" | "primary_slot_name" | "restore_command" | "recovery_end_command" => {
            true
        }
        // It deletes from the archive it names, whatever archive_mode says.
        "archive_cleanup_command" => true,
        "promote_trigger_file" => true,
        _ if name.starts_with("recovery_target") => true,
        _ if name.starts_with("archive_") => archive_mode == ArchiveMode::Off,
        _ => false,
    }
}

fn without(text: &[u8], dropped: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let old_comment = line.starts_with(COMMENT.as_bytes());
        if old_comment || parameter(line).is_some_and(|name| dropped(&name)) {
            continue;
        }
        kept.extend_from_slice(line);
    }
    if !kept.is_empty() && !kept.ends_with(b"\n") {
        kept.push(b'\n');
    }
    kept
}

/// The lower-case name of the parameter that a line sets; `None` for comments and blank lines.
fn parameter(line: &[u8]) -> Option<String> {
    let name: Vec<u8> = line
        .trim_ascii_start()
        .iter()
        .copied()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | 0x80..)
        })
        .collect();
    if name.is_empty() { None } else { Some(String::from_utf8_lossy(&name).to_ascii_lowercase()) }
}

const HIDDEN: &str = "********";

/// `pg_basebackup -R` writes the replication user's password into `primary_conninfo`.
fn may_hold_secret(name: &str, value: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let value = String::from_utf8_lossy(value).to_ascii_lowercase();
    let words = ["password", "passphrase", "passwd", "secret", "token", "access_key", "pwd="];
    name == "primary_conninfo"
        || words.iter().any(|word| name.contains(word) || value.contains(word))
}

fn masked(text: &[u8]) -> String {
    let mut shown = String::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let value = line.iter().position(|byte| *byte == b'=' || *byte == b' ');
        let value = value.and_then(|at| line.get(at..)).unwrap_or_default();
        match parameter(line) {
            Some(name) if may_hold_secret(&name, value) => {
                shown.push_str(&format!("{name} = '{HIDDEN}'\n"));
            }
            _ => shown.push_str(&String::from_utf8_lossy(line)),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# Do not edit this file manually!\n\
        shared_buffers = '128MB'\n\
        \tPRIMARY_CONNINFO = 'user=rep password=hush host=a'\n\
        primary_slot_name = 's'\n\
        recovery_target_time='2020-01-01'\n\
        restore_command 'cp x y'\n\
        archive_command = 'cp %p /a/%f'\n\
        archive_cleanup_command = 'rm'\n\
        # backstay: an older restore\n\
        Work_Mem = '4MB'";

    fn ours() -> Vec<Setting> {
        [("restore_command", "/bin/false"), ("primary_conninfo", ""), ("work_mem", "it's")]
            .map(|(name, value)| Setting { name: name.to_owned(), value: value.to_owned() })
            .to_vec()
    }

    #[test]
    fn the_sources_place_is_dropped_and_ours_comes_last() {
        let change = edit(BEFORE.as_bytes(), ArchiveMode::Off, &["why\nnot".to_owned()], ours());
        assert_eq!(
            String::from_utf8_lossy(change.after()),
            "# Do not edit this file manually!\nshared_buffers = '128MB'\n# backstay: whynot\n\
             restore_command = '/bin/false'\nprimary_conninfo = ''\nwork_mem = 'it''s'\n"
        );
        assert_eq!(
            change.written().into_iter().collect::<Vec<_>>(),
            [
                ("restore_command".to_owned(), "/bin/false".to_owned()),
                ("work_mem".to_owned(), "it's".to_owned())
            ]
        );
    }

    #[test]
    fn archiving_can_be_kept_but_not_the_clean_up_of_the_archive() {
        let change = edit(BEFORE.as_bytes(), ArchiveMode::Preserve, &[], Vec::new());
        let after = change.after_text();
        assert!(after.contains("archive_command = 'cp %p /a/%f'\n"));
        assert!(after.contains("Work_Mem = '4MB'\n"));
        assert!(!after.contains("archive_cleanup_command"));
    }

    #[test]
    fn editing_twice_changes_nothing_more() {
        let once = edit(BEFORE.as_bytes(), ArchiveMode::Off, &["a".to_owned()], ours());
        let twice = edit(once.after(), ArchiveMode::Off, &["a".to_owned()], ours());
        assert_eq!(once.after(), twice.after());
    }

    #[test]
    fn passwords_are_hidden_in_both_texts() {
        let mut settings = ours();
        settings.push(Setting {
            name: "ssl_passphrase_command".to_owned(),
            value: "echo hush".to_owned(),
        });
        let change = edit(BEFORE.as_bytes(), ArchiveMode::Off, &[], settings);
        for text in [change.before_text(), change.after_text()] {
            assert!(!text.contains("hush"), "{text}");
        }
        assert!(change.before_text().contains("primary_conninfo = '********'\n"));
        assert_eq!(change.written().get("ssl_passphrase_command").unwrap(), "********");
    }

    #[test]
    fn an_empty_file_and_odd_bytes_are_fine() {
        assert_eq!(edit(b"", ArchiveMode::Off, &[], Vec::new()).after(), b"");
        assert_eq!(
            edit(b"\xff = 1\n= 3", ArchiveMode::Off, &[], Vec::new()).after(),
            b"\xff = 1\n= 3\n"
        );
    }
}

//! The settings that turn a restored cluster into a recovering one.

use pg::TargetAction;

use crate::request::{ArchiveMode, Restore};
use crate::settings::{self, Setting, SettingsChange};
use crate::target::EffectiveTarget;

/// The five kinds of target; the server refuses more than one, wherever it is set.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_name",
    "recovery_target_lsn",
];

/// What the source may have set in `postgresql.conf` for its own recovery and must not act here: it would follow another
/// server, or delete from the source's archive.
const NEUTRALISED: [&str; 4] =
    ["primary_conninfo", "primary_slot_name", "recovery_end_command", "archive_cleanup_command"];

/// With the backup's own WAL alone nothing is ever fetched; but `recovery.signal` demands a `restore_command`, and "not
/// found" is what this one truly answers.
const NOTHING_TO_FETCH: &str = "/bin/false";

/// The restored cluster's `postgresql.auto.conf`, made from that of the backup.
pub(crate) fn compose(
    restore: &Restore,
    target: &EffectiveTarget,
    before: &[u8],
) -> SettingsChange {
    let manifest = restore.backup.manifest();
    let mut comments = vec![format!(
        "written for the restore of backup {} of cluster {}",
        manifest.backup_id, manifest.cluster
    )];
    if restore.restore_command.is_none() {
        comments.push(format!(
            "the backup holds all WAL it needs; restore_command may not be empty, and {NOTHING_TO_FETCH} answers not found"
        ));
    }
    settings::edit(before, restore.archive_mode, &comments, ours(restore, target))
}

fn ours(restore: &Restore, target: &EffectiveTarget) -> Vec<Setting> {
    let mut ours = Vec::new();
    let command = restore.restore_command.as_deref().unwrap_or(NOTHING_TO_FETCH);
    set(&mut ours, "restore_command", command);
    for name in NEUTRALISED {
        set(&mut ours, name, "");
    }
    // Unset before ours is set: the server takes the lines in their order and refuses a second kind of target.
    let chosen = target.target.setting();
    let kind = chosen.as_ref().map(|(kind, _)| *kind);
    for name in TARGETS.iter().filter(|name| Some(**name) != kind) {
        set(&mut ours, name, "");
    }
    if let Some((kind, value)) = chosen {
        set(&mut ours, kind, &value);
        set(&mut ours, "recovery_target_inclusive", if target.inclusive { "on" } else { "off" });
        set(&mut ours, "recovery_target_action", &target.action.to_string());
    }
    set(&mut ours, "recovery_target_timeline", &target.timeline.to_string());
    if target.action == TargetAction::Pause {
        // Without it the server shuts down where it was to pause.
        set(&mut ours, "hot_standby", "on");
    }
    if restore.archive_mode == ArchiveMode::Off {
        set(&mut ours, "archive_mode", "off");
    }
    for (name, value) in &restore.settings {
        ours.retain(|setting| !setting.name.eq_ignore_ascii_case(name));
        set(&mut ours, name, value);
    }
    ours
}

fn set(settings: &mut Vec<Setting>, name: &str, value: &str) {
    settings.push(Setting { name: name.to_owned(), value: value.to_owned() });
}

//! Every module by its name.

use ansible::task;
use frame::{Executable, Module};

use crate::modules::{ebs_expire, ebs_restore, ebs_snapshot, ebs_snapshot_copy, ebs_snapshot_wait};

/// This executable.
pub(crate) const BACKSTAY_EBS: Executable =
    Executable { name: "backstay-ebs", modules: MODULES, commands: &[] };

/// All of them.
pub(crate) const MODULES: &[Module] = &[
    Module {
        name: "ebs_expire",
        changes: true,
        options: ebs_expire::options,
        run: task::run::<ebs_expire::EbsExpire>,
    },
    Module {
        name: "ebs_restore",
        changes: true,
        options: ebs_restore::options,
        run: ebs_restore::run,
    },
    Module {
        name: "ebs_snapshot",
        changes: true,
        options: ebs_snapshot::options,
        run: task::run::<ebs_snapshot::EbsSnapshot>,
    },
    Module {
        name: "ebs_snapshot_copy",
        changes: true,
        options: ebs_snapshot_copy::options,
        run: task::run::<ebs_snapshot_copy::EbsSnapshotCopy>,
    },
    Module {
        name: "ebs_snapshot_wait",
        changes: true,
        options: ebs_snapshot_wait::options,
        run: task::run::<ebs_snapshot_wait::EbsSnapshotWait>,
    },
];

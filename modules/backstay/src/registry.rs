//! Every module by its name.

use ansible::task;
use frame::{Executable, Module};

use crate::modules::{
    backup_abort, backup_info, backup_start, backup_stop, backup_verify, cluster_restore,
    snapshot_create, volume_info, wal_fetch,
};

/// This executable.
pub(crate) const BACKSTAY: Executable = Executable {
    name: "backstay",
    modules: MODULES,
    commands: &[
        (session::KEEPER_COMMAND, |_| u8::from(session::run_keeper(false).is_err())),
        (session::DETACH_COMMAND, |_| u8::from(session::run_keeper(true).is_err())),
        (sandbox::BUILD_COMMAND, |_| sandbox::run_builder()),
        (sandbox::INIT_COMMAND, sandbox::run_init),
        (sandbox::SWEEP_COMMAND, sandbox::run_sweeper),
        (sandbox::TIE_COMMAND, sandbox::run_tied),
        (sandbox::ASK_COMMAND, sandbox::run_ask),
    ],
};

/// All of them.
pub(crate) const MODULES: &[Module] = &[
    Module {
        name: "backup_abort",
        changes: true,
        options: backup_abort::options,
        run: task::run::<backup_abort::BackupAbort>,
    },
    Module {
        name: "backup_info",
        changes: false,
        options: backup_info::options,
        run: task::run::<backup_info::BackupInfo>,
    },
    Module {
        name: "backup_start",
        changes: true,
        options: backup_start::options,
        run: task::run::<backup_start::BackupStart>,
    },
    Module {
        name: "backup_stop",
        changes: true,
        options: backup_stop::options,
        run: task::run::<backup_stop::BackupStop>,
    },
    Module {
        name: "backup_verify",
        changes: true,
        options: backup_verify::options,
        run: task::run::<backup_verify::BackupVerify>,
    },
    Module {
        name: "cluster_restore",
        changes: true,
        options: cluster_restore::options,
        run: task::run::<cluster_restore::ClusterRestore>,
    },
    Module {
        name: "snapshot_create",
        changes: true,
        options: snapshot_create::options,
        run: task::run::<snapshot_create::SnapshotCreate>,
    },
    Module {
        name: "volume_info",
        changes: false,
        options: volume_info::options,
        run: task::run::<volume_info::VolumeInfo>,
    },
    Module {
        name: "wal_fetch",
        changes: true,
        options: wal_fetch::options,
        run: task::run::<wal_fetch::WalFetch>,
    },
];

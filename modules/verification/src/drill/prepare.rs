//! A sandbox in which the drill's server can be started.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pg::{ControlFile, MajorVersion};
use sandbox::{Answers, Bind, Change, Isolation, Order, Place, Sandbox, SandboxError};

use super::server::Running;
use super::{Drill, installation};
use crate::VerificationError;
use crate::clone::{self, CONFIG_INSIDE, Configuration, Inside, LOG, WAL_SOCKET};
use crate::materialise::Made;
use crate::plan::Installed;
use crate::report::{Level, SandboxUsed};
use crate::request::Sandboxing;
use crate::server_log::ServerLog;
use crate::wal_source::{self, Wal};

impl Drill<'_> {
    /// The configuration, the answers for WAL, the sandbox, and the copy made ready.
    pub(super) fn prepare(
        &mut self,
        place: &Place,
        made: &Made,
        control: &ControlFile,
        installed: Installed,
    ) -> Result<Running, VerificationError> {
        let (demand, material) = (&self.plan.demand, &self.plan.material);
        let isolated = demand.sandboxing != Sandboxing::Process;
        let config = place.path().join("config");
        let inside = if isolated {
            Inside::isolated(&made.tablespaces)
        } else {
            on_the_host(made, place, &config)
        };
        let major = MajorVersion::from_catalog_version(control.catalog_version);
        let configuration = Configuration {
            major: major.or(material.major).unwrap_or(MajorVersion::V13),
            limits: control.limits,
            has_archive: demand.restore_command.is_some(),
            preload_libraries: &demand.preload_libraries,
            settings: &demand.settings,
        };
        clone::write_configuration(&config, &configuration.text(&inside))
            .map_err(VerificationError::io("write the configuration in", &config))?;
        let folder = material.ours.as_ref().map(|ours| ours.folder.clone());
        let enough_wal = Arc::<AtomicBool>::default();
        let answers = Answers::listen(
            &place.shared().join(WAL_SOCKET),
            self.plan.run_as,
            wal_source::source(Wal {
                own: material.wal_entries(),
                folder,
                command: demand.restore_command.clone(),
                scratch: place.path().to_path_buf(),
                stop: enough_wal.clone(),
                damaged: self.damages_wal(),
            }),
        )?;
        let label = match &material.ours {
            Some(ours) => Some(ours.folder.get(ours.backup.label())?),
            None => None,
        };
        let mut sandbox = self.open(place, made, &config, &installed)?;
        sandbox.change(clone::changes(&inside, label.as_deref()))?;
        if self.damages_wal() {
            self.damage_wal(&mut sandbox, &inside, made)?;
        }
        let shared = place.shared();
        let directory = File::open(&shared).map_err(VerificationError::io("open", &shared))?;
        let log = ServerLog::new(shared.join(LOG));
        let bin_dir = installed.bin_dir;
        Ok(Running { sandbox, inside, log, answers, enough_wal, bin_dir, shared, directory })
    }

    /// At level recover the self-test damages the WAL that recovery begins with.
    fn damages_wal(&self) -> bool {
        self.plan.demand.self_test && self.plan.demand.level == Level::Recover
    }

    /// Of a backup that holds its own WAL. What is fetched is damaged on its way.
    fn damage_wal(
        &mut self,
        sandbox: &mut Sandbox,
        inside: &Inside,
        made: &Made,
    ) -> Result<(), SandboxError> {
        self.damaged = Some("the first WAL segment".to_owned());
        let mut names: Vec<_> = std::fs::read_dir(made.data.join("pg_wal"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.parse::<pg::WalSegmentName>().is_ok())
            .collect();
        names.sort();
        let Some(first) = names.first().filter(|_| self.plan.material.ours.is_none()) else {
            return Ok(());
        };
        sandbox.change(vec![Change::Remove(inside.data.join("pg_wal").join(first))])
    }

    fn open(
        &mut self,
        place: &Place,
        made: &Made,
        config: &Path,
        installed: &Installed,
    ) -> Result<Sandbox, VerificationError> {
        let mut binds = made.binds.clone();
        binds.push(Bind::read_only(config, CONFIG_INSIDE));
        binds.extend(installation::binds(&installed.bin_dir));
        let order = Order {
            isolation: Isolation::None,
            run_as: self.plan.run_as,
            binds,
            overlays: made.overlays.clone(),
        };
        let sandbox = match self.plan.demand.sandboxing {
            Sandboxing::Isolated => Sandbox::open_isolated(&order, place)?,
            Sandboxing::Engine(engine) => {
                Sandbox::open(Order { isolation: Isolation::Engine(engine), ..order }, place)?
            }
            Sandboxing::Process => Sandbox::open(order, place)?,
        };
        let (kind, isolation) = match sandbox.isolation() {
            Isolation::None => ("process", "none"),
            Isolation::Engine(engine) => (engine.name(), "container"),
            _ => ("namespaces", "namespaces"),
        };
        let uid = nix::unistd::Uid::from_raw(self.plan.run_as.uid);
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        self.sandbox_used = Some(SandboxUsed {
            kind: kind.to_owned(),
            isolation: isolation.to_owned(),
            user: user.map_or_else(|| uid.to_string(), |user| user.name),
            server_version: Some(installed.version.clone()),
            bin_dir: Some(installed.bin_dir.clone()),
        });
        Ok(sandbox)
    }
}

/// Without isolation the server sees the host's paths.
fn on_the_host(made: &Made, place: &Place, config: &Path) -> Inside {
    Inside {
        data: made.data.clone(),
        tablespaces: made.tablespaces.clone(),
        config: config.to_path_buf(),
        shared: place.shared(),
        executable: place.executable(),
    }
}

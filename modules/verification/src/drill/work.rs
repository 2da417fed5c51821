//! Where a drill works.

use std::fs;
use std::path::PathBuf;

use sandbox::Place;

use crate::VerificationError;
use crate::material::{Files, Material};
use crate::materialise::can_clone;
use crate::plan::DrillPlan;
use crate::request::Way;

/// Beside a backup, where a copy can share its blocks.
const BESIDE: &str = ".backstay-drills";

/// A work directory: where the option says; else beside the backup, when a copy there shares its blocks with it; else
/// where nothing speaks for another place.
pub(crate) fn place(plan: &DrillPlan) -> Result<Place, VerificationError> {
    let demand = &plan.demand;
    let near = match (&demand.work_directory, demand.way) {
        (Some(_), _) | (None, Way::InPlace) => None,
        (None, _) => beside(&plan.material),
    };
    let parent = demand
        .work_directory
        .clone()
        .or(near)
        .unwrap_or_else(|| demand.default_work_directory.clone());
    Ok(Place::create(&parent, plan.run_as)?)
}

/// The directory beside the backup, if blocks can be shared there. Nothing is left behind when not.
fn beside(material: &Material) -> Option<PathBuf> {
    let Files::Directories(directories) = &material.files else { return None };
    let above = match (&material.ours, directories.snapshots.first()) {
        (_, Some(record)) => record.path.as_ref()?.parent()?.to_path_buf(),
        (Some(ours), None) if ours.listed => ours.folder.local_path(),
        _ => directories.data.parent()?.to_path_buf(),
    };
    let parent = above.join(BESIDE);
    let known = parent.is_dir();
    durable::private_directory(&parent, None, 0o711).ok()?;
    if can_clone(&directories.data.join("PG_VERSION"), &parent).is_ok() {
        return Some(parent);
    }
    if !known {
        let _ = fs::remove_dir(&parent);
    }
    None
}

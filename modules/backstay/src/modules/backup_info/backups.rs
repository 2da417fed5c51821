//! The backups of a cluster in a repository, and when each was last proved.

use std::collections::BTreeSet;

use ansible::Failure;
use ansible::chain::chain;
use ansible::reply::object;
use frame::Explain;
use repository::{
    BackupFolder, BackupManifest, BackupPoint, ClusterName, Repository, StoredVerification,
};
use serde_json::{Value, json};
use verification::Proof;

/// Every backup, newest first. What cannot be read is warned of, and hides nothing else.
pub(super) fn all(
    repository: &Repository,
    cluster: &ClusterName,
    warnings: &mut Vec<String>,
) -> Result<Vec<Value>, Failure> {
    let listed = repository.backups(cluster).map_err(|error| error.explain())?;
    warnings.extend(listed.unreadable.iter().map(|unreadable| {
        let (id, why) = (&unreadable.id, chain(&unreadable.error));
        format!("could not read the manifest of backup \"{id}\" of cluster \"{cluster}\": {why}")
    }));
    let described = listed.manifests.iter().rev().map(|manifest| {
        let folder = repository.backup(cluster, &manifest.backup_id);
        describe(manifest, last_verified(&folder, warnings))
    });
    Ok(described.collect())
}

fn describe(manifest: &BackupManifest, last_verified: Value) -> Value {
    let stop = manifest.stop.as_ref();
    let providers: BTreeSet<&str> =
        manifest.snapshots.iter().map(|snapshot| snapshot.provider.as_str()).collect();
    json!({
        "backup_id": manifest.backup_id,
        "cluster": manifest.cluster,
        "label": manifest.label,
        "state": manifest.state,
        "reason": manifest.reason,
        "started_at": manifest.start.time,
        "stopped_at": stop.map(|stop: &BackupPoint| stop.time),
        "start_lsn": manifest.start.lsn,
        "stop_lsn": stop.map(|stop| stop.lsn),
        "timeline": manifest.timeline,
        "server_version": manifest.server_version,
        "system_identifier": manifest.system_identifier,
        "from_standby": manifest.in_recovery,
        "providers": providers,
        "bytes": bytes(manifest),
        "last_verified": last_verified,
    })
}

/// The sizes of the files of the backup together, WAL included. Not known before there is a snapshot,
/// and of one that does not tell how much is in it.
fn bytes(manifest: &BackupManifest) -> Option<u64> {
    if manifest.snapshots.is_empty() {
        return None;
    }
    let copied: Option<u64> = manifest.snapshots.iter().map(|snapshot| snapshot.bytes).sum();
    copied.map(|copied| copied + manifest.files.iter().map(|file| file.size).sum::<u64>())
}

/// The newest report that proves anything: a self-test does not.
fn last_verified(folder: &BackupFolder, warnings: &mut Vec<String>) -> Value {
    let stored = match folder.verifications() {
        Ok(stored) => stored,
        Err(error) => {
            let place = folder.local_path();
            warnings.push(format!(
                "could not list the reports of drills in \"{}\": {}",
                place.display(),
                chain(&error)
            ));
            return Value::Null;
        }
    };
    for stored in stored.iter().rev() {
        match read(folder, stored) {
            Ok(proof) if proof.self_test => {}
            Ok(proof) => return describe_proof(&proof, stored),
            Err(why) => {
                let place = stored.json.display();
                warnings.push(format!("could not read the report \"{place}\" of a drill: {why}"));
            }
        }
    }
    Value::Null
}

fn read(folder: &BackupFolder, stored: &StoredVerification) -> Result<Proof, String> {
    let json = folder.read_verification(stored).map_err(|error| chain(&error))?;
    Proof::read(&json).map_err(|error| error.to_string())
}

fn describe_proof(proof: &Proof, stored: &StoredVerification) -> Value {
    let mut described = object(json!(proof));
    described.insert("report".into(), json!(stored.json));
    described.insert("report_html".into(), json!(stored.html));
    Value::Object(described)
}

#[cfg(test)]
mod tests;

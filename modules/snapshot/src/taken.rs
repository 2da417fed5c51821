//! Snapshots that somebody else took, and that are to belong to a session.

use chrono::{DateTime, TimeDelta, Utc};

use crate::provider::Watch;
use crate::sources::Sources;
use crate::{
    PlannedPart, SnapshotError, SnapshotPlan, SnapshotProvider, SnapshotRecord, UploadState,
    check_covered,
};

/// The clock of the machine that took a snapshot may be behind the database host's. Both are kept by NTP; a minute
/// is far more than that leaves.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// EBS snapshots that were taken from another machine: whether they hold the whole cluster, and were taken in the
/// session, is checked when they are adopted.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The snapshots.
    pub records: Vec<SnapshotRecord>,
    /// When the session began.
    pub since: DateTime<Utc>,
    /// The session's database cluster, as decimal digits.
    pub system_identifier: String,
    /// Where its backup starts.
    pub start_lsn: String,
}

impl SnapshotProvider for Taken {
    fn plan(&self, sources: &Sources) -> Result<SnapshotPlan, SnapshotError> {
        for record in &self.records {
            self.check(record)?;
        }
        check_covered(sources.all(), &self.records)?;
        let parts = self.records.iter().map(|record| PlannedPart {
            source: record.source.clone(),
            path: None,
            mount_point: record.mount_point.clone(),
            device: record.source.display().to_string(),
            covers: record.covers.clone(),
        });
        Ok(SnapshotPlan { provider: "ebs", parts: parts.collect(), bytes: 0 })
    }

    fn take(
        &self,
        _: &SnapshotPlan,
        watch: Watch<'_>,
    ) -> Result<Vec<SnapshotRecord>, SnapshotError> {
        watch().map_err(crate::error::stopped)?;
        Ok(self.records.clone())
    }
}

impl Taken {
    fn check(&self, record: &SnapshotRecord) -> Result<(), SnapshotError> {
        let refuse = |why| Err(SnapshotError::NotOfSession { id: record.id.clone(), why });
        let Some(volume) = record.volume.as_ref().filter(|_| record.provider == "ebs") else {
            return refuse("it is no EBS snapshot as ebs_snapshot returns it".to_owned());
        };
        if volume.state == UploadState::Error {
            return refuse("it has failed".to_owned());
        }
        for (what, theirs, ours) in [
            ("system identifier", &volume.system_identifier, &self.system_identifier),
            ("start LSN", &volume.start_lsn, &self.start_lsn),
        ] {
            if theirs.as_ref() != Some(ours) {
                let theirs = theirs.as_deref().unwrap_or("none");
                return refuse(format!("it is of {what} \"{theirs}\", the session of \"{ours}\""));
            }
        }
        if record.started_at < self.since - SKEW {
            return refuse(format!(
                "it was taken at {}, the session began at {}",
                record.started_at.to_rfc3339(),
                self.since.to_rfc3339()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{record, volume};

    fn ebs() -> SnapshotRecord {
        SnapshotRecord { volume: Some(volume(UploadState::Pending)), ..record() }
    }

    fn taken(record: SnapshotRecord) -> Taken {
        Taken {
            records: vec![record],
            since: ebs().started_at,
            system_identifier: "7".to_owned(),
            start_lsn: "0/3000028".to_owned(),
        }
    }

    fn refusal(change: impl FnOnce(&mut SnapshotRecord)) -> String {
        let mut record = ebs();
        change(&mut record);
        let taken = taken(record);
        let sources = Sources::new(ebs().covers);
        taken.plan(&sources).unwrap_err().to_string()
    }

    #[test]
    fn a_snapshot_of_the_whole_cluster_in_the_session_is_adopted() {
        let taken = taken(ebs());
        let plan = taken.plan(&Sources::new(ebs().covers)).unwrap();
        assert_eq!((plan.provider, plan.parts.len()), ("ebs", 1));
        assert_eq!(taken.take(&plan, &|| Ok(())).unwrap(), [ebs()]);
        assert!(taken.take(&plan, &|| Err("lost".to_owned())).is_err());
    }

    #[test]
    fn what_is_not_of_the_session_is_refused() {
        let id = ebs().id;
        let of = |why: &str| format!("snapshot \"{id}\" is not one of this session: {why}");
        let text = refusal(|record| record.volume = None);
        assert_eq!(text, of("it is no EBS snapshot as ebs_snapshot returns it"));
        let text = refusal(|record| {
            record.volume.as_mut().unwrap().state = UploadState::Error;
        });
        assert_eq!(text, of("it has failed"));
        let text = refusal(|record| {
            record.volume.as_mut().unwrap().system_identifier = Some("8".to_owned());
        });
        assert_eq!(text, of("it is of system identifier \"8\", the session of \"7\""));
        let text = refusal(|record| record.volume.as_mut().unwrap().start_lsn = None);
        assert_eq!(text, of("it is of start LSN \"none\", the session of \"0/3000028\""));
        let text = refusal(|record| record.started_at -= TimeDelta::seconds(61));
        assert!(text.starts_with(&of("it was taken at ")), "{text}");
        let text = refusal(|record| record.covers.clear());
        assert!(text.contains("no snapshot has it"), "{text}");
    }
}

//! The tags by which snapshots are found, and which prove whose they are.

use std::collections::BTreeMap;

/// Tags: key and value.
pub type Tags = BTreeMap<String, String>;

/// The keys that are ours.
pub mod tag {
    /// What the console shows.
    pub const NAME: &str = "Name";
    /// The cluster's name in the repository.
    pub const CLUSTER: &str = "backstay:cluster";
    /// The backup's id.
    pub const BACKUP_ID: &str = "backstay:backup-id";
    /// PostgreSQL's system identifier.
    pub const SYSTEM_IDENTIFIER: &str = "backstay:system-identifier";
    /// Where the backup starts.
    pub const START_LSN: &str = "backstay:start-lsn";
    /// The session it was taken in.
    pub const SESSION: &str = "backstay:session";
    /// The one call that made it.
    pub const REQUEST: &str = "backstay:request";
    /// [`super::TAKING`] or [`super::TAKEN`].
    pub const STATE: &str = "backstay:state";
    /// Of a copy: the snapshot it is a copy of.
    pub const SOURCE_SNAPSHOT: &str = "backstay:source-snapshot";
    /// Of a copy: the key that was asked for, as it was asked for; EC2 answers with its ARN, which an alias cannot be
    /// compared with.
    pub const COPY_KEY: &str = "backstay:copy-key";
    /// Of a volume: the restore it was made for.
    pub const RESTORE: &str = "backstay:restore";
    /// Of a volume: the snapshot it was made of.
    pub const SNAPSHOT: &str = "backstay:snapshot";
    /// Of a volume: when the restore it was made for was whole. From then on somebody may work on it.
    pub const RESTORED: &str = "backstay:restored";
}

/// The state of a snapshot that is not known to be completed: the backup role may still delete it.
pub const TAKING: &str = "taking";
/// The state of a snapshot of a set that is completed.
pub const TAKEN: &str = "taken";

/// Which backup snapshots are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupTags {
    /// The cluster's name in the repository.
    pub cluster: String,
    /// The backup's id.
    pub backup_id: String,
    /// PostgreSQL's system identifier, as decimal digits.
    pub system_identifier: String,
    /// Where the backup starts.
    pub start_lsn: String,
    /// The session's handle.
    pub session: String,
}

impl BackupTags {
    /// All tags of a snapshot made by the call `request`. The user's own come first, so that none of ours can be
    /// replaced by them.
    #[must_use]
    pub fn of_call(&self, request: &str, own: &Tags) -> Tags {
        let mut tags = own.clone();
        let name = format!("{} {}", self.cluster, self.backup_id);
        tags.entry(tag::NAME.to_owned()).or_insert(name);
        for (key, value) in [
            (tag::CLUSTER, self.cluster.as_str()),
            (tag::BACKUP_ID, &self.backup_id),
            (tag::SYSTEM_IDENTIFIER, &self.system_identifier),
            (tag::START_LSN, &self.start_lsn),
            (tag::SESSION, &self.session),
            (tag::REQUEST, request),
            (tag::STATE, TAKING),
        ] {
            tags.insert(key.to_owned(), value.to_owned());
        }
        tags
    }

    /// What a snapshot's own tags must say for it to be of this backup.
    #[must_use]
    pub fn prove(&self, found: &Tags) -> bool {
        found.get(tag::CLUSTER) == Some(&self.cluster)
            && found.get(tag::BACKUP_ID) == Some(&self.backup_id)
            && found.get(tag::SYSTEM_IDENTIFIER) == Some(&self.system_identifier)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn backup() -> BackupTags {
        BackupTags {
            cluster: "main".into(),
            backup_id: "b1".into(),
            system_identifier: "7".into(),
            start_lsn: "0/3000028".into(),
            session: "main.b1".into(),
        }
    }

    #[test]
    fn the_users_tags_do_not_replace_ours() {
        let own: Tags = [("team", "db"), ("Name", "mine"), (tag::CLUSTER, "other")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let tags = backup().of_call("r1", &own);
        let get = |key: &str| tags.get(key).map(String::as_str);
        assert_eq!((get("team"), get("Name")), (Some("db"), Some("mine")));
        assert_eq!((get(tag::CLUSTER), get(tag::STATE)), (Some("main"), Some("taking")));
        assert_eq!(backup().of_call("r1", &Tags::new())[tag::NAME], "main b1");
        assert!(backup().prove(&tags));
        assert!(!BackupTags { backup_id: "b2".into(), ..backup() }.prove(&tags));
        assert!(!backup().prove(&Tags::new()));
    }
}

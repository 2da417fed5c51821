//! Records on disk: `<state directory>/sessions/<session>/session.json`, with
//! `backup_label` and `tablespace_map` beside it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use crate::{Saved, SessionError, SessionId, SessionRecord};

/// The file of the backup label.
pub const LABEL: &str = "backup_label";
/// The file of the tablespace map.
pub const TABLESPACE_MAP: &str = "tablespace_map";
const RECORD: &str = "session.json";

/// No record comes near this size, in bytes; a larger file was planted.
const RECORD_LIMIT: u64 = 4 << 20;

/// The records under one state directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// The user whose state directory it is, if that is not ours.
    user: Option<u32>,
}

impl Store {
    /// The records under this directory.
    #[must_use]
    pub fn new(state_directory: impl Into<PathBuf>) -> Store {
        Store { root: state_directory.into(), user: None }
    }

    /// The records of every user of this host who has some in the usual place;
    /// for root, who may look into all of them.
    #[must_use]
    pub fn of_other_users() -> Vec<Store> {
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut stores: Vec<Store> = accounts.lines().filter_map(other_user).collect();
        // Several accounts may share a home directory.
        stores.sort_by(|a, b| a.root.cmp(&b.root));
        stores.dedup_by(|a, b| a.root == b.root);
        stores
    }

    /// The state directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn directory(&self, session: &SessionId) -> PathBuf {
        self.root.join("sessions").join(session.as_str())
    }

    /// Makes the folder of a new session, owned by the keeper's user.
    ///
    /// # Errors
    /// When the session exists, or a directory on the way is not ours alone.
    pub fn create(
        &self,
        session: &SessionId,
        owner: Option<(u32, u32)>,
    ) -> Result<(), SessionError> {
        let failed = SessionError::store(&self.root);
        let sessions = self.root.join("sessions");
        // Others may pass through but not list: a keeper of another user has
        // its own folder below.
        durable::private_directory(&self.root, None, 0o711).map_err(&failed)?;
        durable::private_directory(&sessions, None, 0o711).map_err(&failed)?;
        let directory = self.directory(session);
        if directory.symlink_metadata().is_ok() {
            return Err(SessionError::Exists { session: session.clone() });
        }
        durable::private_directory(&directory, owner, 0o700).map_err(&failed)
    }

    /// Writes the record; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, record: &SessionRecord) -> Result<(), SessionError> {
        let text = serde_json::to_vec_pretty(record).map_err(SessionError::Record)?;
        let path = self.directory(&record.session).join(RECORD);
        durable::write(&path, &text, 0o600).map_err(SessionError::store(&path))
    }

    /// Writes a file beside the record; it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(
        &self,
        session: &SessionId,
        name: &str,
        bytes: &[u8],
    ) -> Result<Saved, SessionError> {
        let path = self.directory(session).join(name);
        durable::write(&path, bytes, 0o600).map_err(SessionError::store(&path))?;
        Ok(Saved { size: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) })
    }

    /// Reads a file beside the record whose checksum nobody keeps; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or was not written by root or the user of the session.
    pub fn recall(&self, session: &SessionId, name: &str) -> Result<Option<Vec<u8>>, SessionError> {
        if !self.has(session, name) {
            return Ok(None);
        }
        let path = self.directory(session).join(name);
        durable::read_owned(&path, &self.owners(session), RECORD_LIMIT)
            .map(Some)
            .map_err(SessionError::store(&path))
    }

    /// Whether there is a file of this name beside the record.
    #[must_use]
    pub fn has(&self, session: &SessionId, name: &str) -> bool {
        self.directory(session).join(name).symlink_metadata().is_ok()
    }

    /// Removes a file beside the record, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, session: &SessionId, name: &str) -> Result<(), SessionError> {
        let path = self.directory(session).join(name);
        durable::remove(&path).map_err(SessionError::store(&path))
    }

    /// Reads a file beside the record back and compares it with what was saved.
    ///
    /// # Errors
    /// When it cannot be read or was changed.
    pub fn load(
        &self,
        session: &SessionId,
        name: &str,
        saved: &Saved,
    ) -> Result<Vec<u8>, SessionError> {
        let path = self.directory(session).join(name);
        let bytes = durable::read_owned(&path, &self.owners(session), RECORD_LIMIT)
            .map_err(SessionError::store(&path))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != saved.sha256 {
            return Err(SessionError::Changed { path, expected: saved.sha256.clone(), found });
        }
        Ok(bytes)
    }

    /// Reads the record of a session.
    ///
    /// # Errors
    /// When there is none, or it was not written by root or the user of the
    /// session.
    pub fn read(&self, session: &SessionId) -> Result<SessionRecord, SessionError> {
        let path = self.directory(session).join(RECORD);
        if let Err(error) = path.symlink_metadata()
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Err(SessionError::NotFound {
                session: session.clone(),
                directory: self.root.clone(),
            });
        }
        let bytes = durable::read_owned(&path, &self.owners(session), RECORD_LIMIT)
            .map_err(SessionError::store(&path))?;
        let record: SessionRecord = serde_json::from_slice(&bytes).map_err(SessionError::Record)?;
        if record.schema != 1 || record.session != *session {
            return Err(SessionError::Foreign { path });
        }
        Ok(record)
    }

    /// Ends the keeper of a session by force, and returns when it is gone. Only
    /// a process of the user whose folder the record is in is touched: the
    /// record's word is not enough for root to kill by.
    pub fn kill_keeper(&self, record: &SessionRecord) {
        let Ok(folder) = self.directory(&record.session).symlink_metadata() else { return };
        let Some(keeper) = &record.keeper else { return };
        keeper.kill(folder.uid());
        for _ in 0..100 {
            if !keeper.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All sessions, oldest first. A folder that cannot be read is named in
    /// the second list.
    ///
    /// # Errors
    /// When the state directory exists but cannot be listed.
    pub fn all(&self) -> Result<(Vec<SessionRecord>, Vec<String>), SessionError> {
        let entries = match std::fs::read_dir(self.root.join("sessions")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((vec![], vec![]));
            }
            Err(source) => return Err(SessionError::List { directory: self.root.clone(), source }),
        };
        let (mut records, mut unreadable) = (vec![], vec![]);
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(session) = name.parse::<SessionId>() else { continue };
            match self.read(&session) {
                Ok(record) => records.push(record),
                Err(error) => unreadable.push(format!("{name}: {error}")),
            }
        }
        records.sort_by(|a, b| a.created_at.cmp(&b.created_at));
        Ok((records, unreadable))
    }

    /// Whose files are believed: root's, ours, and those of the user the
    /// session's folder was made for. Only who owns the folder above can have
    /// given it away, so that must be root or we.
    fn owners(&self, session: &SessionId) -> Vec<u32> {
        let owner = |path: &Path| {
            path.symlink_metadata().ok().filter(Metadata::is_dir).map(|found| found.uid())
        };
        let ours = [0, self.user.unwrap_or_else(|| geteuid().as_raw())];
        let above = owner(&self.root.join("sessions")).filter(|uid| ours.contains(uid));
        let given = above.and_then(|_| owner(&self.directory(session)));
        ours.into_iter().chain(given).collect()
    }
}

/// The state directory of the account in this line of `/etc/passwd`.
fn other_user(line: &str) -> Option<Store> {
    let mut fields = line.split(':');
    let uid: u32 = fields.nth(2)?.parse().ok()?;
    let root = Path::new(fields.nth(2)?).join(".local/state/backstay");
    let owned =
        std::fs::symlink_metadata(&root).is_ok_and(|found| found.is_dir() && found.uid() == uid);
    (uid != 0 && owned).then_some(Store { root, user: Some(uid) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("state"));
        let record = sample();
        store.create(&record.session, None).unwrap();
        store.write(&record).unwrap();
        assert_eq!(store.read(&record.session).unwrap(), record);
        assert_eq!(store.all().unwrap().0, std::slice::from_ref(&record));
        let saved = store.save(&record.session, LABEL, b"START\n").unwrap();
        assert_eq!(store.load(&record.session, LABEL, &saved).unwrap(), b"START\n");
        let error = store.create(&record.session, None).unwrap_err();
        assert_eq!(error.to_string(), "session \"main.b1\" exists already");
    }

    #[test]
    fn a_user_has_a_store_when_the_directory_is_his_own() {
        assert!(other_user("a:x:4242:4242::/nonexistent:/bin/sh").is_none());
        assert!(other_user("root:x:0:0:root:/root:/bin/sh").is_none());
        assert!(other_user("no account").is_none());
    }

    #[test]
    fn a_changed_label_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("state"));
        let record = sample();
        store.create(&record.session, None).unwrap();
        let saved = store.save(&record.session, LABEL, b"a").unwrap();
        store.save(&record.session, LABEL, b"b").unwrap();
        assert_eq!(
            store.load(&record.session, LABEL, &saved).unwrap_err().kind(),
            "checksum_mismatch"
        );
    }

    #[test]
    fn a_session_that_is_not_there_says_where_was_looked() {
        let store = Store::new("/nonexistent/state");
        let session = SessionId::new("main", "b2").unwrap();
        let error = store.read(&session).unwrap_err();
        assert_eq!(error.to_string(), "there is no session \"main.b2\" in \"/nonexistent/state\"");
        assert_eq!(error.kind(), "session_not_found");
    }
}

use super::*;

fn session() -> SessionId {
    SessionId::new("main", "b1").unwrap()
}

fn path() -> PathBuf {
    "/s/x".into()
}

fn said(backup_mode: &str) -> SessionError {
    SessionError::Keeper(KeeperFailure {
        kind: "disk_full".into(),
        message: "no room for the label".into(),
        hints: vec!["Make room.".into()],
        retryable: true,
        backup_mode: backup_mode.into(),
    })
}

fn io() -> std::io::Error {
    std::io::Error::other("x")
}

/// Each error with its text, kind, number of hints, and backup mode.
fn assert_all(cases: Vec<(SessionError, &str, &str, usize, BackupState)>) {
    for (error, text, kind, hints, state) in cases {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{text}");
        assert_eq!(error.hints().len(), hints, "{text}");
        assert!(error.hints().iter().all(|hint| hint.ends_with(['.', '?'])), "{text}");
        assert_eq!(error.backup_state(), state, "{text}");
    }
}

#[test]
fn texts_of_sessions() {
    let wrong = |state, wanted| SessionError::WrongState { session: session(), state, wanted };
    assert_all(vec![
        (
            SessionError::Handle("x".into()),
            "\"x\" is not a session: expected \"<cluster>.<backup id>\" as backup_start returns it",
            "invalid_argument",
            0,
            BackupState::Unknown,
        ),
        (
            SessionError::NotFound { session: session(), directory: path() },
            "there is no session \"main.b1\" in \"/s/x\"",
            "session_not_found",
            1,
            BackupState::Unknown,
        ),
        (
            SessionError::Exists { session: session() },
            "session \"main.b1\" exists already",
            "session_mismatch",
            1,
            BackupState::Unknown,
        ),
        (
            SessionError::Ended { session: session(), reason: "the deadline passed".into() },
            "session \"main.b1\" holds no backup: the deadline passed",
            "backup_aborted",
            1,
            BackupState::Off,
        ),
        (
            wrong("stopped", "in_progress"),
            "session \"main.b1\" is stopped, not in_progress",
            "backup_not_in_progress",
            0,
            BackupState::Off,
        ),
        (
            wrong("in_progress", "stopped"),
            "session \"main.b1\" is in_progress, not stopped",
            "backup_not_in_progress",
            0,
            BackupState::On,
        ),
    ]);
}

#[test]
fn texts_of_records() {
    let too_large = durable::DurableError::TooLarge { path: path(), size: 2, limit: 1 };
    let kind = too_large.kind();
    let hints = too_large.hints().len();
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    let (expected, found) = ("aa".to_owned(), "bb".to_owned());
    assert_all(vec![
        (
            SessionError::Store { path: path(), source: too_large },
            "could not keep the session record in \"/s/x\"",
            kind,
            hints,
            BackupState::Unknown,
        ),
        (
            SessionError::List { directory: path(), source: io() },
            "could not list the sessions in \"/s/x\"",
            "internal",
            0,
            BackupState::Unknown,
        ),
        (
            SessionError::Record(json),
            "the session record cannot be understood",
            "internal",
            0,
            BackupState::Unknown,
        ),
        (
            SessionError::Foreign { path: path() },
            "\"/s/x\" is not the record of this session",
            "session_mismatch",
            0,
            BackupState::Unknown,
        ),
        (
            SessionError::Changed { path: path(), expected, found },
            "\"/s/x\" was changed: its SHA-256 is bb, aa was saved",
            "checksum_mismatch",
            0,
            BackupState::Unknown,
        ),
    ]);
}

#[test]
fn texts_of_starts() {
    let id = |number: u64| pg::SystemIdentifier::from(number);
    assert_all(vec![
        (
            SessionError::Launch { reason: "exit status: 1".into() },
            "could not start the keeper: exit status: 1",
            "internal",
            0,
            BackupState::Off,
        ),
        (
            SessionError::NotStarted { seconds: 5 },
            "the server was not in backup mode after 5 s",
            "backup_start_timeout",
            1,
            BackupState::Off,
        ),
        (
            SessionError::Pooled { before: 1, after: 2 },
            "the connection goes through a pooler: the statement before the start ran in backend 1, the one after \
             it in backend 2",
            "connection_failed",
            1,
            BackupState::Off,
        ),
        (
            SessionError::OtherServer { found: id(1), planned: id(2) },
            "the server has system identifier 1, the one examined before had 2, or one of them is a standby and \
             the other is not",
            "system_identifier_mismatch",
            1,
            BackupState::Off,
        ),
    ]);
}

#[test]
fn texts_of_keepers() {
    let unreachable =
        || SessionError::Unreachable { session: session(), socket: path(), source: io() };
    assert!(unreachable().retryable());
    assert!(said("on").retryable());
    assert!(!SessionError::NotStarted { seconds: 1 }.retryable());
    let version = ServerError::Version(pg::ServerVersion::from_num(120_001).major().unwrap_err());
    assert_all(vec![
        (
            unreachable(),
            "the keeper of session \"main.b1\" does not answer on \"/s/x\"",
            "connection_lost",
            1,
            BackupState::Unknown,
        ),
        (
            SessionError::Impostor { socket: path(), expected: 26, found: 1000 },
            "\"/s/x\" is served by user 1000, not by the keeper's user 26",
            "session_mismatch",
            0,
            BackupState::Unknown,
        ),
        (
            SessionError::Protocol { expected: 1, found: 2 },
            "the keeper speaks protocol 2, this build 1",
            "protocol_mismatch",
            1,
            BackupState::Unknown,
        ),
        (said("on"), "no room for the label", "disk_full", 1, BackupState::On),
        (said("off"), "no room for the label", "disk_full", 1, BackupState::Off),
        (said("perhaps"), "no room for the label", "disk_full", 1, BackupState::Unknown),
        (
            SessionError::Server { doing: "enter backup mode", source: version },
            "could not enter backup mode",
            "unsupported_version",
            1,
            BackupState::Unknown,
        ),
    ]);
    let words = [BackupState::On, BackupState::Off, BackupState::Unknown].map(BackupState::as_str);
    assert_eq!(words, ["on", "off", "unknown"]);
}

use super::*;

fn refused(code: &str) -> EbsError {
    EbsError::Refused { action: "CreateSnapshots", code: code.into(), message: "no".into() }
}

fn lost() -> EbsError {
    EbsError::Lost { action: "CreateSnapshots", reason: "timed out".into() }
}

fn check(cases: Vec<(EbsError, &str, &str, bool)>) {
    for (error, text, kind, retryable) in cases {
        assert_eq!(error.to_string(), text);
        assert_eq!((error.kind(), error.retryable()), (kind, retryable), "{text}");
    }
}

#[test]
fn texts_and_kinds() {
    use EbsError as E;
    let cases: Vec<(EbsError, &str, &str, bool)> = vec![
        (
            refused("UnauthorizedOperation"),
            "EC2 refused CreateSnapshots: UnauthorizedOperation: no",
            "not_authorized",
            false,
        ),
        (
            refused("RequestLimitExceeded"),
            "EC2 refused CreateSnapshots: RequestLimitExceeded: no",
            "api_throttled",
            true,
        ),
        (lost(), "EC2 gave no answer to CreateSnapshots: timed out", "connection_failed", true),
        (
            E::Partial { why: "volume \"vol-1\" has none".into(), kept: vec![] },
            "the set of snapshots is not whole: volume \"vol-1\" has none",
            "snapshot_failed",
            false,
        ),
        (
            E::Limit { code: "L".into(), pending: vec!["snap-1".into(), "snap-2".into()] },
            "EC2 refused CreateSnapshots: L; these snapshots are pending: snap-1, snap-2",
            "snapshot_limit_exceeded",
            true,
        ),
        (
            E::Timeout { seconds: 9, last: Box::new(lost()) },
            "the snapshots could not be taken within 9 s",
            "snapshot_timeout",
            true,
        ),
        (E::Ended("the session is lost".into()), "the session is lost", "snapshot_failed", false),
        (
            E::Unknown { why: "none turned up".into(), last: Box::new(lost()) },
            "whether the snapshots were taken is unknown: none turned up",
            "snapshot_failed",
            false,
        ),
        (E::Restore("x".into()), "x", "restore_failed", false),
    ];
    check(cases);
}

#[test]
fn texts_of_what_comes_before_a_call() {
    use EbsError as E;
    check(vec![
        (
            E::Answer { action: "CreateVolume", missing: "volume id" },
            "EC2's answer to CreateVolume has no volume id",
            "api_failed",
            false,
        ),
        (
            E::Credentials { reason: "none".into() },
            "no AWS credentials could be found: none",
            "credentials_failed",
            false,
        ),
        (E::NoRegion, "no AWS region is known", "invalid_argument", false),
        (
            E::Setup { reason: "no file".into() },
            "could not prepare the connection to EC2: no file",
            "invalid_argument",
            false,
        ),
    ]);
}

#[test]
fn texts_of_restores() {
    use EbsError as E;
    let state = |state, message: Option<&str>| E::SnapshotState {
        id: "snap-1".into(),
        state,
        message: message.map(str::to_owned),
    };
    let missing = |account: Option<&str>| E::SnapshotMissing {
        id: "snap-1".into(),
        region: "r".into(),
        account: account.map(str::to_owned),
    };
    let text = "snapshot \"snap-1\" is not in region \"r\" of this account";
    let of_other = format!("{text}; it was taken in account \"12\"");
    check(vec![
        (E::Mismatch("x".into()), "x", "snapshot_mismatch", false),
        (missing(None), text, "snapshot_not_found", false),
        (missing(Some("12")), &of_other, "snapshot_not_found", false),
        (
            state("pending", None),
            "snapshot \"snap-1\" is in state \"pending\", not \"completed\"",
            "snapshot_failed",
            true,
        ),
        (
            state("error", Some("no key")),
            "snapshot \"snap-1\" is in state \"error\", not \"completed\": no key",
            "snapshot_failed",
            false,
        ),
    ]);
    assert!(state("pending", None).hints()[0].contains("ebs_snapshot_wait"));
    assert!(state("error", None).hints()[0].contains("another backup"));
}

#[test]
fn texts_of_steps_of_restores() {
    use EbsError as E;
    let failed = E::VolumeFailed {
        volume: "vol-1".into(),
        snapshot: "snap-1".into(),
        became: "disappeared",
        encryption: "not encrypted".into(),
    };
    check(vec![
        (
            failed,
            "volume \"vol-1\" from snapshot \"snap-1\" disappeared while it was made; it is not encrypted",
            "restore_failed",
            false,
        ),
        (
            E::Option { option: "zone", problem: "no".into() },
            "invalid zone: no",
            "invalid_argument",
            false,
        ),
        (
            E::MountPoint { path: "/m".into(), problem: "is not empty".into() },
            "mount point \"/m\" is not empty",
            "location_not_empty",
            false,
        ),
        (
            E::Late { what: "it did not come".into(), seconds: 3 },
            "it did not come within 3 s",
            "restore_timeout",
            true,
        ),
    ]);
}

#[test]
fn codes_say_what_is_gone_and_what_is_lost() {
    assert!(refused("InvalidSnapshot.NotFound").is_not_found());
    assert!(!refused("InternalError").is_not_found());
    assert!(lost().is_lost() && !refused("InternalError").is_lost());
    assert_eq!(refused("ExpiredToken").kind(), "credentials_failed");
    assert_eq!(refused("InvalidParameterValue").kind(), "api_failed");
    assert!(refused("UnauthorizedOperation").hints()[0].contains("policies"));
    assert!(EbsError::NoRegion.hints()[0].contains("region"));
}

use super::*;

#[test]
fn times_become_utc() {
    for (text, server, shown) in [
        ("2026-11-21T03:15:00Z", "2026-11-21 03:15:00.000000+00", "2026-11-21T03:15:00Z"),
        ("2026-11-21T03:15:00+05:30", "2026-11-20 21:45:00.000000+00", "2026-11-20T21:45:00Z"),
        (
            "2026-11-21T03:15:00.1234567-01:00",
            "2026-11-21 04:15:00.123456+00",
            "2026-11-21T04:15:00.123456700Z",
        ),
    ] {
        let time: RecoveryTime = text.parse().unwrap();
        assert_eq!(time.for_server(), server);
        assert_eq!(time.to_string(), shown);
        assert_eq!(shown.parse::<RecoveryTime>().unwrap(), time);
    }
}

#[test]
fn times_without_an_offset_are_refused() {
    for text in [
        "",
        "2026-11-21",
        "2026-11-21T03:15:00",
        "2026-11-21 03:15:00",
        "2026-11-21 03:15:00 IST",
        "2026-13-21T03:15:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2026-11-21T03:15:00Z'; x",
    ] {
        let error = text.parse::<RecoveryTime>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "invalid recovery target time \"{text}\": expected a time with its offset from UTC, like 2026-11-21T03:15:00+01:00"
            )
        );
    }
}

#[test]
fn transactions_are_decimal() {
    assert_eq!("729".parse::<TransactionId>().unwrap().as_u64(), 729);
    assert_eq!("4294968025".parse::<TransactionId>().unwrap().to_string(), "4294968025");
    for text in ["", "0", "2", "010", "0x10", "-3", "+3", "4294967296", "18446744073709551616"] {
        let error = text.parse::<TransactionId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid transaction \"{text}\": expected a number from 3 up")
        );
    }
}

#[test]
fn names_fit_into_the_record() {
    assert_eq!("before O'Hara".parse::<RestorePointName>().unwrap().as_str(), "before O'Hara");
    for text in [String::new(), "x".repeat(64), "é".repeat(32), "a\0b".to_owned()] {
        let error = text.parse::<RestorePointName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid restore point name \"{text}\": expected 1 to 63 bytes")
        );
    }
}

#[test]
fn one_setting_each() {
    let name: RestorePointName = "before".parse().unwrap();
    let time: RecoveryTime = "2026-11-21T03:15:00Z".parse().unwrap();
    let rows = [
        (RecoveryTarget::Latest, None, "the end of WAL", r#"{"type":"latest"}"#),
        (
            RecoveryTarget::Immediate,
            Some(("recovery_target", "immediate")),
            "the end of the backup",
            r#"{"type":"immediate"}"#,
        ),
        (
            RecoveryTarget::Time(time),
            Some(("recovery_target_time", "2026-11-21 03:15:00.000000+00")),
            "2026-11-21T03:15:00Z",
            r#"{"type":"time","value":"2026-11-21T03:15:00Z"}"#,
        ),
        (
            RecoveryTarget::Xid(TransactionId::new(729).unwrap()),
            Some(("recovery_target_xid", "729")),
            "transaction 729",
            r#"{"type":"xid","value":729}"#,
        ),
        (
            RecoveryTarget::Lsn(Lsn::from(0x300_0028)),
            Some(("recovery_target_lsn", "0/3000028")),
            "LSN 0/3000028",
            r#"{"type":"lsn","value":"0/3000028"}"#,
        ),
        (
            RecoveryTarget::Name(name),
            Some(("recovery_target_name", "before")),
            "restore point \"before\"",
            r#"{"type":"name","value":"before"}"#,
        ),
    ];
    for (target, setting, shown, json) in rows {
        let found = target.setting();
        assert_eq!(found.as_ref().map(|(name, value)| (*name, value.as_str())), setting);
        assert_eq!(target.to_string(), shown);
        assert_eq!(serde_json::to_string(&target).unwrap(), json);
        assert_eq!(serde_json::from_str::<RecoveryTarget>(json).unwrap(), target);
    }
}

#[test]
fn timelines_and_actions() {
    for text in ["latest", "current", "7"] {
        assert_eq!(text.parse::<TargetTimeline>().unwrap().to_string(), text);
    }
    let error = "0x2".parse::<TargetTimeline>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid recovery target timeline \"0x2\": expected latest, current, or a number from 1 up"
    );
    for text in ["pause", "promote", "shutdown"] {
        assert_eq!(text.parse::<TargetAction>().unwrap().to_string(), text);
    }
    let error = "stop".parse::<TargetAction>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid recovery target action \"stop\": expected pause, promote or shutdown"
    );
}

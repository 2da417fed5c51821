//! Samples of `global/pg_control` taken from standbys, one of each major; the expected values are what
//! `pg_controldata` of that major printed.

use super::*;
use crate::MajorVersion;
use crate::bytes::from_hex;

fn sample(major: MajorVersion) -> Vec<u8> {
    from_hex(match major {
        MajorVersion::V13 => include_str!("../../samples/pg_control-13.hex"),
        MajorVersion::V14 => include_str!("../../samples/pg_control-14.hex"),
        MajorVersion::V15 => include_str!("../../samples/pg_control-15.hex"),
        MajorVersion::V16 => include_str!("../../samples/pg_control-16.hex"),
        MajorVersion::V17 => include_str!("../../samples/pg_control-17.hex"),
        MajorVersion::V18 => include_str!("../../samples/pg_control-18.hex"),
    })
}

fn parse(bytes: &[u8]) -> Result<ControlFile, ServerFileError> {
    ControlFile::parse(Path::new("pg_control"), bytes)
}

/// By line: major, system identifier, control and catalogue version, checkpoint, redo, minimum recovery
/// point, version of the data checksums, time of the checkpoint on 2026-11-21.
const EXPECTED: &str = "
    13 7710459874942246373 1300 202007201 0/5630D68 0/5630D30 0/5630DE0 0 03:25:37
    14 7710459876914486779 1300 202107181 0/5636E18 0/5636DE0 0/5636E90 0 03:25:40
    15 7710459878896958989 1300 202209061 0/5635148 0/5635110 0/56351C0 0 03:25:43
    16 7710459880850689568 1300 202307071 0/5636588 0/5636550 0/5636600 0 03:25:45
    17 7710459883273715270 1700 202406281 0/563E2E0 0/563E288 0/563E358 0 03:25:48
    18 7710459885695929948 1800 202506291 0/563FC98 0/563FC40 0/563FD10 1 03:25:51
";

fn expected(line: &str) -> (MajorVersion, ControlFile) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let control_file = ControlFile {
        system_identifier: words[1].parse().unwrap(),
        control_version: words[2].parse().unwrap(),
        catalog_version: words[3].parse().unwrap(),
        state: DbState::InArchiveRecovery,
        checkpoint: words[4].parse().unwrap(),
        redo: words[5].parse().unwrap(),
        timeline: TimelineId::FIRST,
        checkpoint_time: format!("2026-11-21T{}Z", words[8]).parse().unwrap(),
        min_recovery_point: Some(words[6].parse().unwrap()),
        block_size: 8192,
        wal_segment_size: WalSegmentSize::DEFAULT,
        data_checksums: words[7] == "1",
        backup_end_awaited: false,
        limits: RecoveryLimits {
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
        },
    };
    (words[0].parse().unwrap(), control_file)
}

#[test]
fn every_major() {
    let lines: Vec<_> = EXPECTED.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), MajorVersion::ALL.len());
    for (major, expected) in lines.into_iter().map(expected) {
        assert_eq!(parse(&sample(major)).unwrap(), expected, "{major}");
        assert_eq!(expected.catalog_version, major.catalog_version());
    }
}

#[test]
fn every_damaged_byte_is_noticed() {
    for major in MajorVersion::ALL {
        let whole = sample(major);
        let protected = if major >= MajorVersion::V18 { 292 } else { 288 };
        for at in 0..protected {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let error = parse(&damaged).unwrap_err();
            let expected =
                if (8..12).contains(&at) { "unsupported_version" } else { "checksum_mismatch" };
            assert_eq!(error.kind(), expected, "byte {at}");
        }
        for length in 0..protected + 4 {
            assert_eq!(parse(&whole[..length]).unwrap_err().kind(), "verification_failed");
        }
    }
}

#[test]
fn impossible_values_under_a_good_checksum() {
    for (at, value, text) in [
        (16, 7_u32, "invalid database cluster state \"7\": expected a number from 0 to 6"),
        (48, 0, "invalid timeline \"0\": expected a number from 1 up"),
        (
            228,
            5,
            "invalid WAL segment size \"5\": expected a power of two from 1 MiB to 1 GiB in bytes",
        ),
    ] {
        let mut bytes = sample(MajorVersion::V15);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let checksum = crc32c(&bytes[..288]);
        bytes[288..292].copy_from_slice(&checksum.to_le_bytes());
        let error = parse(&bytes).unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), text);
    }
}

#[test]
fn is_read_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pg_control");
    let absent = ControlFile::read(&path).unwrap_err();
    assert_eq!(absent.to_string(), format!("could not read \"{}\"", path.display()));
    std::fs::write(&path, sample(MajorVersion::V17)).unwrap();
    assert_eq!(ControlFile::read(&path).unwrap().catalog_version, 202_406_281);
}

#[test]
fn states_in_the_words_of_pg_controldata() {
    let states: Vec<_> = (0..8).map_while(DbState::from_number).collect();
    let words: Vec<_> = states.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "starting up",
            "shut down",
            "shut down in recovery",
            "shutting down",
            "in crash recovery",
            "in archive recovery",
            "in production"
        ]
    );
    assert_eq!(states.iter().filter(|state| state.is_shut_down()).count(), 2);
}

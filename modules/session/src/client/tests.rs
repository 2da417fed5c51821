use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;
use crate::record::tests::sample;

/// A session whose keeper is a thread that gives one answer, and what it was
/// asked.
struct Fake {
    _directory: tempfile::TempDir,
    client: Client,
    keeper: JoinHandle<String>,
}

fn fake(answer: Vec<u8>, change: impl FnOnce(&mut SessionRecord)) -> Fake {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path().join("state"));
    let mut record = sample();
    record.socket = directory.path().join("keeper");
    change(&mut record);
    store.create(&record.session, None).unwrap();
    store.write(&record).unwrap();
    let listener = UnixListener::bind(&record.socket).unwrap();
    let keeper = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        let _ = BufReader::new(&stream).read_line(&mut asked);
        // A client that is not satisfied with its peer hangs up.
        let _ = stream.write_all(&answer);
        asked
    });
    let client = Client::find(&store, &record.session, Duration::from_secs(5)).unwrap();
    Fake { _directory: directory, client, keeper }
}

fn line(outcome: Outcome) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Response { protocol: PROTOCOL, outcome }).unwrap();
    line.push(b'\n');
    line
}

#[test]
fn a_question_is_one_line_and_so_is_the_answer() {
    let keeper = fake(line(Outcome::Record(Box::new(sample()))), |_| {});
    assert_eq!(keeper.client.stop().unwrap().session, sample().session);
    assert_eq!(keeper.keeper.join().unwrap(), "{\"protocol\":1,\"verb\":\"stop\"}\n");
    let keeper = fake(line(Outcome::Lsn(Lsn::from(7))), |_| {});
    assert_eq!(keeper.client.wal_on_disk().unwrap(), Lsn::from(7));
}

#[test]
fn a_failure_of_the_keeper_is_told_as_it_is() {
    let failure = KeeperFailure {
        kind: "timeline_mismatch".into(),
        message: "the standby was promoted during the backup".into(),
        hints: vec!["Start a new backup.".into()],
        retryable: false,
        backup_mode: "off".into(),
    };
    let error = fake(line(Outcome::Failed(failure)), |_| {}).client.status().unwrap_err();
    assert_eq!(error.to_string(), "the standby was promoted during the backup");
    assert_eq!((error.kind(), error.backup_state()), ("timeline_mismatch", BackupState::Off));
}

#[test]
fn an_answer_that_is_none_is_no_answer() {
    let lsn = line(Outcome::Lsn(Lsn::from(7)));
    let error = fake(lsn, |_| {}).client.status().unwrap_err();
    assert_eq!(error.kind(), "connection_lost");
    let other = b"{\"protocol\":2,\"outcome\":{\"lsn\":\"0/7\"}}\n".to_vec();
    let error = fake(other, |_| {}).client.status().unwrap_err();
    assert_eq!(error.to_string(), "the keeper speaks protocol 2, this build 1");
    let long = vec![b' '; usize::try_from(LINE_LIMIT).unwrap() + 1];
    let error = fake(long, |_| {}).client.status().unwrap_err();
    assert_eq!(error.kind(), "connection_lost");
}

#[test]
fn somebody_else_on_the_socket_is_refused() {
    let stranger = |record: &mut SessionRecord| record.keeper.as_mut().unwrap().uid += 1;
    let answer = fake(line(Outcome::Lsn(Lsn::from(7))), stranger).client.wal_on_disk();
    // Root is believed whoever the keeper's user is.
    if geteuid().is_root() {
        assert_eq!(answer.unwrap(), Lsn::from(7));
    } else {
        assert_eq!(answer.unwrap_err().kind(), "session_mismatch");
    }
}

#[test]
fn a_session_that_is_over_has_no_keeper_to_ask() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path().join("state"));
    let record = sample().aborted("backup_aborted", "the deadline passed");
    store.create(&record.session, None).unwrap();
    store.write(&record).unwrap();
    let error = Client::find(&store, &record.session, Duration::from_secs(1)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("session \"main.b1\" holds no backup: the deadline passed (at "),
        "{text}"
    );
}

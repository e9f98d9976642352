use autoscaler_plan::{Facts, RouterFacts, State, decide};
use jiff::Timestamp;

use super::read::{ReadError, decision_at};
use super::*;
use crate::observe::tests::settings;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn record(seconds: i64) -> LogRecord {
    let replicas = u32::try_from(seconds).unwrap() % 5 + 1;
    let facts = Facts {
        settings: settings(),
        replicas,
        engines: Vec::new(),
        router: RouterFacts::NotConfigured,
        standby: None,
    };
    let decision = decide(&facts, &mut State::default(), at(seconds));
    LogRecord::new(at(seconds), facts, decision)
}

fn files(folder: &Path, most_bytes: u64) -> Files {
    Files { folder: folder.to_owned(), most_bytes }
}

#[test]
fn what_was_recorded_is_read_back_by_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = DecisionLog::open(&folder.path().join("decisions"), 1).unwrap();
    (0..20).for_each(|second| log.record("m", record(second)));
    drop(log);
    let file = file_of(&folder.path().join("decisions"), "m");
    assert_eq!(decision_at(&file, None).unwrap(), record(19));
    assert_eq!(decision_at(&file, Some(at(7))).unwrap(), record(7));
    assert_eq!(decision_at(&file, Some(Timestamp::from_millisecond(1_800_000_007_999).unwrap())).unwrap(), record(7));
    let error = decision_at(&file, Some(at(-1))).unwrap_err().to_string();
    assert!(error.contains("begins at 2027-01-15T08:00:00Z") && error.contains("name a later --at"), "{error}");
}

#[test]
fn a_log_is_bounded_and_its_older_half_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), 10_000);
    for second in 0..200 {
        files.append("m", &record(second)).unwrap();
    }
    let file = file_of(folder.path(), "m");
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&file) + size(&older_of(&file)) <= 10_000);
    assert_eq!(decision_at(&file, None).unwrap(), record(199));
    let older = std::fs::read_to_string(older_of(&file)).unwrap();
    let first = LogRecord::from_line(older.lines().next().unwrap()).unwrap();
    assert_eq!(decision_at(&file, Some(first.at)).unwrap(), first);
}

#[test]
fn a_line_cut_by_a_crash_is_passed_over_and_a_file_without_decisions_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(folder.path(), "m");
    assert!(matches!(decision_at(&file, None), Err(ReadError::Io { .. })));
    let line = record(3).to_line();
    std::fs::write(&file, format!("{line}\n{}", &line[..line.len() / 2])).unwrap();
    assert_eq!(decision_at(&file, None).unwrap(), record(3));
    std::fs::write(&file, "no log\n").unwrap();
    assert!(decision_at(&file, None).unwrap_err().to_string().contains("holds no decision"));
    std::fs::write(&file, line.replacen("\"version\":1", "\"version\":7", 1)).unwrap();
    let error = decision_at(&file, None).unwrap_err();
    assert!(
        crate::observe::describe(&error)
            .ends_with("m.jsonl line 1: the line has version 7, this program reads version 1")
    );
}

#[test]
fn a_folder_that_is_lost_loses_records_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions");
    let log = DecisionLog::open(&path, 1).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    for second in 0..1000 {
        log.record("m", record(second));
    }
}

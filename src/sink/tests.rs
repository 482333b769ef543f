//! Sinks that get stuck, fail, and come back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use super::*;
use std::io::Read;

fn open(target: Target) -> (Sink, Arc<AtomicU64>) {
    let dropped = Arc::new(AtomicU64::new(0));
    (Sink::open(target, dropped.clone()).unwrap(), dropped)
}

#[test]
fn lines_arrive_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (sink, dropped) = open(Target::File(path.clone()));
    let lines: String = (0..5000).map(|i| format!("line {i}\n")).collect();
    lines.split_inclusive('\n').for_each(|line| sink.write(line.as_bytes()));
    assert!(sink.flush(Duration::from_secs(5)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
    assert_eq!(dropped.load(Relaxed), 0);
}

#[test]
fn lines_that_come_while_the_thread_rests_are_written_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (sink, _) = open(Target::File(path.clone()));
    let mut expected = String::new();
    for line in 0..10 {
        expected += &format!("line {line}\n");
        sink.write(format!("line {line}\n").as_bytes());
        let by = Instant::now() + Duration::from_secs(5);
        while std::fs::read_to_string(&path).unwrap() != expected {
            assert!(Instant::now() < by, "line {line} waits for ever");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_rest_costs_no_line_of_many() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, dropped) = open(Target::File(dir.path().join("log")));
    let line = [b"x".repeat(999).as_slice(), b"\n"].concat();
    // Each time half of what may wait, within one rest.
    for _ in 0..20 {
        (0..500).for_each(|_| sink.write(&line));
        std::thread::sleep(REST / 2);
    }
    assert_eq!(dropped.load(Relaxed), 0);
}

#[test]
fn a_missing_folder_is_an_error_at_start() {
    let error = Sink::open(Target::File("/nowhere/at/all/log".into()), Arc::default()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/log"), "{error}");
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let (sink, dropped) = open(Target::File("/dev/full".into()));
    for _ in 0..3 {
        (0..10).for_each(|_| sink.write(b"x\n"));
        assert!(sink.flush(Duration::from_secs(5)));
    }
    assert_eq!(dropped.load(Relaxed), 30);
}

#[test]
fn a_moved_file_is_left_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
    let (sink, _) = open(Target::File(path.clone()));
    sink.write(b"one\n");
    assert!(sink.flush(Duration::from_secs(5)));
    std::fs::rename(&path, &moved).unwrap();
    sink.reopen();
    assert!(sink.flush(Duration::from_secs(5)));
    sink.write(b"two\n");
    assert!(sink.flush(Duration::from_secs(5)));
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
}

/// A FIFO nobody reads: the closest thing to a log pipe that is stuck.
#[test]
fn a_stuck_pipe_stalls_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (sink, dropped) = open(Target::File(path));
    let line = [b"x".repeat(999).as_slice(), b"\n"].concat();
    let began = Instant::now();
    (0..20_000).for_each(|_| sink.write(&line));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(dropped.load(Relaxed) > 1000);
    let began = Instant::now();
    assert!(!sink.flush(Duration::from_millis(200)));
    assert!(began.elapsed() < Duration::from_secs(1));
    // It is read again: what waited arrives, whole lines only.
    let taken = 20_000 - dropped.load(Relaxed);
    let mut read = vec![0; taken as usize * line.len()];
    (&reader).read_exact(&mut read).unwrap();
    assert!(read.chunks(line.len()).all(|chunk| chunk == line));
    assert!(sink.flush(Duration::from_secs(5)));
}

//! What `deploy/` holds, read by the programs it is for.

use std::fs;
use std::path::Path;

use crate::support::{binary, program, run};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The unit, with the program where this build has put it and a file that exists.
fn unit() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(Path::new(HERE).join("deploy/peerway.service")).unwrap();
    assert!(text.contains("/usr/local/bin/peerway"));
    let file = dir.path().join("peerway.service");
    fs::write(&file, text.replace("/usr/local/bin/peerway", binary().to_str().unwrap())).unwrap();
    (dir, file)
}

#[test]
fn systemd_understands_the_unit() {
    let (_dir, file) = unit();
    let said = run(program("systemd-analyze").args(["verify", "--man=no"]).arg(file));
    assert_eq!(said, "", "systemd has something to say");
}

#[test]
fn systemd_finds_the_unit_well_protected() {
    let (_dir, file) = unit();
    // Exposure in tenths: systemd calls up to 2.0 safe. The network and the low ports have to stay.
    run(program("systemd-analyze").args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(file));
}

#[test]
fn systemd_waits_longer_than_the_shutdown_takes() {
    let text = fs::read_to_string(Path::new(HERE).join("deploy/peerway.service")).unwrap();
    let stop = text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let grace = 30;
    assert!(stop.trim_end_matches('s').parse::<u32>().unwrap() > grace, "{stop}");
}

#[test]
fn promtool_accepts_the_scrape_configuration() {
    let file = Path::new(HERE).join("deploy/prometheus.yml");
    run(program("promtool").args(["check", "config"]).arg(file));
}

#[test]
fn every_file_the_image_copies_exists() {
    let text = fs::read_to_string(Path::new(HERE).join("deploy/Dockerfile")).unwrap();
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    let mut sources: Vec<&str> = Vec::new();
    for line in copies {
        let words: Vec<&str> = line.split_whitespace().collect();
        sources.extend(&words[..words.len() - 1]);
    }
    assert!(!sources.is_empty());
    for source in sources {
        assert!(Path::new(HERE).join(source).exists(), "{source} is copied but does not exist");
    }
}

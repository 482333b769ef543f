#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;

use super::super::fixture::CATALOGUE;
use super::super::{Catalogue, Source, TlsFiles, load_within, parse_all};
use super::*;

/// Files are refused by those who know them.
const PICKY: Catalogue = Catalogue {
    tls: TlsFiles { authorities: |path| Err(format!("cannot read {}", path.display())), ..TlsFiles::UNREAD },
    ..CATALOGUE
};

/// What a file in `/conf` needs besides itself: a letter for what it is there for, and the path.
fn found(text: &str) -> BTreeSet<String> {
    let mut text = format!("{text}\nlisteners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}\n");
    if !text.contains("pools:") {
        text += "pools: { p: { backends: '127.0.0.1:2' } }\n";
    }
    let source = Source { path: "/conf/a.yaml".into(), text };
    let loaded = parse_all(&Reach::default(), std::slice::from_ref(&source), &CATALOGUE, &|_| None);
    let needs = loaded.unwrap_or_else(|errors| panic!("{errors}")).needs.into_iter();
    let letter = |need: Need| format!("{need:?}").remove(0);
    let others = needs.filter(|needed| needed.path != source.path);
    others.map(|Needed { path, need }| format!("{} {}", letter(need), path.display())).collect()
}

fn are(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_kind_of_path_is_found_with_what_it_is_there_for() {
    assert_eq!(found(""), are(&[]));
    assert_eq!(found("state_file: /var/x.json"), are(&["K /var/x.json"]));
    assert_eq!(found("state_file: off"), are(&[]));
    // A token is read at once.
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("t");
    fs::write(&token, "x").unwrap();
    let token = token.display();
    assert_eq!(
        found(&format!(
            "admin: {{ listen: 'unix:/run/a.sock', token_file: {token}, tls: {{ cert: a.pem, key: ../k }} }}"
        )),
        are(&["L /run/a.sock", &format!("R {token}"), "R /conf/a.pem", "R /conf/../k"])
    );
    assert_eq!(found("log: { access: { to: /var/log/a } }"), are(&["A /var/log/a"]));
    assert_eq!(found("log: { access: { to: stdout } }"), are(&[]));
    assert_eq!(found("log: { access: off }"), are(&[]));
    assert_eq!(found("defaults: { listener: { log: { access: { to: b } } } }"), are(&["A /conf/b"]));
    assert_eq!(found("x-notes: { state_file: /elsewhere }"), are(&[]));
}

#[test]
fn backends_need_names_only_if_they_have_some() {
    assert_eq!(found("pools: { p: { backends: [ 'unix:/run/b', '10.0.0.1:1' ] } }"), are(&[]));
    let named = are(&["N /etc"]);
    assert_eq!(found("pools: { p: { backends: 'db.example:1' } }"), named);
    assert_eq!(found("pools: { p: { backends: [ { name: a, address: 'db.example:1' } ] } }"), named);
}

#[test]
fn files_of_probes_and_pools_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    fs::write(&password, "x").unwrap();
    let text = format!(
        "pools: {{ p: {{ backends: '127.0.0.1:2', tls: {{ ca: ca.pem, server_name: x }}, \
         health: {{ probe: {{ postgres: {{ user: u, password_file: {} }} }} }} }} }}",
        password.display()
    );
    assert_eq!(found(&text), are(&["R /conf/ca.pem", &format!("R {}", password.display())]));
}

/// Two folders, of which the first is within reach.
fn two_folders() -> (tempfile::TempDir, PathBuf, PathBuf, Reach) {
    let dir = tempfile::tempdir().unwrap();
    let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
    [&open, &closed].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let reach = Reach::of([&Needed { path: open.clone(), need: Need::Read }]);
    (dir, open, closed, reach)
}

#[test]
fn what_is_out_of_reach_is_named_at_its_place_and_not_tried() {
    let (_dir, open, _, reach) = two_folders();
    let text = "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\n\
                pools:\n  p:\n    backends: 10.0.0.1:2\n    tls:\n      ca: ../closed/ca.pem\n";
    let file = open.join("a.yaml");
    fs::write(&file, text).unwrap();
    let load = || load_within(&reach, std::slice::from_ref(&file), &PICKY, &|_| None).unwrap_err();
    let there = format!("{}/../closed/ca.pem", open.display());
    let why = "it lies in no folder that the sandbox lets this process read";
    assert_eq!(load().to_string(), format!("{}:6:11: pools.p.tls.ca: needs restart: {there}: {why}", file.display()));
    assert_eq!(load().needs_restart(), [there]);
    // A restart alone would not help here.
    fs::write(&file, format!("{text}nonsense: 1\n")).unwrap();
    assert_eq!((load().iter().count(), load().needs_restart().len()), (2, 0));
    // Within reach it is tried.
    fs::write(&file, text.replace("../closed/", "")).unwrap();
    assert!(load().to_string().contains("cannot read"));
}

#[test]
fn what_is_included_from_out_of_reach_is_not_looked_for() {
    let (_dir, open, closed, reach) = two_folders();
    fs::write(closed.join("b.yaml"), "pools: { p: { backends: '127.0.0.1:2' } }").unwrap();
    let file = open.join("a.yaml");
    let load = |reach: &Reach| load_within(reach, std::slice::from_ref(&file), &CATALOGUE, &|_| None);
    for pattern in ["../closed/*.yaml", "../closed/b.yaml"] {
        let text = format!("include: {pattern}\nlisteners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}\n");
        fs::write(&file, text).unwrap();
        assert_eq!(load(&Reach::default()).unwrap().files.len(), 2);
        let errors = load(&reach).unwrap_err();
        assert_eq!(errors.needs_restart().len(), 1, "{errors}");
        assert!(errors.to_string().contains(":1:10: include: needs restart: "), "{errors}");
    }
}

#[test]
fn the_folder_of_a_pattern_ends_before_the_first_wildcard() {
    let folders = [("/a/b/*.yaml", "/a/b"), ("/a/*/c.yaml", "/a"), ("/a/b.yaml", "/a/b.yaml"), ("*.yaml", ".")];
    for (pattern, folder) in folders {
        assert_eq!(folder_of(Path::new(pattern)), Path::new(folder), "{pattern}");
    }
}

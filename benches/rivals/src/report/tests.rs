use super::*;
use crate::proxies::{KINDS, OURS};

fn report(figures: &[(&str, &str, f64)]) -> Report {
    let mut report = Report::new(&loads::all(), Duration::from_secs(1));
    for kind in &KINDS[..2] {
        report.proxies.push(Contestant {
            name: kind.name.into(),
            version: "<1>".into(),
            features: String::new(),
            bytes_right: true,
        });
    }
    for (load, proxy, value) in figures {
        let load = loads::all().into_iter().find(|one| one.name == *load).expect("a load");
        let kind = KINDS.iter().find(|kind| kind.name == *proxy).expect("a proxy");
        report.add(&load, kind, &vec![("CPU µs each", *value, Better::Less)]);
    }
    for figure in &mut report.figures {
        figure.median = median(&figure.values);
    }
    report
}

#[test]
fn the_table_has_medians_the_ratio_to_the_best_rival_and_growth() {
    let report = report(&[
        ("rr64-64", OURS, 9.0),
        ("rr64-64", OURS, 30.0),
        ("rr64-64", OURS, 10.0),
        ("rr64-64", "haproxy", 20.0),
        ("rr1000-64", OURS, 12.0),
    ]);
    let table = report.table();
    assert!(table.contains("| 64 B and 64 B back, 64 sessions | CPU µs each | 10.0 | 20.0 | 0.50 |"), "{table}");
    assert!(table.contains("1 000 sessions | more than the least of this kind | +20 % | – |"), "{table}");
}

#[test]
fn the_picture_has_a_bar_for_each_value_and_nothing_that_is_not_xml() {
    let mut report = report(&[("rr64-64", OURS, 10.0), ("rr64-64", "haproxy", 20.0), ("connect", OURS, 70.0)]);
    report.machine.cpu = "A<B & C".into();
    let picture = report.picture();
    assert_eq!(picture.matches("height=\"9\"").count(), 3, "{picture}");
    assert!(picture.contains("width=\"165\"") && picture.contains("width=\"330\""), "half as long: {picture}");
    assert!(picture.contains("A&lt;B &amp; C") && !picture.contains("A<B"));
}

#[test]
fn an_earlier_run_keeps_the_loads_that_are_not_run_again() {
    let dir = tempfile::tempdir().expect("a folder");
    report(&[("connect", OURS, 70.0), ("down", OURS, 1.0)]).write(dir.path()).expect("written");
    let again: Vec<Load> = loads::all().into_iter().filter(|load| load.name == "connect").collect();
    let mut report = Report::new(&again, Duration::from_secs(1));
    report.keep(dir.path()).expect("kept");
    assert_eq!(report.median("down", "CPU µs each", OURS), Some(1.0));
    assert_eq!(report.median("connect", "CPU µs each", OURS), None);
    let order: Vec<_> = report.loads.iter().map(|load| load.name.as_str()).take(2).collect();
    assert_eq!((order, report.loads.len()), (vec!["down", "up"], loads::all().len()));
}

#[test]
fn figures_of_another_machine_are_not_mixed_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut elsewhere = report(&[]);
    elsewhere.machine.cpus += 1;
    elsewhere.write(dir.path()).expect("written");
    assert!(report(&[]).keep(dir.path()).expect_err("refused").contains("another machine"));
}

//! Bombs are refused at once, long honest files are not.

use std::fmt::Write;
use std::time::Duration;

use super::{CATALOGUE, config, env, plan, processor_time};

fn error(text: &str) -> String {
    let before = processor_time();
    let errors = config::parse("t.yaml", text, &CATALOGUE, &env).map(drop).unwrap_err().to_string();
    let took = processor_time() - before;
    assert!(took < Duration::from_secs(5), "took {took:?}");
    errors
}

#[test]
fn nesting_is_bounded() {
    let flow = format!("x-a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let block = (0..200).fold("x-a:\n".to_owned(), |mut text, i| {
        let _ = writeln!(text, "{:i$} a:", "");
        text
    });
    for text in [flow, block] {
        let error = error(&text);
        assert!(error.contains("nested deeper than 32 levels"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[test]
fn aliases_are_bounded() {
    let many = format!("x-a: &a 1\nx-b: [{}]\n", "*a,".repeat(101));
    assert!(error(&many).contains("more than 100 "), "{}", error(&many));
    let mut billion = "x-0: &a0 [1,1,1,1,1,1,1,1,1]\n".to_owned();
    for i in 1..10 {
        let alias = format!("*a{},", i - 1).repeat(9);
        let _ = writeln!(billion, "x-{i}: &a{i} [{alias}]");
    }
    let error = error(&billion);
    assert!(
        error.contains("more than 20000 values, the limit for a file of ") && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn a_short_file_may_not_unfold_to_a_long_one() {
    let items = "1,".repeat(5_000);
    let text = format!("x-a: &a [{items}]\nx-b: [*a,*a,*a,*a,*a,*a,*a,*a]\n");
    let error = error(&text);
    assert!(error.contains("more than 20000 values"), "{error}");
}

#[test]
fn a_long_file_may_be_long() {
    let mut text = "listeners:\n".to_owned();
    for i in 0..2_000 {
        let (a, b) = (i / 250, i % 250 + 1);
        let _ = write!(text, "  l{i}:\n    bind: 127.1.{a}.{b}:80\n    pool: p{i}\n    timeouts: {{ idle: 5s }}\n");
    }
    text.push_str("pools:\n");
    for i in 0..2_000 {
        let _ = write!(text, "  p{i}:\n    backends:\n      - 10.0.0.1:{}\n      - h:{}\n", i + 1, i + 1);
    }
    assert!(text.lines().count() > 10_000);
    let before = processor_time();
    assert_eq!(plan(&text).listeners.len(), 2_000);
    // The release build takes a tenth of a second; the bound only catches what grows with the square.
    let took = processor_time() - before;
    assert!(took < Duration::from_secs(10), "took {took:?}");
    let errors = error(&text.replace("pool: p", "pool: q"));
    assert_eq!(errors.lines().count(), 2_000);
}

#[test]
fn a_pool_has_as_many_backends_as_it_can_have_seats() {
    let file = |count: u32| {
        let backends = (0..count).fold(String::new(), |mut text, index| {
            let _ = writeln!(text, "      - 10.{}.{}.{}:1", index >> 16, index >> 8 & 255, index & 255);
            text
        });
        format!("listeners:\n  l: {{ bind: '127.0.0.1:1', pool: p }}\npools:\n  p:\n    backends:\n{backends}")
    };
    assert_eq!(plan(&file(65_535)).pools[0].backends.len(), 65_535);
    let error = error(&file(65_536));
    assert_eq!(error.trim(), "t.yaml:5:5: pools.p.backends: 65536 backends are more than a pool may have, 65535");
}
